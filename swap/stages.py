"""What each verb of the command line does: the steps of the way from videos to a swapped video.

    extract_faces   video -> folder of faces          swap.faces
    open_trainer    folders of faces -> a Trainer     swap.data, swap.train
    train_run       a Trainer -> a trained run        swap.train
    convert_video   a trained run, a video -> video   swap.convert

Each tells what it found through ``say``, a function that prints a line. Heavy imports wait until a verb needs
them, so that ``swap --help`` is instant.
"""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from nn.train import Budget, Chore, DivergenceError, StopRequest
from swap.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from swap.data import FaceSet
    from swap.generations import Saves
    from swap.train import Progress as TrainProgress
    from swap.train import Trainer

Say = Callable[[str], Any]
Show = Callable[[str, int, int], None]


def check_video(path: Path) -> None:
    """UserError where ``path`` is no video and no folder of pictures: said before any work is begun."""
    from swap.video import probe

    probe(path)


def check_run(run: Path, say: Say) -> None:
    """UserError or CheckpointError where training cannot go on in the folder ``run``: said before any work is begun."""
    from swap.lock import check_unlocked
    from swap.run import has_run, run_facts

    ended = check_unlocked(run)
    if ended:
        say(
            f"{ended} was working on the run in {run} and ended without saying so; its last save is gone on from"
        )
    if has_run(run):
        run_facts(run)


def extract_faces(
    source: Path, out: Path, size: int, every: int, stop: int | None, show: Show, say: Say
) -> None:
    """Extracts the faces of ``source`` into ``out`` and says what was and was not found."""
    from swap.faces.extract import extract

    label = f"faces of {source.name}"
    report = extract(
        source,
        out,
        size=size,
        every=every,
        stop=stop,
        progress=lambda done, total: show(label, done, total),
    )
    found = 100 * report.with_face / max(report.frames, 1)
    say(
        f"{source.name}: a face in {report.with_face:,} of {report.frames:,} frames ({found:.1f} %)"
        + (", extracted before" if report.reused else f", written to {out}")
    )
    if report.without_face:
        say(f"  no face in {len(report.without_face):,} frames: {_some(report.without_face)}")
    if report.several:
        say(
            f"  several faces in {len(report.several):,} frames, the largest was taken: "
            f"{_some(report.several)}"
        )
    for name, reason in report.skipped[:3]:
        say(f"  skipped {name}: {reason}")
    if len(report.skipped) > 3:
        say(f"  skipped {len(report.skipped) - 3:,} more")


def open_trainer(
    a: Sequence[Path],
    b: Sequence[Path],
    run: Path,
    preset: str,
    recipe: str,
    seed: int,
    batch_size: int,
    say: Say,
    saves: "Saves | None" = None,
    most_faces: int | None = None,
    device: str = "cpu",
    precision: str = "fp32",
) -> "Trainer":
    """Loads both face sets and starts the run, or goes on with the one in ``run``."""
    from swap.data import FaceSet
    from swap.data.faces import MINIMUM, MOST
    from swap.evaluate.overlap import overlap
    from swap.evaluate.table import overlap_report
    from swap.faces.align import CropDefinition
    from swap.faces.records import read_alignments
    from swap.model import get_preset
    from swap.recipe import get_recipe
    from swap.train import Trainer

    chosen, how = get_preset(preset), get_recipe(recipe)
    check_run(run, say)
    if most_faces is not None and most_faces < MINIMUM:
        raise UserError(f"--most-faces must be at least {MINIMUM}, not {most_faces}")
    faces, crops = {}, []
    for side, folders in (("a", a), ("b", b)):
        faces[side] = FaceSet.load(folders, limit=most_faces or MOST, spill=run)
        crops.append(CropDefinition.from_dict(read_alignments(folders[0])[0]["crop"]))
        used, there = len(faces[side]), faces[side].available
        of_all = "" if used == there else f" of {there:,}, evenly spread"
        on_disk = ", streamed from disk" if faces[side].mapped else ""
        say(f"{side.upper()}: {used:,} faces{of_all}{on_disk}")
        for path, reason in faces[side].skipped[:3]:
            say(f"  skipped {path.name}: {reason}")
    if crops[0] != crops[1]:
        raise UserError(
            f"the faces of A were cut as {crops[0].to_dict()}, those of B as {crops[1].to_dict()}; "
            "extract them again with one setting"
        )
    common = overlap(faces["a"], faces["b"], *(landmarks_of(faces[side]) for side in ("a", "b")))
    say(overlap_report(common))
    trainer = Trainer(
        run, faces, crops[0], chosen, how, seed=seed, batch_size=batch_size, saves=saves,
        device=device, precision=precision,
    )  # fmt: skip
    say_device(trainer, precision, say)
    say(f"{preset}: {trainer.arena.size:,} parameters; training takes {trainer.memory()}")
    if trainer.resumed:
        say(f"going on with the run in {run} at step {trainer.steps:,}")
        if trainer.other_faces:
            say("  the faces are not those that it was trained on before")
    return trainer


