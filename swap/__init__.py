"""The face swapper: one encoder, a decoder for each subject (see ARCHITECTURE.md)."""
