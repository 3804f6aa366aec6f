"""Warp and colours: time of a training batch, 16 faces a side, beside the same by OpenCV's remap, and beside a step.

    python -m bench warp [--preset lite] [--batch 16] [--rounds 30] [--json FILE]

batch       what the trainer takes: every random number, both samplings of every face, colours; all threads
remap       the same maps through NumPy and OpenCV (``swap.data.random_warp`` and a table), one thread
jitter      the batch with colour jitter on
step        a training step alone, all threads; step + batches: random numbers drawn ahead on a thread of their own, the
            rest right before the step

Asked in turn, 12 times each, in which random numbers are drawn ahead twice; medians. The share is what batches cost a
step: (step + batches) / step - 1.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from bench.arguments import count, file_to_write, preset_name
from bench.step import our_step
from swap.data.prefetch import WAITING

STEPS = 2 * (
    WAITING["depth"] - WAITING["refill"]
)  # at a time: in these, batches are drawn ahead twice


def main(argv: list[str]) -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="bench warp", description=__doc__.split("\n")[0])
    parser.add_argument("--preset", type=preset_name, default="lite")
    parser.add_argument("--batch", type=count, default=16, help="faces a side")
    parser.add_argument("--rounds", type=count, default=30)
    parser.add_argument("--json", type=file_to_write)
    options = parser.parse_args(argv)
    found = measure(options.preset, options.batch, options.rounds)
    for name, value in found.items():
        print(f"{name:18} {value:8.2f}{' %' if name == 'share' else ' ms'}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def measure(preset: str, batch: int, rounds: int) -> dict[str, float]:
    """Medians in ms, and the share in percent."""
    from swap.data import Augmentation, Batches, Prefetcher

    sets = noise_sets()
    plain = Batches(*sets, 0, batch)
    jitter = Batches(
        *sets, 0, batch, augmentation=Augmentation(brightness=0.1, contrast=0.1, gain=0.1)
    )
    step = our_step(preset, batch)
    with Prefetcher(plain.drawn, **WAITING) as ahead:
        coming = iter(ahead)

        def both() -> None:
            plain.made(next(coming)[1])
            step()

        tasks: dict[str, Callable[[int], object]] = {
            "batch": plain.at,
            "remap": lambda n: by_opencv(plain, n),
            "jitter": jitter.at,
            "step": lambda _: step(),
            "step + batches": lambda _: both(),
        }
        cv2.setNumThreads(1)
        times = {name: [] for name in tasks}
        for number in range(-1, rounds):
            for name, task in tasks.items():
                task(max(number, 0))  # warm, and the waiting batches are used up
                begin = time.perf_counter()
                for i in range(STEPS):
                    task(STEPS * max(number, 0) + i)
                if number >= 0:
                    times[name].append((time.perf_counter() - begin) / STEPS)
    found = {name: 1000 * float(np.median(values)) for name, values in times.items()}
    ratios = np.array(times["step + batches"]) / np.array(times["step"])
    return found | {"share": 100 * float(np.median(ratios) - 1)}


def noise_sets() -> list[Any]:
    """Two sets of 500 stored faces of noise."""
    from swap.data import FaceSet

    rng = np.random.default_rng(0)
    shape = (500, 112, 112, 3)
    return [FaceSet(rng.integers(0, 256, shape, dtype=np.uint8), 4 / 3) for _ in "ab"]


def by_opencv(batches: Any, number: int) -> tuple[np.ndarray, ...]:
    """Both sides' batch as ``random_warp`` and a table make it: inputs and targets of A, then of B."""
    from swap.data.batches import NOISE, WARP, _generator
    from swap.data.warp import Draws, random_warp

    table = np.repeat(np.arange(256, dtype=np.float32)[None, :, None] / 255, 3, axis=2)
    made = []
    for side, (faces, _) in enumerate(batches.sides):
        streams = (_generator(0, purpose, 0, side, number) for purpose in (WARP, NOISE))
        draws = Draws.take(*streams, batches.batch_size)
        chosen = faces.take(batches.indices(number, side), batches.epochs(number, side))
        for pictures in random_warp(chosen, draws, batches.size, margin=faces.margin):
            out = np.empty(pictures.shape, np.float32)
            for picture, into in zip(pictures, out, strict=True):
                cv2.LUT(picture, table, into)
            made.append(out)
    return tuple(made)
