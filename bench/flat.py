"""Does memory stay flat over a long conversion, and over a long training?

    python -m bench flat [--frames 10000] [--steps 0] [--out out/flat] [--json FILE]
    python -m bench flat --draw FILE [FILE] --out FOLDER     the plot of what earlier runs wrote with --json

--frames N converts a rendered clip of N frames with a `tiny` run; --steps N trains `tiny` for N steps; 0 leaves
either out. The resident memory of the process is read as it goes on, from the first tenth (what is loaded once is
loaded then) to the end: printed are where it began and ended, its peak and the slope of the straight line that
fits it best; flat.png shows it all. Exit status 1 where the line rises by more than 16 MiB over the whole way.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.arguments import file_to_write, read_results
from nn.train import Budget
from swap.convert import convert
from swap.errors import UserError
from swap.memory import resident_memory
from swap.provenance import Mark, SourceType, write_png
from swap.run import open_run
from swap.stages import open_trainer
from swap.studio.write import FPS, write_clip, write_faces
from swap.video import VideoWriter, probe, read_frames

RENDERED = 250  # frames; a longer clip shows them over and over
FACES, SEED = 60, 0
WARM = 0.1  # of the way
ALLOWED = 16 << 20


class Memory:
    """Resident bytes of this process against how far it is."""

    def __init__(self, every: int) -> None:
        self.every, self.at, self.bytes = max(1, every), [], []

    def sample(self, done: int) -> None:
        """Called after each frame or step; reads the memory after every so many."""
        if not self.at or done - self.at[-1] >= self.every:
            self.at.append(done)
            self.bytes.append(resident_memory())

    def line(self) -> dict[str, float]:
        """First, last, peak (MiB), and the slope of the best line times its length (MiB), after the warm part."""
        at, held = np.array(self.at, float), np.array(self.bytes) / 2**20
        warm = at >= WARM * at[-1]
        slope = np.polyfit(at[warm], held[warm], 1)[0] if warm.sum() > 1 else 0.0
        length = at[-1] - at[warm][0]
        return {
            "from": float(held[warm][0]),
            "to": float(held[-1]),
            "peak": float(held.max()),
            "rise": float(slope * length),
            "per_1000": float(1000 * slope),
        }


def main(argv: list[str]) -> int:
    """Runs what is asked for; 1 where memory grows, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m bench flat", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--frames", type=int, default=10_000, help="frames to convert; 0: none")
    parser.add_argument("--steps", type=int, default=0, help="steps to train; 0: none")
    parser.add_argument("--out", type=Path, default=Path("out/flat"))
    parser.add_argument("--json", type=file_to_write)
    parser.add_argument(
        "--draw", type=Path, nargs="+", metavar="FILE", help="measure nothing, draw these"
    )
    options = parser.parse_args(argv)
    if options.draw:
        return _draw(options.draw, options.out, options.json)
    if options.frames < 0 or options.steps < 0 or options.frames + options.steps < 1:
        print("--frames and --steps are counts, and one of them must be above 0", file=sys.stderr)
        return 2
    found: dict[str, Memory] = {}
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        if options.steps:
            found["steps of training"] = over_steps(options.out, options.steps)
        if options.frames:
            found |= over_frames(options.out, options.frames)
        write_plot(options.out / "flat.png", found)
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    lines = {name: memory.line() for name, memory in found.items()}
    for name, line in lines.items():
        print(
            f"{found[name].at[-1]:,} {name}: {line['from']:.1f} MiB after a tenth, {line['to']:.1f} at the end, peak "
            f"{line['peak']:.1f}; the best line rises by {line['rise']:.2f} MiB, "
            f"{1024 * line['per_1000']:.1f} KiB every 1,000"
        )
    if options.json:
        kept = {n: {"at": m.at, "bytes": m.bytes, **lines[n]} for n, m in found.items()}
        options.json.write_text(json.dumps(kept) + "\n")
    return int(any(line["rise"] * 2**20 > ALLOWED for line in lines.values()))