def say_device(trainer: "Trainer", precision: str, say: Say) -> None:
    """Says which card trains, and how exactly; nothing where the CPU does."""
    if trainer.device == "gpu":
        from nn.gpu import device

        say(f"training on {device.machine().name}, products in {precision}")


def train_run(
    trainer: "Trainer", budget: Budget, console: Console, chores: Sequence[Chore] = ()
) -> bool:
    """Trains until the budget is spent; False where Ctrl-C ended it before. Shows speed, losses and time left."""
    from swap.ahead import compiling_ahead
    from swap.memory import check_memory

    say = partial(console.print, soft_wrap=True)
    if budget.spent(trainer.steps, trainer.seconds):
        say(
            f"the run is at step {trainer.steps:,} after {trainer.seconds / 60:.1f} minutes: it has "
            "what was asked for; give more --minutes or --steps to go on"
        )
        return True
    if trainer.device == "cpu":
        check_memory(trainer.memory, trainer.batch_size)
    columns = (
        TextColumn("training"),
        BarColumn(),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    limited = budget.steps is not None or budget.seconds is not None
    ahead = compiling_ahead(trainer.preset, trainer.batch_size, wanted=trainer.device == "cpu")
    with ahead, StopRequest() as stop, Progress(*columns, console=console) as progress:
        # A fine scale for the bar; without a limit it only pulses.
        task = progress.add_task(
            "",
            total=10_000 if limited else None,
            text="first step (the first time on a machine, it compiles)",
        )
        lines = _Lines(console)

        def show(now: "TrainProgress") -> None:
            text = (
                f"step {now.steps:,}  loss A {now.losses['a']:.4f}  B {now.losses['b']:.4f}  "
                f"{now.faces_per_second:,.0f} faces/s"
            )
            progress.update(task, completed=round(now.share * 10_000), text=text)
            lines.maybe(now.seconds, f"{text}  {100 * now.share:.0f} %" if limited else text)

        if not console.is_terminal:
            progress.stop()
        try:
            outcome = trainer.run(budget, on_progress=show, stop=stop, chores=chores, tell=say)
        except DivergenceError as error:
            raise DivergenceError(
                f"{error}; training diverged, and {trainer.last_save()}; the same command would go the same way: "
                "look through the faces for pictures that are none, or start a new run with another --seed, a "
                "larger --batch-size or --recipe 2017, which learns in smaller steps"
            ) from error
    if outcome.stopped:
        say(f"stopped and saved at step {outcome.steps:,}; the same command goes on from there")
    else:
        say(
            f"trained {outcome.steps:,} steps in {outcome.seconds / 60:.1f} minutes; "
            f"look at {trainer.folder / 'preview.png'}"
        )
    return not outcome.stopped


class _Lines:
    """Where there is no terminal: one line every 10 seconds of training."""

    def __init__(self, console: Console) -> None:
        self._console, self._next = console, 0.0

    def maybe(self, seconds: float, text: str) -> None:
        if not self._console.is_terminal and seconds >= self._next:
            self._console.print(text, soft_wrap=True)
            self._next = seconds + 10


def convert_video(
    video: Path,
    run: Path,
    out: Path | None,
    to: str,
    faces: Path | None,
    stop: int | None,
    show: Show,
    say: Say,
    *,
    beside: Path | None = None,
    reuse: bool = False,
    device: str = "cpu",
) -> None:
    """Writes ``video`` with the face swapped to ``to`` as ``out``, and with the original on the left as ``beside``.

    reuse: videos that this very run has made before are left as they are, and what is unfinished of another run
    is thrown away.
    """
    from swap.convert import conversion_mark, convert
    from swap.model import SIDES
    from swap.provenance import read_mark
    from swap.run import open_run

    if to not in SIDES:
        raise UserError(f"--to is a or b, not {to!r}")
    if stop is not None and stop < 1:
        raise UserError(f"--frames must be at least 1, not {stop}")
    check_video(video)
    trained = open_run(run)
    trained.model.to(device)
    made = [path for path in (out, beside) if path is not None]
    if reuse and all(path.is_file() for path in made):
        mark = conversion_mark(trained, to, stop)
        if all(read_mark(path) == mark for path in made):
            say(f"{' and '.join(map(str, made))}: made from this very run before")
            return
    for path in (out, beside):
        if path is None:
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{path} cannot be written: the folder {path.parent} cannot be made "
                f"({error.strerror})"
            ) from error
    report = convert(
        video,
        out,
        trained,
        to=to,
        faces=faces,
        stop=stop,
        beside=beside,
        progress=show,
        afresh=reuse,
    )
    written = " and ".join(str(path) for path in (out, beside) if path is not None)
    say(f"{written}: {report.frames:,} frames, the face swapped in {report.swapped:,}")
    if report.kept:
        say(f"  {report.kept:,} frames of them were written before it was interrupted")
    if report.passed:
        say(f"  left as they were, no face found: {_some(report.passed)}")
    if report.several:
        say(f"  several faces in {report.several:,} frames, the largest was swapped")
    for name, reason in report.skipped[:3]:
        say(f"  skipped {name}: {reason}")


