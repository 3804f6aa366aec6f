"""What makes a swap right: each idea on rendered subjects whose swap is known, over several seeds.

    python -m bench recipes                          runs what has not been run yet, then rewrites bench/RECIPES.md
    python -m bench recipes --only plain alike --seeds 3 --steps 1000 --family heads
    python -m bench recipes --controls               the negative controls
    python -m bench recipes --curve                  the plain method's curve, shown in every report of the heads
    python -m bench recipes --table                  only rewrites the table

Every run trains the `tiny` preset on as many pictures a side as a demo has and measures 128 held-out
pictures: PSNR over the face of the swap and of the target's own reconstruction, both ways. A run is repeatable:
the seed names weights, batches and pictures. Results are kept in bench/results/recipes.json, and a run that is there
is not made again. With --pictures N, another number of training pictures, the result is printed and not kept.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bench.arguments import count, read_results
from bench.recipes_parts import (
    Critic,
    Dropout,
    Noise,
    insert,
    share_first_block,
    squared_error,
    transport,
)
from swap.data import FaceSet
from swap.data.faces import stored_side
from swap.demo import for_studio, point
from swap.evaluate import baselines
from swap.evaluate.curve import PLAIN, Curve
from swap.evaluate.measures import psnr
from swap.evaluate.overlap import overlap
from swap.evaluate.rendered import Rendered
from swap.evaluate.truth import Pairs
from swap.faces.align import CropDefinition
from swap.files import write_bytes_atomic
from swap.model import FACE_SIZE, get_preset
from swap.recipe import RECIPES
from swap.studio.family import PAIRS, PICTURES, draws, even_draws, face_set, faces
from swap.train import Trainer

RESULTS = Path(__file__).parent / "results" / "recipes.json"
TABLE = Path(__file__).parent / "RECIPES.md"
TEST, PRESET = 128, "tiny"
STORED = stored_side(FACE_SIZE, CropDefinition().margin)
POINTS = 5  # of the curve


@dataclass(frozen=True)
class Variant:
    """why: one line for the table. changes: of the recipe `base`. code: its width. change: what else is done to the
    trainer before its first step. twins: B's training pictures show the very same as A's. still: pictures lie as in a
    demo (STILL_FROM of the studio); else they are turned, zoomed and moved in every step. even: training pictures are
    drawn evenly, as in a demo (swap.studio.even); else independently."""

    name: str
    why: str
    changes: dict[str, Any] = field(default_factory=dict)
    base: str = "alike"
    code: int | None = None
    change: Callable[[Trainer], None] | None = None
    twins: bool = False
    still: bool = False
    even: bool = False


ALONE = {"round_trips": 0.0, "match": 0.0, "soften": 0.0}
VARIANTS = {
    v.name: v
    for v in (
        Variant("2017", "method and learning rate of 2017, without its match of colours", {"colour_match": False},
                base="2017"),
        Variant("plain", "2017 with Adam 1e-3, He's weights, cooldown: nothing that asks for a swap",
                ALONE | {"standardise": False, "prior": False}),
        Variant("standardise", "what a side's pictures share is taken out before the encoder; prior", ALONE),
        Variant("match", "the above, and codes with equal mean and covariance", {"round_trips": 0.0, "soften": 0.0}),
        Variant("round trips", "standardise, and faces that go over and come back", {"match": 0.0, "soften": 0.0}),
        Variant("sharp", "standardise, round trips and match", {"soften": 0.0}),
        Variant("softened", "the above, and every picture softened for the encoder"),
        Variant("still", "the above, and pictures that lie still in the end", still=True),
        Variant("alike", "the above, and pictures drawn evenly: the recipe `alike` in the studio",
                still=True, even=True),
        Variant("match x 5", "five times the strength of matching", {"match": 0.05}),
        Variant("latentface", "the recipe for recordings: standardise, jitter", base="latentface"),
        Variant("jitter", "brightness, contrast and tint of the input varied, as for recordings",
                {"brightness": 0.1, "contrast": 0.25, "tint": 0.1}),
        Variant("no mirror", "no mirrored faces", {"mirror": 0.0}),
        Variant("warp 2017", "the random warp as strong as in 2017",
                {"rotation": 10.0, "shift": 0.05, "noise": 5 / 160}),
        Variant("even loss", "every pixel counts the same in the loss", {"focus": False}),
        Variant("narrow code", "32 numbers in place of 128", code=32),
        Variant("noise", "Gaussian noise of half a deviation on the code", change=insert(lambda t: Noise(0.5, t.seed))),
        Variant("dropout", "a fifth of the code's numbers dropped", change=insert(lambda t: Dropout(0.2, t.seed))),
        Variant("critic", "a critic's reversed gradient in place of matching", {"match": 0.0},
                change=insert(lambda t: Critic(t.preset.code, t.batch_size, 0.002, t.seed))),
        Variant("match and critic", "a critic's reversed gradient besides",
                change=insert(lambda t: Critic(t.preset.code, t.batch_size, 0.002, t.seed))),
        Variant("match / 3", "a third of the strength of matching", {"match": 0.003}),
        Variant("all return", "twice as many round trips", {"round_trips": 1.0}),
        Variant("softer", "2 pixels of blur in place of 1.2", {"soften": 2.0}),
        Variant("transport", "what the encoder sees of A and of B brought to one covariance, in 64 components",
                change=transport(64)),
        Variant("shared block", "one first block for both decoders", change=share_first_block),
        Variant("squares", "squared in place of absolute errors", change=squared_error(10.0)),
        Variant("twins", "not a method: B's training pictures show the very same as A's, unpaired", twins=True),
    )
}  # fmt: skip


def run(variant: Variant, family: str, pair: tuple[str, str], seed: int, steps: int) -> dict:
    """Trains one variant; what was measured along the way."""
    sets, test = pictures(family, pair, seed, variant.even)
    if variant.twins:
        same = draws(family, PICTURES[family], 4 * seed)
        sets = sets | {"b": face_set(family, pair[1], same, STORED)}
    recipe = replace(for_studio(RECIPES[variant.base], family), **variant.changes)
    if not variant.still:
        recipe = replace(recipe, still_from=0)
    preset = get_preset(PRESET)
    if variant.code:
        preset = replace(preset, code=variant.code)
    began = time.perf_counter()
    curve, looked_at = [], measured_at(steps)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(Path(folder), sets, CropDefinition(), preset, recipe, seed=seed)
        if variant.change:
            variant.change(trainer)
        for number in range(steps):
            rate = recipe.rate_at(number, number / steps)
            trainer.step(number, trainer.batches.at(number), rate)
            if number + 1 in looked_at:
                curve.append({"step": number + 1} | point(trainer.model.swap, test))
    return {
        "curve": curve,
        "baselines": best_baselines(sets, test),
        "minutes": (time.perf_counter() - began) / 60,
    }


def measured_at(steps: int) -> set[int]:
    """After how many steps a run is measured: some POINTS times, evenly, the last time at its end."""
    return set(range(steps, 0, -max(1, steps // POINTS)))


@lru_cache(1)
def pictures(
    family: str, pair: tuple[str, str], seed: int, even: bool = False
) -> tuple[dict[str, FaceSet], Pairs]:
    """The training sets, drawn independently or evenly, and the test pictures of a seed; all variants of a seed use the
    same."""
    rendered = Rendered(family, *pair, PICTURES[family], seed)
    if even:
        sets = rendered.training(STORED, lambda *_: None)
    else:
        params = (draws(family, PICTURES[family], 4 * seed + i) for i in range(2))
        sets = {
            s: face_set(family, x, p, STORED) for s, x, p in zip("ab", pair, params, strict=True)
        }
    return sets, rendered.test(STORED, lambda *_: None, TEST)


def best_baselines(sets: dict[str, FaceSet], test: Pairs) -> dict[str, dict[str, float]]:
    """PSNR over the face of every baseline, by direction."""
    squares = {s: f.squares(np.arange(len(f)), FACE_SIZE) for s, f in sets.items()}
    found = {}
    for source, target in (("a", "b"), ("b", "a")):
        parts = squares[source], squares[target], test.faces[source]
        shared = baselines.shared_components(squares[source], squares[target])
        made = {
            "copy": baselines.copy(*parts),
            "mean": baselines.mean(*parts),
            "nearest": baselines.nearest(*parts, None),
            "linear": baselines.linear(*parts, shared),
        }
        found[f"{source}_to_{target}"] = {
            name: float(psnr(x, test.faces[target], test.masks[target]).mean())
            for name, x in made.items()
        }
    return found


def plain_curve(steps: int, every: int) -> None:
    """The network and the method of 2017 with Adam at 4e-4 on the heads of the demo: what its losses do not say.
    Without its match of colours, which would change what A looks like, and so the truth."""
    sets, test = pictures("heads", PAIRS["heads"], 0)
    recipe, curve = replace(RECIPES["2017"], learning_rate=4e-4, colour_match=False), Curve()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(Path(folder), sets, CropDefinition(), get_preset("lite"), recipe)
        for number in range(steps):
            trainer.step(number, trainer.batches.at(number), recipe.learning_rate)
            if (number + 1) % every == 0:
                curve.add(number + 1, point(trainer.model.swap, test))
                print({key: values[-1] for key, values in curve.to_json().items()}, flush=True)
    curve.save(PLAIN)


def controls(seed: int, steps: int) -> dict[str, Any]:
    """Two autoencoders trained apart whose decoders are exchanged; and a head against a fruit."""
    sets, test = pictures("heads", PAIRS["heads"], seed, even=True)
    recipe = replace(for_studio(RECIPES["alike"], "heads"), **ALONE)
    preset = get_preset(PRESET)
    models = {}
    with tempfile.TemporaryDirectory() as folder:
        for i, side in enumerate("ab"):
            # The very same training, but the other side's pictures never reach this encoder.
            alone = dict.fromkeys("ab", sets[side])
            trainer = Trainer(
                Path(folder) / side, alone, CropDefinition(), preset, recipe, seed=seed + 100 * i
            )
            for number in range(steps):
                rate = recipe.rate_at(number, number / steps)
                trainer.step(number, trainer.batches.at(number), rate)
            models[side] = trainer.model

    def exchanged(shown: np.ndarray, source: str, target: str) -> np.ndarray:
        return models[target].decode(models[source].encode(shown, source), target)

    apart = {"point": point(exchanged, test), "baselines": best_baselines(sets, test)}
    return {"apart": apart, "head against fruit": head_against_fruit(seed, steps)}


def head_against_fruit(seed: int, steps: int) -> dict[str, Any]:
    """A head becomes an apple: what both families' parameters have in common (the turn, the light) is the truth."""
    params = {
        "a": even_draws("heads", PICTURES["heads"], 4 * seed),
        "b": even_draws("fruit", PICTURES["heads"], 4 * seed + 1),
    }
    subjects = {"a": ("heads", "a"), "b": ("fruit", "apple")}
    sets = {s: face_set(*subjects[s], params[s], STORED) for s in "ab"}
    wanted = draws("heads", TEST, 4 * seed + 2)
    fruit = draws("fruit", 1, 0)[0]
    common = [f for f in vars(fruit) if hasattr(wanted[0], f)]
    as_fruit = [replace(fruit, **{f: getattr(p, f) for f in common}) for p in wanted]
    squares, masks = {}, {}
    for side, shown in (("a", wanted), ("b", as_fruit)):
        images, covers = faces(*subjects[side], shown, STORED)
        every, margin = np.arange(TEST), CropDefinition().margin
        squares[side] = FaceSet(images, margin).squares(every, FACE_SIZE)
        cover = FaceSet(np.repeat(covers[..., None], 3, -1), margin).squares(every, FACE_SIZE)
        masks[side] = np.ascontiguousarray(cover[..., 0])
    test = Pairs(squares, masks)
    recipe, preset = for_studio(RECIPES["alike"], "heads"), get_preset(PRESET)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(Path(folder), sets, CropDefinition(), preset, recipe, seed=seed)
        for number in range(steps):
            rate = recipe.rate_at(number, number / steps)
            trainer.step(number, trainer.batches.at(number), rate)
        found = point(trainer.model.swap, test)
    common_ground = overlap(sets["a"], sets["b"])
    return {
        "point": found,
        "baselines": best_baselines(sets, test),
        "overlap": common_ground.total,
        "advice": list(common_ground.advice),
    }


