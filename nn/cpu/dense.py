"""Dense layer on the CPU. The equations stand in ``nn/reference/dense.py``.

A batch is small and the weights are many: 32 rows of x (N, I) meet a million numbers of w (I, O). So for up to
FEW_ROWS rows each of the three products passes the weights (or their gradient) once, where they lie, row after row:

    y  = x w      w is the side of vectors: row i of w, times x[n, i], is added to y[n]
    dx = dy wᵀ    made as dxᵀ = w dyᵀ: single weights times vectors along n, turned round tile by tile
    dw += xᵀ dy   vectors of dy times single numbers of x, added to dw tile by tile

The sum over i in the first is cut into shares, so that there is work for several threads even where O is small; each
has a sum of its own, and they are added in order. Shares and blocks follow from the sizes alone, so results do
not depend on the number of threads. With more rows, packing the weights is cheap beside the product: ``multiply``.
"""

import math

import numpy as np
from numba import get_thread_id, njit, prange

from nn.cpu import memory
from nn.cpu.gemm import multiply, panel_width, panels, scratch
from nn.cpu.rows import add_column_sums
from nn.cpu.simd import (
    TILE_ROWS,
    VECTOR_BYTES,
    add_span,
    clear_span,
    copy_span,
    lanes,
    tile_product_1,
    tile_product_2,
    transpose_tile,
)
from nn.reference.dense import DenseCache

FEW_ROWS = 192
DEPTH = 128  # terms that a tile sums at a time
COLUMNS = 512  # of w or dw in one task
TASKS = 16  # wanted in the forward pass, so that several threads have work
PAD = 16  # numbers between rows a power of two apart, so that they do not all fall into one cache set


@njit(cache=True, nogil=True)
def _tile(a, a0, a_row, a_k, height, b, b0, b_k, width, nr, c, c0, c_row, depth, add, edge, e0):
    """c[height, width] (+)= a b: one tile, made at e0 of ``edge`` where it hangs over. a and b are read as whole tiles."""
    whole = height == TILE_ROWS and width == nr
    y, y0, y_row = (c, c0, c_row) if whole else (edge, e0, nr)
    if nr * c.itemsize <= VECTOR_BYTES:
        tile_product_1(a, a0, a_row, a_k, 0, b, b0, b_k, 0, y, y0, y_row, depth, 1, add and whole)
    else:
        tile_product_2(a, a0, a_row, a_k, 0, b, b0, b_k, 0, y, y0, y_row, depth, 1, add and whole)
    if not whole:
        for i in range(height):
            if add:
                add_span(c, c0 + i * c_row, edge, e0 + i * nr, width)
            else:
                copy_span(c, c0 + i * c_row, edge, e0 + i * nr, width)


@njit(parallel=True, cache=True, nogil=True)
def _forward(x, x_row, w, bias, n, inputs, outputs, share, nr, y, sums, space):
    """y = bias + the first share of the sum over inputs; the others go to ``sums`` (shares - 1, N, O)."""
    shares = (inputs + share - 1) // share
    stripes = (outputs + COLUMNS - 1) // COLUMNS
    for task in prange(shares * stripes):
        part, left = task // stripes, task % stripes * COLUMNS
        right, end = min(outputs, left + COLUMNS), min(inputs, (part + 1) * share)
        own = space[get_thread_id()]
        to, t0 = (y, 0) if part == 0 else (sums, (part - 1) * n * outputs)
        for m in range(n):
            if part == 0 and bias.size > 0:
                copy_span(to, t0 + m * outputs + left, bias, left, right - left)
            else:
                clear_span(to, t0 + m * outputs + left, to, 0, right - left)
        for k in range(part * share, end, DEPTH):
            depth = min(DEPTH, end - k)
            for j in range(left, right, nr):
                width = min(nr, right - j)
                b, b0, b_k = w, k * outputs + j, outputs
                if width < nr:  # the last columns, filled up with zeros
                    b, b0, b_k = own, 0, nr
                    clear_span(own, 0, own, 0, depth * nr)
                    for kk in range(depth):
                        copy_span(own, kk * nr, w, (k + kk) * outputs + j, width)
                for m in range(0, n, TILE_ROWS):
                    at = t0 + m * outputs + j
                    height = min(TILE_ROWS, n - m)
                    _tile(x, m * x_row + k, x_row, 1, height, b, b0, b_k, width, nr,
                          to, at, outputs, depth, True, own, DEPTH * nr)  # fmt: skip


