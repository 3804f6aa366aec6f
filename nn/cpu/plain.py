"""The operations of ``simd.py`` once more, as loops: what each of them does, for readers and for machines.

The same names and arguments; a test holds the two to each other. With LATENTFACE_PLAIN=1 in the environment the backend
is made of these and contains no compiler instruction: for a processor on which those are not right, and for looking for
a mistake. Everything is then 5 to 50 times slower, and rounds a little differently, because a product and its addition
are rounded one after the other.

Vectors are so many numbers as in ``simd.py``, and where that reads or writes whole vectors, so does this.
"""

import functools
from collections.abc import Callable

import numpy as np
from numba import njit, types
from numba.extending import overload

from nn.cpu.simd import (
    DOT_OUTPUTS,
    DOT_PLACES,
    NEAR_ROWS,
    STACKED,
    TALL_ROWS,
    TILE_ROWS,
    VECTOR_BYTES,
)

OPERATIONS = (
    "activate_span",
    "add_span",
    "blend_bytes",
    "clear_span",
    "column",
    "column_activate",
    "column_add",
    "copy_span",
    "dot_tile",
    "fetch_span",
    "low_ones_2",
    "low_product_3",
    "low_product_5",
    "near_product_1",
    "near_product_2",
    "prefetch",
    "rows_product_1",
    "sandwich",
    "sandwich_activate",
    "sandwich_add",
    "slope_span",
    "stack_pixels",
    "store_sum",
    "stream_fence",
    "tall_finish_1",
    "tall_ones_1",
    "tall_product_1",
    "tile_fetch_1",
    "tile_fetch_2",
    "tile_finish_1",
    "tile_finish_2",
    "tile_finish_fetch_1",
    "tile_finish_fetch_2",
    "tile_product_1",
    "tile_product_2",
    "tile_stream_fetch_1",
    "tile_stream_fetch_2",
    "transpose_tile",
)

loops = njit(nogil=True, error_model="numpy")


@loops
def _leaky(z, sign, slope):
    return z if sign > 0 else slope * z


@functools.cache
def _sums(vectors: int, rows: int, apart: bool = False, ones: bool = False) -> Callable[..., None]:
    """The sums of a tile, rows x (vectors * lanes), as ``simd._micro_kernel`` says."""

    @loops
    def sums(a, a0, a_row, a_k, a_run, b, b0, b_k, b_run, depth, runs):
        width = VECTOR_BYTES // a.itemsize
        tile = np.zeros((rows, vectors * width), a.dtype)
        for r in range(runs):
            for k in range(depth):
                for v in range(vectors):
                    at = b0 + k * b_k + (v * b_run if apart else r * b_run + v * width)
                    for i in range(rows):
                        if ones and i == rows - 1:
                            for lane in range(width):
                                tile[i, v * width + lane] += b[at + lane]
                        else:
                            factor = a[a0 + i * a_row + k * a_k + r * a_run]
                            for lane in range(width):
                                tile[i, v * width + lane] += factor * b[at + lane]
        return tile

    return sums


@loops
def _add(tile, c, c0, c_row, accumulate):
    for i in range(tile.shape[0]):
        for j in range(tile.shape[1]):
            at = c0 + i * c_row + j
            c[at] = c[at] + tile[i, j] if accumulate else tile[i, j]


@loops
def _finish(tile, c, c0, c_row, bias, bias0, slope):
    for i in range(tile.shape[0]):
        for j in range(tile.shape[1]):
            z = tile[i, j] + bias[bias0 + j]
            c[c0 + i * c_row + j] = _leaky(z, z, slope)


def _product(vectors: int, rows: int, **kind: bool) -> Callable[..., None]:
    sums = _sums(vectors, rows, **kind)

    @loops
    def product(
        a, a0, a_row, a_k, a_run, b, b0, b_k, b_run, c, c0, c_row, depth, runs, accumulate
    ):  # fmt: skip
        _add(
            sums(a, a0, a_row, a_k, a_run, b, b0, b_k, b_run, depth, runs), c, c0, c_row, accumulate
        )

    return product


