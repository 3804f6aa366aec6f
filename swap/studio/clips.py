"""Clips of rendered heads: ``python -m swap.studio.clips FOLDER [--frames N]`` writes a.mp4 and b.mp4.

Two subjects, each on a random walk of its own through pose, gaze and expression. A clip that is there is kept.
"""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from pathlib import Path

from swap.provenance import Mark, SourceType
from swap.studio.heads import render
from swap.studio.walks import walk
from swap.video import VideoWriter

FPS, HEIGHT, WIDTH, HEAD_WIDTH = Fraction(25), 240, 320, 110
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
    with VideoWriter(path, fps=FPS, width=WIDTH, height=HEIGHT, mark=mark) as writer:
        for params in walk(frames, seed):
            writer.write(render(subject, params, (HEIGHT, WIDTH), head_width=HEAD_WIDTH))


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