def _draw(files: list[Path], out: Path, joined: Path | None) -> int:
    """flat.png of the results in ``files``, which ``joined`` holds together, if asked for; 2 where one is none."""
    kept: dict[str, Any] = {}
    found = {}
    try:
        for file in files:
            kept |= read_results(file)
            for name, result in kept.items():
                found[name] = _remembered(file, result)
        out.mkdir(parents=True, exist_ok=True)
        write_plot(out / "flat.png", found)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{out} cannot be written: {error.strerror}", file=sys.stderr)
        return 2
    if joined:
        joined.write_text(json.dumps(kept) + "\n")
    return 0


def _remembered(file: Path, result: Any) -> Memory:
    """What `Memory` wrote; UserError where it is something else."""
    memory = Memory(1)
    try:
        memory.at, memory.bytes = (
            np.array(result[what], float).tolist() for what in ("at", "bytes")
        )
        right = len(memory.at) == len(memory.bytes) > 0
    except (KeyError, TypeError, ValueError):
        right = False
    if not right:
        raise UserError(f"{file} was not written by bench flat")
    return memory


def over_steps(out: Path, steps: int) -> Memory:
    """Trains `tiny` on rendered faces for so many more steps."""
    trainer = _trainer(out)
    memory, start = Memory(steps // 1000), trainer.steps
    trainer.run(
        Budget(steps=start + steps), on_progress=lambda now: memory.sample(now.steps - start)
    )
    return memory


def over_frames(out: Path, frames: int) -> dict[str, Memory]:
    """Converts a rendered clip of so many frames; a line for each of the two rounds over it."""
    trainer = _trainer(out)
    if trainer.steps < 1:
        trainer.run(Budget(steps=1))
    del trainer
    run, clip = open_run(out / "run"), _clip(out, frames)
    found = {what: Memory(frames // 500) for what in ("looking for faces", "converting")}
    convert(
        clip,
        out / "flat.mp4",
        run,
        to="b",
        progress=lambda what, number, total: found[what].sample(number),
        afresh=True,
    )
    return {f"frames, {what}": memory for what, memory in found.items()}


def _trainer(out: Path) -> Any:
    for subject in "ab":
        write_faces("heads", subject, FACES, SEED, 112, out / f"faces_{subject}")
    silent: Callable[[object], None] = lambda _: None  # noqa: E731
    sides = ([out / "faces_a"], [out / "faces_b"])
    return open_trainer(*sides, out / "run", "tiny", "latentface", SEED, 16, silent)


def _clip(out: Path, frames: int) -> Path:
    """The rendered frames as often as it takes."""
    short, path = out / "short.mp4", out / f"{frames}.mp4"
    if not short.exists():
        write_clip("heads", "a", RENDERED, SEED, short, height=240)
    if path.exists() and probe(path).frames == frames:
        return path
    info = probe(short)
    with VideoWriter(path, fps=FPS, width=info.width, height=info.height) as writer:
        while writer.frames < frames:
            for frame in read_frames(short, stop=frames - writer.frames):
                writer.write(frame.image)
    return path


def write_plot(path: Path, found: dict[str, Memory]) -> None:
    """A panel each; the axis of memory begins at 0."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    figure = Figure(figsize=(4.5 * len(found), 3.4), dpi=110, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panels = np.atleast_1d(figure.subplots(1, len(found)))
    thousands = FuncFormatter(lambda number, _: f"{number:,.0f}")
    for axes, (name, memory) in zip(panels, found.items(), strict=True):
        axes.plot(memory.at, np.array(memory.bytes) / 2**20, linewidth=1)
        held = np.array(memory.bytes) / 2**20
        axes.set(xlabel=name, ylabel="resident memory, MiB", ylim=(0, 1.15 * held.max()))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(thousands)
        axes.grid(color="0.9", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    canvas.draw()
    mark = Mark(
        SourceType.PLOT, "latentface bench flat", "Memory of a process against its progress."
    )
    write_png(path, np.array(canvas.buffer_rgba())[..., :3], mark)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