def _product_fetch(vectors: int, rows: int) -> Callable[..., None]:
    product = _product(vectors, rows)

    @loops
    def fetching(
        a, a0, a_row, a_k, a_run, b, b0, b_k, b_run, c, c0, c_row, depth, runs, accumulate, ahead, ahead0, ahead_k
    ):  # fmt: skip
        product(a, a0, a_row, a_k, a_run, b, b0, b_k, b_run, c, c0, c_row, depth, runs, accumulate)

    return fetching


def _finished(vectors: int, rows: int) -> Callable[..., None]:
    sums = _sums(vectors, rows)

    @loops
    def finished(
        a, a0, a_row, a_k, a_run, b, b0, b_k, b_run, c, c0, c_row, depth, runs, bias, bias0, slope
    ):  # fmt: skip
        tile = sums(a, a0, a_row, a_k, a_run, b, b0, b_k, b_run, depth, runs)
        _finish(tile, c, c0, c_row, bias, bias0, slope)

    return finished


def _finished_fetch(vectors: int, rows: int) -> Callable[..., None]:
    finished = _finished(vectors, rows)

    @loops
    def fetching(
        a, a0, a_row, a_k, a_run, b, b0, b_k, b_run, c, c0, c_row, depth, runs, bias, bias0, slope,
        ahead, ahead0, ahead_k,
    ):  # fmt: skip
        finished(
            a,
            a0,
            a_row,
            a_k,
            a_run,
            b,
            b0,
            b_k,
            b_run,
            c,
            c0,
            c_row,
            depth,
            runs,
            bias,
            bias0,
            slope,
        )

    return fetching


tile_product_1, tile_product_2 = _product(1, TILE_ROWS), _product(2, TILE_ROWS)
tile_fetch_1, tile_fetch_2 = _product_fetch(1, TILE_ROWS), _product_fetch(2, TILE_ROWS)
near_product_1, near_product_2 = _product(1, NEAR_ROWS), _product(2, NEAR_ROWS, apart=True)
tall_product_1, tall_ones_1 = _product(1, TALL_ROWS), _product(1, TALL_ROWS, ones=True)
tile_finish_1, tile_finish_2 = _finished(1, TILE_ROWS), _finished(2, TILE_ROWS)
tile_finish_fetch_1, tile_finish_fetch_2 = (_finished_fetch(n, TILE_ROWS) for n in (1, 2))
tile_stream_fetch_1, tile_stream_fetch_2 = (_finished_fetch(n, TILE_ROWS) for n in (1, 2))
tall_finish_1 = _finished(1, TALL_ROWS)
low_product_3, low_ones_2, low_product_5 = _product(3, 3), _product(2, 1, ones=True), _product(5, 3)


def rows_product_1(
    rows, a, a0, a_row, a_k, a_run, b, b0, b_k, b_run, c, c0, c_row, depth, runs, accumulate
) -> None:  # fmt: skip
    """Compiled for each number of rows; see ``simd.rows_product_1``."""


@overload(rows_product_1, prefer_literal=True)
def _rows_product_1(
    rows, a, a0, a_row, a_k, a_run, b, b0, b_k, b_run, c, c0, c_row, depth, runs, accumulate
):  # fmt: skip
    if not isinstance(rows, types.IntegerLiteral):
        return None
    product = _product(1, rows.literal_value)

    def run(
        rows, a, a0, a_row, a_k, a_run, b, b0, b_k, b_run, c, c0, c_row, depth, runs, accumulate
    ):  # fmt: skip
        product(a, a0, a_row, a_k, a_run, b, b0, b_k, b_run, c, c0, c_row, depth, runs, accumulate)

    return run


@loops
def copy_span(dst, d0, src, s0, count):  # noqa: ANN201
    for i in range(count):
        dst[d0 + i] = src[s0 + i]


