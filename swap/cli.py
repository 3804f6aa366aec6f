"""The command line: `swap run` does it all; `extract`, `train`, `convert` are its steps; `inspect` looks at files."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from nn.backend import DeviceError
from nn.checkpoint import CheckpointError
from nn.train import DivergenceError
from swap import cli_studio, stages
from swap.errors import UserError
from swap.generations import KEEP, Saves
from swap.terminal import (
    BatchOption,
    DeviceOption,
    FacesOption,
    FramesOption,
    KeepOption,
    MinutesOption,
    MostFacesOption,
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

app = typer.Typer(
    name="swap",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="""Swap faces between two people with a shared-encoder autoencoder.

One encoder learns what a face *does* (expression, pose, light) from two people, and a decoder each learns
what one of them looks like. Encode A, decode as B: B does what A did.

    swap run --a A.mp4 --b B.mp4 --out DIR --minutes 15

or, without a camera, two rendered subjects and a swap measured against the truth:

    swap demo

or, step by step: `swap extract` (faces from a video), `swap train` (the network), `swap convert` (a video
with the face swapped). `swap evaluate` says how good it is.
`swap inspect` lists the saves of a run and reads the mark that every picture and video made here carries;
`swap restore` goes back to an earlier save.

Only swap faces of people who agreed to it.
""",
)


@app.command()
def extract(
    source: Annotated[Path, typer.Argument(help="A video, or a folder of pictures.")],
    out: Annotated[Path, typer.Option(help="Folder for the faces; made if it is missing.")],
    size: FacesOption = 256,
    every: Annotated[int, typer.Option(help="Take every N-th frame.", metavar="N")] = 1,
    frames: FramesOption = None,
) -> None:
    """Find the face in every frame, align it and write it as a picture.

    Writes one PNG a face and `alignments.jsonl`, which says where each came from. Look through the pictures and
    delete those that are not the right person: training uses what is left.
    """
    with bars() as progress:
        stages.extract_faces(source, out, size, every, frames, progress, say)


@app.command()
def train(
    a: Annotated[
        list[Path], typer.Option(help="Faces of A (from `swap extract`); may be repeated.")
    ],
    b: Annotated[list[Path], typer.Option(help="Faces of B; may be repeated.")],
    run: Annotated[Path, typer.Option(help="Folder of the run; goes on if it holds one.")],
    preset: PresetOption = "lite",
    minutes: MinutesOption = None,
    steps: StepsOption = None,
    recipe: RecipeOption = "latentface",
    seed: SeedOption = 0,
    batch_size: BatchOption = 16,
    keep: KeepOption = KEEP,
    snapshot_every: SnapshotOption = None,
    most_faces: MostFacesOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "tf32",
) -> None:
    """Train the shared encoder and the two decoders.

    `preview.png` and `loss.png` in the run folder are rewritten while it trains. Ctrl-C saves and stops; the same
    command goes on from there. Without --minutes or --steps it trains until Ctrl-C.
    """
    budget, saves = make_budget(minutes, steps), Saves(keep, snapshot_every)
    device = choose_device(device, precision)
    trainer = stages.open_trainer(
        a, b, run, preset, recipe, seed, batch_size, say, saves, most_faces, device, precision
    )
    if not stages.train_run(trainer, budget, console):
        raise typer.Exit(130)


@app.command()
def convert(
    video: Annotated[Path, typer.Argument(help="The video to change.")],
    run: Annotated[Path, typer.Option(help="A trained run.")],
    out: Annotated[Path, typer.Option(help="The video to write (.mp4).")],
    to: Annotated[str, typer.Option(help="Whose face it gets: a or b.")] = "b",
    faces: Annotated[
        Path | None,
        typer.Option(help="Faces extracted from this video: saves looking for them again."),
    ] = None,
    frames: FramesOption = None,
    side_by_side: Annotated[
        bool, typer.Option("--side-by-side", help="Put the original on the left.")
    ] = False,
    device: DeviceOption = "auto",
) -> None:
    """Swap the face in a video.

    Frame rate, size and sound are kept; frames without a face pass unchanged.
    """
    device = choose_device(device)
    alone, beside = (None, out) if side_by_side else (out, None)
    with bars() as progress:
        stages.convert_video(
            video, run, alone, to.lower(), faces, frames, progress, say, beside=beside,
            device=device,
        )  # fmt: skip


@app.command(name="run")
def run_all(
    a: Annotated[
        list[Path], typer.Option(help="A video of A, whose performance is kept; may be repeated.")
    ],
    b: Annotated[
        list[Path], typer.Option(help="A video of B, whose face it gets; may be repeated.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for everything that is made.")],
    minutes: MinutesOption = None,
    steps: StepsOption = None,
    preset: PresetOption = "lite",
    frames: FramesOption = None,
    recipe: RecipeOption = "latentface",
    seed: SeedOption = 0,
    batch_size: BatchOption = 16,
    keep: KeepOption = KEEP,
    snapshot_every: SnapshotOption = None,
    most_faces: MostFacesOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "tf32",
) -> None:
    """From two videos to a swapped video: extract, train, convert.

    Writes `swap.mp4` (the first video of A with the face of B) and `side-by-side.mp4`, beside the faces and the run.
    --minutes are those of training; finding the faces and writing the video come on top. Stopped and called
    again, it goes on where it was. Without --minutes or --steps it trains for 15 minutes.
    """
    if minutes is None and steps is None:
        minutes = 15.0
    budget, saves = make_budget(minutes, steps), Saves(keep, snapshot_every)
    device = choose_device(device, precision)
    for video in (*a, *b):
        stages.check_video(video)
    stages.check_run(out / "run", say)
    faces: dict[str, list[Path]] = {"a": [], "b": []}
    with bars() as progress:
        for side, videos in (("a", a), ("b", b)):
            for number, video in enumerate(videos, start=1):
                folder = out / f"faces_{side}{number if len(videos) > 1 else ''}"
                stages.extract_faces(video, folder, 256, 1, frames, progress, say)
                faces[side].append(folder)
    trainer = stages.open_trainer(
        faces["a"],
        faces["b"],
        out / "run",
        preset,
        recipe,
        seed,
        batch_size,
        say,
        saves,
        most_faces,
        device,
        precision,
    )
    if not stages.train_run(trainer, budget, console):
        raise typer.Exit(130)
    del trainer
    with bars() as progress:
        stages.convert_video(
            a[0],
            out / "run",
            out / "swap.mp4",
            "b",
            faces["a"][0],
            frames,
            progress,
            say,
            beside=out / "side-by-side.mp4",
            reuse=True,
            device=device,
        )


app.command()(cli_studio.demo)
app.command()(cli_studio.studio)
app.command()(cli_studio.evaluate)


@app.command()
def inspect(
    file: Annotated[
        Path, typer.Argument(help="A run, a checkpoint, or a PNG, JPEG or MP4.", metavar="RUN|FILE")
    ],
) -> None:
    """List the saves of a run, or read the mark of a picture or video.

    Of a run, or one of its checkpoints: every save, and what is wrong with it; exit status 2 if anything is.
    Of a picture or video: whether it is synthetic, and what made it.
    """
    text, well = stages.inspect_path(file)
    print(text)
    if not well:
        raise typer.Exit(2)


@app.command()
def restore(
    run: Annotated[Path, typer.Argument(help="A run.", metavar="RUN")],
    to: Annotated[
        int | None,
        typer.Option(
            help="Of which step; the save before the newest unless given.", metavar="STEP"
        ),
    ] = None,
) -> None:
    """Go back to an earlier save of a run: the one before the newest, or one of an earlier step or a snapshot.

    Saves that it passes over are set aside in the run folder as `aside-1.safetensors` and so on; nothing is removed.
    `swap inspect RUN` lists what there is.
    """
    stages.restore_run(run, to, say)


@app.command()
def model(
    preset: PresetOption = "lite",
    batch_size: BatchOption = 16,
) -> None:
    """Print the network layer by layer: shapes, parameters, multiply-adds, memory."""
    print(stages.describe_model(preset, batch_size))


@app.command()
def trace(
    out: Annotated[Path, typer.Option(help="The page to write (.html).")],
    run: Annotated[
        Path | None, typer.Option(help="A trained run; an untrained network unless given.")
    ] = None,
    a: Annotated[
        list[Path] | None, typer.Option(help="Faces of A; rendered heads unless given.")
    ] = None,
    b: Annotated[list[Path] | None, typer.Option(help="Faces of B.")] = None,
    faces: Annotated[int, typer.Option(help="Faces of each side in the step.")] = 2,
    preset: PresetOption = "tiny",
) -> None:
    """Write one training step as a page to walk through: every number, and the products that made it.

    Forward and backward, layer by layer; the encoder shows its gradient from A, its gradient from B, and their sum.
    The page needs nothing else, and no network. --preset is for a network without --run.

        swap trace --out step.html
        swap trace --run out/heads/run --out step.html
        swap trace --run out/mine/run --a out/mine/faces_a --b out/mine/faces_b --out step.html
    """
    with bars() as progress:
        step = stages.trace_run(run, preset, a or [], b or [], faces, out, progress)
    say(f"{out}: {len(step.names)} layers, {len(step.calls)} calls, the loss is {step.loss:.4g}")


def main() -> None:
    """The console command. What a person can put right is one sentence and exit status 2."""
    try:
        app(prog_name="swap")
    except (UserError, CheckpointError, DeviceError) as error:
        say(f"swap: {error}", style="red")
        sys.exit(2)
    except OSError as error:  # the system refused something that nobody foresaw
        name = f"{error.filename}: " if error.filename else ""
        say(f"swap: {name}{error.strerror or error}", style="red")
        sys.exit(2)
    except MemoryError:
        say(
            "swap: there is not enough memory for this; smaller pictures, a smaller --preset or a smaller "
            "--batch-size take less",
            style="red",
        )
        sys.exit(2)
    except DivergenceError as error:
        say(f"swap: {error}", style="red")
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit) as end:
        # Typer turns Ctrl-C into an exit of its own, and says nothing.
        told = end.__context__ and end.__context__.__cause__
        if not isinstance(end, KeyboardInterrupt) and not isinstance(told, KeyboardInterrupt):
            raise
        say("swap: stopped; what was finished is kept, the same command goes on")
        sys.exit(130)


if __name__ == "__main__":
    main()
