"""Dense layer on the CPU. The equations stand in ``nn/reference/dense.py``.

A batch is small and the weights are many: 32 rows of x (N, I) meet a million numbers of w (I, O). So for up to
FEW_ROWS rows each of the three products passes the weights (or their gradient) once, where they lie, row after row:

    y  = x w      w is the side of vectors: row i of w, times x[n, i], is added to y[n]
    dx = dy wᵀ    made as dxᵀ = w dyᵀ: single weights times vectors along n, turned round tile by tile
    dw += xᵀ dy   vectors of dy times single numbers of x, added to dw tile by tile

The sum over i in the first is cut into shares, so that there is work for several threads even where O is small; each
has a sum of its own, and they are added in order. The backward pass is cut by rows of w, which share what dy is packed
to, or, where w is wide and lies in the caches, by columns: then each part packs its own of dy, no core waits for what
another has written, and dx is the sum over the parts. Shares, parts and blocks follow from the sizes alone, so results
do not depend on the number of threads. With more rows, packing the weights is cheap beside the product: ``multiply``.
"""

import functools
import math
from collections.abc import Callable

import numpy as np
from numba import get_thread_id, njit, prange

from nn import memory
from nn.cpu.gemm import PAD, THREADS, multiply, panel_width, panels, scratch
from nn.cpu.kernel import kernel
from nn.cpu.rows import add_column_sums
from nn.cpu.simd import (
    TILE_ROWS,
    VECTOR_BYTES,
    add_span,
    clear_span,
    copy_span,
    fetch_span,
    lanes,
    low_ones_2,
    tile_fetch_1,
    tile_fetch_2,
    tile_product_1,
    tile_product_2,
    transpose_tile,
)
from nn.record import call, contiguous
from nn.reference.dense import DenseCache

FEW_ROWS = 128
DEPTH = 256  # terms that a tile of the backward pass sums at a time
FAR_ROWS = 64  # of w in a block of the forward pass, at most, while the next is fetched
NEAR_ROWS = 128  # in a block where w lies in the caches anyway, and nothing is fetched ahead
NEAR = 2 * 2**20  # bytes of such a w
COLUMNS = 512  # of w or dw in one task, at most
LEAST_TASKS = 4  # where there would be fewer, fewer columns
LEAST_COLUMNS = 128  # but not fewer than these
TASKS = 16  # wanted at least, so that several threads have work
BLOCK = 128  # inputs in one task of the backward pass by rows, where that makes enough tasks
PART = 256  # outputs in a part of the backward pass by columns: so many, or a multiple


# Where a tile is small, the call itself would be a tenth of it.
@njit(cache=True, nogil=True, error_model="numpy", inline="always")
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


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _columns_of(w, k, depth, j, there, nr, outputs, own):
    """(b, b0, b_k): where a tile reads w, columns j to j + there; the last ones, filled up with zeros, in ``own``."""
    b, b0, b_k = w, k * outputs + j, outputs
    if there < nr:
        b, b0, b_k = own, 0, nr
        clear_span(own, 0, own, 0, depth * nr)
        for kk in range(depth):
            copy_span(own, kk * nr, w, (k + kk) * outputs + j, there)
    return b, b0, b_k


