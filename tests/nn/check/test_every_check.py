"""Every check of the report as a test of its own, and the count of what they compare."""

import json

import pytest

from nn.backend import BACKENDS
from nn.check import CHECKS, checks_of, run_check
from nn.check.counts import COUNTS, OPTIONAL, count
from nn.check.models import load_models
from nn.layer import REGISTRY

load_models()
ROWS = [(s, b, c) for s in REGISTRY.values() for b in BACKENDS for c in checks_of(s, b)]
KEPT = json.loads(COUNTS.read_text())


@pytest.mark.parametrize(
    ("spec", "backend", "check"),
    [pytest.param(*r, id=f"{r[0].name} {r[1]} {r[2].name}") for r in ROWS],
)
def test_check(spec, backend, check):
    row = run_check(check, spec, backend)
    assert row.passed, row.sentence()
    kept = KEPT.get(spec.name, {}).get(check.name, {}).get(backend)
    assert kept is not None, "this check is not counted yet: python -m nn.check.counts"
    if "shapes" in check.at:
        kept //= (
            2  # which shapes are drawn, and so how large they are, changes with hypothesis' version
        )
    assert row.comparisons >= kept, f"{row.comparisons} numbers compared, where it was {kept}"


def test_no_check_got_lost():
    """Every check that was ever counted still runs, for every layer and backend."""
    running = {(s.name, c.name, b) for s, b, c in ROWS}
    counted = {
        (layer, check, backend)
        for layer, checks in KEPT.items()
        for check, backends in checks.items()
        for backend in backends
        if check not in OPTIONAL
    }
    assert counted <= running
    assert len(counted) >= 440


def test_nothing_in_the_registry_is_unchecked():
    for spec in REGISTRY.values():
        names = {c.name for b in BACKENDS for c in checks_of(spec, b)}
        least = {"model": 2, "optimizer": 5}.get(spec.kind, 18)
        assert len(names) >= least, spec.name


def test_every_check_concerns_something():
    for check in CHECKS:
        assert any(check.concerns(spec) for spec in REGISTRY.values()), check.name


def test_counting_counts():
    dense = [r for r in ROWS if r[0].name == "Dense" and r[2].name == "complex step"]
    assert count(dense)["Dense"]["complex step"] == {"reference": 46, "cpu": 46}
