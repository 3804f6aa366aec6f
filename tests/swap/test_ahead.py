"""The second process that compiles: what it compiles is what a step needs, and nothing depends on it."""

import os
import subprocess
import sys

import pytest

from swap import ahead
from swap.model import PRESETS
from tests.conftest import REPOSITORY

# Compiles the way back of `tiny` at two faces a side, then makes a step of it and prints which kernels that compiled.
STEP = """
import numpy as np
from numba.core import event
import nn
from swap.ahead import compile_way_back, is_compiled
from swap.model import PRESETS, SwapModel

class Names(event.Listener):
    def __init__(self):
        self.found = []
    def on_start(self, event):
        self.found.append(event.data["dispatcher"].py_func.__name__)
    def on_end(self, event):
        pass

before = is_compiled()
compile_way_back(PRESETS["tiny"], 2)
names = Names()
event.register("numba:compile", names)
model = SwapModel(PRESETS["tiny"])
arena = nn.Arena(model.named_parameters())
faces = np.random.default_rng(0).random((2, 64, 64, 3), dtype=np.float32)
model.backpropagate({"a": (faces, faces), "b": (faces, faces)})
nn.Adam(arena, 1e-3).step()
print(before, is_compiled(), *names.found)
"""


@pytest.fixture
def started(monkeypatch):
    """What would have been started, as (command, environment); nothing is."""
    found = []

    class Child:
        killed = False

        def __init__(self, command, env, **_):
            found.append((command, env, self))

        def kill(self):
            self.killed = True

        def wait(self):
            pass

    monkeypatch.setattr(subprocess, "Popen", Child)
    monkeypatch.setattr(ahead, "is_compiled", lambda: False)
    monkeypatch.setattr(ahead, "_cores", lambda: 2)
    monkeypatch.setattr(ahead, "available_memory", lambda: 8 * 2**30)
    return found


def test_a_step_after_it_compiles_none_of_the_way_back(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", STEP],
        cwd=REPOSITORY,
        env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
    )
    before, after, *compiled = done.stdout.split()
    assert (before, after) == ("False", "True")
    assert "_sigmoid_single" in compiled  # the way there is not its business
    back = {"_weights", "_weight_gradient", "transform_gradient", "_gradients", "_prepare", "_adam"}
    assert not back & set(compiled), compiled


def test_it_is_started_for_the_preset_and_batch_and_ended_with_the_training(started):
    with ahead.compiling_ahead(PRESETS["lite"], 24):
        ((command, environment, child),) = started
        assert command == [sys.executable, "-m", "swap.ahead", "lite", "24"]
        assert environment["NUMBA_NUM_THREADS"] == "1"
        assert not child.killed
    assert child.killed


@pytest.mark.parametrize(
    "why_not",
    [
        {"is_compiled": lambda: True},
        {"_cores": lambda: 1},
        {"available_memory": lambda: 2**30},
    ],
)
def test_it_is_not_started_where_it_is_not_worth_it(started, monkeypatch, why_not):
    for name, value in why_not.items():
        monkeypatch.setattr(ahead, name, value)
    with ahead.compiling_ahead(PRESETS["lite"], 16):
        assert started == []


def test_it_is_not_started_for_the_large_network_nor_where_it_is_not_wanted(started):
    with ahead.compiling_ahead(PRESETS["original"], 16):
        pass
    with ahead.compiling_ahead(PRESETS["lite"], 16, wanted=False):
        pass
    assert started == []


def test_training_goes_on_where_no_process_can_be_started(started, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no more processes")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with ahead.compiling_ahead(PRESETS["lite"], 16):
        assert started == []