@njit(cache=True, nogil=True, error_model="numpy")
def _add_near(x, x_row, w, k, depth, n, left, right, outputs, nr, to, t0, own, edge):
    """Adds the terms k to k + depth to columns left to right of ``to``: w is read where it lies, once for each tile.

    Tiles that end within ``to`` are made at ``edge`` of ``own``.
    """
    for j in range(left, right, nr):
        there = min(nr, right - j)
        b, b0, b_k = _columns_of(w, k, depth, j, there, nr, outputs, own)
        for m in range(0, n, TILE_ROWS):
            _tile(x, m * x_row + k, x_row, 1, min(TILE_ROWS, n - m), b, b0, b_k, there, nr,
                  to, t0 + m * outputs + j, outputs, depth, True, own, edge)  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def _add_far(
    x, x_row, w, k, depth, row, column, last, n, left, right, outputs, nr, to, t0, own, edge
):
    """The same. Meanwhile the next block, from ``row`` and ``column`` to ``last``, is fetched row after row as it lies.

    A tile reads a few numbers here and a few a row further on, which the processor does not foresee. Only so many lines
    can be on their way at a time, so each tile asks for its part of the block bit by bit, between its products.
    """
    width, first = right - left, column
    tiles = ((width + nr - 1) // nr) * ((n + TILE_ROWS - 1) // TILE_ROWS)
    part = ((last - row) * width + tiles - 1) // tiles
    for j in range(left, right, nr):
        there = min(nr, right - j)
        b, b0, b_k = _columns_of(w, k, depth, j, there, nr, outputs, own)
        for m in range(0, n, TILE_ROWS):
            at, run, rest = 0, 0, part
            while rest > 0 and row < last:  # of several rows, the last between the products
                fetch_span(w, at, run)
                at, run = row * outputs + column, min(rest, first + width - column)
                column, rest = column + run, rest - run
                if column == first + width:
                    row, column = row + 1, first
            pace, height = (run + depth - 1) // depth, min(TILE_ROWS, n - m)
            whole = height == TILE_ROWS and there == nr
            y, y0, y_row = (to, t0 + m * outputs + j, outputs) if whole else (own, edge, nr)
            if nr * w.itemsize <= VECTOR_BYTES:
                tile_fetch_1(x, m * x_row + k, x_row, 1, 0, b, b0, b_k, 0, y, y0, y_row, depth, 1, whole,
                             w, at, pace)  # fmt: skip
            else:
                tile_fetch_2(x, m * x_row + k, x_row, 1, 0, b, b0, b_k, 0, y, y0, y_row, depth, 1, whole,
                             w, at, pace)  # fmt: skip
            if not whole:
                for i in range(height):
                    add_span(to, t0 + (m + i) * outputs + j, own, edge + i * nr, there)


@functools.cache
def _forward_of(far: bool) -> Callable[..., None]:
    """The loops of the forward pass, for weights that come from memory or lie in the caches."""

    @kernel
    def run(x, x_row, w, bias, n, inputs, outputs, share, columns, nr, y, sums, space):
        """y = bias + the first share of the sum over inputs; the others go to ``sums`` (shares - 1, N, O)."""
        # Few examples are multiplied before the next block has come: fewer rows, so that they come as a stream.
        rows = min(FAR_ROWS, (n + TILE_ROWS - 1) // TILE_ROWS * 2 * TILE_ROWS) if far else NEAR_ROWS
        shares = (inputs + share - 1) // share
        stripes = (outputs + columns - 1) // columns
        for task in prange(shares * stripes):
            part, left = task // stripes, task % stripes * columns
            right, end = min(outputs, left + columns), min(inputs, (part + 1) * share)
            own = space[get_thread_id()]
            to, t0 = (y, 0) if part == 0 else (sums, (part - 1) * n * outputs)
            for m in range(n):
                if part == 0 and bias.size > 0:
                    copy_span(to, t0 + m * outputs + left, bias, left, right - left)
                else:
                    clear_span(to, t0 + m * outputs + left, to, 0, right - left)
            for k in range(part * share, end, rows):
                depth = min(rows, end - k)
                if far:
                    row, column = k + rows, left
                    if row >= end:  # the next task, which is mostly this thread's
                        row, column = (task + 1) // stripes * share, (task + 1) % stripes * columns
                    _add_far(x, x_row, w, k, depth, row, column, row + rows, n, left, right, outputs, nr,
                             to, t0, own, rows * nr)  # fmt: skip
                else:
                    _add_near(x, x_row, w, k, depth, n, left, right, outputs, nr, to, t0, own, rows * nr)  # fmt: skip

    return run


@kernel
def _add_shares(sums, n, outputs, y):
    """y (N, O) += each of ``sums`` (shares - 1, N, O), in their order."""
    for m in prange(n):
        for at in range(m * outputs, sums.size, n * outputs):
            add_span(y, m * outputs, sums, at, outputs)


@njit(cache=True, nogil=True, error_model="numpy")
def _pack(dy, left, width, n, outputs, straight, s0, wide, turned, tall, t_row, t0, count, db, own):
    """``width`` columns of dy, from ``left`` on: as panels of ``wide`` outputs to ``straight`` from s0 on, as panels
    of ``tall`` examples and t_row outputs to ``turned``, there from output t0 on; their sums are added to db.

    Panels that are not full end in zeros. ``turned`` or ``db`` may be empty: not wanted.
    """
    full = 2 * VECTOR_BYTES // dy.itemsize  # known when it is compiled: no call for each copy
    for first in range(0, width, wide):
        there = min(wide, width - first)
        start, source = s0 + first * n, left + first
        if there == full:
            for m in range(n):
                copy_span(straight, start + m * wide, dy, m * outputs + source, full)
        else:
            for m in range(n):
                copy_span(straight, start + m * wide, dy, m * outputs + source, there)
                clear_span(straight, start + m * wide + there, dy, 0, wide - there)
        if db.size > 0 and there == full:
            low_ones_2(
                straight, start, 0, 0, 0, straight, start, wide, 0, db, source, 0, n, 1, True
            )
        elif db.size > 0:
            clear_span(own, 0, dy, 0, wide)
            for m in range(n):
                add_span(own, 0, straight, start + m * wide, wide)
            add_span(db, source, own, 0, there)
        if turned.size > 0:
            for m in range(0, (n + tall - 1) // tall * tall, count):
                panel = m // tall * tall * t_row + m % tall
                for o in range(0, there, count):
                    to = panel + (t0 + first + o) * tall
                    if m + count <= n and o + count <= there:
                        transpose_tile(straight, start + m * wide + o, wide, turned, to, tall)
                    else:
                        for oo in range(min(count, there - o)):
                            clear_span(turned, to + oo * tall, dy, 0, count)
                            for mm in range(min(count, n - m)):
                                turned[to + oo * tall + mm] = dy[
                                    (m + mm) * outputs + source + o + oo
                                ]


@kernel
def _prepare(dy, n, outputs, straight, wide, turned, tall, count, db, space):
    """dy and dyᵀ in panels, db += the column sums of dy: all that blocks of rows of w share."""
    for task in prange((outputs + wide - 1) // wide):
        left = task * wide
        _pack(dy, left, min(wide, outputs - left), n, outputs, straight, left * n, wide,
              turned, tall, outputs, left, count, db, space[get_thread_id()])  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def _weight_gradient(x, first, height, left, width, straight, n, inputs, outputs, nr, dw, own):
    """dw (I, O) += xᵀ dy in rows first to first + height, columns left to left + width, which ``straight`` holds."""
    rows = (height + TILE_ROWS - 1) // TILE_ROWS * TILE_ROWS
    for m in range(n):  # the numbers of x that belong to a tile, side by side
        copy_span(own, m * rows, x, m * inputs + first, height)
        if height < rows:
            clear_span(own, m * rows + height, x, 0, rows - height)
    for some in range(0, width, COLUMNS):
        for i in range(0, height, TILE_ROWS):
            for j in range(some, min(width, some + COLUMNS), nr):
                _tile(own, i, 1, rows, min(TILE_ROWS, height - i),
                      straight, j * n, nr, min(nr, width - j), nr,
                      dw, (first + i) * outputs + left + j, outputs, n, True, own, rows * n)  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def _input_gradient(w, first, height, left, width, turned, d0, outputs, nr, to, t0, own, edge):
    """(height, nr) of dxᵀ = w dyᵀ at t0 of ``to``, in whole tiles of rows: one panel of ``turned``, from d0 on.

    Of w the rows first to first + height, and columns left to left + width, which are the panel's.
    """
    for k in range(0, width, DEPTH):
        depth = min(DEPTH, width - k)
        for i in range(0, height, TILE_ROWS):
            source = (first + i) * outputs + left + k
            a, a0, a_row, there = w, source, outputs, min(TILE_ROWS, height - i)
            if there < TILE_ROWS:  # the last rows of w, filled up
                a, a0, a_row = own, edge, depth
                for ii in range(there):
                    copy_span(own, edge + ii * depth, w, source + ii * outputs, depth)
                clear_span(own, edge + there * depth, w, 0, (TILE_ROWS - there) * depth)
            _tile(a, a0, a_row, 1, TILE_ROWS, turned, d0 + k * nr, nr, nr, nr,
                  to, t0 + i * nr, nr, depth, k > 0, own, 0)  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def _turn(turned, m, n, nr, first, height, inputs, count, dx):
    """dx (N, I), rows m to m + nr and columns first to first + height, from (height, nr) of dxᵀ."""
    for mm in range(m, min(m + nr, n), count):
        for i in range(0, height, count):
            if mm + count <= n and i + count <= height:
                transpose_tile(turned, i * nr + mm - m, nr, dx, mm * inputs + first + i, inputs)
            else:
                for m1 in range(mm, min(mm + count, n)):
                    for i1 in range(i, min(i + count, height)):
                        dx[m1 * inputs + first + i1] = turned[i1 * nr + m1 - m]


@kernel
def _by_rows(x, w, straight, wide, turned, tall, n, inputs, outputs, count, rows, dw, dx, space):
    """dw and dx, in blocks of ``rows`` inputs; an empty ``dx`` is not wanted."""
    for task in prange((inputs + rows - 1) // rows):
        first = task * rows
        height = min(rows, inputs - first)
        own = space[get_thread_id()]
        _weight_gradient(x, first, height, 0, outputs, straight, n, inputs, outputs, wide, dw, own)
        if dx.size > 0:
            for m in range(0, n, tall):
                _input_gradient(w, first, height, 0, outputs, turned, m * outputs, outputs, tall,
                                own, 0, own, rows * tall)  # fmt: skip
                _turn(own, m, n, tall, first, height, inputs, count, dx)


@kernel
def _by_columns(
    x, w, dy, wide, tall, n, inputs, outputs, count, columns, dw, db, sums, room, space
):
    """dw, db and sums (parts, panels of dxᵀ), in parts of ``columns`` outputs; empty ``sums`` are not wanted.

    What a part needs of dy is packed where it is needed; ``room`` holds that.
    """
    parts, count_m = (outputs + columns - 1) // columns, (n + tall - 1) // tall
    size = sums.size // (parts * count_m)
    for part in prange(parts):
        left = part * columns
        width = min(columns, outputs - left)
        own, straight = space[get_thread_id()], room[get_thread_id(), 0]
        turned = room[get_thread_id(), 1, : 0 if sums.size == 0 else room.shape[2]]
        _pack(
            dy, left, width, n, outputs, straight, 0, wide, turned, tall, columns, 0, count, db, own
        )
        _weight_gradient(x, 0, inputs, left, width, straight, n, inputs, outputs, wide, dw, own)
        if sums.size > 0:
            for m in range(count_m):
                _input_gradient(w, 0, inputs, left, width, turned, m * tall * columns, outputs, tall,
                                sums, (part * count_m + m) * size, own, 0)  # fmt: skip


@kernel
def _add_parts(sums, parts, n, tall, inputs, rows, count, dx, space):
    """dx = the sum of all parts of dxᵀ, in their order and turned round."""
    blocks, count_m = (inputs + rows - 1) // rows, (n + tall - 1) // tall
    size = sums.size // (parts * count_m)
    for task in prange(blocks * count_m):
        m, first = task // blocks, task % blocks * rows
        height = min(rows, inputs - first)
        own = space[get_thread_id()]
        copy_span(own, 0, sums, m * size + first * tall, height * tall)
        for part in range(1, parts):
            at = (part * count_m + m) * size + first * tall
            add_span(own, 0, sums, at, height * tall)
        _turn(own, m * tall, n, tall, first, height, inputs, count, dx)


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
    nr, share, columns, far = _blocks(n, inputs, outputs, x.dtype)
    shares = -(-inputs // share)
    sums = memory.scratch((shares - 1) * n * outputs, x.dtype)
    tiles, x_row = _whole_tiles(x)
    space = scratch((max(FAR_ROWS, NEAR_ROWS) + TILE_ROWS) * nr, x.dtype)
    _forward_of(far)(
        tiles, x_row, _flat(w), bias, n, inputs, outputs, share, columns, nr,
        y.reshape(-1), sums, space,
    )  # fmt: skip
    if shares > 1:
        _add_shares(sums, n, outputs, y.reshape(-1))
    return y, DenseCache(x, w)


@functools.lru_cache(4096)
def _blocks(n: int, inputs: int, outputs: int, dtype: np.dtype) -> tuple[int, int, int, bool]:
    """Of the forward pass: NR, the inputs of a share, the outputs of a stripe, and whether w comes from memory."""
    nr, stripes = panel_width(outputs, dtype), -(-outputs // COLUMNS)
    # A share is long beside the rows, or its own sum would cost more than its weights.
    shares = max(1, min(-(-TASKS // stripes), inputs // max(8 * n, FAR_ROWS)))
    if shares * stripes < LEAST_TASKS:
        stripes = min(-(-LEAST_TASKS // shares), -(-outputs // LEAST_COLUMNS))
    if shares * stripes % 2:  # two threads would not end together
        shares = max(1, shares - 1)
    share = -(-inputs // (shares * TILE_ROWS)) * TILE_ROWS
    columns = -(-outputs // (stripes * nr)) * nr
    return nr, share, columns, inputs * outputs * dtype.itemsize > NEAR


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
    wide, tall = panel_width(outputs, dy.dtype), panel_width(n, dy.dtype)
    none = np.empty(0, dy.dtype)
    db = none if db is None else db
    flat_dx = none if dx is None else dx.reshape(-1)
    flat = x.reshape(-1), w.reshape(-1)
    if columns := _columns(inputs, outputs, dy.dtype):
        parts = -(-outputs // columns)
        whole = -(-inputs // TILE_ROWS) * TILE_ROWS
        sums = memory.scratch(parts * whole * -(-n // tall) * tall, dy.dtype) if need_dx else none
        space = scratch(whole * max(n, tall) + TILE_ROWS * max(wide, DEPTH), dy.dtype)
        room = memory.scratch((THREADS, 2, columns * -(-n // tall) * tall), dy.dtype)
        _by_columns(
            *flat, dy.reshape(-1), wide, tall, n, inputs, outputs, count, columns,
            dw.reshape(-1), db, sums, room, space,
        )  # fmt: skip
        if need_dx:
            _add_parts(sums, parts, n, tall, inputs, max(count, TILE_ROWS), count, flat_dx, space)
        return dx
    rows, numbers = _blocks_back(n, inputs, dy.dtype, wide, tall)
    straight = panels(n, outputs, dy.dtype)
    turned = panels(outputs, n, dy.dtype) if need_dx else none
    space = scratch(numbers, dy.dtype)
    _prepare(dy.reshape(-1), n, outputs, straight, wide, turned, tall, count, db, space)
    _by_rows(
        *flat, straight, wide, turned, tall, n, inputs, outputs, count, rows,
        dw.reshape(-1), flat_dx, space,
    )  # fmt: skip
    return dx


@functools.lru_cache(4096)
def _columns(inputs: int, outputs: int, dtype: np.dtype) -> int:
    """Outputs in a part of the backward pass by columns; 0: by rows, as w lies, where it comes from memory."""
    columns = -(-2 * inputs // PART) * PART
    near = inputs * outputs * dtype.itemsize <= 2 * NEAR
    return columns if near and outputs >= 4 * columns else 0


@functools.lru_cache(4096)
def _blocks_back(n: int, inputs: int, dtype: np.dtype, wide: int, tall: int) -> tuple[int, int]:
    """Of the backward pass by rows: the inputs of a task, the numbers of a thread's space."""
    tiles = math.lcm(TILE_ROWS, lanes(dtype))  # whole tiles, and whole squares to turn
    rows = tiles * min(max(1, inputs // (TASKS * tiles)), max(1, BLOCK // tiles))
    return rows, max(rows * n + TILE_ROWS * wide, rows * tall + TILE_ROWS * DEPTH, wide)
