"""3x3 convolutions of stride 1 with 2.25 to 4 times fewer multiplications: Winograd's F(4x4, 3x3).

A 4x4 tile of the output sees 6x6 pixels. Computed as it is written, each of its 16 numbers takes 9 products, 144 in
all. Winograd's way takes 36: both sides are transformed, multiplied point by point, and transformed back,

    y = Aᵀ [ (G g Gᵀ) * (Bᵀ d B) ] A        d 6x6 pixels, g 3x3 weights, * entry by entry

because a convolution is a product of polynomials, and a product of polynomials of degree 5 is known by its values at
six points, here 0, 5/8, -5/8, 3/2, -3/2 and infinity: Bᵀ and G evaluate there, Aᵀ reads the coefficients back. The
sum over channels turns the 36 entry-by-entry products into 36 matrix products,

    M[p] (T, K) = V[p] (T, C) U[p] (C, K)        T tiles of the whole batch, p one of 36 points

and those are what the register tile of ``simd.py`` is good at. The transforms only add, and multiply by small
constants; they touch every number once, which is why it pays from some 16 channels on.

    forward     y from x and w, as above
    input       dx is itself a convolution of dy with the kernel turned by 180 degrees
    weights     dU[p] (C, K) = V[p]ᵀ (C, T) D[p] (T, K) with D = A dy Aᵀ,   dw = Gᵀ dU G

The price is rounding: the transforms add numbers of unlike size. Measured against float64 on the layers of ``lite``
(``python -m bench layers``), the error of float32 is up to ten times that of the direct way. In whole numbers it is
not exact, because G divides. float64 therefore always takes the direct way, and so does ``precision="exact"``.

Sources: Winograd 1980; Lavin and Gray, Fast algorithms for convolutional neural networks, arXiv:1509.09308.
"""

import numpy as np
from numba import get_num_threads, get_thread_id, njit, prange

from nn.cpu import memory
from nn.cpu.borders import crop, pad
from nn.cpu.gemm import (
    DEPTH,
    PAD,
    ROWS,
    edge_size,
    multiply_block,
    panel_width,
    scratch,
)
from nn.cpu.simd import (
    TILE_ROWS,
    add_span,
    lanes,
    sandwich,
    transpose_tile,
)

TILE = 4  # pixels of a tile's side
SEEN = TILE + 2
POINTS = SEEN * SEEN
FEW_TILES = 64  # up to so many, the weights are the larger side
CACHED = 448 * 1024  # bytes of a thread's working set that stays in its L2 cache
WEIGHT_ROWS = 4 * TILE_ROWS  # channels of a block of dU


