"""Runs the lessons of examples/ in full and prints the table of their numbers, as examples/README.md has it.

python -m bench lessons                         every lesson, seed 0
python -m bench lessons --only 03_weather 07_denoising --seeds 5
python -m bench lessons --json FILE             also every number, for every seed

python -m bench lessons --pictures              no run: copies what examples/README.md shows out of out/, smaller

A lesson's pictures go to out/LESSON. Exit status 1 where a check of a lesson fails.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from bench.arguments import count, file_to_write

ROOT = Path(__file__).resolve().parents[1]
LESSONS = sorted(path.stem for path in (ROOT / "examples").glob("[0-9][0-9]_*.py"))
SHOWN = {
    "01_one_neuron": "graph",
    "02_guess_or_gradient": "same_budget",
    "03_weather": "hidden",
    "04_convolution": "who_touched_whom",
    "05_bottleneck": "latent_plane",
    "06_digits": "two_rows",
    "07_denoising": "digits",
    "08_what_a_layer_responds_to": "outputs",
    "09_two_autoencoders": "codes",
    "10_apples_to_kiwis": "swap",
    "11_flags": "wave",
    "12_faces": "curves",
    "13_faces_into_fruit": "fruit",
    "14_the_mathematics": "graph",
    "15_break_it": "losses",
    "16_optimisers": "paths",
}  # the picture of each lesson that examples/README.md shows
WIDTH = 760  # pixels
LIMIT = 90.0  # seconds of a full run on two quiet cores


def main(argv: list[str]) -> int:
    """Runs, prints, writes; 1 where a lesson fails."""
    parser = argparse.ArgumentParser(prog="python -m bench lessons", description=__doc__.split("\n\n")[0])  # fmt: skip
    parser.add_argument(
        "--only", nargs="+", choices=LESSONS, default=LESSONS, metavar="LESSON", help="some of them"
    )
    parser.add_argument("--fast", action="store_true", help="as CI runs them")
    parser.add_argument("--seeds", type=count, default=1, help="from 0 on (1)")
    parser.add_argument(
        "--json", type=file_to_write, metavar="FILE", help="every number of every seed"
    )
    parser.add_argument("--pictures", action="store_true", help="copy the README's pictures")
    options = parser.parse_args(argv)
    if options.pictures:
        return _copy_pictures()
    failed, record = [], {}
    print("| lesson | seconds | what it prints |\n|---|---|---|", flush=True)
    for lesson in options.only:
        runs = [_run(lesson, seed, options.fast) for seed in range(max(options.seeds, 1))]
        record[lesson] = runs
        failed += [f"{lesson}, seed {seed}" for seed, run in enumerate(runs) if not run["right"]]
        print(_row(lesson, runs), flush=True)
    if options.json:
        options.json.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    for lesson, runs in record.items():
        slow = max(run["seconds"] for run in runs)
        if slow > LIMIT:
            print(f"{lesson} took {slow:.0f} s, more than {LIMIT:.0f}", file=sys.stderr)
    for name in failed:
        print(f"{name}: a check failed", file=sys.stderr)
    return int(bool(failed))


def _copy_pictures() -> int:
    """out/LESSON/NAME.png -> examples/pictures/LESSON.png; 2 where a lesson has not been run."""
    from PIL import Image

    from swap.provenance import Mark, SourceType, write_png

    for lesson, name in SHOWN.items():
        source = ROOT / "out" / lesson / f"{name}.png"
        if not source.is_file():
            print(f"{source} is missing: run the lesson first", file=sys.stderr)
            return 2
        with Image.open(source) as picture:
            height = round(picture.height * WIDTH / picture.width)
            small = picture.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS)
        says = "A picture of the course; faces, fruit and flags in it are rendered."
        target = ROOT / "examples" / "pictures" / f"{lesson}.png"
        target.parent.mkdir(exist_ok=True)
        write_png(target, np.array(small), Mark(SourceType.COMPOSITE, "latentface bench", says, {}))
    return 0


def _run(lesson: str, seed: int, fast: bool) -> dict:
    """One run: its numbers, seconds, and whether every check held."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path("out") if seed == 0 and not fast else Path(folder)
        command = [sys.executable, f"examples/{lesson}.py", "--seed", str(seed), "--out", str(out)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command + ["--fast"] * fast, cwd=ROOT, env=environment, capture_output=True, text=True, encoding="utf-8",
            check=False,
        )  # fmt: skip
        facts = (ROOT / out if not out.is_absolute() else out) / lesson / "numbers.json"
        if not facts.is_file():
            sys.exit(f"bench lessons: {lesson} did not get to its end:\n{done.stderr[-2000:]}")
        run = json.loads(facts.read_text(encoding="utf-8"))
    return run | {"right": done.returncode == 0}


def _row(lesson: str, runs: list[dict]) -> str:
    seconds = statistics.median(run["seconds"] for run in runs)
    cells = []
    for name in runs[0]["numbers"]:
        values = [run["numbers"][name] for run in runs if name in run["numbers"]]
        middle = f"{statistics.median(values):.4g}"
        spread = f" ({min(values):.4g} to {max(values):.4g})" if len(values) > 1 else ""
        cells.append(f"{name} {middle}{spread}")
    return f"| {lesson} | {seconds:.0f} | {'; '.join(cells)} |"
