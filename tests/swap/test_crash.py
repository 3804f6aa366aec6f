"""A few kills, failing disks and torn files: the short form of `python -m bench crash`."""

import os
import re
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

OPTIONS = [
    "--preset",
    "smallest",
    "--steps",
    "6",
    "--kills",
    "6",
    "--failures",
    "10",
    "--blocks",
    "6",
]

# What the bench must notice: the newest save is written in place.
IN_PLACE = """
import sys, nn.checkpoint
from pathlib import Path
def in_place(path, arrays, facts, before=None):
    with path.open("wb") as f:
        nn.checkpoint._write(f, arrays, facts)
import bench.crash, swap.run
swap.run.save_checkpoint = in_place
sys.exit(bench.crash.main(sys.argv[1:]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("part", ["kills", "disk", "torn"])
def test_nothing_is_lost(part):
    done = subprocess.run(
        [sys.executable, "-m", "bench", "crash", *OPTIONS, "--only", part],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b0 wrong", done.stdout)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_save_in_place_is_found_out():
    done = subprocess.run(
        [sys.executable, "-c", IN_PLACE, *OPTIONS, "--kills", "20", "--only", "kills"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
