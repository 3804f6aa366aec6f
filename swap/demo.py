"""`swap demo`: two rendered subjects, a network trained on them, and a swap measured against the truth.

    render both subjects -> train -> swap a clip -> measure -> report

    OUT/swap.mp4       original | swap | truth, of a clip that was not trained on
    OUT/sheet.png      worst, middling and best test pictures: input, swap, truth, error
    OUT/loss.png       both losses; OUT/curve.png: the swap against its truth while training
    OUT/metrics.json   every number
    OUT/report.html    all of that in one file
    OUT/run            the run: previews, checkpoint

Called again after a stop, it renders again (the same pictures) and goes on training where it was.
"""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from nn.train import Budget, Chore
from swap import stages
from swap.clip import write_swap_clip
from swap.data.faces import stored_side
from swap.errors import UserError
from swap.evaluate.curve import PLAIN, Curve, draw_curve
from swap.evaluate.measures import psnr
from swap.evaluate.picture import write_error_sheet
from swap.evaluate.rendered import Rendered
from swap.evaluate.table import report
from swap.evaluate.truth import Pairs, measure
from swap.faces.align import CropDefinition
from swap.files import write_bytes_atomic
from swap.generations import Saves
from swap.model import FACE_SIZE, get_preset
from swap.provenance import Mark, SourceType, write_png
from swap.recipe import Recipe, get_recipe
from swap.report import write_report
from swap.run import LOSS_PLOT, open_run
from swap.studio.family import FACES, MIRRORED, PAIRS, STILL_FROM
from swap.train import Trainer

# Enough for what both sides share; in more steps of a set this small, each decoder mostly learns what is its own side's
# alone. As many on every machine that does them within the minutes, which is most: the same seed, the same swap.
DEMO_STEPS, DEMO_MINUTES = 2400, 8.0
CURVE_EVERY, CURVE_PICTURES = 20.0, 48  # seconds; pictures of each direction
CURVE_FILE, METRICS = "curve.json", "metrics.json"
STORED = stored_side(FACE_SIZE, CropDefinition().margin)


@dataclass(frozen=True)
class DemoSettings:
    """What `swap demo` was asked for; live: render new pictures while training."""

    rendered: Rendered
    out: Path
    budget: Budget
    preset: str
    recipe: str
    batch_size: int
    live: bool = False
    device: str = "cpu"
    precision: str = "fp32"
    saves: Saves | None = None


def demo(
    settings: DemoSettings,
    bars: Callable[[], Any],
    console: Console,
    say: Callable[[str], Any],
) -> bool:
    """Does it all; False where Ctrl-C ended the training. UserError where something cannot be read or written."""
    seconds: dict[str, float] = {}
    rendered, out = settings.rendered, settings.out
    preset = get_preset(settings.preset)
    recipe = for_studio(get_recipe(settings.recipe), rendered.family)
    stages.check_run(out / "run", say)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the folder {out} cannot be made: {error.strerror}") from error
    say(
        f"{rendered.family}: A is {rendered.a}, B is {rendered.b}; nobody's likeness, all of it rendered"
    )
    began = time.monotonic()
    with bars() as progress:
        sets = rendered.training(STORED, progress, live=settings.live)
        few = rendered.test(STORED, progress, CURVE_PICTURES)
    seconds["rendering"] = time.monotonic() - began

    trainer = Trainer(
        out / "run",
        sets,
        CropDefinition(),
        preset,
        recipe,
        seed=rendered.seed,
        batch_size=settings.batch_size,
        studio=rendered.to_dict(),
        saves=settings.saves,
        device=settings.device,
        precision=settings.precision,
    )
    stages.say_device(trainer, settings.precision, say)
    say(f"{preset.name}: {trainer.arena.size:,} parameters; training takes {trainer.memory()}")
    if trainer.resumed:
        say(f"going on with the run in {trainer.folder} at step {trainer.steps:,}")
    curve = Curve.load(out / CURVE_FILE, trainer.steps)

    def follow() -> None:
        curve.add(trainer.steps, point(trainer.model.swap, few))
        curve.save(out / CURVE_FILE)

    began = time.monotonic()
    if not stages.train_run(trainer, settings.budget, console, (Chore(follow, CURVE_EVERY, 5.0),)):
        return False
    follow()
    seconds["training"] = trainer.seconds
    trained_on, steps = rendered.trained_on(sets), trainer.steps

    run = open_run(out / "run")
    run.model.to(settings.device)
    began = time.monotonic()
    with bars() as progress:
        params = rendered.clip_params()
        write_swap_clip(out / "swap.mp4", run, rendered, params, progress)
        seconds["clip"] = time.monotonic() - began
        began = time.monotonic()
        test = rendered.test(STORED, progress)
        clip = rendered.pairs(
            params, STORED, lambda d, t: progress("rendering the clip's faces", d, t)
        )
        results = measure(
            run.model.swap,
            test,
            trained_on,
            clip=clip,
            progress=lambda d, t: progress("measuring", d, t),
        )
    seconds["measuring"] = time.monotonic() - began

    details = {"Model_sha256": run.fingerprint, "Steps": str(steps)}
    title = f"{rendered.family}: {rendered.a} and {rendered.b}, {preset.name}, {steps:,} steps"
    write_error_sheet(out / "sheet.png", results, title=title, details=details)
    shutil.copyfile(out / "run" / LOSS_PLOT, out / LOSS_PLOT)
    says = "a swap's PSNR against the truth during training"
    mark = Mark(SourceType.PLOT, "latentface swap demo", says, details)
    shown_beside = None
    if (rendered.family, rendered.a, rendered.b) == ("heads", *PAIRS["heads"]):
        shown_beside = Curve.load(PLAIN, upto=10**9)
    write_png(out / "curve.png", draw_curve(curve, results, shown_beside), mark)
    metrics = results.to_json() | {
        "rendered": rendered.to_dict(),
        "preset": preset.name,
        "recipe": recipe.name,
        "steps": steps,
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "curve": curve.to_json(),
        "model_sha256": run.fingerprint,
    }
    write_bytes_atomic(out / METRICS, (json.dumps(metrics, indent=1) + "\n").encode())
    write_report(out / "report.html", out, results, metrics, title)
    console.print(report(results))
    say(f"look at {out / 'report.html'} and {out / 'swap.mp4'}; the numbers are in {out / METRICS}")
    return True


def for_studio(recipe: Recipe, family: str) -> Recipe:
    """The recipe for rendered pictures of a family: a mirrored flag is no flag, neither it nor a fruit has eyes and a
    mouth that count more than its edge, and all lie exactly in their squares, which is no concern of 2017's."""
    if recipe.name != "2017":
        recipe = replace(recipe, still_from=STILL_FROM[family])
    if not MIRRORED[family]:
        recipe = replace(recipe, mirror=0.0)
    return recipe if FACES[family] else replace(recipe, focus=False, unusual=False)


def point(swap: Callable[[np.ndarray, str, str], np.ndarray], pairs: Pairs) -> dict[str, float]:
    """PSNR over the face of the swap, "a_to_b" and "b_to_a", and of each side's own reconstruction, "a", "b"."""
    found = {}
    for source, target in (("a", "b"), ("b", "a")):
        truth, mask = pairs.faces[target], pairs.masks[target]
        made = swap(pairs.faces[source], source, target)
        found[f"{source}_to_{target}"] = float(psnr(made, truth, mask).mean())
        found[target] = float(psnr(swap(truth, target, target), truth, mask).mean())
    return found
