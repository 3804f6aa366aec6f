"""Draws that are spread evenly: a small set that is like all pictures there are, and so like any other such set.

A few hundred independent draws have chance in them: the one subject is seen turned to the left a little more often than
the other. Nothing tells a network that this is chance. What most pictures of a side share is what it takes for
the usual, so both sides' usual differ by some degrees, and a swap is off by that.

So each picture is the best of several draws: the one after which the sums, over all pictures so far, of each parameter,
of every product of two and of every square times another are nearest to what they are on average (herding: Y. Chen, M.
Welling and A. Smola, Super-samples from kernel herding, 2010, with these functions for a kernel). In float64, so that
no machine's rounding makes another choice.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

MOST = 24  # draws for each picture
CANDIDATES = 12_000  # draws in all, where that leaves any choice
UNSEEN = ("x", "y", "scale")  # where a subject stands in the frame: an aligned face hides it
MEAN, PRODUCT, THIRD = 3.0, 1.0, 0.4  # how much each kind of sum counts


def best_of_several(candidates: Sequence[Any], count: int) -> list[Any]:
    """``count`` of the candidates, equal dataclasses of numbers, each out of its share of them, in their order."""
    each = len(candidates) // count
    functions = _functions(_table(candidates[: count * each]))
    sums, chosen = np.zeros(functions.shape[1]), []
    squares = (functions**2).sum(1)
    for first in range(0, count * each, each):
        here = slice(first, first + each)
        best = first + int(np.argmin(2 * functions[here] @ sums + squares[here]))
        sums += functions[best]
        chosen.append(candidates[best])
    return chosen


def _table(params: Sequence[Any]) -> np.ndarray:
    """(F, D) of mean 0 and deviation 1: what varies of the parameters; of an angle of a wave, its sine and cosine."""
    rows = [asdict(p) for p in params]
    columns = []
    for name in rows[0]:
        values = np.array([float(row[name]) for row in rows])
        if name.startswith("phase"):
            columns += [np.sin(np.radians(values)), np.cos(np.radians(values))]
        elif name not in UNSEEN:
            columns.append(values)
    table = np.stack(columns, 1)
    table = table[:, table.std(0) > 0]
    return (table - table.mean(0)) / table.std(0)


def _functions(table: np.ndarray) -> np.ndarray:
    """(F, K) of mean 0: the parameters, their products, and squares times another, weighted."""
    d = table.shape[1]
    i, j = np.triu_indices(d)
    a, b = np.nonzero(~np.eye(d, dtype=bool))
    parts = []
    for weight, values in (
        (MEAN, table),
        (PRODUCT, table[:, i] * table[:, j]),
        (THIRD, (table[:, a] ** 2 - 1) * table[:, b]),
    ):
        centred = values - values.mean(0)
        parts.append(np.sqrt(weight) * centred / (centred.std(0) + 1e-12))
    return np.concatenate(parts, 1)
