"""What the commands share: where they print, progress bars, and options that mean the same everywhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from nn.train import Budget
from swap.errors import UserError

# Names of files are printed as they are: no [markup], no :emoji:, no breaks at 80 columns.
console = Console(stderr=True, highlight=False, markup=False, emoji=False)


def say(text: Any, **options: Any) -> None:
    """Print a line, or something that rich draws."""
    console.print(printable(text) if isinstance(text, str) else text, soft_wrap=True, **options)


def printable(text: str) -> str:
    """`text` with control characters shown as escapes: a file's name must not steer the terminal, nor fill lines."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text
    )


FacesOption = Annotated[int, typer.Option(help="Side of the crops in pixels.")]
PresetOption = Annotated[
    str,
    typer.Option(
        help="Size of the network: tiny (seconds, for tests), lite (minutes on 2 CPU cores), base, "
        "original (exactly the network of 2017)."
    ),
]
RecipeOption = Annotated[
    str,
    typer.Option(
        help="latentface (for recordings), alike (for two sides that do the same things equally "
        "often, as rendered ones do), or 2017 (the original method)."
    ),
]
MinutesOption = Annotated[
    float | None,
    typer.Option(help="Train for so many minutes in all, earlier sessions of the run included."),
]
StepsOption = Annotated[
    int | None,
    typer.Option(help="Train for so many steps in all; with it a run is repeatable, bit for bit."),
]
FramesOption = Annotated[
    int | None, typer.Option(help="Only the first so many frames of each video: a quick try.")
]
SeedOption = Annotated[int, typer.Option(help="Of all random numbers of the run.")]
MostFacesOption = Annotated[
    int | None,
    typer.Option(
        help="Use at most so many faces of each side, evenly spread: 4000 unless given. Those that memory should not "
        "hold are streamed from a file in the run folder.",
        metavar="N",
    ),
]
KeepOption = Annotated[
    int, typer.Option(help="How many saves of the run are kept, the newest included.", metavar="N")
]
SnapshotOption = Annotated[
    int | None,
    typer.Option(help="Besides, keep a save for good every so many steps.", metavar="STEPS"),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        help="cpu, gpu, or auto: the GPU where CuPy and a card of compute capability 8.0 are there.",
        metavar="auto|cpu|gpu",
    ),
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        help="Of products on the GPU: fp32 (exact float32), tf32 or fp16 (tensor cores, sums in float32).",
        metavar="fp32|tf32|fp16",
    ),
]
BatchOption = Annotated[int, typer.Option(help="Faces of each side in a step.")]


@contextmanager
def bars() -> Iterator[Callable[[str, int, int], None]]:
    """A progress callback (what, done, total): bars on a terminal, a line every 10 s elsewhere."""
    if console.is_terminal:
        with Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        ) as progress:
            tasks: dict[str, int] = {}

            def show(what: str, done: int, total: int) -> None:
                if what not in tasks:
                    tasks[what] = progress.add_task(printable(what), total=total)
                progress.update(tasks[what], completed=done, total=total)

            yield show
        return

    last: dict[str, float] = {}

    def tell(what: str, done: int, total: int) -> None:
        if done >= total or time.monotonic() - last.get(what, 0.0) > 10:
            if last.get(what) != float("inf"):
                say(f"{what}: {done:,} of {total:,}")
            last[what] = float("inf") if done >= total else time.monotonic()

    yield tell


def choose_device(name: str, precision: str = "fp32") -> str:
    """Of --device and --precision: "cpu" or "gpu". UserError for unknown words, and where there is no GPU to be had."""
    from nn.backend import AUTO, DEFAULT, GPU, DeviceError, choose

    if name not in (AUTO, DEFAULT, GPU):
        raise UserError(f"--device is auto, cpu or gpu, not {name!r}")
    if precision not in ("fp32", "tf32", "fp16"):
        raise UserError(f"--precision is fp32, tf32 or fp16, not {precision!r}")
    try:
        return choose(name)
    except DeviceError as error:
        raise UserError(str(error)) from error


def make_budget(minutes: float | None, steps: int | None) -> Budget:
    """Of --minutes and --steps; UserError where one of them is not above 0."""
    if minutes is not None and not minutes > 0:
        raise UserError(f"--minutes must be above 0, not {minutes:g}")
    if steps is not None and steps < 1:
        raise UserError(f"--steps must be at least 1, not {steps}")
    return Budget(steps=steps, seconds=None if minutes is None else minutes * 60)
