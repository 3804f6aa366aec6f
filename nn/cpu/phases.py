"""5x5 and 6x6 convolutions of stride 2, as 3x3 ones of stride 1 on four times the channels, by Winograd's way.

A stride of 2 meets the pixels of even rows with the taps 0, 2, 4 of the kernel and those of odd rows with 1, 3 (5).
So let the four pixels of a 2x2 square stand side by side as channels, xs[r, s, (u, v, c)] = xp[2 r + u, 2 s + v, c],
and the kernel likewise, with a zero for the tap that is missing:

    w'[a, b, (u, v, c), k] = w[2 a + u, 2 b + v, c, k]                 (3, 3, 4 C, K)
    y[p, q, k] = sum_{a, b} xs[p + a, q + b, :] w'[a, b, :, k]         stride 1

With tiles of 4x4 that takes 36 4 C products in place of 16 25 C: 2.8 times fewer. And a phase with two taps in a
direction is a polynomial of one degree less, so that its value at infinity is 0 and need not be multiplied: a kernel
of 5x5 leaves 121 of the 144 products of an input channel, 3.3 times fewer than 400. Where few weights leave room for
it, all of that is done in one go in the cache of a thread (winograd.py).

The way back is the adjoint, step by step: D = A dy Aᵀ serves both dU = Vᵀ D and dV = D Uᵀ, and the 6x6 pieces
B dV Bᵀ, which overlap by two pixels, are added up. (As a convolution of its own, as for 3x3, dx would be two pixels
larger than dy and need half as many tiles again.)
"""

import functools
from collections.abc import Callable

import numpy as np
from numba import get_thread_id, njit, prange

from nn import memory
from nn.cpu.borders import crop
from nn.cpu.ends import Finish, Upstream
from nn.cpu.gemm import DEPTH, PAD, ROWS, multiply_panels, panel_width, scratch
from nn.cpu.kernel import kernel
from nn.cpu.points import B_T, POINTS, SEEN, TILE, G, corners_of, whole_tiles
from nn.cpu.simd import (
    FLOATS,
    clear_span,
    lanes,
    sandwich,
    sandwich_add,
)
from nn.cpu.winograd import (
    FEW_PANELS,
    FEW_TILES,
    cut,
    everywhere,
    exchange_sides,
    groups,
    in_one_go_of,
    matrices,
    pictures_at_once,
    products,
    rows_in_one_go,
    space_of_one_go,
    transform_gradient,
    transform_output,
    transform_pixels,
    weight_block,
    weight_rows,
)
from nn.record import contiguous

# A phase with two taps in a direction is 0 at infinity there: rows of G, columns of B that are not needed.
_TWO = G[:, :2]
_BACK = B_T.T
_FIVE = _BACK * (np.arange(SEEN) < SEEN - 1)

_weights_33, _weights_32 = sandwich(G), sandwich(G, _TWO)  # taps of a phase -> points
_weights_23, _weights_22 = sandwich(_TWO, G), sandwich(_TWO)
_weights_back_33, _weights_back_32 = sandwich_add(G.T), sandwich_add(G.T, _TWO.T)  # and back, added
_weights_back_23, _weights_back_22 = sandwich_add(_TWO.T, G.T), sandwich_add(_TWO.T)
# points -> 6x6 pixels, added
_pixels_66, _pixels_65 = sandwich_add(_BACK), sandwich_add(_BACK, _FIVE)
_pixels_56, _pixels_55 = sandwich_add(_FIVE, _BACK), sandwich_add(_FIVE)


def fits(w_shape: tuple[int, ...], stride: tuple[int, int], dtype: np.dtype) -> bool:
    """Whether these kernels take this convolution: 5 or 6 taps, stride 2, float32, channels in whole vectors."""
    kh, kw, c, k = w_shape
    whole = c % lanes(dtype) == 0 and k % lanes(dtype) == 0
    return kh in (5, 6) and kw in (5, 6) and stride == (2, 2) and dtype == np.float32 and whole