@loops
def add_span(dst, d0, src, s0, count):  # noqa: ANN201
    for i in range(count):
        dst[d0 + i] += src[s0 + i]


@loops
def clear_span(dst, d0, src, s0, count):  # noqa: ANN201
    for i in range(count):
        dst[d0 + i] = 0


@loops
def stack_pixels(dst, d0, src, s0, s_row):  # noqa: ANN201
    for r in range(STACKED):
        for i in range(3):
            dst[d0 + 3 * r + i] = src[s0 + s_row * r + i]
    dst[d0 + 3 * STACKED] = src[s0 + s_row * (STACKED - 1) + 3]


@loops
def activate_span(dst, d0, bias, b0, slope, count):  # noqa: ANN201
    for i in range(count):
        z = dst[d0 + i] + bias[b0 + i]
        dst[d0 + i] = _leaky(z, z, slope)


@loops
def slope_span(dst, d0, dy, s0, y, slope, sums, p0, count):  # noqa: ANN201
    for i in range(count):
        dst[d0 + i] = _leaky(dy[s0 + i], y[s0 + i], slope)
        sums[p0 + i] += dst[d0 + i]


@loops
def blend_bytes(src, s0, right, down, fx, fy, dst, d0):  # noqa: ANN201
    for k in range(4):
        at = s0 + k
        a, b = np.float32(src[at]), np.float32(src[at + right])
        c, d = np.float32(src[at + down]), np.float32(src[at + down + right])
        upper, lower = a + (b - a) * fx, c + (d - c) * fx
        dst[d0 + k] = np.int32(upper + (lower - upper) * fy + np.float32(0.5))


KEPT, SUMMED, ACTIVATED = range(3)


def _sandwich(left: np.ndarray, right: np.ndarray, kind: int) -> Callable[..., None]:
    """L d Rᵀ of a square d of vectors. What is multiplied by 0 alone is not read: it need not be a number."""
    left, right = (np.ascontiguousarray(matrix, np.float64) for matrix in (left, right))
    rows, columns = (left != 0).any(0), (right != 0).any(0)
    made_rows, made_columns = (left != 0).any(1), (right != 0).any(1)

    @loops
    def transform(src, s0, s_row, s_column, dst, d0, d_row, d_column, bias, b0, slope):
        width, number = VECTOR_BYTES // src.itemsize, src.dtype.type
        # All vectors are read before the first is written.
        half = np.zeros((left.shape[0], right.shape[1], width), src.dtype)
        for i in range(left.shape[1]):
            for j in range(right.shape[1]):
                if rows[i] and columns[j]:
                    at = s0 + i * s_row + j * s_column
                    for m in range(left.shape[0]):
                        if left[m, i] != 0:
                            for lane in range(width):
                                half[m, j, lane] += number(left[m, i]) * src[at + lane]
        out = np.zeros(width, src.dtype)
        for m in range(left.shape[0]):
            for n in range(right.shape[0]):
                if not (made_rows[m] and made_columns[n]):
                    continue
                out[:] = 0
                for j in range(right.shape[1]):
                    if right[n, j] != 0:
                        for lane in range(width):
                            out[lane] += number(right[n, j]) * half[m, j, lane]
                at = d0 + m * d_row + n * d_column
                for lane in range(width):
                    if kind == KEPT:
                        dst[at + lane] = out[lane]
                    elif kind == SUMMED:
                        dst[at + lane] += out[lane]
                    else:
                        z = out[lane] + bias[b0 + lane]
                        dst[at + lane] = _leaky(z, z, slope)

    return transform


def _without_bias(transform: Callable[..., None]) -> Callable[..., None]:
    @loops
    def plain(src, s0, s_row, s_column, dst, d0, d_row, d_column):
        transform(src, s0, s_row, s_column, dst, d0, d_row, d_column, dst, 0, 0)

    return plain


