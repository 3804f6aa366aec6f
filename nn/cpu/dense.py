"""Dense layer on the CPU. The equations stand in ``nn/reference/dense.py``.

A batch is small and the weights are many, so every product is turned so that the weights are the side
that is read straight from where they lie, once, and only the small batch is packed:

    yᵀ = wᵀ xᵀ        dxᵀ = w dyᵀ        dw += xᵀ dy
"""

import numpy as np

from nn.cpu import memory
from nn.cpu.gemm import multiply
from nn.cpu.rows import add_column_sums
from nn.reference.dense import DenseCache


def dense_forward(
    x: np.ndarray, w: np.ndarray, b: np.ndarray | None
) -> tuple[np.ndarray, DenseCache]:
    """y = x w + b for x (N, I), w (I, O), b (O) or None; returns y (N, O) and the cache."""
    yt = memory.empty((w.shape[1], x.shape[0]), x.dtype)
    multiply(w, np.ascontiguousarray(x.T), yt, transpose_a=True, accumulate=False)
    y = memory.empty((x.shape[0], w.shape[1]), x.dtype)
    if b is None:
        y[...] = yt.T
    else:
        np.add(yt.T, b, out=y)
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
    dy = np.ascontiguousarray(dy)
    multiply(np.ascontiguousarray(x), dy, dw, transpose_a=True, accumulate=True)
    if db is not None:
        add_column_sums(dy, db)
    if not need_dx:
        return None
    dxt = memory.empty((w.shape[0], x.shape[0]), dy.dtype)
    multiply(w, np.ascontiguousarray(dy.T), dxt, accumulate=False)
    dx = memory.empty(x.shape, dy.dtype)
    dx[...] = dxt.T
    return dx
