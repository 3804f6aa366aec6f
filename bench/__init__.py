"""Measurements: every figure that the README, a docstring or a note quotes is printed by one of these."""
