"""The emulated card, for the swapper."""

from tests.nn.gpu.conftest import card

__all__ = ["card"]
