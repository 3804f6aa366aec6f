"""kill -9 at random moments of an extraction and of a conversion: is anything lost, or different in the end?

    python -m bench kill [--times 50] [--seed 0] [--frames 60]

A drawn clip is extracted, and converted with a `tiny` run, by processes that are killed at random moments of their
work, and started again with the same command. After each kill, the output must be absent or whole; when a command
comes to its end, what it made must be, byte for byte, what an uninterrupted one makes; then it is begun again.
Pieces have 8 frames in place of 96, so that there are more moments between them. Exit status 1 where anything differs.
"""

import argparse
import hashlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.arguments import count
from nn.train import Budget
from swap.stages import extract_faces, open_trainer
from tests.swap.helpers import drawn_frames, tone_clip

CHILD = """
import sys, swap.pieces, swap.convert, swap.faces.extract, swap.run
swap.pieces.PIECE, swap.convert.BATCH = 8, 4
print("ready", flush=True)
from swap.cli import main
main()
"""


def main(argv: list[str]) -> int:
    """Kills and continues; prints how often, and 1 where anything was lost or different."""
    parser = argparse.ArgumentParser(prog="python -m bench kill", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--times", type=count, default=50, help="kills of each command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=count, default=60)
    options = parser.parse_args(argv)
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory(prefix="latentface-kill-") as place:
        folder = Path(place)
        _prepare(folder, options.frames)
        good = True
        for name, line, out in _commands(folder):
            good &= _torture(name, line, folder / out, options.times, rng)
    return 0 if good else 1


def _prepare(folder: Path, frames: int) -> None:
    """A clip with sound, and a run of one step."""
    tone_clip(folder / "a.mp4", drawn_frames(frames, without=(7, 8)))
    silent = lambda *_: None  # noqa: E731
    extract_faces(folder / "a.mp4", folder / "faces", 96, 1, None, silent, silent)
    faces = [folder / "faces"]
    trainer = open_trainer(faces, faces, folder / "run", "tiny", "latentface", 0, 2, silent)
    trainer.run(Budget(steps=1))


def _commands(folder: Path) -> list[tuple[str, list[str], str]]:
    clip, run = str(folder / "a.mp4"), str(folder / "run")
    return [
        ("extract", ["extract", clip, "--out", str(folder / "out")], "out"),
        ("convert", ["convert", clip, "--run", run, "--out", str(folder / "o.mp4")], "o.mp4"),
    ]


def _torture(name: str, line: list[str], out: Path, times: int, rng: np.random.Generator) -> bool:
    started = time.monotonic()
    if _run(line, None) != 0:
        print(f"{name}: the uninterrupted command failed")
        return False
    longest = time.monotonic() - started
    expected = _content(out)
    _remove(out)
    kills = ends = wrong = 0
    while kills < times:
        status = _run(line, float(rng.uniform(0, longest)))
        if status == -signal.SIGKILL:
            kills += 1
            # An extraction is complete when it has its record, a video when it has its name.
            complete = out / "alignments.jsonl" if name == "extract" else out
            wrong += complete.exists() and _content(out) != expected
            continue
        ends += 1
        wrong += status != 0 or _content(out) != expected
        _remove(out)
    ends += 1
    wrong += _run(line, None) != 0 or _content(out) != expected
    left = [p.name for p in out.parent.iterdir() if "unfinished" in p.name or ".part" in p.name]
    print(
        f"{name}: {kills} kills, {ends} times to the end, {wrong} wrong, left behind: {left or 'nothing'}"
    )
    return not wrong and not left


def _run(line: list[str], seconds: float | None) -> int:
    """The command's status; killed after so many seconds of work, where it has not ended before."""
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, *line], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    process.stdout.readline()
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
    finally:
        process.stdout.close()


def _content(out: Path) -> dict[str, str]:
    files = sorted(out.iterdir()) if out.is_dir() else [out]
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files if p.is_file()}


def _remove(out: Path) -> None:
    if out.is_dir():
        shutil.rmtree(out)
    else:
        out.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