def _matrices(points: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Aᵀ (4, 6), Bᵀ (6, 6) and G (6, 3) of Toom and Cook for five points and infinity.

    Aᵀ and G hold powers of the points; row i of Bᵀ the coefficients of the polynomial that is 0 at all points but the
    i-th, where G divides by its value; the last row is that of infinity, the leading coefficient.
    """
    count = len(points)
    a_t, b_t, g = np.zeros((TILE, SEEN)), np.zeros((SEEN, SEEN)), np.zeros((SEEN, 3))
    for i, point in enumerate(points):
        others = [p for p in points if p != point]
        a_t[:, i] = point ** np.arange(TILE)
        b_t[i, :count] = np.polynomial.polynomial.polyfromroots(others)
        g[i] = point ** np.arange(3) / np.prod([point - p for p in others])
    a_t[-1, -1] = g[-1, -1] = 1
    b_t[-1] = np.polynomial.polynomial.polyfromroots(points)
    return a_t, b_t, g


# With 0, 1, -1, 2 and -2, as in the papers, the error is four times as large: powers of 2 are far from 1.
A_T, B_T, G = _matrices((0.0, 5 / 8, -5 / 8, 3 / 2, -3 / 2))

_pixels = sandwich(B_T)  # 6x6 pixels -> 36 points
_weights = sandwich(G)  # 3x3 weights -> 36 points
_output = sandwich(A_T)  # 36 points -> 4x4 pixels
_output_back = sandwich(A_T.T)  # 4x4 gradients -> 36 points
_weights_back = sandwich(G.T)  # 36 points -> 3x3 gradients


def fits(w_shape: tuple[int, ...], stride: tuple[int, int], dtype: np.dtype) -> bool:
    """Whether these kernels take this convolution: 3x3, stride 1, float32, channels in whole vectors."""
    width = lanes(dtype)
    c, k = w_shape[2:]
    whole = c % width == 0 and k % width == 0
    return w_shape[:2] == (3, 3) and stride == (1, 1) and dtype == np.float32 and whole


@njit(parallel=True, cache=True, nogil=True)
def _transform_pixels(xp, n, th, tw, c, v, step):
    """V (36, T, C) from the padded pixels xp (N, 4 TH + 2, 4 TW + 2, C); ``step``: numbers of a vector."""
    line = (TILE * tw + 2) * c
    point = n * th * tw * c + PAD
    for row in prange(n * th):
        i, p = row // th, row % th
        for q in range(tw):
            at = (i * (TILE * th + 2) + TILE * p) * line + TILE * q * c
            to = (row * tw + q) * c
            for j in range(0, c, step):
                _pixels(xp, at + j, line, c, v, to + j, SEEN * point, point)


@njit(parallel=True, cache=True, nogil=True)
def _transform_weights(w, c, k, u, nr, step):
    """U (36, K / NR, C, NR), each point in panels, from the weights w (3, 3, C, K)."""
    point = (k + nr - 1) // nr * nr * c + PAD
    for i in prange(c):
        for j in range(0, k, step):
            to = (j // nr * c + i) * nr + j % nr
            _weights(w, i * k + j, 3 * c * k, c * k, u, to, SEEN * point, point)


@njit(parallel=True, cache=True, nogil=True)
def exchange_sides(w, c, k, out, step, turn) -> None:
    """out (3, 3, K, C): the kernel w (3, 3, C, K) with its sides exchanged, and turned by 180 degrees where asked."""
    for task in prange(9 * (c // step)):
        tap, i = task % 9, task // 9 * step
        to = 8 - tap if turn else tap
        for j in range(0, k, step):
            transpose_tile(w, (tap * c + i) * k + j, k, out, (to * k + j) * c + i, c)


@njit(parallel=True, cache=True, nogil=True)
def _products(v, u, m, tiles, c, k, nr, block, edges):
    """M[p] (T, K) = V[p] (T, C) U[p] for all 36 points."""
    blocks = (tiles + block - 1) // block
    v_point, u_point = tiles * c + PAD, (k + nr - 1) // nr * nr * c + PAD
    m_point = tiles * k + PAD
    for task in prange(POINTS * blocks):
        point, first = task // blocks, task % blocks * block
        rows = min(block, tiles - first)
        for c0 in range(0, c, DEPTH):
            multiply_block(
                v, point * v_point + first * c + c0, c, 1, rows,
                u, point * u_point + c0 * nr, c * nr, nr,
                m, point * m_point + first * k, k, k,
                min(DEPTH, c - c0), c0 > 0, edges[get_thread_id()],
            )  # fmt: skip


@njit(parallel=True, cache=True, nogil=True)
def _transform_output(m, tiles, n, th, tw, k, bias, y, step):
    """y (N, 4 TH, 4 TW, K) from M (36, T, K), plus the bias (K) where there is one."""
    line = TILE * tw * k
    point = tiles * k + PAD
    for row in prange(n * th):
        for q in range(tw):
            at = (row * tw + q) * k
            to = row * TILE * line + TILE * q * k
            for j in range(0, k, step):
                _output(m, at + j, SEEN * point, point, y, to + j, line, k)
            if bias.size:
                for pixel in range(TILE * TILE):
                    add_span(y, to + pixel // TILE * line + pixel % TILE * k, bias, 0, k)


@njit(parallel=True, cache=True, nogil=True)
def _in_one_go(xp, u, n, th, tw, c, k, nr, bias, y, rows, step, work, edges):
    """All three steps for ``rows`` rows of tiles at a time, V and M never leaving the cache of their thread.

    u: U (36, K / NR, C, NR). work: (threads, 36 rows TW (C + K)) numbers.
    """
    line, out_line = (TILE * tw + 2) * c, TILE * tw * k
    u_point = (k + nr - 1) // nr * nr * c + PAD
    for task in prange((n * th + rows - 1) // rows):
        v = work[get_thread_id()]
        first = task * rows
        count = min(rows, n * th - first)
        tiles = count * tw
        v_point, m_point = tiles * c + PAD, tiles * k + PAD
        m = POINTS * v_point  # where in the working space M lies
        for row in range(first, first + count):
            i, p = row // th, row % th
            for q in range(tw):
                at = (i * (TILE * th + 2) + TILE * p) * line + TILE * q * c
                to = ((row - first) * tw + q) * c
                for j in range(0, c, step):
                    _pixels(xp, at + j, line, c, v, to + j, SEEN * v_point, v_point)
        for point in range(POINTS):
            for c0 in range(0, c, DEPTH):
                multiply_block(
                    v, point * v_point + c0, c, 1, tiles,
                    u, point * u_point + c0 * nr, c * nr, nr,
                    v, m + point * m_point, k, k,
                    min(DEPTH, c - c0), c0 > 0, edges[get_thread_id()],
                )  # fmt: skip
        for row in range(first, first + count):
            for q in range(tw):
                at = m + ((row - first) * tw + q) * k
                to = row * TILE * out_line + TILE * q * k
                for j in range(0, k, step):
                    _output(v, at + j, SEEN * m_point, m_point, y, to + j, out_line, k)
                if bias.size:
                    for pixel in range(TILE * TILE):
                        add_span(y, to + pixel // TILE * out_line + pixel % TILE * k, bias, 0, k)


@njit(parallel=True, cache=True, nogil=True)
def _transform_gradient(dy, n, th, tw, k, d, nr, step):
    """D (36, K / NR, T, NR), each point in panels, from dy (N, 4 TH, 4 TW, K)."""
    line = TILE * tw * k
    tiles = n * th * tw
    point = (k + nr - 1) // nr * nr * tiles + PAD
    for row in prange(n * th):
        for q in range(tw):
            at = row * TILE * line + TILE * q * k
            tile = row * tw + q
            for j in range(0, k, step):
                to = (j // nr * tiles + tile) * nr + j % nr
                _output_back(dy, at + j, line, k, d, to, SEEN * point, point)


@njit(parallel=True, cache=True, nogil=True)
def _weight_gradient(v, d, dw, tiles, c, k, nr, block, step, work, edges):
    """dw (3, 3, C, K) += Gᵀ dU G with dU[p] = V[p]ᵀ (C, T) D[p] (T, K), block by block: dU is never written out.

    work: (threads, 36 (block NR + PAD) + 9 step) numbers.
    """
    blocks = (c + block - 1) // block
    panels = (k + nr - 1) // nr
    v_point, d_point, du_point = tiles * c + PAD, panels * nr * tiles + PAD, block * nr + PAD
    part = POINTS * du_point
    for task in prange(blocks * panels):
        du = work[get_thread_id()]
        first, panel = task % blocks * block, task // blocks
        rows, columns = min(block, c - first), min(nr, k - panel * nr)
        for point in range(POINTS):
            for t0 in range(0, tiles, DEPTH):
                multiply_block(
                    v, point * v_point + t0 * c + first, 1, c, rows,
                    d, point * d_point + (panel * tiles + t0) * nr, 0, nr,
                    du, point * du_point, nr, columns,
                    min(DEPTH, tiles - t0), t0 > 0, edges[get_thread_id()],
                )  # fmt: skip
        for i in range(rows):
            for j in range(0, columns, step):
                _weights_back(du, i * nr + j, SEEN * du_point, du_point, du, part, 3 * step, step)
                for tap in range(9):
                    add_span(
                        dw, (tap * c + first + i) * k + panel * nr + j, du, part + tap * step, step
                    )


@njit(parallel=True, cache=True, nogil=True)
def _few_tiles(v, w, m, tiles, c, k, nr, step, work, edges):
    """M[p] (T, K) = V[p] (T, C) U[p] for all 36 points, straight from the weights w (3, 3, C, K).

    Where the tiles are few, U is the largest array by far and is used only once: each thread makes it panel by panel,
    DEPTH / 2 channels at a time, in a corner of its cache. work: (threads, 36 (NR DEPTH / 2 + PAD)) numbers.
    """
    deep = DEPTH // 2
    v_point, u_point, m_point = tiles * c + PAD, deep * nr + PAD, tiles * k + PAD
    for panel in prange((k + nr - 1) // nr):
        u = work[get_thread_id()]
        columns = min(nr, k - panel * nr)
        for c0 in range(0, c, deep):
            depth = min(deep, c - c0)
            for i in range(depth):
                for j in range(0, columns, step):
                    at = (c0 + i) * k + panel * nr + j
                    _weights(w, at, 3 * c * k, c * k, u, i * nr + j, SEEN * u_point, u_point)
            for point in range(POINTS):
                multiply_block(
                    v, point * v_point + c0, c, 1, tiles,
                    u, point * u_point, 0, nr,
                    m, point * m_point + panel * nr, k, columns,
                    depth, c0 > 0, edges[get_thread_id()],
                )  # fmt: skip


def matrices(numbers: int, dtype: np.dtype) -> np.ndarray:
    """Memory for a matrix of so many numbers at each of the 36 points.

    A transform writes to all 36 in turn. A power of two apart they would fall into one set of the cache and drive each
    other out, so PAD numbers lie between them.
    """
    return memory.empty(POINTS * (numbers + PAD), dtype)


def convolve(
    x: np.ndarray, w: np.ndarray, bias: np.ndarray, y: np.ndarray, padding: tuple[int, int, int, int]
) -> None:  # fmt: skip
    """y (N, OH, OW, K) = x (N, H, W, C) convolved with w (3, 3, C, K), plus bias (K) or none (0)."""
    n, oh, ow, k = y.shape
    c, step = x.shape[3], lanes(x.dtype)
    th, tw = -(-oh // TILE), -(-ow // TILE)
    tiles = n * th * tw
    whole = y.reshape(-1)
    if oh % TILE or ow % TILE:
        whole = memory.empty(tiles * TILE * TILE * k, x.dtype)
    rows = CACHED // (POINTS * tw * (c + k) * x.itemsize)
    if rows and POINTS * c * k * x.itemsize <= CACHED:
        nr = panel_width(k, x.dtype)
        u = matrices(-(-k // nr) * nr * c, x.dtype)
        _transform_weights(np.ascontiguousarray(w).reshape(-1), c, k, u, nr, step)
        xp = _padded(x, th, tw, padding)
        work = scratch(POINTS * (rows * tw * (c + k) + 2 * PAD), x.dtype)
        edges = scratch(edge_size(nr), x.dtype)
        _in_one_go(xp, u, n, th, tw, c, k, nr, bias, whole, rows, step, work, edges)
    else:
        v = _points_of(x, th, tw, padding)
        m = matrices(tiles * k, x.dtype)
        multiply_points(v, np.ascontiguousarray(w).reshape(-1), m, tiles, c, k)
        _transform_output(m, tiles, n, th, tw, k, bias, whole, step)
    if oh % TILE == 0 and ow % TILE == 0:
        return
    crop(whole, TILE * th, TILE * tw, y.reshape(-1), n, oh, ow, k)


def spread(
    dy: np.ndarray, w: np.ndarray, dx: np.ndarray, padding: tuple[int, int, int, int]
) -> None:
    """dx (N, H, W, C): the adjoint of ``convolve`` with w (3, 3, C, K) and that padding, of dy (N, OH, OW, K)."""
    c, k = w.shape[2:]
    turned = memory.empty((3, 3, k, c), w.dtype)
    exchange_sides(
        np.ascontiguousarray(w).reshape(-1), c, k, turned.reshape(-1), lanes(w.dtype), True
    )
    around = tuple(2 - p for p in padding)
    convolve(dy, turned, np.empty(0, dy.dtype), dx, around)


def correlate(
    x: np.ndarray, dy: np.ndarray, dw: np.ndarray, padding: tuple[int, int, int, int]
) -> None:
    """dw (3, 3, C, K) += the gradient of the weights, from x (N, H, W, C) and dy (N, OH, OW, K)."""
    n, oh, ow, k = dy.shape
    c, step = x.shape[3], lanes(x.dtype)
    th, tw = -(-oh // TILE), -(-ow // TILE)
    tiles, nr = n * th * tw, panel_width(k, x.dtype)
    v = _points_of(x, th, tw, padding)
    flat = dy.reshape(-1)
    if oh % TILE or ow % TILE:
        flat = memory.empty(tiles * TILE * TILE * k, x.dtype)
        pad(dy.reshape(-1), n, oh, ow, k, 0, 0, flat, TILE * th, TILE * tw, k)
    d = matrices(-(-k // nr) * nr * tiles, x.dtype)
    _transform_gradient(flat, n, th, tw, k, d, nr, step)
    work = scratch(POINTS * (WEIGHT_ROWS * nr + PAD) + 9 * step, x.dtype)
    edges = scratch(edge_size(nr), x.dtype)
    _weight_gradient(v, d, dw.reshape(-1), tiles, c, k, nr, WEIGHT_ROWS, step, work, edges)


def multiply_points(
    v: np.ndarray, w: np.ndarray, m: np.ndarray, tiles: int, c: int, k: int
) -> None:
    """M (36, T, K) from V (36, T, C) and the weights w (3, 3, C, K), all flat."""
    nr, step = panel_width(k, v.dtype), lanes(v.dtype)
    edges = scratch(edge_size(nr), v.dtype)
    if tiles <= FEW_TILES and k >= 2 * nr * get_num_threads():
        work = scratch(POINTS * (DEPTH // 2 * nr + PAD), v.dtype)
        _few_tiles(v, w, m, tiles, c, k, nr, step, work, edges)
        return
    u = matrices(-(-k // nr) * nr * c, v.dtype)
    _transform_weights(w, c, k, u, nr, step)
    _products(v, u, m, tiles, c, k, nr, ROWS, edges)


def _points_of(x: np.ndarray, th: int, tw: int, padding: tuple[int, int, int, int]) -> np.ndarray:
    """V (36, T, C), flat."""
    n, c = x.shape[0], x.shape[3]
    v = matrices(n * th * tw * c, x.dtype)
    _transform_pixels(_padded(x, th, tw, padding), n, th, tw, c, v, lanes(x.dtype))
    return v


def _padded(x: np.ndarray, th: int, tw: int, padding: tuple[int, int, int, int]) -> np.ndarray:
    """xp (N, 4 TH + 2, 4 TW + 2, C), flat."""
    n, h, w, c = x.shape
    hp, wp = TILE * th + 2, TILE * tw + 2
    xp = memory.empty(n * hp * wp * c, x.dtype)
    pad(x.reshape(-1), n, h, w, c, padding[0], padding[2], xp, hp, wp, c)
    return xp
