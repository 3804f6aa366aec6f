"""The files of trained networks, and how ours was made."""
