"""Convolutions with fewer multiplications along the rows only: Winograd's way in one direction.

``winograd.py`` transforms squares of pixels, which pays where there are many channels on both sides, and only for
3x3 kernels. Here four neighbouring places of a row are computed from T + 3 products for T taps instead of 4 T, the rows
of the kernel stay a sum as they are in ``direct.py``, and so do the channels. That suits a first layer of three
colours, where a matrix product in each of 36 points would have a depth of 3: here it has KH C, 15 for a 5x5 kernel.

With stride S the taps fall into S residues, each a convolution of stride 1 of every S-th pixel; more than five taps
are cut in two. So a kernel row of KW taps has groups of taps. T of them take T + 3 products, Q in all:

    KW 3, stride 1    3 taps             6 products for 12    (half of them)
    KW 5, stride 1    5 taps             8 for 20
    KW 5, stride 2    3 and 2 taps       6 + 5 for 20
    KW 7, stride 2    4 and 3 taps       7 + 6 for 28
    KW 7, stride 1    4 and 3 taps       the same

What the products become, Aᵀ, depends on the points alone at which the polynomials are taken, not on the taps. So all
groups take the points of the longest, P of them, and their products at a point are one sum before they are transformed:
with 6 points instead of 11 for a 5x5 kernel of stride 2, the sums are deeper and what follows them is half.

A task takes a strip of rows of places, as many as a register tile has rows. Its pixels are laid out column by column,
so that a column is one run of numbers, (rows, C): transforming is adding whole runs, and the numbers that the kernel
sees of a transformed column lie side by side, those of the next row of places SH C further on:

    forward   V[q] (fours, rows C) = Bᵀ of the columns that four places see
              M[p] (HIGH, K) = sum over the q of p of V[q] (HIGH, KH C), rows SH C apart, times U[q] (KH C, K):
              U = G w, M in the L1 cache
              y (HIGH, 4, K) = leaky(Aᵀ M + bias)
    weights   D[p] (rows, K) = A dy,   dU[q] (KH C, K) = sum over rows and fours of V[q]ᵀ D[p],   dw = Gᵀ dU

dx with stride 1 is the forward pass of dy with the kernel turned (conv.py).

All that is written in turn lies side by side, V as (fours, Q, rows C). A power of two apart, it would fall into
one set of the cache: 10 % of the time.

The error of float32 is 1.4 to 2.6 times that of the direct way (``tests/nn/test_lines.py``); whole numbers are
not exact, so float64 and ``precision="exact"`` take ``direct.py``.

Source: Winograd, Arithmetic Complexity of Computations, SIAM 1980; Toom and Cook's points.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import get_thread_id, njit, prange

from nn import memory
from nn.cpu.ends import Finish
from nn.cpu.gemm import panel_width, scratch
from nn.cpu.kernel import kernel
from nn.cpu.points import TILE, toom_cook
from nn.cpu.rows import with_slack
from nn.cpu.simd import (
    FLOATS,
    STACKED,
    TALL_ROWS,
    TILE_ROWS,
    VECTOR_BYTES,
    clear_span,
    column,
    column_activate,
    column_add,
    copy_span,
    rows_product_1,
    stack_pixels,
    stream_fence,
    tall_product_1,
    tile_product_1,
    tile_product_2,
)
from nn.record import call, contiguous

# Points for so many taps besides infinity, those of the smallest error among eighths and quarters up to 3.
POINTS = {
    2: (0, 3 / 4, -3 / 4, 7 / 4),
    3: (0, 5 / 8, -5 / 8, 3 / 2, -3 / 2),
    4: (0, 1 / 2, -1 / 2, 5 / 4, -5 / 4, 3),
    5: (0, 1 / 2, -1 / 2, 1, -1, 7 / 4, -7 / 4),
}
MOST_TAPS = max(POINTS)
GAIN, WEIGHTS_GAIN = 1.25, 1.5  # so many times fewer multiplications it takes to pay
FEW = 4  # channels, up to which a compiled kernel knows their number
V_NUMBERS = 64 * 1024  # of a task's V: it stays in the L2 cache
PANEL_BYTES = (
    512 * 1024
)  # of transformed weights, of two vectors of outputs: they stay in the L2 cache
STRIP = 32  # rows of places, at most, that ``weights`` takes at a time
CHAINS = 4  # sums of db of a part: each addition to one would wait for the last
LEAST = 4  # rows: fewer are not worth their border
D_NUMBERS = 8 * 1024  # of the gradients that are transformed at a time: they stay in the L1 cache
PARTS = 16  # of the sum over places in dw, at most: fixed, so that its order does not depend on the number of threads
PARTIAL_NUMBERS = 512 * 1024  # of all parts together, if that is more than one part
STREAM_BYTES = (
    6 * 2**20
)  # of results, from which on they are written past the caches, which they would not stay in
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


class Matrices(NamedTuple):
    """Of all groups together: Q products, those of one of the P points side by side.

    a_t: Aᵀ (4, P). b_t: Bᵀ (Q, columns that four places see). g: G (Q, KW). starts (P + 1): of each point, and Q.
    """

    a_t: np.ndarray
    b_t: np.ndarray
    g: np.ndarray
    starts: tuple[int, ...]


@functools.cache
def matrices(kw: int, stride: int) -> Matrices:
    """Every group at the points of the longest: Aᵀ, which depends on the points alone, is then one for all.

    A group of T taps needs T + 3 points; the longest has infinity for its last, a shorter one takes so many of the
    others.
    """
    groups = groups_of(kw, stride)
    most = max(taps for _, taps in groups)
    seen, count = (TILE - 1) * stride + kw, most + TILE - 1
    if most == 1:
        alone = [SINGLE] * len(groups)
    else:
        finite = POINTS[most]
        alone = [toom_cook(finite if t == most else finite[: t + TILE - 1], t) for _, t in groups]
    starts, b_t, g = [0], [], []
    for p in range(count):
        for (first, taps), parts in zip(groups, alone, strict=True):
            if p < taps + TILE - 1:
                b_row, g_row = np.zeros(seen), np.zeros(kw)
                b_row[first : first + (TILE + taps - 2) * stride + 1 : stride] = parts[1][p]
                g_row[first : first + (taps - 1) * stride + 1 : stride] = parts[2][p]
                b_t.append(b_row)
                g.append(g_row)
        starts.append(len(g))
    longest = next(parts for (_, taps), parts in zip(groups, alone, strict=True) if taps == most)
    return Matrices(longest[0], np.array(b_t), np.array(g), tuple(starts))


@functools.cache
def _products(kw: int, stride: int) -> int:
    """Q, for four places of one row and one channel."""
    return sum(taps + TILE - 1 for _, taps in groups_of(kw, stride))


def _high(k: int) -> int:
    """Rows of a tile: twice as many where one vector holds all outputs, given 32 registers."""
    return TALL_ROWS if k <= FLOATS and VECTOR_BYTES == 64 else TILE_ROWS


def fits(
    w_shape: tuple[int, ...], y_shape: tuple[int, ...], stride: tuple[int, int], dtype: np.dtype
) -> bool:
    """Whether this is for it: float32, outputs in whole vectors, rows and columns that fill a tile, and it pays."""
    kh, kw, c, k = w_shape
    products = _products(kw, stride[1])
    panel = products * kh * c * panel_width(k, dtype)
    in_cache = panel * dtype.itemsize <= PANEL_BYTES
    pays = kh * c >= TILE_ROWS and products * GAIN < TILE * kw
    return in_cache and pays and _fills(y_shape, dtype) and y_shape[1] >= _high(k)


def fits_weights(
    w_shape: tuple[int, ...], y_shape: tuple[int, ...], stride: tuple[int, int], dtype: np.dtype
) -> bool:
    """The same of ``weights``, with what of the tiles lies over the last row; some rows' V fit into the cache."""
    kh, kw, c, k = w_shape
    _, rows = _tiles(kh * c)
    pays = _products(kw, stride[1]) * rows * WEIGHTS_GAIN < TILE * kw * kh * c
    wide = -(-k // FLOATS) * FLOATS
    fills = k >= FLOATS and _fills((*y_shape[:3], wide), dtype)  # with fewer, direct.py is as fast
    return pays and fills and _strip(w_shape, y_shape, stride) >= LEAST


def _fills(y_shape: tuple[int, ...], dtype: np.dtype) -> bool:
    """Whether outputs (N, OH, OW, K) are float32, in whole vectors and rows of four places and more."""
    return dtype == np.float32 and y_shape[3] % FLOATS == 0 and y_shape[2] >= TILE


def _tiles(rows: int) -> tuple[int, int]:
    """Rows of a tile, and how many so many ``rows`` are in whole tiles: few tiles, and none much higher than needed."""
    tiles = -(-rows // TALL_ROWS)
    high = -(-rows // tiles)
    return high, tiles * high


def _strip(w_shape: tuple[int, ...], y_shape: tuple[int, ...], stride: tuple[int, int]) -> int:
    """Rows of places that ``weights`` takes at a time: their V stays in the L2 cache."""
    kh, kw, c, _ = w_shape
    length = V_NUMBERS // (_products(kw, stride[1]) * -(-y_shape[2] // TILE))
    return min(STRIP, y_shape[1], (length // c - kh) // stride[0] + 1)


def _length(rows: int, sh: int, kh: int, c: int) -> int:
    """Numbers of a column of pixels that so many rows of places see, in whole vectors."""
    return -(-(((rows - 1) * sh + kh) * c + OVER) // FLOATS) * FLOATS


_pixels = column(lambda kw, stride: matrices(kw, stride).b_t)
_weights = column(lambda kw, stride: matrices(kw, stride).g)
_output = column_activate(lambda kw, stride: matrices(kw, stride).a_t)
_output_stream = column_activate(lambda kw, stride: matrices(kw, stride).a_t, stream=True)
_output_back = column(lambda kw, stride: matrices(kw, stride).a_t.T)
_bias_back = column_add(lambda kw, stride: np.ones((1, TILE)))  # of four places, added
_weights_back = column_add(lambda kw, stride: matrices(kw, stride).g.T)


@njit(cache=True, nogil=True, error_model="numpy")
def _lay_out(x, h, wx, c, first, rows, column, columns, length, out):
    """Rows ``first`` ... and columns ``column`` ... of x (H, W, C), flat, into out (columns, rows, C).

    Copying four numbers takes as long as copying three; the next row then overwrites the fourth.
    """
    lo = min(columns, max(0, -column))
    hi = max(lo, min(columns, wx - column))
    r = 0
    while r < rows:
        row, to = first + r, r * c
        high = STACKED if c == 3 and r + STACKED <= rows and 0 <= row <= h - STACKED else 1
        begin, end = (lo, hi) if 0 <= row < h else (columns, columns)
        at = (row * wx + column) * c
        last = end - 1 if row + high == h else end  # of the last pixel nothing more may be read
        for q in range(begin):
            clear_span(out, to + q * length, out, 0, high * c)
        if high > 1:
            for q in range(begin, last):
                stack_pixels(out, to + q * length, x, at + q * c, wx * c)
        elif c == 1:
            for q in range(begin, last):
                copy_span(out, to + q * length, x, at + q, 1)
        elif c == 3 or c == 4:
            for q in range(begin, last):
                copy_span(out, to + q * length, x, at + q * c, 4)
        else:
            for q in range(begin, last):
                copy_span(out, to + q * length, x, at + q * c, c)
        for q in range(max(begin, last), end):
            for i in range(high):
                copy_span(out, to + q * length + i * c, x, at + q * c + i * wx * c, c)
        for q in range(end, columns):
            clear_span(out, to + q * length, out, 0, high * c)
        r += high


@functools.cache
def _forward_of(kw: int, sw: int, tall: bool, known: int, apart: int) -> Callable[..., None]:
    """The loops for one kernel width, stride and tile, ``known`` channels and rows ``apart`` numbers apart, 0: any.

    A kernel that knows how far apart its rows are needs no registers for their addresses.
    """
    (products, seen), starts = matrices(kw, sw).b_t.shape, matrices(kw, sw).starts
    points = len(starts) - 1
    high = TALL_ROWS if tall else TILE_ROWS

    @kernel
    def run(
        x, h, wx, some_c, top, left, w, u, nr, bias, slope, y, n, oh, ow, k, kh, sh, length, block, step,
        columns, v_of, m_of, stream,
    ):  # fmt: skip
        """A strip of rows of places and ``block`` fours of places at a time.

        The last of each overlap those before, but no place is stored twice: two fours round differently, and which of
        two threads comes last would show.
        """
        c = known if known > 0 else some_c
        near = apart if apart > 0 else sh * c
        depth = kh * c
        panel = products * depth * nr
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
                at, to = (min(4 * (four + f), ow - 4) - q0) * sw * length, f * products * length
                for part in range(0, length, step):
                    _pixels(kw, sw, picture, at + part, length, v, to + part, length)
            for j in range(0, k, nr):
                width = min(nr, k - j)
                for f in range(count):
                    for p in range(points):
                        row, groups = starts[p], starts[p + 1] - starts[p]
                        a, b = (f * products + row) * length, j // nr * panel + row * depth * nr
                        if tall:
                            tall_product_1(v, a, near, 1, length, u, b, nr, depth * nr, m, p * high * nr, nr,
                                           depth, groups, False)  # fmt: skip
                        elif width <= step:
                            tile_product_1(v, a, near, 1, length, u, b, nr, depth * nr, m, p * high * nr, nr,
                                           depth, groups, False)  # fmt: skip
                        else:
                            tile_product_2(v, a, near, 1, length, u, b, nr, depth * nr, m, p * high * nr, nr,
                                           depth, groups, False)  # fmt: skip
                    q = min(4 * (four + f), ow - 4)
                    there = 4 * (four + f) - q  # of these places, how many the four before has
                    for r in range(first - begin, high):
                        at = ((i * oh + begin + r) * ow + q) * k + j
                        for part in range(0, width, step):
                            if there == 0 and stream:
                                _output_stream(kw, sw, m, r * nr + part, high * nr, y, at + part, k,
                                               bias, j + part, slope)  # fmt: skip
                                continue
                            out, o0, o_row = (y, at + part, k) if there == 0 else (m, corner, step)
                            _output(kw, sw, m, r * nr + part, high * nr, out, o0, o_row,
                                    bias, j + part, slope)  # fmt: skip
                            if there > 0:
                                for place in range(there, 4):
                                    copy_span(
                                        y, at + part + place * k, m, corner + place * step, step
                                    )
            if stream:
                stream_fence()

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
    a_t, b_t, _, _ = matrices(kw, sw)
    points, (products, seen) = a_t.shape[1], b_t.shape
    length = _length(high, sh, kh, c)
    fours = -(-ow // TILE)
    block = max(1, min(fours, V_NUMBERS // (products * length)))
    nr = panel_width(k, x.dtype)
    columns = scratch((TILE * (block - 1) * sw + seen) * length + VECTOR_BYTES, x.dtype)
    call(np.copyto, columns, 0)  # what no pixel is written to must be numbers
    few = c <= FEW
    _forward_of(kw, sw, high > TILE_ROWS, c if few else 0, sh * c if few else 0)(
        x.reshape(-1), *x.shape[1:], top, left, contiguous(w).reshape(-1),
        memory.scratch(-(-k // nr) * nr * products * kh * c, x.dtype), nr, finish.bias, finish.slope,
        y.reshape(-1), n, oh, ow, k, kh, sh, length, block, FLOATS,
        columns, scratch(products * block * length, x.dtype), scratch(points * high * nr + TILE * FLOATS, x.dtype),
        y.nbytes >= STREAM_BYTES and y.ctypes.data % VECTOR_BYTES == 0,
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
def _weights_of(kw: int, sw: int, high: int) -> Callable[..., None]:
    """The loops of ``weights``, as ``_forward_of``, for tiles of ``high`` rows."""
    (products, seen), starts = matrices(kw, sw).b_t.shape, matrices(kw, sw).starts
    points = len(starts) - 1

    @kernel
    def run(
        x, h, wx, c, top, left, dy, last, n, oh, ow, outputs, k, kh, sh, length, strip, block, share, columns, step,
        rows, pictures, v_of, d_of, partial, dw, partial_db, db,
    ):  # fmt: skip
        """partial (PARTS, Q, ROWS, K): each part the sum over its share of the strips, in whole tiles of rows.
        partial_db (PARTS, CHAINS, K), all 0; no db, no sum. K is ``outputs`` in whole vectors; those of dy end in
        numbers of the next place, and what they add up to is not used. Behind the last one nothing may be read:
        ``last``.

        A tile that hangs over the last of the KH C rows sees other numbers; its rows there are not used.
        """
        near, v_run, d_run = sh * c, products * length, points * strip * step
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
                g, g0 = (last, 0) if i == n - 1 and last.size > 0 else (dy, i * oh * ow * outputs)
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
                                at = g0 + ((first + r) * ow + q) * outputs + j
                                to = (f - f0) * d_run + r * step
                                chain = (part * CHAINS + r % CHAINS) * k + j
                                if q == 4 * f:
                                    _output_back(kw, sw, g, at, outputs, d, to, strip * step)
                                    if db.size > 0:
                                        _bias_back(kw, sw, g, at, outputs, partial_db, chain, 0)
                                else:  # the four before has the first of these
                                    _four(g, at, outputs, 4 * f - q, d, corner, step)
                                    _output_back(kw, sw, d, corner, step, d, to, strip * step)
                                    if db.size > 0:
                                        _bias_back(kw, sw, d, corner, step, partial_db, chain, 0)
                        for p in range(points):
                            for row in range(starts[p], starts[p + 1]):
                                a, b = (f0 * products + row) * length, p * strip * step
                                to = (part * products + row) * rows * k + j
                                for r in range(0, rows, high):
                                    rows_product_1(high, v, a + r, 1, near, v_run, d, b, step, d_run,
                                                   partial, to + r * k, k, count, some, add)  # fmt: skip
        for line in range(parts * CHAINS):  # in their order
            for j in range(db.size):
                db[j] += partial_db[line * k + j]
        for line in range(kh * c):
            for part in range(parts):
                for j in range(0, k, step):
                    _weights_back(kw, sw, partial, (part * products * rows + line) * k + j, rows * k,
                                  dw, (line // c * kw * c + line % c) * k + j, c * k)  # fmt: skip

    return run


def weights(
    x: np.ndarray,
    dy: np.ndarray,
    dw: np.ndarray,
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
    db: np.ndarray | None = None,
) -> None:
    """dw (KH, KW, C, K) += the gradient of the weights, from x (N, H, W, C) and dy (N, OH, OW, K).

    db (K) += the sum of dy over all places.
    """
    n, oh, ow, outputs = dy.shape
    kh, kw, c, _ = dw.shape
    k = -(-outputs // FLOATS) * FLOATS
    (sh, sw), (top, _, left, _) = stride, padding
    a_t, b_t, _, _ = matrices(kw, sw)
    points, (products, seen) = a_t.shape[1], b_t.shape
    strip, fours = _strip(dw.shape, dy.shape, stride), -(-ow // TILE)
    length = _length(strip, sh, kh, c)
    high, rows = _tiles(kh * c)
    units = n * -(-oh // strip)
    share = -(-units // max(1, min(units, PARTS, PARTIAL_NUMBERS // (products * rows * k))))
    parts = -(-units // share)
    columns = -(-k // FLOATS // -(-PARTS // parts)) * FLOATS
    # By the widest vectors there are, on all machines: so many products are summed before they are added to the rest,
    # and longer sums round more.
    block = max(1, min(fours, D_NUMBERS // (points * strip * 16)))
    over = rows + VECTOR_BYTES  # what tiles that hang over read
    spaces = [
        scratch(numbers, x.dtype)
        for numbers in (
            ((ow - TILE) * sw + seen) * length + over,
            products * fours * length + over,
            (points * strip * block + TILE) * FLOATS,
        )
    ]
    for space in spaces[:2]:
        call(np.copyto, space, 0)  # what no pixel is written to must be numbers
    partial = memory.scratch(parts * products * rows * k, x.dtype)
    partial_db = memory.scratch(0 if db is None else parts * CHAINS * k, x.dtype)
    call(np.copyto, partial_db, 0)
    sums = dw, partial_db[:0] if db is None else db
    wide = sums
    if k != outputs:
        wide = [memory.scratch((*a.shape[:-1], min(k, a.size)), a.dtype) for a in sums]
        for a, there in zip(wide, sums, strict=True):
            call(np.copyto, a, 0)
            call(np.copyto, a[..., :outputs], there)
    _weights_of(kw, sw, high)(
        x.reshape(-1), *x.shape[1:], top, left, dy.reshape(-1), with_slack(dy), n, oh, ow, outputs, k, kh, sh, length,
        strip, block, share, columns, FLOATS, rows, *spaces, partial, wide[0].reshape(-1), partial_db, wide[1],
    )  # fmt: skip
    if k != outputs:
        for a, there in zip(wide, sums, strict=True):
            call(np.copyto, there, a[..., :outputs])