def load() -> dict[str, Any]:
    """What has been run so far; UserError where the file is damaged."""
    return read_results(RESULTS) if RESULTS.exists() else {}


def keep(results: dict[str, Any]) -> None:
    """Writes it down, after every run."""
    RESULTS.parent.mkdir(exist_ok=True)
    write_bytes_atomic(RESULTS, (json.dumps(results, indent=1, sort_keys=True) + "\n").encode())


def main(argv: list[str]) -> int:
    """See the top of this file."""
    parser = argparse.ArgumentParser(prog="bench recipes", description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="*", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--seeds", type=count, default=3)
    parser.add_argument("--steps", type=count, default=1000)
    parser.add_argument("--family", choices=list(PAIRS), default="heads")
    parser.add_argument("--pair", nargs=2, metavar=("A", "B"))
    parser.add_argument("--pictures", type=count, help="training pictures a side")
    parser.add_argument("--controls", action="store_true")
    parser.add_argument("--curve", action="store_true")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args(argv)
    results = load()
    pair = tuple(options.pair or PAIRS[options.family])
    if options.pictures:
        PICTURES[options.family] = options.pictures
    if options.curve:
        plain_curve(1000, 50)
        return 0
    if options.controls:
        for seed in range(options.seeds):
            name = f"controls/{seed}/{options.steps}"
            if name not in results:
                found = controls(seed, options.steps)
                results = load() | {name: found}
                keep(results)
    elif not options.table:
        for seed in range(options.seeds):
            for only in options.only:
                name = f"{options.family}/{'-'.join(pair)}/{only}/{seed}/{options.steps}"
                if name in results and not options.pictures:
                    continue
                found = run(VARIANTS[only], options.family, pair, seed, options.steps)
                if not options.pictures:
                    results = load() | {name: found}
                    keep(results)
                last = found["curve"][-1]
                print(name, {k: round(v, 2) for k, v in last.items()}, flush=True)
    TABLE.write_text(tables(results))
    return 0


def tables(results: dict[str, Any]) -> str:
    """bench/RECIPES.md."""
    from bench.recipes_text import after, before

    groups: dict[tuple[str, str, str], dict[str, list[dict]]] = {}
    for name, found in results.items():
        if name.startswith("controls/"):
            continue
        family, pair, variant, _, steps = name.split("/")
        groups.setdefault((family, pair, steps), {}).setdefault(variant, []).append(found)
    parts = [before()]
    order = {name: i for i, name in enumerate(VARIANTS)}
    for (family, pair, steps), variants in sorted(groups.items()):
        a, b = pair.split("-")
        every = [found for runs in variants.values() for found in runs]
        best = {
            d: statistics.mean(max(f["baselines"][d].values()) for f in every)
            for d in ("a_to_b", "b_to_a")
        }
        parts.append(
            f"\n### {family}: {a} and {b}, {int(steps):,} steps\n\nBest baseline: {best['a_to_b']:.1f} dB "
            f"(A to B), {best['b_to_a']:.1f} dB (B to A).\n\n"
            "| variant | seeds | A to B | B's own | B to A | A's own | above the best baseline | below own |\n"
            "|---|---|---|---|---|---|---|---|\n"
        )
        for variant in sorted(variants, key=order.__getitem__):
            parts.append(row(variant, variants[variant]))
    parts.append(control_table(results))
    parts.append(after())
    return "".join(parts)


def row(variant: str, runs: list[dict]) -> str:
    """Means over the seeds, and in brackets the range of the swap over them."""
    last = [found["curve"][-1] for found in runs]

    def mean(key: str) -> float:
        return statistics.mean(point[key] for point in last)

    def spread(key: str) -> str:
        values = [point[key] for point in last]
        return f"{mean(key):.2f} ({min(values):.2f} to {max(values):.2f})"

    gain = min(
        statistics.mean(f["curve"][-1][d] - max(f["baselines"][d].values()) for f in runs)
        for d in ("a_to_b", "b_to_a")
    )
    loss = max(mean("b") - mean("a_to_b"), mean("a") - mean("b_to_a"))
    what = f"{variant}: {VARIANTS[variant].why}"
    return (
        f"| {what} | {len(runs)} | {spread('a_to_b')} | {mean('b'):.2f} | {spread('b_to_a')} | {mean('a'):.2f} | "
        f"{gain:+.2f} | {loss:.2f} |\n"
    )


def control_table(results: dict[str, Any]) -> str:
    """The negative controls, where they have been run."""
    runs = [found for name, found in results.items() if name.startswith("controls/")]
    if not runs:
        return ""
    lines = [
        "\n### Negative controls\n\n| control | seeds | A to B | mean of B | B to A | mean of A | overlap score |\n"
        "|---|---|---|---|---|---|---|\n"
    ]
    for name, what in (
        ("apart", "two autoencoders trained apart, decoders exchanged"),
        ("head against fruit", "head a against the apple"),
    ):
        found = [r[name] for r in runs]

        def mean(get: Callable[[dict], float], found: list[dict] = found) -> float:
            return statistics.mean(map(get, found))

        score = "" if name == "apart" else f"{mean(lambda f: f['overlap']):.2f}"
        lines.append(
            f"| {what} | {len(found)} | {mean(lambda f: f['point']['a_to_b']):.2f} | "
            f"{mean(lambda f: f['baselines']['a_to_b']['mean']):.2f} | {mean(lambda f: f['point']['b_to_a']):.2f} | "
            f"{mean(lambda f: f['baselines']['b_to_a']['mean']):.2f} | {score} |\n"
        )
    advice = next((r["head against fruit"]["advice"] for r in runs), [])
    if advice:
        lines.append(f"\nWhat was said before training the head against the apple: “{advice[0]}”\n")
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
