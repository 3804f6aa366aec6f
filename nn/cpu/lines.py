"""Convolutions with fewer multiplications along the rows only: Winograd's way in one direction.

``winograd.py`` transforms squares of pixels, which pays where there are many channels on both sides, and only for
3x3 kernels. Here four neighbouring places of a row are computed from T + 3 products for T taps instead of 4 T, the rows
of the kernel stay a sum as they are in ``direct.py``, and so do the channels. That suits a first layer of three
colours, where a matrix product in each of 36 points would have a depth of 3: here it has KH C, 15 for a 5x5 kernel.

With stride S the taps fall into S residues, each a convolution of stride 1 of every S-th pixel; more than five taps
are cut in two. So a kernel row of KW taps has groups of taps, and P points in all:

    KW 3, stride 1    3 taps             6 points for 12 products    (half of them)
    KW 5, stride 1    5 taps             8 for 20
    KW 5, stride 2    3 and 2 taps       6 + 5 for 20
    KW 7, stride 2    4 and 3 taps       7 + 6 for 28
    KW 7, stride 1    4 and 3 taps       the same

A task takes a strip of rows of places, as many as a register tile has rows. Its pixels are laid out column by column,
so that a column is one run of numbers, (rows, C): transforming is adding whole runs, and the numbers that the kernel
sees of a transformed column lie side by side, those of the next row of places SH C further on:

    forward   V[p] (fours, rows C) = Bᵀ of the columns that four places see
              M[p] (HIGH, K) = V[p] (HIGH, KH C), rows SH C apart, times U[p] (KH C, K): U = G w, M in the L1 cache
              y (HIGH, 4, K) = leaky(Aᵀ M + bias)
    weights   D[p] (rows, K) = A dy,   dU[p] (KH C, K) = sum over rows and fours of V[p]ᵀ D[p],   dw = Gᵀ dU

dx with stride 1 is the forward pass of dy with the kernel turned (conv.py). The weights' gradient pays only where there
are many channels: the transforms of dy cost as much as three colours save.

All that is written in turn lies side by side, V as (fours, points, rows C). A power of two apart, it would fall into
one set of the cache: 10 % of the time.

The error of float32 is 1.8 to 2.6 times that of the direct way (``tests/nn/cpu/test_lines.py``); whole numbers are
not exact, so float64 and ``precision="exact"`` take ``direct.py``.

Source: Winograd, Arithmetic Complexity of Computations, SIAM 1980; Toom and Cook's points.
"""

import functools
from collections.abc import Callable

import numpy as np
from numba import get_thread_id, njit, prange

from nn import memory
from nn.cpu.ends import Finish
from nn.cpu.gemm import panel_width, scratch
from nn.cpu.simd import (
    FLOATS,
    TILE_ROWS,
    VECTOR_BYTES,
    clear_span,
    column,
    column_activate,
    column_add,
    copy_span,
    tall_product_1,
    tile_product_1,
    tile_product_2,
)
from nn.cpu.winograd import TILE, toom_cook

# Points for so many taps besides infinity, those of the smallest error among eighths and quarters up to 3.
POINTS = {
    2: (0, 3 / 4, -3 / 4, 7 / 4),
    3: (0, 5 / 8, -5 / 8, 3 / 2, -3 / 2),
    4: (0, 1 / 2, -1 / 2, 5 / 4, -5 / 4, 3),
    5: (0, 1 / 2, -1 / 2, 1, -1, 7 / 4, -7 / 4),
}
MOST_TAPS = max(POINTS)
GAIN = 1.25  # so many times fewer multiplications it takes to pay
FEW = 4  # channels, up to which a compiled kernel knows their number
V_NUMBERS = 64 * 1024  # of a task's V: it stays in the L2 cache
PANEL_BYTES = (
    512 * 1024
)  # of transformed weights, of two vectors of outputs: they stay in the L2 cache
STRIP = 16  # rows of places, at most, that ``weights`` takes at a time
LEAST = 4  # rows: fewer are not worth their border
D_NUMBERS = 8 * 1024  # of the gradients that are transformed at a time: they stay in the L1 cache
PARTS = 16  # of the sum over places in dw, at most: fixed, so that its order does not depend on the number of threads
PARTIAL_NUMBERS = 512 * 1024  # of all parts together, if that is more than one part
OVER = 3  # numbers that copying a pixel of few channels may write behind its end
SINGLE = np.eye(TILE), np.eye(TILE), np.ones((TILE, 1))  # one tap: nothing to save


