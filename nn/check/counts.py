"""How many numbers each check compares: kept in the repository, so that a check that stops checking is noticed.

python -m nn.check.counts       writes nn/check/counts.json anew, PyTorch installed
"""

import json
from collections.abc import Iterable
from pathlib import Path

from nn.backend import BACKENDS
from nn.check.engine import Check, checks_of, run_check
from nn.check.models import load_models
from nn.layer import REGISTRY, LayerSpec

COUNTS = Path(__file__).parent / "counts.json"
OPTIONAL = ("PyTorch", "50 steps")  # run only where PyTorch is installed

Counts = dict[str, dict[str, dict[str, int]]]


def count(plan: Iterable[tuple[LayerSpec, str, Check]]) -> Counts:
    """Numbers compared, by layer, check and backend."""
    found: Counts = {}
    for spec, backend, check in plan:
        row = run_check(check, spec, backend)
        found.setdefault(spec.name, {}).setdefault(check.name, {})[backend] = row.comparisons
    return found


if __name__ == "__main__":
    load_models()
    everything = [(s, b, c) for s in REGISTRY.values() for b in BACKENDS for c in checks_of(s, b)]
    COUNTS.write_text(json.dumps(count(everything), indent=1) + "\n")
    print(f"{COUNTS.name}: {len(everything)} checks")
