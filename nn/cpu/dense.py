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

import functools
import math

import numpy as np
from numba import get_thread_id, njit, prange

from nn import memory
from nn.cpu.gemm import PAD, multiply, panel_width, panels, scratch
from nn.cpu.kernel import kernel
from nn.cpu.rows import add_column_sums
from nn.cpu.simd import (
    LINE,
    TILE_ROWS,
    VECTOR_BYTES,
    add_span,
    clear_span,
    copy_span,
    lanes,
    prefetch,
    tile_product_1,
    tile_product_2,
    transpose_tile,
)
from nn.record import call, contiguous
from nn.reference.dense import DenseCache

FEW_ROWS = 128
DEPTH = 256  # terms that a tile of the backward pass sums at a time
ROWS = 64  # of w in a block of the forward pass: while one is multiplied, the next is fetched
COLUMNS = 512  # of w or dw in one task
TASKS = 16  # wanted at least, so that several threads have work
BLOCK = 128  # inputs in one task of the backward pass, where that makes enough tasks


@njit(cache=True, nogil=True, error_model="numpy")
def _tile(a, a0, a_row, a_k, height, b, b0, b_k, width, nr, c, c0, c_row, depth, add, edge, e0):
    """c[height, width] (+)= a b: one tile, made at e0 of ``edge`` where c ends within it.

    a and b are read as whole tiles; what lies behind their ends does not reach c.
    """
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


