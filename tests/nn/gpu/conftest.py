"""The card that the tests of this folder run on: the emulated one, everywhere."""

import pytest

from nn.gpu import device
from tests.nn.gpu.emulator import COMPILER, Emulator


@pytest.fixture
def card():
    """The emulator behind ``nn.gpu.device``."""
    if COMPILER is None:
        pytest.skip("g++ is not installed: kernels cannot be run on the CPU")
    with device.use(Emulator()) as emulator:
        yield emulator
