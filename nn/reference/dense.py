"""Dense layer: every output is a weighted sum of every input.

    x (N, I)   w (I, O)   b (O)   y (N, O)

    forward     y[n, o]  = b[o] + sum_i x[n, i] w[i, o]           y  = x w + b
    backward    dx[n, i] = sum_o dy[n, o] w[i, o]                 dx = dy wᵀ    x[n, i] reached every output o
                dw[i, o] = sum_n x[n, i] dy[n, o]                 dw = xᵀ dy    w[i, o] was used once per example n
                db[o]    = sum_n dy[n, o]                         b[o] was added once per example n

Cached: x and w (references, no copy). Cost: N I O multiply-adds forward, twice that backward.
"""

from typing import NamedTuple

import numpy as np


class DenseCache(NamedTuple):
    x: np.ndarray  # (N, I)
    w: np.ndarray  # (I, O)


def dense_forward(
    x: np.ndarray, w: np.ndarray, b: np.ndarray | None
) -> tuple[np.ndarray, DenseCache]:
    """y = x w + b for x (N, I), w (I, O), b (O) or None; returns y (N, O) and the cache."""
    y = x @ w  # (N, O)
    if b is not None:
        y = y + b
    return y, DenseCache(x, w)


def dense_backward(
    dy: np.ndarray,
    cache: DenseCache,
    dw: np.ndarray,
    db: np.ndarray | None,
    *,
    need_dx: bool = True,
) -> np.ndarray | None:
    """Adds xᵀ dy to dw (I, O) and the column sums of dy to db (O); returns dx (N, I), or None."""
    x, w = cache
    dw += x.T @ dy  # (I, O), sum over n
    if db is not None:
        db += dy.sum(axis=0)  # (O), sum over n
    return dy @ w.T if need_dx else None  # (N, I), sum over o
