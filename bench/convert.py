"""Conversion: frames a second of a rendered 640x360 clip, detection included, and with stored alignments.

    python -m bench convert [--preset lite] [--frames 250] [--rounds 3] [--json FILE]

detected    frames decoded, faces looked for, swapped, put back, encoded
stored      the same with the faces of an extraction, which says where they are
extract     looking for the faces alone, and writing them

The network is untrained: that changes what is seen, not what is computed. Medians of the rounds, asked in turn.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.arguments import count, file_to_write, preset_name
from bench.rivals import size_of


def main(argv: list[str]) -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="bench convert", description=__doc__.split("\n")[0])
    parser.add_argument("--preset", type=preset_name, default="lite")
    parser.add_argument("--frames", type=count, default=250)
    parser.add_argument("--rounds", type=count, default=3)
    parser.add_argument("--json", type=file_to_write)
    options = parser.parse_args(argv)
    found = measure(options.preset, options.frames, options.rounds)
    for name, value in found.items():
        print(f"{name:10} {value:7.1f} frames/s")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def measure(preset: str, frames: int, rounds: int) -> dict[str, float]:
    """Frames a second by way of going about it."""
    from swap.convert import convert
    from swap.faces.align import CropDefinition
    from swap.faces.extract import extract
    from swap.model import SwapModel
    from swap.run import TrainedRun

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = folder / "clip.mp4"
        _clip(clip, frames)
        trained = TrainedRun(folder, SwapModel(size_of(preset)), CropDefinition(), {}, "0" * 64)
        faces = folder / "faces"

        def run(kind: str) -> None:
            if kind == "extract":
                extract(clip, folder / f"faces{time.monotonic_ns()}")
                return
            stored = faces if kind == "stored" else None
            convert(clip, folder / "out.mp4", trained, to="b", faces=stored)

        extract(clip, faces)
        kinds = ("detected", "stored", "extract")
        times = {kind: [] for kind in kinds}
        for number in range(-1, rounds):
            for kind in kinds:
                begin = time.perf_counter()
                run(kind)
                if number >= 0:
                    times[kind].append(time.perf_counter() - begin)
    return {kind: frames / float(np.median(values)) for kind, values in times.items()}


def _clip(path: Path, frames: int) -> None:
    """A rendered head's random walk, 640x360: the frame's edges are drawn out to both sides."""
    from swap.studio.family import get_family
    from swap.studio.write import FPS
    from swap.video import VideoWriter

    heads = get_family("heads")
    with VideoWriter(path, fps=FPS, width=640, height=360) as writer:
        for params in heads.walk(frames, 0):
            picture = heads.render("a", params, (360, 480))
            writer.write(np.pad(picture, ((0, 0), (80, 80), (0, 0)), mode="edge"))