@njit(cache=True, nogil=True, error_model="numpy")
def _is_there(point, tall, wide):
    """Whether a phase is seen at a point: with two taps only, there is nothing of it at infinity."""
    return (tall or point // SEEN < SEEN - 1) and (wide or point % SEEN < SEEN - 1)


@njit(cache=True, nogil=True, error_model="numpy")
def _to_points(w, at, row, column, u, to, point, tall, wide):
    """One vector of weights of a phase, taps ``row`` and ``column`` numbers apart, to its points."""
    if tall and wide:
        _weights_33(w, at, row, column, u, to, SEEN * point, point)
    elif tall:
        _weights_32(w, at, row, column, u, to, SEEN * point, point)
    elif wide:
        _weights_23(w, at, row, column, u, to, SEEN * point, point)
    else:
        _weights_22(w, at, row, column, u, to, SEEN * point, point)


@kernel
def _transform_weights(w, kh, kw, rows, columns, u, nr, step, back):
    """U (36, panels, C', NR) of all phases from w (KH, KW, rows, columns).

    Forward, rows are C and columns K, and the phases stand below each other: U[p] (4 C, K). On the way ``back`` rows
    are K and columns C, and they stand side by side: (K, 4 C).
    """
    height, width = (rows, 4 * columns) if back else (4 * rows, columns)
    point = (width + nr - 1) // nr * nr * height + PAD
    size = rows * columns
    for task in prange(4 * rows):
        phase, i = task // rows, task % rows
        a, b = phase // 2, phase % 2
        for j in range(0, columns, step):
            at = (a * kw + b) * size + i * columns + j
            row, column = (i, phase * columns + j) if back else (phase * rows + i, j)
            to = (column // nr * height + row) * nr + column % nr
            _to_points(
                w, at, 2 * kw * size, 2 * size, u, to, point, a + 5 <= kh, b + 5 <= kw
            )  # fmt: skip


@kernel
def _few_tiles(v, w, kh, kw, m, tiles, c, k, nr, step, work):
    """M[p] (T, K) = V[p] (T, 4 C) U[p] straight from w (KH, KW, C, K); why: see ``winograd._few_tiles``."""
    deep = DEPTH // 2
    v_point, u_point, m_point = tiles * 4 * c + PAD, deep * nr + PAD, tiles * k + PAD
    for panel in prange((k + nr - 1) // nr):
        u = work[get_thread_id()]
        columns = min(nr, k - panel * nr)
        for phase in range(4):
            a, b = phase // 2, phase % 2
            tall, wide = a + 5 <= kh, b + 5 <= kw
            for c0 in range(0, c, deep):
                depth = min(deep, c - c0)
                for i in range(depth):
                    for j in range(0, columns, step):
                        at = ((a * kw + b) * c + c0 + i) * k + panel * nr + j
                        _to_points(
                            w, at, 2 * kw * c * k, 2 * c * k, u, i * nr + j, u_point, tall, wide
                        )
                for point in range(POINTS):
                    if _is_there(point, tall, wide):
                        multiply_panels(
                            v, point * v_point + (phase * c + c0) * tiles, FLOATS * tiles, tiles,
                            u, point * u_point, 0, nr,
                            m, point * m_point + panel * nr, k, columns,
                            depth, phase + c0 > 0,
                        )  # fmt: skip


@kernel
def _few_tiles_back(d, w, kh, kw, dv, tiles, k, c, nr, step, work):
    """dV[p] (T, 4 C) = D[p] (T, K) U[p]ᵀ straight from w (KH, KW, K, C); C is made of whole panels."""
    deep = DEPTH // 2
    d_point, u_point, dv_point = tiles * k + PAD, deep * nr + PAD, tiles * 4 * c + PAD
    for panel in prange(4 * c // nr):
        u = work[get_thread_id()]
        phase, column = panel * nr // c, panel * nr % c
        a, b = phase // 2, phase % 2
        tall, wide = a + 5 <= kh, b + 5 <= kw
        for k0 in range(0, k, deep):
            depth = min(deep, k - k0)
            for i in range(depth):
                for j in range(0, nr, step):
                    at = ((a * kw + b) * k + k0 + i) * c + column + j
                    _to_points(w, at, 2 * kw * c * k, 2 * c * k, u, i * nr + j, u_point, tall, wide)
            for point in range(POINTS):
                if _is_there(point, tall, wide):
                    multiply_panels(
                        d, point * d_point + k0 * tiles, FLOATS * tiles, tiles,
                        u, point * u_point, 0, nr,
                        dv, point * dv_point + panel * nr, 4 * c, nr,
                        depth, k0 > 0,
                    )  # fmt: skip


@kernel
def _weight_gradient(v, d, dw, kh, kw, tiles, c, k, nr, block, step, work):
    """dw (KH, KW, C, K) += Gᵀ dU G, phase by phase; see ``winograd._weight_gradient``."""
    blocks = (c + block - 1) // block
    panels = (k + nr - 1) // nr
    room = whole_tiles(tiles)
    v_point, d_point, du_point = room * 4 * c + PAD, room * k + PAD, block * nr + PAD
    row, column = 2 * kw * c * k, 2 * c * k
    for task in prange(4 * blocks * panels):
        du = work[get_thread_id()]
        phase, first, panel = (
            task // panels // blocks,
            task // panels % blocks * block,
            task % panels,
        )
        a, b = phase // 2, phase % 2
        tall, wide = a + 5 <= kh, b + 5 <= kw
        rows, columns = min(block, c - first), min(nr, k - panel * nr)
        for point in range(POINTS):
            if _is_there(point, tall, wide):
                weight_block(
                    v, point * v_point, d, point * d_point + panel * nr * room, room, tiles,
                    phase * c + first, rows, columns, nr, du, point * du_point,
                )  # fmt: skip
        for i in range(rows):
            to = ((a * kw + b) * c + first + i) * k + panel * nr
            for j in range(0, columns, step):
                at = i * nr + j
                if tall and wide:
                    _weights_back_33(du, at, SEEN * du_point, du_point, dw, to + j, row, column)
                elif tall:
                    _weights_back_32(du, at, SEEN * du_point, du_point, dw, to + j, row, column)
                elif wide:
                    _weights_back_23(du, at, SEEN * du_point, du_point, dw, to + j, row, column)
                else:
                    _weights_back_22(du, at, SEEN * du_point, du_point, dw, to + j, row, column)


@kernel
def _add_pixels(dv, n, th, tw, c, dxp, step, kh, kw):
    """dxp (N, 8 TH + 4, 8 TW + 4, C): the pieces B dV Bᵀ of every phase, added up where they overlap."""
    line = (2 * TILE * tw + 4) * c
    picture = (2 * TILE * th + 4) * line
    point = whole_tiles(n * th * tw) * 4 * c + PAD
    for i in prange(n):
        clear_span(dxp, i * picture, dxp, 0, picture)
        for p in range(th):
            for q in range(tw):
                for phase in range(4):
                    a, b = phase // 2, phase % 2
                    tall, wide = a + 5 <= kh, b + 5 <= kw
                    at = (((i * th + p) * tw + q) * 4 + phase) * c
                    to = i * picture + (2 * TILE * p + a) * line + (2 * TILE * q + b) * c
                    for j in range(0, c, step):
                        if tall and wide:
                            _pixels_66(
                                dv, at + j, SEEN * point, point, dxp, to + j, 2 * line, 2 * c
                            )
                        elif tall:
                            _pixels_65(
                                dv, at + j, SEEN * point, point, dxp, to + j, 2 * line, 2 * c
                            )
                        elif wide:
                            _pixels_56(
                                dv, at + j, SEEN * point, point, dxp, to + j, 2 * line, 2 * c
                            )
                        else:
                            _pixels_55(
                                dv, at + j, SEEN * point, point, dxp, to + j, 2 * line, 2 * c
                            )


@functools.cache
def _there(kh: int, kw: int, c: int) -> np.ndarray:
    """(36, 2, 2): the channels of all four phases that are there at each point: from, to; from, to. Not to be written
    to."""
    out = np.zeros((POINTS, 2, 2), np.int64)
    for point in range(POINTS):
        tall, wide = kh == 6 or point // SEEN < SEEN - 1, kw == 6 or point % SEEN < SEEN - 1
        if wide:
            out[point, 0] = 0, 4 * c if tall else 2 * c
        else:
            out[point, 0] = 0, c
            out[point, 1] = 2 * c, 3 * c if tall else 2 * c
    return out


def _multiplier(w: np.ndarray, tiles: int | None) -> Callable[..., None]:
    """f(V, M, T): M (36, T, K) from V (36, 4 C / L, T, L) with w (KH, KW, C, K); see ``winograd.multiplier``."""
    kh, kw, c, k = w.shape
    nr, step, flat = panel_width(k, w.dtype), lanes(w.dtype), contiguous(w).reshape(-1)
    if tiles is not None and tiles <= FEW_TILES and k >= FEW_PANELS * nr:
        work = scratch(POINTS * (DEPTH // 2 * nr + PAD), w.dtype)
        return lambda v, m, t: _few_tiles(v, flat, kh, kw, m, t, c, k, nr, step, work)
    u = matrices(-(-k // nr) * nr * 4 * c, w.dtype)
    _transform_weights(flat, kh, kw, c, k, u, nr, step, False)
    deep, wide = _there(kh, kw, c), everywhere(k)
    return lambda v, m, t: products(v, u, m, t, 4 * c, k, nr, deep, wide, ROWS)


def _multiplier_back(w: np.ndarray, tiles: int | None) -> Callable[..., None]:
    """f(D, dV, T): dV (36, T, 4 C), where it is there, from D (36, K / L, T, L) with w (KH, KW, C, K)."""
    kh, kw, c, k = w.shape
    nr, step = panel_width(4 * c, w.dtype), lanes(w.dtype)
    turned = memory.scratch(w.size, w.dtype)
    exchange_sides(contiguous(w).reshape(-1), kh * kw, c, k, turned, step, False)
    whole = c % nr == 0 and 4 * c >= FEW_PANELS * nr
    if tiles is not None and tiles <= FEW_TILES and whole:
        work = scratch(POINTS * (DEPTH // 2 * nr + PAD), w.dtype)
        return lambda d, dv, t: _few_tiles_back(d, turned, kh, kw, dv, t, k, c, nr, step, work)
    u = matrices(-(-4 * c // nr) * nr * k, w.dtype)
    _transform_weights(turned, kh, kw, k, c, u, nr, step, True)
    deep, wide = everywhere(k), _there(kh, kw, c)
    return lambda d, dv, t: products(d, u, dv, t, k, 4 * c, nr, deep, wide, ROWS)


def convolve(
    x: np.ndarray,
    w: np.ndarray,
    finish: Finish,
    y: np.ndarray,
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
) -> None:
    """y = x (N, H, W, C) convolved with w (KH, KW, C, K) at stride 2, finished: (N, OH R, OW R, K / R²)."""
    n, k, c, (top, _, left, _) = y.shape[0], w.shape[3], x.shape[3], padding
    oh, ow = y.shape[1] // finish.factor, y.shape[2] // finish.factor
    step, th, tw = lanes(x.dtype), -(-oh // TILE), -(-ow // TILE)
    whole = oh % TILE == 0 and ow % TILE == 0
    out = y.reshape(-1) if whole else memory.scratch(n * th * tw * TILE * TILE * k, x.dtype)
    corners = corners_of(c, 2, x.dtype)
    if rows := rows_in_one_go(tw, 4 * c, k, x.dtype):
        kh, kw, nr = *w.shape[:2], panel_width(k, x.dtype)
        u = matrices(-(-k // nr) * nr * 4 * c, x.dtype)
        _transform_weights(contiguous(w).reshape(-1), kh, kw, c, k, u, nr, step, False)
        work = space_of_one_go(rows, tw, 4 * c, k, x.dtype)
        in_one_go_of(2)(
            x.reshape(-1), x.shape[1:], top, left, u, n, th, tw, k, nr, _there(kh, kw, c), *finish, out,
            rows, step, work, corners,
        )  # fmt: skip
    else:
        some = pictures_at_once(n, th * tw, 4 * c, k, x.dtype)
        room = whole_tiles(some * th * tw)
        v, m = matrices(room * 4 * c, x.dtype), matrices(room * k, x.dtype)
        multiply = _multiplier(w, room if some == n else None)
        for x_, y_, count in groups(n, some, x.reshape(-1), out):
            tiles = count * th * tw
            transform_pixels(x_, count, x.shape[1:], top, left, th, tw, 2, v, step, corners)
            multiply(v, m, whole_tiles(tiles))
            transform_output(m, tiles, count, th, tw, k, *finish, y_, step)
    if not whole:
        cut(out, y, finish.factor)


def backward(
    x: np.ndarray,
    w: np.ndarray,
    upstream: Upstream,
    dw: np.ndarray,
    dx: np.ndarray | None,
    padding: tuple[int, int, int, int],
) -> None:
    """dw (KH, KW, C, K) += the gradient of the weights; dx (N, H, W, C) = that of the input, where it is wanted."""
    n, oh, ow, k = upstream.shape
    kh, kw, c, _ = w.shape
    step, th, tw, (top, _, left, _) = lanes(x.dtype), -(-oh // TILE), -(-ow // TILE), padding
    dy = upstream.picture(TILE * th, TILE * tw)
    some = pictures_at_once(n, th * tw, 4 * c, k, x.dtype)
    room = whole_tiles(some * th * tw)
    d, v = matrices(room * k, x.dtype), matrices(room * 4 * c, x.dtype)
    corners = corners_of(c, 2, x.dtype)
    nr = panel_width(k, x.dtype)
    rows = weight_rows(c, 4 * -(-k // nr))
    work = scratch(POINTS * (rows * nr + PAD), x.dtype)
    if dx is not None:
        hp, wp = 2 * TILE * th + 4, 2 * TILE * tw + 4
        dxp = memory.scratch(some * hp * wp * c, x.dtype)
        multiply = _multiplier_back(w, room if some == n else None)
    flat = x.reshape(-1), dy, x.reshape(-1) if dx is None else dx.reshape(-1)
    for x_, dy_, dx_, count in groups(n, some, *flat):
        tiles = count * th * tw
        transform_pixels(x_, count, x.shape[1:], top, left, th, tw, 2, v, step, corners)
        transform_gradient(dy_, count, th, tw, k, d, step)
        _weight_gradient(v, d, dw.reshape(-1), kh, kw, tiles, c, k, nr, rows, step, work)
        if dx is not None:
            multiply(d, v, whole_tiles(tiles))  # dV in the place of V
            _add_pixels(v, count, th, tw, c, dxp, step, kh, kw)
            crop(dxp, hp, wp, top, left, dx_, count, *dx.shape[1:])
