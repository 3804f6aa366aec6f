"""Face sets larger than memory: does training wait for the disk?

    python -m bench stream [--faces 20000] [--steps 60] [--rounds 3] [--preset tiny] [--place FOLDER]

Trains on the same random pictures twice, held in memory and mapped from a file, a few steps of each in turn, and prints
the median time of a step. Before each turn the system is asked to forget what it holds of the file, so every face is
read from the disk; batches are drawn ahead by the same thread as in training.
"""

import argparse
import contextlib
import mmap
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.arguments import count
from nn.train import Budget
from swap.data import FaceSet
from swap.data.mapped import room_for
from swap.model import PRESETS
from swap.recipe import RECIPES
from swap.train import CropDefinition, Trainer

SIDE = 112


def pictures(room: np.ndarray) -> np.ndarray:
    """Fills ``room`` (F, SIDE, SIDE, 3) with noise, the same for the same size."""
    for start in range(0, len(room), 500):
        rng = np.random.default_rng(start)
        part = room[start : start + 500]
        part[...] = rng.integers(0, 256, part.shape, np.uint8)
    return room


def forget(images: np.ndarray) -> None:
    """Writes a mapped array to disk and asks the system to drop it from memory."""
    mapped = images
    while not isinstance(mapped, np.memmap):
        mapped = mapped.base
    mapped.flush()
    mapped._mmap.madvise(mmap.MADV_DONTNEED)  # this process's view of the pages
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if "(deleted)" in str(entry.readlink()):
                os.posix_fadvise(int(entry.name), 0, 0, os.POSIX_FADV_DONTNEED)


def main(argv: list[str]) -> int:
    """Prints both times and their ratio."""
    parser = argparse.ArgumentParser(prog="bench stream", description=__doc__.split("\n")[0])
    parser.add_argument("--faces", type=count, default=20_000, help="of each side")
    parser.add_argument("--steps", type=count, default=60, help="of a turn")
    parser.add_argument("--rounds", type=count, default=3)
    parser.add_argument("--preset", default="tiny", choices=PRESETS)
    parser.add_argument("--place", type=Path, help="folder on the disk to be measured")
    options = parser.parse_args(argv)
    Trainer.preview = lambda self: None
    with tempfile.TemporaryDirectory(dir=options.place) as folder:
        trainers = {}
        for kind in ("in memory", "mapped"):
            sets = {}
            for side in "ab":
                shape = (options.faces, SIDE, SIDE, 3)
                room, mapped = room_for(shape, Path(folder), 0 if kind == "mapped" else None)
                sets[side] = FaceSet(pictures(room), 4 / 3, mapped=mapped)
            trainers[kind] = Trainer(
                Path(folder) / kind,
                sets,
                CropDefinition(),
                PRESETS[options.preset],
                RECIPES["2017"],
            )
        times: dict[str, list[float]] = {kind: [] for kind in trainers}
        read = dict.fromkeys(trainers, 0)
        for _ in range(options.rounds):
            for kind, trainer in trainers.items():
                for faces in trainer.faces.values():
                    if faces.mapped:
                        forget(faces.images)
                marks, faults = [], resource.getrusage(resource.RUSAGE_SELF).ru_majflt
                trainer.run(
                    Budget(steps=trainer.steps + options.steps),
                    on_progress=lambda now, marks=marks: marks.append(time.perf_counter()),
                )
                times[kind] += np.diff(marks).tolist()
                read[kind] += resource.getrusage(resource.RUSAGE_SELF).ru_majflt - faults
    medians = {kind: 1000 * float(np.median(found)) for kind, found in times.items()}
    means = {kind: 1000 * float(np.mean(found)) for kind, found in times.items()}
    size = 2 * options.faces * SIDE * SIDE * 3 / 2**30
    for kind in times:
        print(
            f"{kind:9} median {medians[kind]:.1f} ms, mean {means[kind]:.1f} ms a step; {read[kind]:,} reads waited for"
        )
    shares = [found["mapped"] / found["in memory"] for found in (medians, means)]
    print(
        f"{size:.2f} GiB of faces, {options.preset}: a step on mapped faces takes {shares[0]:.3f} of one in memory "
        f"(mean {shares[1]:.3f})"
    )
    return 0