@njit(cache=True, nogil=True, error_model="numpy")
def _add_block(x, x_row, w, k, depth, row, column, n, left, right, outputs, nr, to, t0, own):
    """Adds the terms k to k + depth to columns left to right of ``to``: w is read where it lies, once for each tile.

    Meanwhile the next block, from ``row`` and ``column`` on, is fetched row after row as it lies, some of it before
    each tile. A tile reads a few numbers here and a few a row further on, which the processor does not foresee.
    """
    step = LINE // w.itemsize
    tiles = ((right - left + nr - 1) // nr) * ((n + TILE_ROWS - 1) // TILE_ROWS)
    some = (ROWS * ((right - left + step - 1) // step) + tiles - 1) // tiles
    last, first, width = row + ROWS, column, right - left
    for j in range(left, right, nr):
        there = min(nr, right - j)
        b, b0, b_k = w, k * outputs + j, outputs
        if there < nr:  # the last columns, filled up with zeros
            b, b0, b_k = own, 0, nr
            clear_span(own, 0, own, 0, depth * nr)
            for kk in range(depth):
                copy_span(own, kk * nr, w, (k + kk) * outputs + j, there)
        for m in range(0, n, TILE_ROWS):
            for _ in range(some):
                if row < last:
                    prefetch(w, row * outputs + column)
                    column += step
                    if column >= first + width:
                        row, column = row + 1, first
            _tile(x, m * x_row + k, x_row, 1, min(TILE_ROWS, n - m), b, b0, b_k, there, nr,
                  to, t0 + m * outputs + j, outputs, depth, True, own, ROWS * nr)  # fmt: skip


@kernel
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
        for k in range(part * share, end, ROWS):
            row, column = k + ROWS, left
            if row >= end:  # the next task, which is mostly this thread's
                row, column = (task + 1) // stripes * share, (task + 1) % stripes * COLUMNS
            _add_block(x, x_row, w, k, min(ROWS, end - k), row, column, n, left, right, outputs, nr,
                       to, t0, own)  # fmt: skip


@kernel
def _add_shares(sums, n, outputs, y):
    """y (N, O) += each of ``sums`` (shares - 1, N, O), in their order."""
    for m in prange(n):
        for at in range(m * outputs, sums.size, n * outputs):
            add_span(y, m * outputs, sums, at, outputs)


@kernel
def _prepare(dy, n, outputs, straight, wide, turned, tall, count, db, space):
    """straight: dy in panels of ``wide`` outputs; turned: dyᵀ in panels of ``tall`` examples; db += its column sums.

    Both end in zeros, where the last panel is not full. ``turned`` or ``db`` may be empty: not wanted.
    """
    for task in prange((outputs + wide - 1) // wide):
        left = task * wide
        width = min(wide, outputs - left)
        for m in range(n):
            to = (task * n + m) * wide
            copy_span(straight, to, dy, m * outputs + left, width)
            if width < wide:
                clear_span(straight, to + width, dy, 0, wide - width)
        if db.size > 0:
            own = space[get_thread_id()]
            clear_span(own, 0, dy, 0, wide)
            for m in range(n):
                add_span(own, 0, straight, (task * n + m) * wide, wide)
            add_span(db, left, own, 0, width)
        if turned.size > 0:
            for m in range(0, (n + tall - 1) // tall * tall, count):
                panel = m // tall * tall * outputs + m % tall
                for o in range(left, left + width, count):
                    if m + count <= n and o + count <= outputs:
                        source = (task * n + m) * wide + o - left
                        transpose_tile(straight, source, wide, turned, panel + o * tall, tall)
                    else:
                        for oo in range(o, min(o + count, outputs)):
                            clear_span(turned, panel + oo * tall, dy, 0, count)
                            for mm in range(m, min(m + count, n)):
                                turned[panel + oo * tall + mm - m] = dy[mm * outputs + oo]


@njit(cache=True, nogil=True, error_model="numpy")
def _weight_gradient(x, first, height, straight, n, inputs, outputs, nr, dw, own):
    """Rows first to first + height of dw (I, O) += xᵀ dy."""
    rows = (height + TILE_ROWS - 1) // TILE_ROWS * TILE_ROWS
    for m in range(n):  # the numbers of x that belong to a tile, side by side
        copy_span(own, m * rows, x, m * inputs + first, height)
        if height < rows:
            clear_span(own, m * rows + height, x, 0, rows - height)
    for left in range(0, outputs, COLUMNS):
        for i in range(0, height, TILE_ROWS):
            for j in range(left, min(outputs, left + COLUMNS), nr):
                _tile(own, i, 1, rows, min(TILE_ROWS, height - i),
                      straight, j * n, nr, min(nr, outputs - j), nr,
                      dw, (first + i) * outputs + j, outputs, n, True, own, rows * n)  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def _input_gradient(w, first, height, turned, n, inputs, outputs, nr, count, dx, own, rows):
    """Columns first to first + height of dx (N, I) = dy wᵀ, made as dxᵀ = w dyᵀ; ``own`` holds (rows, nr) of it."""
    edge = rows * nr  # behind them: the last rows of w, filled up
    for m in range(0, n, nr):
        for k in range(0, outputs, DEPTH):
            depth = min(DEPTH, outputs - k)
            for i in range(0, height, TILE_ROWS):
                source = (first + i) * outputs + k
                a, a0, a_row, there = w, source, outputs, min(TILE_ROWS, height - i)
                if there < TILE_ROWS:
                    a, a0, a_row = own, edge, depth
                    for ii in range(there):
                        copy_span(own, edge + ii * depth, w, source + ii * outputs, depth)
                    clear_span(own, edge + there * depth, w, 0, (TILE_ROWS - there) * depth)
                _tile(a, a0, a_row, 1, TILE_ROWS, turned, m * outputs + k * nr, nr, nr, nr,
                      own, i * nr, nr, depth, k > 0, own, 0)  # fmt: skip
        for mm in range(m, min(m + nr, n), count):
            for i in range(0, height, count):
                if mm + count <= n and i + count <= height:
                    transpose_tile(own, i * nr + mm - m, nr, dx, mm * inputs + first + i, inputs)
                else:
                    for m1 in range(mm, min(mm + count, n)):
                        for i1 in range(i, min(i + count, height)):
                            dx[m1 * inputs + first + i1] = own[i1 * nr + m1 - m]


@kernel
def _gradients(x, w, straight, wide, turned, tall, n, inputs, outputs, count, rows, dw, dx, space):
    """dw and dx, in blocks of ``rows`` inputs; an empty ``dx`` is not wanted."""
    for task in prange((inputs + rows - 1) // rows):
        first = task * rows
        height = min(rows, inputs - first)
        own = space[get_thread_id()]
        _weight_gradient(x, first, height, straight, n, inputs, outputs, wide, dw, own)
        if dx.size > 0:
            _input_gradient(
                w, first, height, turned, n, inputs, outputs, tall, count, dx, own, rows
            )


def _flat(x: np.ndarray) -> np.ndarray:
    return contiguous(x).reshape(-1)


def _whole_tiles(x: np.ndarray) -> tuple[np.ndarray, int]:
    """x (N, I) flat and the distance of its rows; with rows of zeros behind the last where a tile would read there."""
    n, inputs = x.shape
    if n % TILE_ROWS == 0:
        return _flat(x), inputs
    padded = memory.scratch((-(-n // TILE_ROWS) * TILE_ROWS, inputs + PAD), x.dtype)
    call(np.copyto, padded[:n, :inputs], x)
    call(np.copyto, padded[n:], 0)
    return padded.reshape(-1), inputs + PAD


@memory.framed
def dense_forward(
    x: np.ndarray, w: np.ndarray, b: np.ndarray | None
) -> tuple[np.ndarray, DenseCache]:
    """y = x w + b for x (N, I), w (I, O), b (O) or None; returns y (N, O) and the cache."""
    n, (inputs, outputs) = len(x), w.shape
    y = memory.empty((n, outputs), x.dtype)
    if n > FEW_ROWS:
        multiply(contiguous(x), contiguous(w), y, accumulate=False)
        if b is not None:
            call(np.add, y, b, y)
        return y, DenseCache(x, w)
    bias = np.empty(0, x.dtype) if b is None else _flat(b)
    if inputs == 0:
        call(np.copyto, y, 0 if b is None else b)
    if y.size == 0 or inputs == 0:
        return y, DenseCache(x, w)
    nr, share = _blocks(n, inputs, outputs, x.dtype)
    shares = -(-inputs // share)
    sums = memory.scratch((shares - 1) * n * outputs, x.dtype)
    rows, x_row = _whole_tiles(x)
    space = scratch((ROWS + TILE_ROWS) * nr, x.dtype)
    _forward(rows, x_row, _flat(w), bias, n, inputs, outputs, share, nr, y.reshape(-1), sums, space)
    if shares > 1:
        _add_shares(sums, n, outputs, y.reshape(-1))
    return y, DenseCache(x, w)


@functools.lru_cache(4096)
def _blocks(n: int, inputs: int, outputs: int, dtype: np.dtype) -> tuple[int, int]:
    """Of the forward pass: NR, and the inputs of a share."""
    wanted = -(-TASKS // -(-outputs // COLUMNS))
    # A share is long beside the rows, or its own sum would cost more than its weights.
    share = max(-(-inputs // wanted), 8 * n, ROWS)
    return panel_width(outputs, dtype), -(-share // ROWS) * ROWS


@memory.framed
def dense_backward(
    dy: np.ndarray,
    cache: DenseCache,
    dw: np.ndarray,
    db: np.ndarray | None,
    *,
    need_dx: bool = True,
) -> np.ndarray | None:
    """Adds xᵀ dy to dw (I, O) and the column sums of dy to db (O); returns dx (N, I), or None."""
    x, w = contiguous(cache.x), contiguous(cache.w)
    dy = contiguous(dy)
    n, (inputs, outputs) = len(x), w.shape
    dx = memory.empty(x.shape, dy.dtype) if need_dx else None
    if dy.size == 0 or inputs == 0:
        if dx is not None:
            call(np.copyto, dx, 0)
        if db is not None:
            add_column_sums(dy, db)
        return dx
    if n > FEW_ROWS:
        multiply(x, dy, dw, transpose_a=True, accumulate=True)
        if db is not None:
            add_column_sums(dy, db)
        if dx is not None:
            multiply(dy, w, dx, transpose_b=True, accumulate=False)
        return dx
    count = lanes(dy.dtype)
    wide, tall, rows, numbers = _blocks_back(n, inputs, outputs, dy.dtype)
    none = np.empty(0, dy.dtype)
    straight = panels(n, outputs, dy.dtype)
    turned = panels(outputs, n, dy.dtype) if need_dx else none
    space = scratch(numbers, dy.dtype)
    flat = dy.reshape(-1)
    _prepare(
        flat, n, outputs, straight, wide, turned, tall, count, none if db is None else db, space
    )
    _gradients(
        x.reshape(-1), w.reshape(-1), straight, wide, turned, tall, n, inputs, outputs, count,
        rows, dw.reshape(-1), none if dx is None else dx.reshape(-1), space,
    )  # fmt: skip
    return dx


@functools.lru_cache(4096)
def _blocks_back(n: int, inputs: int, outputs: int, dtype: np.dtype) -> tuple[int, int, int, int]:
    """Of the backward pass: NR of dy's panels and of dyᵀ's, the inputs of a task, the numbers of a thread's space."""
    wide, tall = panel_width(outputs, dtype), panel_width(n, dtype)
    tiles = math.lcm(TILE_ROWS, lanes(dtype))  # whole tiles, and whole squares to turn
    rows = tiles * min(max(1, inputs // (TASKS * tiles)), max(1, BLOCK // tiles))
    return wide, tall, rows, max(rows * n + TILE_ROWS * wide, rows * tall + TILE_ROWS * DEPTH, wide)
