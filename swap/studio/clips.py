"""Clips of rendered heads: ``python -m swap.studio.clips FOLDER [--frames N]`` writes a.mp4 and b.mp4.

Two subjects, each on a random walk of its own through pose, gaze and expression. A clip that is there is kept.
"""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from pathlib import Path

from swap.provenance import Mark, SourceType
from swap.studio.heads import FRAME, pictures, walk
from swap.video import VideoWriter

FPS = Fraction(25)
FRAMES = 850
SEEDS = {"a": 11, "b": 22}


def write_clip(path: Path, subject: str, seed: int, frames: int = FRAMES) -> None:
    """Writes ``frames`` frames of a subject on the random walk of ``seed``, marked as rendered; OSError or UserError
    where that is not possible."""
    mark = Mark(
        SourceType.RENDERED,
        "latentface studio",
        f"A rendered head, subject {subject}: nobody's likeness.",
        {"Subject": subject, "Seed": str(seed)},
    )
    with VideoWriter(path, fps=FPS, width=FRAME[1], height=FRAME[0], mark=mark) as writer:
        for rgb, _ in pictures(subject, walk(frames, seed), FRAME, threads=1):
            writer.write(rgb)


def main(argv: list[str]) -> int:
    """Writes the missing ones of both clips, one process each."""
    parser = argparse.ArgumentParser(prog="swap.studio.clips", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=FRAMES)
    options = parser.parse_args(argv)
    if options.frames < 1:
        parser.error(f"--frames must be at least 1, not {options.frames}")
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"the folder {options.folder} cannot be made: {error.strerror}")
    todo = [
        (options.folder / f"{subject}.mp4", subject, seed, options.frames)
        for subject, seed in SEEDS.items()
        if not (options.folder / f"{subject}.mp4").exists()
    ]
    with ProcessPoolExecutor() as pool:
        for path, work in [(job[0], pool.submit(write_clip, *job)) for job in todo]:
            work.result()
            print(f"rendered {path}, {options.frames} frames")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
