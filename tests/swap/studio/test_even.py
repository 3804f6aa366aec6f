"""Even draws: nearer to the average of all pictures than chance, and otherwise like any draws."""

import hashlib
from dataclasses import astuple

import numpy as np
import pytest

from swap.studio.even import UNSEEN, best_of_several
from swap.studio.family import PICTURES, draws, even_draws
from swap.studio.fruit import Params

FAMILY = pytest.mark.parametrize("family", ["heads", "fruit", "flags"])


def deviations(family: str, params: list) -> np.ndarray:
    """How far the means of parameters and of their products are off, in standard errors of independent draws."""
    many = draws(family, 8000, 991)
    names = [n for n in vars(many[0]) if n not in UNSEEN and not n.startswith("phase")]

    def functions(some: list) -> np.ndarray:
        t = np.array([[getattr(p, n) for n in names] for p in some])
        i, j = np.triu_indices(len(names))
        return np.concatenate([t, t[:, i] * t[:, j]], 1)

    every, these = functions(many), functions(params)
    varies = every.std(0) > 1e-9
    off = (these.mean(0) - every.mean(0))[varies] / every.std(0)[varies]
    return off * np.sqrt(len(params))


@FAMILY
def test_their_averages_are_nearer_to_those_of_all_than_of_independent_draws(family: str) -> None:
    """Independent draws are off by one standard error, root mean square; 8,000 that stand for all add a little."""
    count = min(300, PICTURES[family])
    for seed in (0, 1):
        assert np.sqrt(np.mean(deviations(family, draws(family, count, seed)) ** 2)) > 0.7
        assert np.sqrt(np.mean(deviations(family, even_draws(family, count, seed)) ** 2)) < 0.5


@FAMILY
def test_they_are_draws_of_their_seed_and_each_another(family: str) -> None:
    chosen = even_draws(family, 40, 3)
    assert chosen == even_draws(family, 40, 3) != even_draws(family, 40, 4)
    assert len({astuple(p) for p in chosen}) == 40
    share = [draws(family, 24, 3, first=24 * i) for i in range(40)]
    assert all(p in some for p, some in zip(chosen, share, strict=True))


@pytest.mark.parametrize(
    ("family", "digest"),
    [
        ("heads", "31ca2dc6f8990cc8"),
        ("fruit", "633aa8313291d16b"),
        ("flags", "09364e29cfd70711"),
    ],
)
def test_every_machine_makes_the_same_choice(family: str, digest: str) -> None:
    """What a demo trains on; the same with NumPy's and OpenBLAS's kernels for other processors, when it was noted."""
    chosen = even_draws(family, PICTURES[family], 0)
    assert hashlib.sha256(repr(chosen).encode()).hexdigest().startswith(digest)


def test_where_nothing_can_be_chosen_they_are_the_draws_themselves() -> None:
    assert even_draws("fruit", 0, 0) == []
    assert even_draws("fruit", 7000, 0) == draws("fruit", 7000, 0)


def test_parameters_that_do_not_vary_are_no_hindrance() -> None:
    turned = [Params(yaw=y) for y in (1.0, 5.0, -4.0, 9.0, 3.0, -6.0)]
    chosen = best_of_several(turned, 3)
    assert abs(sum(p.yaw for p in chosen)) < 6