@njit(parallel=True, cache=True, nogil=True)
def _add_shares(sums, count, n, outputs, y):
    for m in prange(n):
        for part in range(count):
            add_span(y, m * outputs, sums, (part * n + m) * outputs, outputs)


@njit(parallel=True, cache=True, nogil=True)
def _turn_gradient(dy, n, outputs, nr, count, turned, db, space):
    """turned: dyᵀ (O, N) in panels of nr examples, zeros behind the last; db += the column sums of dy."""
    block = 4 * count
    for task in prange((outputs + block - 1) // block):
        left = task * block
        right = min(outputs, left + block)
        if db.size > 0:
            own = space[get_thread_id()]
            clear_span(own, 0, own, 0, right - left)
            for m in range(n):
                add_span(own, 0, dy, m * outputs + left, right - left)
            add_span(db, left, own, 0, right - left)
        if turned.size > 0:
            for m in range(0, n, count):
                panel = m // nr * nr * outputs + m % nr
                for o in range(left, right, count):
                    if m + count <= n and o + count <= right:
                        transpose_tile(dy, m * outputs + o, outputs, turned, panel + o * nr, nr)
                    else:
                        for oo in range(o, min(o + count, right)):
                            clear_span(turned, panel + oo * nr, turned, 0, count)
                            for mm in range(min(count, n - m)):
                                turned[panel + oo * nr + mm] = dy[(m + mm) * outputs + oo]
            for o in range(left, right):  # where the last panel is not half full
                empty = (n + count - 1) // count * count
                if empty % nr > 0:
                    at = empty // nr * nr * outputs + o * nr + empty % nr
                    clear_span(turned, at, turned, 0, nr - empty % nr)


@njit(parallel=True, cache=True, nogil=True)
def _input_gradient(w, turned, n, inputs, outputs, nr, count, rows, dx, space):
    """dx (N, I) = dy wᵀ, made as dxᵀ = w dyᵀ in blocks of ``rows`` inputs."""
    for task in prange((inputs + rows - 1) // rows):
        first = task * rows
        height = min(rows, inputs - first)
        own = space[get_thread_id()]
        edge = rows * nr  # behind the block of dxᵀ: the last rows of w, filled up
        for m in range(0, n, nr):
            for k in range(0, outputs, DEPTH):
                depth = min(DEPTH, outputs - k)
                for i in range(0, height, TILE_ROWS):
                    source = (first + i) * outputs + k
                    a, a0, a_row = w, source, outputs
                    if height - i < TILE_ROWS:
                        a, a0, a_row = own, edge, depth
                        for ii in range(height - i):
                            copy_span(own, edge + ii * depth, w, source + ii * outputs, depth)
                        clear_span(own, edge + (height - i) * depth, own, 0,
                                   (TILE_ROWS - height + i) * depth)  # fmt: skip
                    _tile(a, a0, a_row, 1, TILE_ROWS, turned, m * outputs + k * nr, nr, nr, nr,
                          own, i * nr, nr, depth, k > 0, own, 0)  # fmt: skip
            for mm in range(m, min(m + nr, n), count):
                for i in range(0, height, count):
                    if mm + count <= n and i + count <= height:
                        at = mm * inputs + first + i
                        transpose_tile(own, i * nr + mm - m, nr, dx, at, inputs)
                    else:
                        for m1 in range(mm, min(mm + count, n)):
                            for i1 in range(i, min(i + count, height)):
                                dx[m1 * inputs + first + i1] = own[i1 * nr + m1 - m]


@njit(parallel=True, cache=True, nogil=True)
def _weight_gradient(x, dy, n, inputs, outputs, nr, rows, dw, space):
    """dw (I, O) += xᵀ dy in blocks of ``rows`` inputs and COLUMNS outputs."""
    stripes = (outputs + COLUMNS - 1) // COLUMNS
    for task in prange((inputs + rows - 1) // rows * stripes):
        first, left = task // stripes * rows, task % stripes * COLUMNS
        right = min(outputs, left + COLUMNS)
        height = min(rows, inputs - first)
        own = space[get_thread_id()]
        last, edge = rows * n, (rows + nr) * n  # behind x: the last columns of dy, and a tile
        for m in range(n):
            copy_span(own, m * rows, x, m * inputs + first, height)
            clear_span(own, m * rows + height, own, 0, rows - height)
        width = (right - left) % nr
        if width > 0:
            clear_span(own, last, own, 0, n * nr)
            for m in range(n):
                copy_span(own, last + m * nr, dy, (m + 1) * outputs - width, width)
        for i in range(0, height, TILE_ROWS):
            for j in range(left, right, nr):
                width = min(nr, right - j)
                b, b0, b_k = (dy, j, outputs) if width == nr else (own, last, nr)
                at = (first + i) * outputs + j
                _tile(own, i, 1, rows, min(TILE_ROWS, height - i), b, b0, b_k, width, nr,
                      dw, at, outputs, n, True, own, edge)  # fmt: skip


def _flat(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x).reshape(-1)


def _whole_tiles(x: np.ndarray) -> tuple[np.ndarray, int]:
    """x (N, I) flat and the distance of its rows; with rows of zeros behind the last where a tile would read there."""
    n, inputs = x.shape
    if n % TILE_ROWS == 0:
        return _flat(x), inputs
    padded = memory.empty((-(-n // TILE_ROWS) * TILE_ROWS, inputs + PAD), x.dtype)
    padded[:n, :inputs] = x
    padded[n:] = 0
    return padded.reshape(-1), inputs + PAD


def dense_forward(
    x: np.ndarray, w: np.ndarray, b: np.ndarray | None
) -> tuple[np.ndarray, DenseCache]:
    """y = x w + b for x (N, I), w (I, O), b (O) or None; returns y (N, O) and the cache."""
    n, (inputs, outputs) = len(x), w.shape
    y = memory.empty((n, outputs), x.dtype)
    if n > FEW_ROWS:
        multiply(np.ascontiguousarray(x), np.ascontiguousarray(w), y, accumulate=False)
        if b is not None:
            y += b
        return y, DenseCache(x, w)
    bias = np.empty(0, x.dtype) if b is None else _flat(b)
    if inputs == 0:
        y[...] = 0 if b is None else b
    if y.size == 0 or inputs == 0:
        return y, DenseCache(x, w)
    nr = panel_width(outputs, x.dtype)
    # A share is long beside the rows, or its own sum would cost more than its weights.
    wanted = -(-TASKS * COLUMNS // max(outputs, COLUMNS))
    share = max(-(-inputs // wanted), 8 * n, 2 * DEPTH)
    share = -(-share // DEPTH) * DEPTH
    shares = -(-inputs // share)
    sums = memory.empty((shares - 1, n, outputs), x.dtype).reshape(-1)
    rows, x_row = _whole_tiles(x)
    space = scratch((DEPTH + TILE_ROWS) * nr, x.dtype)
    _forward(
        rows, x_row, _flat(w), bias, n, inputs, outputs, share, nr, y.reshape(-1), sums, space
    )
    if shares > 1:
        _add_shares(sums, shares - 1, n, outputs, y.reshape(-1))
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
    x, w = np.ascontiguousarray(cache.x), np.ascontiguousarray(cache.w)
    dy = np.ascontiguousarray(dy)
    n, (inputs, outputs) = len(x), w.shape
    dx = memory.empty(x.shape, dy.dtype) if need_dx else None
    if dy.size == 0 or inputs == 0:
        if dx is not None:
            dx[...] = 0
        if db is not None:
            db += dy.sum(axis=0)
        return dx
    if n > FEW_ROWS:
        multiply(x, dy, dw, transpose_a=True, accumulate=True)
        if db is not None:
            add_column_sums(dy, db)
        if dx is not None:
            multiply(dy, w, dx, transpose_b=True, accumulate=False)
        return dx
    count = lanes(dy.dtype)
    tiles = math.lcm(TILE_ROWS, count)
    rows = max(64 // tiles, 1) * tiles
    nr = panel_width(outputs, dy.dtype)
    flat = dy.reshape(-1)
    space = scratch((rows + nr) * n + TILE_ROWS * nr, dy.dtype)
    _weight_gradient(
        x.reshape(-1), flat, n, inputs, outputs, nr, rows, dw.reshape(-1), space
    )
    if dx is None and db is None:
        return None
    nr = panel_width(n, dy.dtype)
    turned = panels(outputs, n, dy.dtype) if need_dx else np.empty(0, dy.dtype)
    bias_gradient = np.empty(0, dy.dtype) if db is None else db
    space = scratch(max(rows * nr + TILE_ROWS * DEPTH, 4 * count), dy.dtype)
    _turn_gradient(flat, n, outputs, nr, count, turned, bias_gradient, space)
    if dx is not None:
        _input_gradient(
            w.reshape(-1), turned, n, inputs, outputs, nr, count, rows, dx.reshape(-1), space
        )
    return dx