def inspect_path(path: Path) -> tuple[str, bool]:
    """What `swap inspect` says of a run, a checkpoint, or the mark of a picture or video; whether nothing is wrong."""
    from swap.generations import describe_run, has_run
    from swap.provenance import describe

    if (path.is_dir() and has_run(path)) or (path.suffix == ".safetensors" and path.is_file()):
        return describe_run(path)
    return describe(path), True


def restore_run(run: Path, steps: int | None, say: Say) -> None:
    """Goes back to an earlier save of ``run``, and says what became of the others."""
    from swap.generations import restore, saved_when

    found, aside = restore(run, steps)
    for path in aside:
        say(f"set aside as {path}")
    say(
        f"the run in {run} is back at step {found.facts['steps']:,}, {saved_when(found.facts)}; "
        "training goes on from there"
    )


def describe_model(preset: str, batch_size: int) -> str:
    """The ledger of a preset: encoder, one decoder, and the memory that training takes."""
    import nn
    from swap.memory import estimate_memory
    from swap.model import FACE_SIZE, SwapModel, get_preset

    if batch_size < 1:
        raise UserError(f"--batch-size must be at least 1, not {batch_size}")
    model = SwapModel(get_preset(preset))
    encoder = nn.summary(model.encoder, (batch_size, FACE_SIZE, FACE_SIZE, 3))
    decoder = nn.summary(model.decoders["a"], encoder.rows[-1].out_shape)
    total = encoder.parameters + len(model.decoders) * decoder.parameters
    return (
        f"encoder, for {batch_size} faces\n{encoder}\n\none decoder\n{decoder}\n\n"
        f"{preset}: {total:,} parameters with both decoders; one face through encoder and decoder: "
        f"{(encoder.macs + decoder.macs) // batch_size:,} multiply-adds\n"
        f"training with {batch_size} faces a side takes {estimate_memory(model, batch_size)}"
    )


def _some(numbers: Sequence[int], limit: int = 8) -> str:
    """The first few of some frame numbers."""
    text = ", ".join(map(str, numbers[:limit]))
    return text if len(numbers) <= limit else f"{text} and {len(numbers) - limit:,} more"


def evaluate_rendered(
    run: Path,
    family: str,
    a: Sequence[str],
    b: Sequence[str],
    out: Path,
    seed: int | None,
    show: Show,
) -> Any:
    """Measures ``run`` on rendered subjects, writes metrics.json and sheet.png into ``out``; what to print."""
    from swap.data import FaceSet
    from swap.data.faces import stored_side
    from swap.evaluate.picture import write_error_sheet
    from swap.evaluate.rendered import Rendered
    from swap.evaluate.table import report
    from swap.evaluate.truth import measure
    from swap.model import FACE_SIZE
    from swap.run import open_run
    from swap.studio.family import PAIRS, check_subject

    for side, names in (("a", a), ("b", b)):
        if len(names) > 1:
            raise UserError(f"--{side} names one subject with --studio, not {len(names)}")
        for name in names:
            check_subject(family, name)
    trained = open_run(run)
    known = trained.facts.get("studio")
    given = Rendered.from_dict(known) if known is not None else None
    if given is not None and given.family == family:
        first, second, count = given.a, given.b, given.count
        seed = given.seed if seed is None else seed
    else:
        (first, second), count, seed = PAIRS[family], 500, seed or 0
    rendered = Rendered(family, *a or [first], *b or [second], count, seed)
    stored = stored_side(FACE_SIZE, trained.crop.margin)
    sets: dict[str, FaceSet] = rendered.training(stored, show)
    test = rendered.test(stored, show)
    clip = rendered.pairs(
        rendered.clip_params(), stored, lambda d, t: show("rendering a clip", d, t)
    )
    results = measure(
        trained.model.swap,
        test,
        rendered.trained_on(sets),
        clip=clip,
        progress=lambda d, t: show("measuring", d, t),
    )
    facts = {
        "rendered": rendered.to_dict(),
        "steps": trained.facts["steps"],
        "model_sha256": trained.fingerprint,
    }
    _write_metrics(out, results.to_json() | facts)
    title = f"{family}: {rendered.a} and {rendered.b}, {trained.facts['steps']:,} steps"
    details = {"Model_sha256": trained.fingerprint}
    write_error_sheet(out / "sheet.png", results, title=title, details=details)
    return report(results)