def groups_of(kw: int, stride: int) -> list[tuple[int, int]]:
    """(first tap, taps) of each group of the taps first, first + S, first + 2 S ..."""
    found = []
    for residue in range(min(stride, kw)):
        taps = -(-(kw - residue) // stride)
        pieces = -(-taps // MOST_TAPS)
        at = 0
        for piece in range(pieces):
            count = -(-(taps - at) // (pieces - piece))
            found.append((residue + at * stride, count))
            at += count
    return found


@functools.cache
def matrices(kw: int, stride: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Aᵀ (4, P), Bᵀ (P, columns that four places see) and G (P, KW) of all groups together."""
    groups = groups_of(kw, stride)
    seen = (TILE - 1) * stride + kw
    points = _all_points(kw, stride)
    a_t, b_t, g = np.zeros((TILE, points)), np.zeros((points, seen)), np.zeros((points, kw))
    p = 0
    for first, taps in groups:
        here = slice(p, p + _points(taps))
        parts = toom_cook(POINTS[taps], taps) if taps > 1 else SINGLE
        a_t[:, here] = parts[0]
        b_t[here, first : first + (TILE + taps - 2) * stride + 1 : stride] = parts[1]
        g[here, first : first + (taps - 1) * stride + 1 : stride] = parts[2]
        p = here.stop
    return a_t, b_t, g


def _points(taps: int) -> int:
    return TILE + taps - 1


@functools.cache
def _all_points(kw: int, stride: int) -> int:
    return sum(_points(taps) for _, taps in groups_of(kw, stride))


def _high(k: int) -> int:
    """Rows of a tile: twice as many where one vector holds all outputs, given 32 registers."""
    return 2 * TILE_ROWS if k <= FLOATS and VECTOR_BYTES == 64 else TILE_ROWS


def fits(
    w_shape: tuple[int, ...], y_shape: tuple[int, ...], stride: tuple[int, int], dtype: np.dtype
) -> bool:
    """Whether this is for it: float32, outputs in whole vectors, rows and columns that fill a tile, and it pays."""
    kh, kw, c, k = w_shape
    panel = _all_points(kw, stride[1]) * kh * c * panel_width(k, dtype)
    in_cache = panel * dtype.itemsize <= PANEL_BYTES
    return in_cache and _pays(w_shape, y_shape, stride, dtype, GAIN) and y_shape[1] >= _high(k)


def fits_weights(
    w_shape: tuple[int, ...], y_shape: tuple[int, ...], stride: tuple[int, int], dtype: np.dtype
) -> bool:
    """The same of ``weights``: a strip of some rows fits into the cache."""
    kh, _, c, _ = w_shape
    deep = kh * c >= 4 * TILE_ROWS
    return (
        deep
        and _pays(w_shape, y_shape, stride, dtype, 1.6 * GAIN)
        and _strip(w_shape, y_shape, stride) >= LEAST
    )


def _pays(
    w_shape: tuple[int, ...],
    y_shape: tuple[int, ...],
    stride: tuple[int, int],
    dtype: np.dtype,
    gain: float,
) -> bool:
    """Whether vectors, tiles and fours can be filled, and ``gain`` times fewer multiplications are made."""
    kh, kw, c, k = w_shape
    if dtype != np.float32 or k % FLOATS or kh * c < TILE_ROWS or y_shape[2] < TILE:
        return False
    return _all_points(kw, stride[1]) * gain < TILE * kw


def _strip(w_shape: tuple[int, ...], y_shape: tuple[int, ...], stride: tuple[int, int]) -> int:
    """Rows of places that ``weights`` takes at a time: their V stays in the L2 cache."""
    kh, kw, c, _ = w_shape
    length = V_NUMBERS // (_all_points(kw, stride[1]) * -(-y_shape[2] // TILE))
    return min(STRIP, y_shape[1], (length // c - kh) // stride[0] + 1)


def _length(rows: int, sh: int, kh: int, c: int) -> int:
    """Numbers of a column of pixels that so many rows of places see, in whole vectors."""
    return -(-(((rows - 1) * sh + kh) * c + OVER) // FLOATS) * FLOATS


_pixels = column(lambda kw, stride: matrices(kw, stride)[1])
_weights = column(lambda kw, stride: matrices(kw, stride)[2])
_output = column_activate(lambda kw, stride: matrices(kw, stride)[0])
_output_back = column(lambda kw, stride: matrices(kw, stride)[0].T)
_weights_back = column_add(lambda kw, stride: matrices(kw, stride)[2].T)


@njit(cache=True, nogil=True, error_model="numpy")
def _lay_out(x, h, wx, c, first, rows, column, columns, length, out):
    """Rows ``first`` ... and columns ``column`` ... of x (H, W, C), flat, into out (columns, rows, C).

    Copying four numbers takes as long as copying three; the next row then overwrites the fourth.
    """
    lo = min(columns, max(0, -column))
    hi = max(lo, min(columns, wx - column))
    for r in range(rows):
        row, to = first + r, r * c
        begin, end = (lo, hi) if 0 <= row < h else (columns, columns)
        at = (row * wx + column) * c
        last = end - 1 if row == h - 1 else end  # of the last pixel nothing more may be read
        for q in range(begin):
            clear_span(out, to + q * length, out, 0, c)
        if c == 1:
            for q in range(begin, last):
                copy_span(out, to + q * length, x, at + q, 1)
        elif c == 3 or c == 4:
            for q in range(begin, last):
                copy_span(out, to + q * length, x, at + q * c, 4)
        else:
            for q in range(begin, last):
                copy_span(out, to + q * length, x, at + q * c, c)
        for q in range(max(begin, last), end):
            copy_span(out, to + q * length, x, at + q * c, c)
        for q in range(end, columns):
            clear_span(out, to + q * length, out, 0, c)


@functools.cache
def _forward_of(kw: int, sw: int, tall: bool, known: int, apart: int) -> Callable[..., None]:
    """The loops for one kernel width, stride and tile, ``known`` channels and rows ``apart`` numbers apart, 0: any.

    A kernel that knows how far apart its rows are needs no registers for their addresses.
    """
    points, seen = matrices(kw, sw)[1].shape
    high = 2 * TILE_ROWS if tall else TILE_ROWS

    @njit(parallel=True, cache=True, nogil=True, error_model="numpy")
    def run(
        x, h, wx, some_c, top, left, w, u, nr, bias, slope, y, n, oh, ow, k, kh, sh, length, block, step,
        columns, v_of, m_of,
    ):  # fmt: skip
        """A strip of rows of places and ``block`` fours of places at a time.

        The last of each overlap those before, but no place is stored twice: two fours round differently, and which of
        two threads comes last would show.
        """
        c = known if known > 0 else some_c
        near = apart if apart > 0 else sh * c
        depth = kh * c
        panel = points * depth * nr
        fours, strips = (ow + 3) // 4, (oh + high - 1) // high
        blocks = (fours + block - 1) // block
        corner = points * high * nr  # where in m the last four of a row is finished, if it overlaps
        for line in range(depth):  # (row, channel) of the kernel
            for j in range(0, k, step):
                _weights(kw, sw, w, (line // c * kw * c + line % c) * k + j, c * k,
                         u, j // nr * panel + line * nr + j % nr, depth * nr)  # fmt: skip
        for task in prange(n * strips * blocks):
            t = get_thread_id()
            picture, v, m = columns[t], v_of[t], m_of[t]
            i, rest = task // (strips * blocks), task % (strips * blocks)
            first, four = rest // blocks * high, rest % blocks * block
            begin, count = min(first, oh - high), min(block, fours - four)
            q0 = min(4 * four, ow - 4)
            wide = (min(4 * (four + count - 1), ow - 4) - q0) * sw + seen
            source = x[i * h * wx * c : (i + 1) * h * wx * c]
            _lay_out(source, h, wx, c, begin * sh - top, (high - 1) * sh + kh, q0 * sw - left, wide,
                     length, picture)  # fmt: skip
            for f in range(count):
                at, to = (min(4 * (four + f), ow - 4) - q0) * sw * length, f * points * length
                for part in range(0, length, step):
                    _pixels(kw, sw, picture, at + part, length, v, to + part, length)
            for j in range(0, k, nr):
                width = min(nr, k - j)
                for f in range(count):
                    a, b = f * points * length, j // nr * panel
                    for p in range(points):
                        if tall:
                            tall_product_1(v, a, near, 1, 0, u, b, nr, 0, m, p * high * nr, nr,
                                           depth, 1, False)  # fmt: skip
                        elif width <= step:
                            tile_product_1(v, a, near, 1, 0, u, b, nr, 0, m, p * high * nr, nr,
                                           depth, 1, False)  # fmt: skip
                        else:
                            tile_product_2(v, a, near, 1, 0, u, b, nr, 0, m, p * high * nr, nr,
                                           depth, 1, False)  # fmt: skip
                        a, b = a + length, b + depth * nr
                    q = min(4 * (four + f), ow - 4)
                    there = 4 * (four + f) - q  # of these places, how many the four before has
                    for r in range(first - begin, high):
                        at = ((i * oh + begin + r) * ow + q) * k + j
                        for part in range(0, width, step):
                            out, o0, o_row = (y, at + part, k) if there == 0 else (m, corner, step)
                            _output(kw, sw, m, r * nr + part, high * nr, out, o0, o_row,
                                    bias, j + part, slope)  # fmt: skip
                            if there > 0:
                                for place in range(there, 4):
                                    copy_span(
                                        y, at + part + place * k, m, corner + place * step, step
                                    )

    return run


def forward(
    x: np.ndarray,
    w: np.ndarray,
    finish: Finish,
    y: np.ndarray,
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
) -> None:
    """y (N, OH, OW, K) = x (N, H, W, C) convolved with w (KH, KW, C, K), finished but for the shuffle."""
    n, oh, ow, k = y.shape
    kh, kw, c, _ = w.shape
    (sh, sw), (top, _, left, _) = stride, padding
    high = _high(k)
    points, seen = matrices(kw, sw)[1].shape
    length = _length(high, sh, kh, c)
    fours = -(-ow // TILE)
    block = max(1, min(fours, V_NUMBERS // (points * length)))
    nr = panel_width(k, x.dtype)
    columns = scratch((TILE * (block - 1) * sw + seen) * length + VECTOR_BYTES, x.dtype)
    columns[...] = 0  # what no pixel is written to must be numbers
    few = c <= FEW
    _forward_of(kw, sw, high > TILE_ROWS, c if few else 0, sh * c if few else 0)(
        x.reshape(-1), *x.shape[1:], top, left, np.ascontiguousarray(w).reshape(-1),
        memory.scratch(-(-k // nr) * nr * points * kh * c, x.dtype), nr, finish.bias, finish.slope,
        y.reshape(-1), n, oh, ow, k, kh, sh, length, block, FLOATS,
        columns, scratch(points * block * length, x.dtype), scratch(points * high * nr + TILE * FLOATS, x.dtype),
    )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def _four(dy, at, k, skip, out, to, step):
    """Four places of dy from number ``at`` on, a vector of each, the first ``skip`` left out as 0."""
    for place in range(4):
        if place < skip:
            clear_span(out, to + place * step, out, 0, step)
        else:
            copy_span(out, to + place * step, dy, at + place * k, step)


@functools.cache
def _weights_of(kw: int, sw: int) -> Callable[..., None]:
    """The loops of ``weights``, as ``_forward_of``."""
    points, seen = matrices(kw, sw)[1].shape

    @njit(parallel=True, cache=True, nogil=True, error_model="numpy")
    def run(
        x, h, wx, c, top, left, dy, n, oh, ow, k, kh, sh, length, strip, block, share, columns, step, rows,
        pictures, v_of, d_of, partial, dw,
    ):  # fmt: skip
        """partial (PARTS, P, ROWS, K): each part the sum over its share of the strips, in whole tiles of rows.

        A tile that hangs over the last of the KH C rows sees other numbers; its rows there are not used.
        """
        near, v_run, d_run = sh * c, points * length, points * strip * step
        fours, strips = (ow + 3) // 4, (oh + strip - 1) // strip
        parts, groups = (n * strips + share - 1) // share, (k + columns - 1) // columns
        corner = block * d_run  # where in d the last four of a row are copied to
        for task in prange(parts * groups):
            t = get_thread_id()
            picture, v, d = pictures[t], v_of[t], d_of[t]
            part, left_k = task // groups, task % groups * columns
            for unit in range(part * share, min(n * strips, (part + 1) * share)):
                i, first = unit // strips, unit % strips * strip
                count = min(strip, oh - first)
                source = x[i * h * wx * c : (i + 1) * h * wx * c]
                _lay_out(source, h, wx, c, first * sh - top, (count - 1) * sh + kh, -left, (ow - 4) * sw + seen,
                         length, picture)  # fmt: skip
                for f in range(fours):
                    at = min(4 * f, ow - 4) * sw * length
                    for piece in range(0, length, step):
                        _pixels(kw, sw, picture, at + piece, length, v, f * v_run + piece, length)
                for j in range(left_k, min(k, left_k + columns), step):
                    for f0 in range(0, fours, block):
                        some, add = min(block, fours - f0), unit > part * share or f0 > 0
                        for f in range(f0, f0 + some):
                            q = min(4 * f, ow - 4)
                            for r in range(count):
                                at = ((i * oh + first + r) * ow + q) * k + j
                                to = (f - f0) * d_run + r * step
                                if q == 4 * f:
                                    _output_back(kw, sw, dy, at, k, d, to, strip * step)
                                else:  # the four before has the first of these
                                    _four(dy, at, k, 4 * f - q, d, corner, step)
                                    _output_back(kw, sw, d, corner, step, d, to, strip * step)
                        for p in range(points):
                            a, b = (f0 * points + p) * length, p * strip * step
                            to = (part * points + p) * rows * k + j
                            r = 0
                            while r < rows:
                                if rows - r > TILE_ROWS:
                                    tall_product_1(v, a + r, 1, near, v_run, d, b, step, d_run,
                                                   partial, to + r * k, k, count, some, add)  # fmt: skip
                                    r += 2 * TILE_ROWS
                                else:
                                    tile_product_1(v, a + r, 1, near, v_run, d, b, step, d_run,
                                                   partial, to + r * k, k, count, some, add)  # fmt: skip
                                    r += TILE_ROWS
        for line in range(kh * c):  # the parts in their order
            for part in range(parts):
                for j in range(0, k, step):
                    _weights_back(kw, sw, partial, (part * points * rows + line) * k + j, rows * k,
                                  dw, (line // c * kw * c + line % c) * k + j, c * k)  # fmt: skip

    return run


def weights(
    x: np.ndarray,
    dy: np.ndarray,
    dw: np.ndarray,
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
) -> None:
    """dw (KH, KW, C, K) += the gradient of the weights, from x (N, H, W, C) and dy (N, OH, OW, K)."""
    n, oh, ow, k = dy.shape
    kh, kw, c, _ = dw.shape
    (sh, sw), (top, _, left, _) = stride, padding
    points, seen = matrices(kw, sw)[1].shape
    strip, fours = _strip(dw.shape, dy.shape, stride), -(-ow // TILE)
    length = _length(strip, sh, kh, c)
    rows = -(-kh * c // TILE_ROWS) * TILE_ROWS
    units = n * -(-oh // strip)
    share = -(-units // max(1, min(units, PARTS, PARTIAL_NUMBERS // (points * rows * k))))
    parts = -(-units // share)
    columns = -(-k // FLOATS // -(-PARTS // parts)) * FLOATS
    block = max(1, min(fours, D_NUMBERS // (points * strip * FLOATS)))
    over = rows + VECTOR_BYTES  # what tiles that hang over read
    spaces = [
        scratch(numbers, x.dtype)
        for numbers in (
            ((ow - TILE) * sw + seen) * length + over,
            points * fours * length + over,
            (points * strip * block + TILE) * FLOATS,
        )
    ]
    for space in spaces[:2]:
        space[...] = 0  # what no pixel is written to must be numbers
    partial = memory.scratch(parts * points * rows * k, x.dtype)
    _weights_of(kw, sw)(
        x.reshape(-1), *x.shape[1:], top, left, dy.reshape(-1), n, oh, ow, k, kh, sh, length, strip, block, share,
        columns, FLOATS, rows, *spaces, partial, dw.reshape(-1),
    )  # fmt: skip
