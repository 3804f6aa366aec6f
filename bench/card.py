"""Everything that a GPU has to show, in one go: checks, layers, tiles, steps, the demo; each with a log of its own.

    python -m bench card [--stages check sanitize layers step tune demo] [--minutes 9] [--out card]

For a card that is there for an hour, or that is somebody else's: nothing needs to be looked at in between. A stage that
fails or takes longer than its share of the minutes is told at the end and stops none of the others.

    check      nn check --backend gpu, then the GPU's tests on the card itself
    sanitize   compute-sanitizer on products in every tile: memory, then races
    layers     bench layers for lite and original, beside PyTorch      step   bench step for both
    tune       bench layers --tune for both: what nn/gpu/plan.py should say
    demo       swap demo --device gpu

Logs and results lie in --out; results that are to be kept go to bench/results/.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from bench.arguments import count
from nn.backend import why_no_gpu
from swap.errors import UserError

MODULE = [sys.executable, "-m"]
LAYERS = [*MODULE, "bench", "layers", "--backend", "gpu"]
STEP = [*MODULE, "bench", "step", "--backend", "gpu", "--vs", "torch"]


def tests(which: str, *where: str) -> list[str]:
    """Those tests of the GPU that run on the card itself."""
    return [*MODULE, "pytest", "-q", "-p", "no:cacheprovider", "-k", which, *where]


class Part(NamedTuple):
    """One command of a stage; share: of the stage's minutes."""

    name: str
    command: list[str]
    share: float


def stages(out: Path) -> dict[str, list[Part]]:
    """What each stage runs."""
    check = [*MODULE, "nn.cli", "check", "--backend", "gpu"]
    tiles = tests("real and tiles", "tests/nn/gpu/test_every_check.py")
    demo = [*MODULE, "swap.cli", "demo", "--device", "gpu", "--out", str(out / "demo")]
    layers, tune = (
        [
            Part(f"{name}_{p}", [*LAYERS, option, *given, "--preset", p, "--json", f"{out}/{name}_{p}.json"], 0.5)
            for p in ("original", "lite")
        ]
        for name, option, given in (("layers", "--vs", ["torch"]), ("tune", "--tune", []))
    )  # fmt: skip
    return {
        "check": [
            Part("check", check, 0.5),
            Part("tests", tests("real", "tests/nn/gpu", "tests/swap/gpu"), 0.5),
        ],
        "sanitize": [
            Part("memory", ["compute-sanitizer", *tiles], 0.5),
            Part("races", ["compute-sanitizer", "--tool", "racecheck", *tiles], 0.5),
        ],
        "layers": layers,
        "step": [Part("step", [*STEP, "--json", f"{out}/step.json"], 1.0)],
        "tune": tune,
        "demo": [Part("demo", demo, 1.0)],
    }


def main(argv: list[str]) -> int:
    """1 where a part failed, 2 where there is no GPU."""
    parser = argparse.ArgumentParser(prog="bench card", description=__doc__.split("\n")[0])
    known = list(stages(Path()))
    parser.add_argument("--stages", nargs="+", choices=known, default=known)
    parser.add_argument("--minutes", type=count, default=9, help="for each stage, at most")
    parser.add_argument("--out", type=Path, default=Path("card"))
    options = parser.parse_args(argv)
    if reason := why_no_gpu():
        print(f"bench: {reason}", file=sys.stderr)
        return 2
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{options.out} cannot be a folder for logs: {error.strerror}") from error
    said = []
    for stage in options.stages:
        for part in stages(options.out)[stage]:
            said.append(run(part, 60 * options.minutes * part.share, options.out))
            print(said[-1], flush=True)
    print("\n".join(["", *said]))
    return int(any(not line.startswith("ok") for line in said))


def run(part: Part, seconds: float, out: Path) -> str:
    """Runs one command with its output in a log; a line that says how it went, with the last line of the log."""
    log, begin = out / f"{part.name}.log", time.monotonic()
    try:
        with log.open("w", encoding="utf-8") as file:
            done = subprocess.run(
                part.command, stdout=file, stderr=subprocess.STDOUT, timeout=seconds, check=False
            )
        how = "ok" if done.returncode == 0 else f"exit status {done.returncode}"
    except subprocess.TimeoutExpired:
        how = f"stopped after {seconds:.0f} s"
    except OSError as error:
        how = f"not started ({error.strerror})"
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "")
    return f"{how}: {part.name}, {time.monotonic() - begin:.0f} s, {log}: {last[:120]}"
