"""Rows of numbers: their sum, for bias gradients, and how they are read in whole vectors."""

import numpy as np
from numba import njit, prange

from nn import memory
from nn.cpu.kernel import kernel
from nn.cpu.simd import add_span, clear_span, lanes
from nn.record import call

CHUNKS = 32  # fixed, so that the order of the sum does not depend on the number of threads


@njit(cache=True, nogil=True, error_model="numpy")
def add_chunks(partial: np.ndarray, columns: int, out: np.ndarray) -> None:
    """out (K) += the sum of ``partial`` (CHUNKS, K), flat, which is written to; an empty ``out`` is not wanted."""
    if out.size > 0:
        for chunk in range(1, CHUNKS):
            add_span(partial, 0, partial, chunk * columns, columns)
        add_span(out, 0, partial, 0, columns)


@kernel
def _add_column_sums(flat, rows, columns, partial, out):
    share = (rows + CHUNKS - 1) // CHUNKS
    for chunk in prange(CHUNKS):
        clear_span(partial, chunk * columns, flat, 0, columns)
        for m in range(chunk * share, min(rows, (chunk + 1) * share)):
            add_span(partial, chunk * columns, flat, m * columns, columns)
    add_chunks(partial, columns, out)


def add_column_sums(y: np.ndarray, out: np.ndarray) -> None:
    """out (K) += the sum of y (M, K) over its rows; y is contiguous."""
    rows, columns = y.shape
    _add_column_sums(y.reshape(-1), rows, columns, np.empty(CHUNKS * columns, y.dtype), out)


def with_slack(y: np.ndarray) -> np.ndarray:
    """The last picture of y (N, H, W, K), flat, with a vector of zeros behind it, until the end of the frame.

    A vector at a row whose end it reaches beyond reads the next row's first numbers: harmless where lanes have nothing
    to do with each other. Behind the last row of all there is nothing to read. Empty where rows are whole vectors.
    """
    count, size = lanes(y.dtype), 0 if not len(y) else y[-1].size
    if y.shape[-1] % count == 0 or not size:
        return np.empty(0, y.dtype)
    out = memory.scratch(size + count, y.dtype)
    call(np.copyto, out[:size], y[-1].reshape(-1))
    call(np.copyto, out[size:], 0)
    return out
