"""Are wrong backward passes rejected and right ones not, whatever the random numbers?

    python -m bench seeds [--right 200] [--wrong 20] [--backends reference cpu] [--only NAME ...]

--right N makes every check of ``nn check`` with N seeds, at the shapes that the layers name (the random and the large
ones would take hours): none may fail. --wrong N makes every mistake of the table with N seeds: each must be rejected,
and with seed 0 ``nn.check.mine`` is asked which it is. Exit status 1 where one is not as it should be.
"""

import argparse
import sys
import time
from collections import Counter

from bench.arguments import count
from nn.backend import BACKENDS
from nn.check.engine import checks_of, run_seeds
from nn.check.verdict import mutants_of, try_mutants
from nn.layer import REGISTRY


def main(argv: list[str]) -> int:
    """Prints a line for each layer and the sums."""
    parser = argparse.ArgumentParser(prog="python -m bench seeds", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--right", type=count, default=200, help="seeds of right passes")
    parser.add_argument("--wrong", type=count, default=20, help="seeds of wrong passes")
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument("--only", nargs="+", choices=sorted(REGISTRY), default=sorted(REGISTRY))
    options = parser.parse_args(argv)
    sums: Counter[str] = Counter()
    begin = time.perf_counter()
    for name in options.only:
        here = one(name, options.backends, options.right, options.wrong)
        sums += here
        print(f"{name:16} {line(here)}", flush=True)
    print(f"{'all':16} {line(sums)}; {time.perf_counter() - begin:.0f} s")
    return int(sums["failed"] > 0 or sums["rejected"] < sums["wrong"])


def one(name: str, backends: list[str], right: int, wrong: int) -> Counter[str]:
    """What one layer, loss, optimizer or model comes to."""
    found: Counter[str] = Counter()
    spec = REGISTRY[name]
    for backend in backends:
        for check in checks_of(spec, backend):
            if check.at != "samples":
                continue
            row = run_seeds(check, spec, backend, range(right))
            found["checks"] += right
            found["numbers"] += row.comparisons
            if not row.passed:
                found["failed"] += 1
                print(f"{name} on {backend}: {check.name} failed: {row.worst} of {row.where}")
        for verdict in try_mutants(mutants_of(spec), backend=backend, seeds=range(wrong)):
            found["wrong"] += 1
            found["rejected"] += verdict.rejected
            if not verdict.rejected:
                print(f"{name} on {backend}, seed {verdict.seed}: not seen: {verdict.mutant.name}")
    for verdict in try_mutants(mutants_of(spec), name=True):
        found["asked"] += 1
        found["named"] += verdict.named
    return found


def line(found: Counter[str]) -> str:
    """The counts in words."""
    return (
        f"right: {found['checks']:,} checks, {found['numbers']:,} numbers, {found['failed']} failed; "
        f"wrong: {found['rejected']:,} of {found['wrong']:,} rejected, {found['named']} of {found['asked']} named"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
