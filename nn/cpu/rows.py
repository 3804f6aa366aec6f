"""Sums over rows, for bias gradients: out (K) += sum_m y[m] for y (M, K)."""

import numpy as np
from numba import njit, prange

from nn.cpu.simd import add_span, clear_span

CHUNKS = 32  # fixed, so that the order of the sum does not depend on the number of threads


@njit(parallel=True, cache=True, nogil=True, error_model="numpy")
def _partial_sums(flat, rows, columns, partial):
    share = (rows + CHUNKS - 1) // CHUNKS
    for chunk in prange(CHUNKS):
        clear_span(partial, chunk * columns, flat, 0, columns)
        for m in range(chunk * share, min(rows, (chunk + 1) * share)):
            add_span(partial, chunk * columns, flat, m * columns, columns)


def add_column_sums(y: np.ndarray, out: np.ndarray) -> None:
    """out (K) += the sum of y (M, K) over its rows; y is contiguous."""
    rows, columns = y.shape
    partial = np.empty((CHUNKS, columns), y.dtype)
    _partial_sums(y.reshape(-1), rows, columns, partial.reshape(-1))
    out += partial.sum(axis=0)
