"""The estimate of memory against what a process that trains really takes."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from swap.errors import UserError
from swap.memory import (
    MemoryEstimate,
    available_memory,
    check_memory,
    estimate_memory,
    resident_memory,
)
from swap.model import PRESETS, SwapModel
from tests.conftest import REPOSITORY

# Trains for three steps and one preview and prints the estimate and the peak, both in bytes.
TRAIN = """
import json, sys, tempfile
from dataclasses import replace
from pathlib import Path
from bench.step import peak_bytes
from nn.train import Budget
from swap import train
from swap.data import FaceSet
from swap.model import PRESETS
from swap.recipe import RECIPES
from tests.swap.helpers import MARGIN, smooth_faces

def main(preset, faces, recipe):
    sets = {side: FaceSet(smooth_faces(faces, seed, 112), MARGIN) for seed, side in enumerate("ab")}
    with tempfile.TemporaryDirectory() as folder:
        trainer = train.Trainer(
            Path(folder), sets, train.CropDefinition(), PRESETS[preset], replace(RECIPES[recipe], round_trips_from=1)
        )
        estimate = trainer.memory().total
        trainer.run(Budget(steps=3))
    print(json.dumps({"estimate": estimate, "peak": peak_bytes()}))

main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
"""


@pytest.mark.skipif(platform.system() == "Windows", reason="no peak of memory from `resource`")
@pytest.mark.parametrize(
    ("preset", "faces", "recipe"), [("tiny", 100, "alike"), ("lite", 2000, "latentface")]
)
def test_the_estimate_is_near_what_training_takes(preset, faces, recipe):
    for _ in range(2):  # the first may have to compile, which takes memory of its own
        done = subprocess.run(
            [sys.executable, "-c", TRAIN, preset, str(faces), recipe],
            cwd=REPOSITORY,
            check=True,
            capture_output=True,
            text=True,
        )
    found = json.loads(done.stdout.splitlines()[-1])
    share = found["estimate"] / found["peak"]
    print({name: f"{size / 2**20:.0f} MiB" for name, size in found.items()}, f"{share:.2f}")
    assert 0.9 <= share <= 1.6, found


def test_original_at_sixteen_faces_fits_into_two_and_a_half_gibibytes(monkeypatch):
    """Weights of zeros take no memory: their pages are never touched."""
    for kind in ("conv", "dense"):
        monkeypatch.setattr(
            f"nn.layers.{kind}.make_weight", lambda init, shape, rng, dtype: np.zeros(shape, dtype)
        )
    model = SwapModel(PRESETS["original"])
    estimate = estimate_memory(model, 16, 2 * 4000 * 112 * 112 * 3)
    assert estimate.state == 4 * 4 * 82_062_470
    assert 4 * 4 * 82_062_470 < estimate.total < 2.5 * 2**30


def test_the_parts_grow_with_what_they_are_for():
    model, large = SwapModel(PRESETS["tiny"]), SwapModel(PRESETS["lite"])
    few, many = estimate_memory(model, 4), estimate_memory(model, 16)
    assert few.state == many.state == 16 * sum(p.size for p in model.parameters())
    assert many.activations == 4 * few.activations
    assert estimate_memory(model, 4, 12345).faces == 12345
    assert estimate_memory(large, 4).total > few.total


def test_the_estimate_says_its_parts():
    text = str(MemoryEstimate(2**30, 2**29, 2**28, 2**20, 2**28))
    assert text.startswith("about 2.00 GiB of memory (MiB: ")
    for part in ("weights and optimizer 1,024", "activations 512", "faces 1", "program 256"):
        assert part in text


def test_what_is_there_is_what_the_system_says(monkeypatch, tmp_path):
    """Against /proc/meminfo as `free` reads it, and a limit of a container below it."""
    there = available_memory()
    if there is None or not Path("/proc/meminfo").exists():
        pytest.skip("this system does not say")
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 2**26 < there <= total
    held = np.ones(2**27, np.uint8)
    assert resident_memory() > held.nbytes
    monkeypatch.setattr("swap.memory._container", lambda: 12345)
    assert available_memory() == 12345
    monkeypatch.setattr("swap.memory._system", lambda: None)
    monkeypatch.setattr("swap.memory._container", lambda: None)
    assert available_memory() is None
    check_memory(lambda batch: MemoryEstimate(2**60, 0, 0, 0, 0), 16)  # unknown is not refused


@pytest.mark.parametrize("room", [10, 11, 19, 20, 100])
def test_the_batch_that_is_named_is_the_largest_that_fits(monkeypatch, room):
    monkeypatch.setattr("swap.memory.available_memory", lambda: room)
    monkeypatch.setattr("swap.memory.resident_memory", lambda: 0)

    def estimate(batch):
        return MemoryEstimate(5, 3 * batch, 1, 0, 0)

    if estimate(64).total <= room:
        check_memory(estimate, 64)
        return
    fits = max((b for b in range(1, 65) if estimate(b).total <= room), default=0)
    with pytest.raises(UserError, match=f"--batch-size {fits} fits" if fits else "not even"):
        check_memory(estimate, 64)