def evaluate_recorded(
    run: Path, a: Sequence[Path], b: Sequence[Path], out: Path, show: Show
) -> Any:
    """What can be known of a run on recordings: reconstruction, and the overlap of both sets; what to print."""
    from rich.console import Group

    from swap.data import FaceSet
    from swap.evaluate.overlap import overlap
    from swap.evaluate.real import measure_real
    from swap.evaluate.table import overlap_report, real_report
    from swap.run import open_run

    if not a or not b:
        raise UserError(
            "name the faces of both sides with --a FOLDER and --b FOLDER, or a rendered family with --studio"
        )
    trained = open_run(run)
    sets = {side: FaceSet.load(folders) for side, folders in (("a", a), ("b", b))}
    show("measuring", 0, 2)
    found = overlap(sets["a"], sets["b"], landmarks_of(sets["a"]), landmarks_of(sets["b"]))
    show("measuring", 1, 2)
    rebuilt = measure_real(trained.model.swap, sets["a"], sets["b"])
    show("measuring", 2, 2)
    facts = {"steps": trained.facts["steps"], "model_sha256": trained.fingerprint}
    _write_metrics(out, rebuilt.to_json() | {"overlap": found.to_json()} | facts)
    return Group(real_report(rebuilt), overlap_report(found))


def trace_run(
    run: Path | None,
    preset: str,
    a: Sequence[Path],
    b: Sequence[Path],
    count: int,
    out: Path,
    show: Show,
) -> Any:
    """Writes one training step of a run, or of an untrained network, as a page; returns the trace."""
    from nn.files import why_not
    from swap.data import FaceSet, even_spread
    from swap.data.faces import stored_side
    from swap.evaluate.rendered import Rendered
    from swap.faces.align import CropDefinition
    from swap.model import FACE_SIZE, SwapModel, get_preset
    from swap.run import open_run
    from swap.step import trace_step

    if count < 1:
        raise UserError(f"--faces must be at least 1, not {count}")
    if bool(a) != bool(b):
        raise UserError("a step needs faces of both sides: give --a and --b, or neither")
    if reason := why_not(out):
        raise UserError(f"{out} cannot be written: {reason}")
    trained = open_run(run) if run is not None else None
    model = trained.model if trained else SwapModel(get_preset(preset))
    if a:
        sets = {side: FaceSet.load(folders) for side, folders in (("a", a), ("b", b))}
        faces = {
            side: each.squares(even_spread(len(each), count), FACE_SIZE)
            for side, each in sets.items()
        }
    else:
        known = trained.facts.get("studio") if trained else None
        if trained and known is None:
            raise UserError(f"{run} was trained on recordings: name faces with --a and --b")
        rendered = Rendered.from_dict(known) if known else Rendered("heads", "a", "b", 25, 0)
        stored = stored_side(FACE_SIZE, CropDefinition().margin)
        faces = rendered.test(stored, show, count).faces
    trace = trace_step(model, faces)
    show("writing the page", 0, 1)
    trace.html(out)
    show("writing the page", 1, 1)
    return trace


def landmarks_of(faces: "FaceSet") -> "np.ndarray":
    """float64 (F, 5, 2): the landmarks of each face of a loaded set, in its order."""
    import numpy as np

    from swap.faces.records import read_alignments

    known = {
        folder / alignment.file: alignment.landmarks
        for folder in {path.parent for path in faces.paths}
        for alignment in read_alignments(folder)[1]
        if alignment.file is not None
    }
    return np.array([known[path] for path in faces.paths])


def _write_metrics(out: Path, metrics: dict[str, Any]) -> None:
    """Writes metrics.json into the folder ``out``; UserError where that is not possible."""
    from swap.files import write_bytes_atomic

    try:
        out.mkdir(parents=True, exist_ok=True)
        write_bytes_atomic(out / "metrics.json", (json.dumps(metrics, indent=1) + "\n").encode())
    except OSError as error:
        raise UserError(f"{out / 'metrics.json'} cannot be written: {error.strerror}") from error