def sandwich(left: np.ndarray, right: np.ndarray | None = None) -> Callable[..., None]:
    """See ``simd.sandwich``."""
    return _without_bias(_sandwich(left, left if right is None else right, KEPT))


def sandwich_add(left: np.ndarray, right: np.ndarray | None = None) -> Callable[..., None]:
    """See ``simd.sandwich_add``."""
    return _without_bias(_sandwich(left, left if right is None else right, SUMMED))


def sandwich_activate(left: np.ndarray) -> Callable[..., None]:
    """See ``simd.sandwich_activate``."""
    return _sandwich(left, left, ACTIVATED)


def _column(matrix: Callable[[int, int], np.ndarray], kind: int) -> Callable[..., None]:
    def transform(i, j, src, s0, s_row, dst, d0, d_row):
        """Compiled for each i and j."""

    @overload(transform, prefer_literal=True)
    def _transform(i, j, src, s0, s_row, dst, d0, d_row):
        if not all(isinstance(n, types.IntegerLiteral) for n in (i, j)):
            return None
        square = _sandwich(matrix(i.literal_value, j.literal_value), np.eye(1), kind)

        def run(i, j, src, s0, s_row, dst, d0, d_row):
            square(src, s0, s_row, 0, dst, d0, d_row, 0, dst, 0, 0)

        return run

    return transform


def column(matrix: Callable[[int, int], np.ndarray]) -> Callable[..., None]:
    """See ``simd.column``."""
    return _column(matrix, KEPT)


def column_add(matrix: Callable[[int, int], np.ndarray]) -> Callable[..., None]:
    """See ``simd.column_add``."""
    return _column(matrix, SUMMED)


def column_activate(
    matrix: Callable[[int, int], np.ndarray], stream: bool = False
) -> Callable[..., None]:
    """See ``simd.column_activate``; the caches are not passed by."""

    def transform(i, j, src, s0, s_row, dst, d0, d_row, bias, b0, slope):
        """Compiled for each i and j."""

    @overload(transform, prefer_literal=True)
    def _transform(i, j, src, s0, s_row, dst, d0, d_row, bias, b0, slope):
        if not all(isinstance(n, types.IntegerLiteral) for n in (i, j)):
            return None
        square = _sandwich(matrix(i.literal_value, j.literal_value), np.eye(1), ACTIVATED)

        def run(i, j, src, s0, s_row, dst, d0, d_row, bias, b0, slope):
            square(src, s0, s_row, 0, dst, d0, d_row, 0, bias, b0, slope)

        return run

    return transform


@loops
def prefetch(a, a0):  # noqa: ANN201
    """Nothing."""


@loops
def fetch_span(a, a0, count):  # noqa: ANN201
    """Nothing."""


@loops
def stream_fence():  # noqa: ANN201
    """Nothing."""


@loops
def transpose_tile(src, s0, s_row, dst, d0, d_row):  # noqa: ANN201
    width = VECTOR_BYTES // src.itemsize
    for i in range(width):
        for j in range(width):
            dst[d0 + d_row * j + i] = src[s0 + s_row * i + j]


@loops
def store_sum(dst, d0, a, a0, b, b0, count):  # noqa: ANN201
    for i in range(count):
        dst[d0 + i] = a[a0 + i] + b[b0 + i]


@loops
def dot_tile(x, x0, x_place, x_run, w, w0, vectors, runs, dst, d0):  # noqa: ANN201
    width = VECTOR_BYTES // x.itemsize
    sums = DOT_PLACES * DOT_OUTPUTS
    for n in range((sums + width - 1) // width * width):
        total = x.dtype.type(0)
        p, k = n // DOT_OUTPUTS, n % DOT_OUTPUTS
        for r in range(runs if n < sums else 0):
            for i in range(vectors * width):
                line = (r * vectors + i // width) * DOT_OUTPUTS + k
                total += x[x0 + r * x_run + p * x_place + i] * w[w0 + line * width + i % width]
        dst[d0 + n] = total
