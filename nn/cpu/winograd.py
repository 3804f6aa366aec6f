"""3x3 convolutions of stride 1 with 2.25 to 4 times fewer multiplications: Winograd's F(4x4, 3x3).

A 4x4 tile of the output sees 6x6 pixels. Computed as it is written, each of its 16 numbers takes 9 products, 144 in
all. Winograd's way takes 36: both sides are transformed, multiplied point by point, and transformed back,

    y = Aᵀ [ (G g Gᵀ) * (Bᵀ d B) ] A        d 6x6 pixels, g 3x3 weights, * entry by entry

because a convolution is a product of polynomials, and a product of polynomials of degree 5 is known by its values at
six points, here 0, 5/8, -5/8, 3/2, -3/2 and infinity: Bᵀ and G evaluate there, Aᵀ reads the coefficients back. The
sum over channels turns the 36 entry-by-entry products into 36 matrix products,

    M[p] (T, K) = V[p] (T, C) U[p] (C, K)        T tiles of the whole batch, p one of 36 points

V lies in panels, (36, C / L, T, L) with L the numbers of a vector, and so does D of the weights' gradient. Then both
products, the one along C and the one along T, read it piece by piece as it lies; row by row, the second would jump
C numbers after every 8. T is rounded up to whole tiles of registers: what stands there is multiplied and never used.

and those are what the register tile of ``simd.py`` is good at. The transforms only add, and multiply by small
constants; they touch every number once, which is why it pays from some 16 channels on.

    forward     y from x and w, as above
    input       dx is itself a convolution of dy with the kernel turned by 180 degrees
    weights     dU[p] (C, K) = V[p]ᵀ (C, T) D[p] (T, K) with D = A dy Aᵀ,   dw = Gᵀ dU G; few of them: few_weights.py

The price is rounding: the transforms add numbers of unlike size. Measured against float64 on the layers of ``lite``
(``python -m bench layers``), the error of float32 is up to ten times that of the direct way. In whole numbers it is
not exact, because G divides. float64 therefore always takes the direct way, and so does ``precision="exact"``.

Sources: Winograd 1980; Lavin and Gray, Fast algorithms for convolutional neural networks, arXiv:1509.09308.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numba import get_num_threads, get_thread_id, njit, prange

from nn import memory
from nn.cpu import few_weights
from nn.cpu.borders import crop
from nn.cpu.ends import Finish, Upstream
from nn.cpu.gemm import DEPTH, PAD, ROWS, multiply_panels, panel_width, scratch
from nn.cpu.kernel import kernel
from nn.cpu.points import (
    A_T,
    POINTS,
    SEEN,
    TILE,
    G,
    corners_of,
    gradient_to_points,
    tile_to_points,
    whole_tiles,
)
from nn.cpu.simd import (
    FLOATS,
    NEAR_ROWS,
    lanes,
    near_product_1,
    near_product_2,
    sandwich,
    sandwich_activate,
    sandwich_add,
    transpose_tile,
)
from nn.record import contiguous

FEW_TILES = 64  # up to so many, the weights are the larger side
FEW_DEPTH = 64  # channels of the weights that are then transformed at a time
FEW_PANELS = (
    4  # of weights, at least, that threads share: told by sizes alone, as the order of sums is
)
CACHED = 448 * 1024  # bytes of a thread's working set that stays in its L2 cache
AT_ONCE = 2 * 2**20  # bytes of both transforms of the pictures that are taken together
WEIGHT_ROWS = 64  # channels of a block of dU, at most

_weights = sandwich(G)  # 3x3 weights -> 36 points
_output = sandwich_activate(A_T)  # 36 points -> 4x4 pixels, finished
_weights_back = sandwich_add(G.T)  # 36 points -> 3x3 gradients, added


def fits(w_shape: tuple[int, ...], stride: tuple[int, int], dtype: np.dtype) -> bool:
    """Whether these kernels take this convolution: 3x3, stride 1, float32, channels in whole vectors."""
    width = lanes(dtype)
    c, k = w_shape[2:]
    whole = c % width == 0 and k % width == 0
    return w_shape[:2] == (3, 3) and stride == (1, 1) and dtype == np.float32 and whole


@kernel
def transform_pixels(x, n, shape, top, left, th, tw, stride, v, step, corners) -> None:
    """V (36, S S C / L, T, L) from x (N, H, W, C) behind a border of ``top`` rows and ``left`` columns of zeros.

    shape: (H, W, C); ``step``: numbers of a vector; corners: (threads, numbers that a tile sees).
    """
    tiles = whole_tiles(n * th * tw)
    point = tiles * stride * stride * shape[2] + PAD
    for row in prange(n * th):
        i, first = row // th, row % th * TILE * stride - top
        for q in range(tw):
            tile_to_points(
                x, i, first, q * TILE * stride - left, shape, stride,
                v, (row * tw + q) * step, tiles, point, step, corners[get_thread_id()],
            )  # fmt: skip


@kernel
def _transform_weights(w, c, k, u, nr, step):
    """U (36, K / NR, C, NR), each point in panels, from the weights w (3, 3, C, K)."""
    point = (k + nr - 1) // nr * nr * c + PAD
    for i in prange(c):
        for j in range(0, k, step):
            to = (j // nr * c + i) * nr + j % nr
            _weights(w, i * k + j, 3 * c * k, c * k, u, to, SEEN * point, point)


@kernel
def exchange_sides(w, taps, c, k, out, step, turn) -> None:
    """out (KH, KW, K, C): the kernel w (KH, KW, C, K), sides exchanged, turned by 180 degrees where asked."""
    for task in prange(taps * (c // step)):
        tap, i = task % taps, task // taps * step
        to = taps - 1 - tap if turn else tap
        for j in range(0, k, step):
            transpose_tile(w, (tap * c + i) * k + j, k, out, (to * k + j) * c + i, c)


@kernel
def products(v, u, m, tiles, c, k, nr, deep, wide, block) -> None:
    """M[p] (T, K) = V[p] (T, C) U[p] for all 36 points; V (36, C / L, T, L), T in whole tiles.

    deep, wide: (36, 2, 2) the channels of V and the columns of M that are there at each point: from, to; from, to.
    """
    blocks = (tiles + block - 1) // block
    v_point, m_point = tiles * c + PAD, tiles * k + PAD
    u_point = (k + nr - 1) // nr * nr * c + PAD
    for task in prange(POINTS * blocks):
        point, first = task // blocks, task % blocks * block
        rows = min(block, tiles - first)
        for side in range(2):
            start, stop = wide[point, side, 0] // nr * nr, wide[point, side, 1]
            more = False
            for part in range(2):
                last = deep[point, part, 1]
                for c0 in range(deep[point, part, 0], last, DEPTH):
                    multiply_panels(
                        v, point * v_point + c0 * tiles + first * FLOATS, FLOATS * tiles, rows,
                        u, point * u_point + (start * c + c0 * nr), c * nr, nr,
                        m, point * m_point + first * k + start, k, stop - start,
                        min(DEPTH, last - c0), more,
                    )  # fmt: skip
                    more = True


@kernel
def transform_output(m, tiles, n, th, tw, k, bias, slope, factor, y, step) -> None:
    """y from M (36, T, K), finished: (N, 4 TH, 4 TW, K), shuffled by ``factor``; where in it, see ``ends.py``."""
    point = whole_tiles(tiles) * k + PAD
    run = k // factor
    line = TILE * tw * run
    for row in prange(n * th):
        for q in range(tw):
            at = (row * tw + q) * k
            to = row * TILE * factor * line + TILE * q * run
            for j in range(0, k, step):
                place = to + j // run * line + j % run
                _output(
                    m, at + j, SEEN * point, point, y, place, factor * line, run, bias, j, slope
                )


@functools.cache
def in_one_go_of(stride: int) -> Callable[..., None]:
    """The loops for one stride: a kernel that knows it is 5 to 10 % faster."""

    @kernel
    def run(
        x, shape, top, left, u, n, th, tw, k, nr, deep, bias, slope, factor, y, rows, step, work, corners
    ):  # fmt: skip
        """All three steps for ``rows`` rows of tiles at a time, V and M never leaving the cache of their thread.

        u: U (36, K / NR, S S C, NR); deep: which of these channels are there at each point, as in ``products``.
        work: from ``space_of_one_go``.
        """
        c = stride * stride * shape[2]
        width = k // factor
        out_line = TILE * tw * width
        u_point = (k + nr - 1) // nr * nr * c + PAD
        for task in prange((n * th + rows - 1) // rows):
            v = work[get_thread_id()]
            first = task * rows
            count = min(rows, n * th - first)
            tiles = whole_tiles(count * tw)
            v_point, m_point = tiles * c + PAD, tiles * k + PAD
            m = POINTS * v_point  # where in the working space M lies
            for row in range(first, first + count):
                i, p = row // th, row % th
                for q in range(tw):
                    tile_to_points(
                        x, i, TILE * stride * p - top, TILE * stride * q - left, shape, stride,
                        v, ((row - first) * tw + q) * step, tiles, v_point, step, corners[get_thread_id()],
                    )  # fmt: skip
            for point in range(POINTS):
                more = False
                for part in range(2):
                    last = deep[point, part, 1]
                    for c0 in range(deep[point, part, 0], last, DEPTH):
                        multiply_panels(
                            v, point * v_point + c0 * tiles, FLOATS * tiles, tiles,
                            u, point * u_point + c0 * nr, c * nr, nr,
                            v, m + point * m_point, k, k,
                            min(DEPTH, last - c0), more,
                        )  # fmt: skip
                        more = True
            for row in range(first, first + count):
                for q in range(tw):
                    at = m + ((row - first) * tw + q) * k
                    to = row * TILE * factor * out_line + TILE * q * width
                    for j in range(0, k, step):
                        _output(
                            v, at + j, SEEN * m_point, m_point,
                            y, to + j // width * out_line + j % width, factor * out_line, width, bias, j, slope,
                        )  # fmt: skip

    return run


def rows_in_one_go(tw: int, c: int, k: int, dtype: np.dtype) -> int:
    """Rows of TW tiles to take in one go; 0 where not even one has a place in the cache, or U (36, C, K) has none."""
    if POINTS * c * k * dtype.itemsize > CACHED:
        return 0
    return CACHED // (POINTS * tw * (c + k) * dtype.itemsize)


def space_of_one_go(rows: int, tw: int, c: int, k: int, dtype: np.dtype) -> np.ndarray:
    """For each thread, memory for V and M of so many rows of tiles."""
    return scratch(POINTS * (int(whole_tiles(rows * tw)) * (c + k) + 2 * PAD), dtype)


@kernel
def transform_gradient(dy, n, th, tw, k, d, step) -> None:
    """D (36, K / L, T, L) from dy (N, 4 TH, 4 TW, K)."""
    line = TILE * tw * k
    tiles = whole_tiles(n * th * tw)
    point = tiles * k + PAD
    for row in prange(n * th):
        for q in range(tw):
            at = row * TILE * line + TILE * q * k
            to = (row * tw + q) * step
            for j in range(0, k, step):
                gradient_to_points(dy, at + j, line, k, d, to + j * tiles, SEEN * point, point)


@njit(cache=True, nogil=True, error_model="numpy")
def weight_block(v, v0, d, d0, room, tiles, first, rows, columns, nr, du, to) -> None:
    """du[to] (rows, NR) = V[p]ᵀ D[p] at one point, for channels first ... first + rows of V and ``columns`` of D.

    V[p] (C / L, T, L) begins at v0, the panels of D at d0; ``room`` is T in whole tiles.
    """
    for t0 in range(0, tiles, DEPTH):
        depth, b0 = min(DEPTH, tiles - t0), d0 + t0 * FLOATS
        for i in range(0, rows, NEAR_ROWS):
            at = v0 + ((first + i) // FLOATS * room + t0) * FLOATS + (first + i) % FLOATS
            if columns == FLOATS:
                near_product_1(
                    v, at, 1, FLOATS, 0, d, b0, FLOATS, 0, du, to + i * nr, nr, depth, 1, t0 > 0
                )
            else:
                near_product_2(
                    v,
                    at,
                    1,
                    FLOATS,
                    0,
                    d,
                    b0,
                    FLOATS,
                    FLOATS * room,
                    du,
                    to + i * nr,
                    nr,
                    depth,
                    1,
                    t0 > 0,
                )


@kernel
def _weight_gradient(v, d, dw, tiles, c, k, nr, block, step, work):
    """dw (3, 3, C, K) += Gᵀ dU G with dU[p] = V[p]ᵀ (C, T) D[p] (T, K), block by block: dU is never written out.

    work: (threads, 36 (block NR + PAD)) numbers.
    """
    blocks = (c + block - 1) // block
    panels = (k + nr - 1) // nr
    room = whole_tiles(tiles)
    v_point, d_point, du_point = room * c + PAD, room * k + PAD, block * nr + PAD
    for task in prange(blocks * panels):
        du = work[get_thread_id()]
        first, panel = task % blocks * block, task // blocks
        rows, columns = min(block, c - first), min(nr, k - panel * nr)
        for point in range(POINTS):
            weight_block(
                v, point * v_point, d, point * d_point + panel * nr * room, room, tiles,
                first, rows, columns, nr, du, point * du_point,
            )  # fmt: skip
        for i in range(rows):
            to = (first + i) * k + panel * nr
            for j in range(0, columns, step):
                _weights_back(
                    du, i * nr + j, SEEN * du_point, du_point, dw, to + j, 3 * c * k, c * k
                )


@njit(cache=True, nogil=True, error_model="numpy")
def _finish_panel(m, m0, n, th, tw, first, columns, nr, k, bias, slope, factor, y, step) -> None:
    """``columns`` outputs of y, from ``first`` on, as in ``transform_output``, from a panel of M, (36, T, NR) at m0."""
    point = whole_tiles(n * th * tw) * nr + PAD
    run = k // factor
    line = TILE * tw * run
    for row in range(n * th):
        for q in range(tw):
            at = m0 + (row * tw + q) * nr
            to = row * TILE * factor * line + TILE * q * run
            for j in range(first, first + columns, step):
                place = to + j // run * line + j % run
                _output(
                    m, at + j - first, SEEN * point, point, y, place, factor * line, run, bias, j, slope
                )  # fmt: skip


@kernel
def _few_tiles(v, w, n, th, tw, c, k, nr, bias, slope, factor, y, step, work):
    """y, finished, from V (36, C / L, T, L), straight from the weights w (3, 3, C, K).

    Where the tiles are few, U is the largest array by far and is used only once: each thread makes it panel by panel,
    FEW_DEPTH channels at a time, in a corner of its cache, where M of the panel lies, too.
    work: (threads, 36 (NR (FEW_DEPTH + T) + 2 PAD)) numbers.
    """
    tiles = whole_tiles(n * th * tw)
    v_point, u_point, m_point = tiles * c + PAD, FEW_DEPTH * nr + PAD, tiles * nr + PAD
    m = POINTS * u_point  # where in the working space M lies
    for panel in prange((k + nr - 1) // nr):
        own = work[get_thread_id()]
        first, columns = panel * nr, min(nr, k - panel * nr)
        for c0 in range(0, c, FEW_DEPTH):
            depth = min(FEW_DEPTH, c - c0)
            for i in range(depth):
                for j in range(0, columns, step):
                    at = (c0 + i) * k + first + j
                    _weights(w, at, 3 * c * k, c * k, own, i * nr + j, SEEN * u_point, u_point)
            for point in range(POINTS):
                multiply_panels(
                    v, point * v_point + c0 * tiles, FLOATS * tiles, tiles,
                    own, point * u_point, 0, nr,
                    own, m + point * m_point, nr, columns,
                    depth, c0 > 0,
                )  # fmt: skip
        _finish_panel(own, m, n, th, tw, first, columns, nr, k, bias, slope, factor, y, step)


def _few_space(tiles: int, nr: int, dtype: np.dtype) -> np.ndarray:
    """For each thread, memory for U and M of a panel of so few tiles."""
    return scratch(POINTS * (nr * (FEW_DEPTH + int(whole_tiles(tiles))) + 2 * PAD), dtype)


def matrices(numbers: int, dtype: np.dtype) -> np.ndarray:
    """Memory for a matrix of so many numbers at each of the 36 points.

    A transform writes to all 36 in turn. A power of two apart they would fall into one set of the cache and drive each
    other out, so PAD numbers lie between them.
    """
    return memory.scratch(POINTS * (numbers + PAD), dtype)


def convolve(
    x: np.ndarray,
    w: np.ndarray,
    finish: Finish,
    y: np.ndarray,
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
) -> None:
    """y = x (N, H, W, C) convolved with w (3, 3, C, K) at stride 1, finished: (N, OH R, OW R, K / R²).

    Where x ends, zeros go on, to the right and below as far as the padding and whole tiles of y want them.
    """
    n, k, shape = y.shape[0], w.shape[3], x.shape[1:]
    c, (top, _, left, _) = shape[2], padding
    oh, ow = y.shape[1] // finish.factor, y.shape[2] // finish.factor
    step = lanes(y.dtype)
    th, tw = -(-oh // TILE), -(-ow // TILE)
    tiles = n * th * tw
    x, w, tiled = x.reshape(-1), contiguous(w).reshape(-1), y.reshape(-1)
    if oh % TILE or ow % TILE:
        tiled = memory.scratch(tiles * TILE * TILE * k, y.dtype)
    corners = corners_of(c, 1, y.dtype)
    if rows := rows_in_one_go(tw, c, k, y.dtype):
        nr = panel_width(k, y.dtype)
        u = matrices(-(-k // nr) * nr * c, y.dtype)
        _transform_weights(w, c, k, u, nr, step)
        work = space_of_one_go(rows, tw, c, k, y.dtype)
        in_one_go_of(1)(
            x, shape, top, left, u, n, th, tw, k, nr, everywhere(c), *finish, tiled, rows, step, work, corners
        )  # fmt: skip
    elif _are_few(tiles, k, y.dtype):
        v, nr = matrices(whole_tiles(tiles) * c, y.dtype), panel_width(k, y.dtype)
        work = _few_space(tiles, nr, y.dtype)
        transform_pixels(x, n, shape, top, left, th, tw, 1, v, step, corners)
        _few_tiles(v, w, n, th, tw, c, k, nr, *finish, tiled, step, work)
    else:
        some = pictures_at_once(n, th * tw, c, k, y.dtype)
        room = whole_tiles(some * th * tw)
        v, m = matrices(room * c, y.dtype), matrices(room * k, y.dtype)
        multiply = multiplier(w, c, k)
        for x_, y_, count in groups(n, some, x, tiled):
            transform_pixels(x_, count, shape, top, left, th, tw, 1, v, step, corners)
            multiply(v, m, whole_tiles(count * th * tw))
            transform_output(m, count * th * tw, count, th, tw, k, *finish, y_, step)
    if oh % TILE or ow % TILE:
        cut(tiled, y, finish.factor)


def cut(tiled: np.ndarray, y: np.ndarray, factor: int) -> None:
    """y (N, OH R, OW R, C): the upper left of the whole tiles (N, 4 TH R, 4 TW R, C), flat."""
    n, height, width, c = y.shape
    tile = TILE * factor
    crop(
        tiled, -(-height // tile) * tile, -(-width // tile) * tile, 0, 0, y.reshape(-1), n, height, width, c
    )  # fmt: skip


def backward(
    x: np.ndarray,
    w: np.ndarray,
    upstream: Upstream,
    dw: np.ndarray,
    dx: np.ndarray | None,
    padding: tuple[int, int, int, int],
) -> None:
    """dw (3, 3, C, K) += the gradient of the weights; dx (N, H, W, C) = that of the input, where it is wanted.

    dx is a convolution of dy with a border of 2 - padding, which must not be negative.
    """
    n, oh, ow, k = upstream.shape
    c, th, tw = x.shape[3], -(-oh // TILE), -(-ow // TILE)
    dy = upstream.picture(TILE * th, TILE * tw)
    with memory.frame():
        if few_weights.fits(w.shape, n * th * tw, x.dtype):
            few_weights.gradient(x, dy, dw, th, tw, padding)
        else:
            _gradient(x, dy, dw, th, tw, padding)
    if dx is None:
        return
    turned = memory.scratch((3, 3, k, c), w.dtype)
    exchange_sides(contiguous(w).reshape(-1), 9, c, k, turned.reshape(-1), lanes(w.dtype), True)
    dy = dy.reshape(n, TILE * th, TILE * tw, k)
    around = tuple(2 - p for p in padding)
    convolve(dy, turned, Finish.make(None, c, x.dtype), dx, (1, 1), around)


def _gradient(
    x: np.ndarray,
    dy: np.ndarray,
    dw: np.ndarray,
    th: int,
    tw: int,
    padding: tuple[int, int, int, int],
) -> None:
    """dw (3, 3, C, K) += the gradient of the weights, from x (N, H, W, C) and dy (N, 4 TH, 4 TW, K), flat."""
    n, (c, k), (top, _, left, _) = len(x), dw.shape[2:], padding
    step, nr = lanes(x.dtype), panel_width(k, x.dtype)
    some, rows = pictures_at_once(n, th * tw, c, k, x.dtype), weight_rows(c, -(-k // nr))
    room = whole_tiles(some * th * tw)
    v, d = matrices(room * c, x.dtype), matrices(room * k, x.dtype)
    corners = corners_of(c, 1, x.dtype)
    work = scratch(POINTS * (rows * nr + PAD), x.dtype)
    for x_, dy_, count in groups(n, some, x.reshape(-1), dy):
        tiles = count * th * tw
        transform_pixels(x_, count, x.shape[1:], top, left, th, tw, 1, v, step, corners)
        transform_gradient(dy_, count, th, tw, k, d, step)
        _weight_gradient(v, d, dw.reshape(-1), tiles, c, k, nr, rows, step, work)


def pictures_at_once(n: int, tiles: int, c: int, k: int, dtype: np.dtype) -> int:
    """How many of ``n`` pictures of ``tiles`` tiles to take through all steps together.

    So many that V and M, or V and D, stay in the cache from one step to the next. All, where the transformed weights
    would not stay there: they are read once for every group.
    """
    point = POINTS * np.dtype(dtype).itemsize
    if point * c * k > AT_ONCE:
        return n
    return min(n, max(1, AT_ONCE // (point * tiles * (c + k))))


def groups(n: int, some: int, *arrays: np.ndarray) -> Iterator[tuple[Any, ...]]:
    """Views of ``some`` pictures after another of flat arrays of ``n`` pictures, and how many they are."""
    if some == n:
        yield *arrays, n
        return
    sizes = [a.size // n for a in arrays]
    for first in range(0, n, some):
        count = min(some, n - first)
        parts = [
            a[size * first : size * (first + count)] for a, size in zip(arrays, sizes, strict=True)
        ]
        yield *parts, count


def weight_rows(c: int, columns: int) -> int:
    """Channels of a block of dU: the most that leaves every thread a block, where there are ``columns`` of blocks."""
    rows = WEIGHT_ROWS
    while rows > NEAR_ROWS and -(-c // rows) * columns < get_num_threads():
        rows //= 2
    return rows


def _are_few(tiles: int, k: int, dtype: np.dtype) -> bool:
    """Whether to make U as it is multiplied: for few tiles, and enough panels of outputs for several threads."""
    return tiles <= FEW_TILES and k >= FEW_PANELS * panel_width(k, dtype)


def multiplier(w: np.ndarray, c: int, k: int) -> Callable[..., None]:
    """f(V, M, T): M (36, T, K) from V (36, C / L, T, L) with the weights w (3, 3, C, K), all flat; T in whole tiles."""
    nr, step = panel_width(k, w.dtype), lanes(w.dtype)
    u = matrices(-(-k // nr) * nr * c, w.dtype)
    _transform_weights(w, c, k, u, nr, step)
    deep, wide = everywhere(c), everywhere(k)
    return lambda v, m, t: products(v, u, m, t, c, k, nr, deep, wide, ROWS)


@functools.cache
def everywhere(size: int) -> np.ndarray:
    """(36, 2, 2): all channels at all points. Not to be written to."""
    return np.tile(np.array([[0, size], [0, 0]]), (POINTS, 1, 1))
