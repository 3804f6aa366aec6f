"""The commands that need no recordings: `swap studio`, `swap demo`, and `swap evaluate`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from swap import stages
from swap.errors import UserError
from swap.generations import KEEP, Saves
from swap.terminal import (
    BatchOption,
    DeviceOption,
    KeepOption,
    MinutesOption,
    PrecisionOption,
    PresetOption,
    RecipeOption,
    SeedOption,
    SnapshotOption,
    StepsOption,
    bars,
    choose_device,
    console,
    make_budget,
    say,
)


class Family(StrEnum):
    """What the studio renders."""

    heads = "heads"
    fruit = "fruit"
    flags = "flags"


CountOption = Annotated[
    int | None,
    typer.Option(help="Training pictures of each subject; 500, and 300 of fruit, unless given."),
]


def studio(
    family: Annotated[Family, typer.Argument(help="What to render.")],
    out: Annotated[Path, typer.Option(help="Folder for the faces, or with --video the clip.")],
    subject: Annotated[
        str | None,
        typer.Option(
            help="heads: a, b, c, d. fruit: apple, kiwi. flags: australia, usa. The first unless given."
        ),
    ] = None,
    count: Annotated[int, typer.Option(help="How many pictures, or frames of the clip.")] = 2000,
    video: Annotated[
        bool, typer.Option("--video", help="A clip of a random walk, 25 frames a second.")
    ] = False,
    size: Annotated[
        int | None,
        typer.Option(help="Side of a face in pixels (128), or height of the clip (480)."),
    ] = None,
    seed: SeedOption = 0,
) -> None:
    """Render a subject: faces with their parameters, or a clip.

    Nobody's likeness, and a known truth: the same seed gives the same poses, expressions and light for
    every subject of a family.

        swap studio heads --subject a --count 2000 --out faces_a
        swap studio heads --subject b --video --count 500 --out b.mp4

    Faces are aligned and can be trained on (`swap train --a faces_a ...`); `parameters.jsonl` says what each shows.
    A clip is like anyone's: `swap extract b.mp4 --out faces_b`. Everything is marked as rendered.
    """
    from swap.studio.family import check_subject, get_family
    from swap.studio.write import write_clip, write_faces

    module = get_family(family.value)
    name = check_subject(family.value, subject or next(iter(module.SUBJECTS)))
    if not 0 <= seed < 2**60:
        raise UserError(f"the seed must be a whole number from 0 to 2^60, not {seed}")
    label = f"rendering {name}"
    with bars() as progress:
        if video:
            write_clip(
                family.value, name, count, seed, out, lambda d, t: progress(label, d, t),
                height=480 if size is None else size,
            )  # fmt: skip
        else:
            before = write_faces(
                family.value, name, count, seed, 128 if size is None else size, out,
                lambda d, t: progress(label, d, t),
            )  # fmt: skip
    if video:
        say(
            f"{out}: {count:,} frames of {name}; their parameters are in {out.with_suffix('.jsonl')}"
        )
    elif before == count:
        say(f"{out} holds these {count:,} faces already")
    else:
        say(f"{out}: {count:,} faces of {name} and their parameters")


def demo(
    family: Annotated[Family, typer.Argument(help="What to swap.")] = Family.heads,
    a: Annotated[str | None, typer.Option(help="The subject whose performance is kept.")] = None,
    b: Annotated[str | None, typer.Option(help="The subject that it becomes.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for everything; out/FAMILY unless given.")
    ] = None,
    preset: PresetOption = "lite",
    minutes: MinutesOption = None,
    steps: StepsOption = None,
    recipe: RecipeOption = "alike",
    seed: SeedOption = 0,
    batch_size: BatchOption = 16,
    count: CountOption = None,
    live: Annotated[
        bool,
        typer.Option("--live", help="Render new training pictures all the while: slower steps."),
    ] = False,
    keep: KeepOption = KEEP,
    snapshot_every: SnapshotOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "tf32",
) -> None:
    """Two rendered subjects, a network, and a swap measured against the truth.

    Renders both, trains, swaps a clip that was not trained on, and measures the swap against what is right. Writes
    `swap.mp4` (original, swap, truth), `sheet.png`, `loss.png`, `curve.png`, `report.html` and `metrics.json`. Stopped
    and called again, it goes on where it was. Without --minutes or --steps it trains for 2,400 steps, or for 8 minutes
    where those come first.

        swap demo
        swap demo fruit --minutes 3
        swap demo heads --a c --b d --seed 7 --out out/cd
    """
    from swap.demo import DEMO_MINUTES, DEMO_STEPS, DemoSettings
    from swap.demo import demo as run_demo
    from swap.evaluate.rendered import Rendered
    from swap.studio.family import PAIRS, PICTURES

    if minutes is None and steps is None:
        minutes, steps = DEMO_MINUTES, DEMO_STEPS
    first, second = PAIRS[family.value]
    settings = DemoSettings(
        Rendered(
            family.value,
            a or first,
            b or second,
            PICTURES[family.value] if count is None else count,
            seed,
        ),
        out or Path("out") / family.value,
        make_budget(minutes, steps),
        preset,
        recipe,
        batch_size,
        live,
        choose_device(device, precision),
        precision,
        Saves(keep, snapshot_every),
    )
    if not run_demo(settings, bars, console, say):
        raise typer.Exit(130)


def evaluate(
    run: Annotated[Path, typer.Option(help="A trained run.")],
    studio: Annotated[
        Family | None,
        typer.Option(help="Measure against the truth: rendered pictures of this family."),
    ] = None,
    a: Annotated[
        list[str] | None,
        typer.Option(help="With --studio, the subject of A; else faces of A; may be repeated."),
    ] = None,
    b: Annotated[
        list[str] | None,
        typer.Option(help="With --studio, the subject of B; else faces of B; may be repeated."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results; RUN/evaluation unless given.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the test pictures; the run's own unless given.")
    ] = None,
) -> None:
    """Say how good a swap is, in numbers.

    With --studio, for runs on rendered subjects, whose swaps have a right answer: PSNR, SSIM and error of the
    swap beside those of simple ways to swap and of the target's own reconstruction; whom it looks like; whether it
    does what the input does; how much it trembles. Without, for recordings, what can be known: how well each side
    is reconstructed, and how much the two sets of faces have in common.

        swap evaluate --run out/heads/run --studio heads
        swap evaluate --run out/real/run --a out/real/faces_a --b out/real/faces_b

    Writes `metrics.json` (and `sheet.png` with --studio).
    """
    folder = out or run / "evaluation"
    with bars() as progress:
        if studio is not None:
            shown = stages.evaluate_rendered(
                run, studio.value, a or [], b or [], folder, seed, progress
            )
        else:
            shown = stages.evaluate_recorded(
                run, [Path(x) for x in a or []], [Path(x) for x in b or []], folder, progress
            )
    console.print(shown)
    say(f"the numbers are in {folder / 'metrics.json'}")
