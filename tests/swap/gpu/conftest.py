"""The cards of tests/nn/gpu, for the swapper."""

from tests.nn.gpu.conftest import card, emulated

__all__ = ["card", "emulated"]
