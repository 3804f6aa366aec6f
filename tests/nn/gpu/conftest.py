"""The cards that the tests of this folder run on: the emulated one everywhere, and the real one where there is one."""

import pytest

from nn.backend import why_no_gpu
from nn.gpu import device
from tests.nn.gpu.emulator import COMPILER, Emulator

CARDS = ["emulated", *(["real"] if why_no_gpu() == "" else [])]


@pytest.fixture
def emulated():
    """The emulator behind ``nn.gpu.device``."""
    if COMPILER is None:
        pytest.skip("g++ is not installed: kernels cannot be run on the CPU")
    with device.use(Emulator()) as emulator:
        yield emulator


@pytest.fixture(params=CARDS)
def card(request):
    """Each card in turn."""
    return request.getfixturevalue("emulated") if request.param == "emulated" else device.machine()
