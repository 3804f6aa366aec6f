"""5x5 and 6x6 convolutions of stride 2, as 3x3 ones of stride 1 on four times the channels, by Winograd's way.

A stride of 2 meets the pixels of even rows with the taps 0, 2, 4 of the kernel and those of odd rows with 1, 3 (5).
So let the four pixels of a 2x2 square stand side by side as channels, xs[r, s, (u, v, c)] = xp[2 r + u, 2 s + v, c],
and the kernel likewise, with a zero for the tap that is missing:

    w'[a, b, (u, v, c), k] = w[2 a + u, 2 b + v, c, k]                 (3, 3, 4 C, K)
    y[p, q, k] = sum_{a, b} xs[p + a, q + b, :] w'[a, b, :, k]         stride 1

With tiles of 4x4 that takes 36 4 C products in place of 16 25 C: 2.8 times fewer.

The way back is the adjoint, step by step: D = A dy Aᵀ serves both dU = Vᵀ D and dV = D Uᵀ, and the 6x6 pieces
B dV Bᵀ, which overlap by two pixels, are added up. (As a convolution of its own, as for 3x3, dx would be two pixels
larger than dy and need half as many tiles again.)
"""

import numpy as np
from numba import njit, prange

from nn.cpu import memory
from nn.cpu.ends import Finish, Upstream
from nn.cpu.gemm import PAD, panel_width
from nn.cpu.simd import add_span, clear_span, copy_span, lanes, sandwich_add
from nn.cpu.winograd import (
    B_T,
    SEEN,
    TILE,
    _transform_gradient,
    _transform_output,
    _transform_pixels,
    add_weight_gradient,
    cut,
    exchange_sides,
    matrices,
    multiply_points,
)

_pixels_back = sandwich_add(B_T.T)  # 36 points -> 6x6 pixels, added


def fits(w_shape: tuple[int, ...], stride: tuple[int, int], dtype: np.dtype) -> bool:
    """Whether these kernels take this convolution: 5 or 6 taps, stride 2, float32, channels in whole vectors."""
    kh, kw, c, k = w_shape
    whole = 4 * c % lanes(dtype) == 0 and k % lanes(dtype) == 0
    return kh in (5, 6) and kw in (5, 6) and stride == (2, 2) and dtype == np.float32 and whole


@njit(parallel=True, cache=True, nogil=True)
def _to_phases(x, n, h, w, c, top, left, xs, hs, ws):
    """xs (N, HS, WS, 4 C) from x (N, H, W, C) behind its border; zeros where there is no pixel."""
    for line in prange(n * hs):
        i, r = line // hs, line % hs
        to = line * ws * 4 * c
        clear_span(xs, to, xs, 0, ws * 4 * c)
        for u in range(2):
            row = 2 * r + u - top
            if 0 <= row < h:
                source = (i * h + row) * w * c
                for s in range(ws):
                    column = 2 * s - left
                    at = to + s * 4 * c + u * 2 * c
                    if 0 <= column < w - 1:
                        copy_span(xs, at, x, source + column * c, 2 * c)
                    elif column == -1 and w > 0:
                        copy_span(xs, at + c, x, source, c)
                    elif column == w - 1:
                        copy_span(xs, at, x, source + column * c, c)


@njit(parallel=True, cache=True, nogil=True)
def _from_phases(xs, hs, ws, x, n, h, w, c, top, left):
    """The adjoint: x (N, H, W, C) from xs (N, HS, WS, 4 C)."""
    for line in prange(n * h):
        i, row = line // h, line % h + top
        source = ((i * hs + row // 2) * ws) * 4 * c + row % 2 * 2 * c
        for column in range(w):
            s, v = (column + left) // 2, (column + left) % 2
            copy_span(x, (line * w + column) * c, xs, source + s * 4 * c + v * c, c)


@njit(parallel=True, cache=True, nogil=True)
def _weights_to_phases(w, kh, kw, size, out):
    """w' (3, 3, 4, C K) from w (KH, KW, C K); ``size``: C K."""
    for block in prange(36):
        a, b, u, v = block // 12, block // 4 % 3, block // 2 % 2, block % 2
        i, j = 2 * a + u, 2 * b + v
        if i < kh and j < kw:
            copy_span(out, block * size, w, (i * kw + j) * size, size)
        else:
            clear_span(out, block * size, out, 0, size)


@njit(parallel=True, cache=True, nogil=True)
def _add_weights_from_phases(phases, kh, kw, c, k, dw):
    """The adjoint: dw (KH, KW, C, K) += those taps of w' (3, 3, 4, C, K) that the kernel has."""
    for task in prange(kh * kw * c):
        i, j, row = task // c // kw, task // c % kw, task % c
        block = ((i // 2 * 3 + j // 2) * 2 + i % 2) * 2 + j % 2
        add_span(dw, task * k, phases, (block * c + row) * k, k)


@njit(parallel=True, cache=True, nogil=True)
def _add_pixels(dv, n, th, tw, c, dxs, step):
    """dxs (N, 4 TH + 2, 4 TW + 2, C): the pieces B dV Bᵀ, added up where they overlap."""
    line = (TILE * tw + 2) * c
    picture = (TILE * th + 2) * line
    point = n * th * tw * c + PAD
    for i in prange(n):
        clear_span(dxs, i * picture, dxs, 0, picture)
        for p in range(th):
            for q in range(tw):
                at = ((i * th + p) * tw + q) * c
                to = i * picture + TILE * p * line + TILE * q * c
                for j in range(0, c, step):
                    _pixels_back(dv, at + j, SEEN * point, point, dxs, to + j, line, c)


def _points_of(x: np.ndarray, th: int, tw: int, padding: tuple[int, int, int, int]) -> np.ndarray:
    """V (36, T, 4 C), flat."""
    n, h, w, c = x.shape
    hs, ws = TILE * th + 2, TILE * tw + 2
    xs = memory.empty(n * hs * ws * 4 * c, x.dtype)
    _to_phases(x.reshape(-1), n, h, w, c, padding[0], padding[2], xs, hs, ws)
    v = matrices(n * th * tw * 4 * c, x.dtype)
    _transform_pixels(xs, hs, ws, n, th, tw, 4 * c, v, lanes(x.dtype))
    return v


def _phase_weights(w: np.ndarray) -> np.ndarray:
    """w' (3, 3, 4 C, K), flat."""
    kh, kw, c, k = w.shape
    out = memory.empty(36 * c * k, w.dtype)
    _weights_to_phases(np.ascontiguousarray(w).reshape(-1), kh, kw, c * k, out)
    return out


def convolve(
    x: np.ndarray, w: np.ndarray, finish: Finish, y: np.ndarray, padding: tuple[int, int, int, int]
) -> None:  # fmt: skip
    """y = x (N, H, W, C) convolved with w (KH, KW, C, K) at stride 2, finished: (N, OH R, OW R, K / R²)."""
    n, k = y.shape[0], w.shape[3]
    oh, ow = y.shape[1] // finish.factor, y.shape[2] // finish.factor
    c, step = x.shape[3], lanes(x.dtype)
    th, tw = -(-oh // TILE), -(-ow // TILE)
    tiles = n * th * tw
    v = _points_of(x, th, tw, padding)
    m = matrices(tiles * k, x.dtype)
    multiply_points(v, _phase_weights(w), m, tiles, 4 * c, k)
    whole = oh % TILE == 0 and ow % TILE == 0
    out = y.reshape(-1) if whole else memory.empty(tiles * TILE * TILE * k, x.dtype)
    _transform_output(m, tiles, n, th, tw, k, *finish, out, step)
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
    step, th, tw = lanes(x.dtype), -(-oh // TILE), -(-ow // TILE)
    tiles, nr = n * th * tw, panel_width(k, x.dtype)
    height, width = TILE * th, TILE * tw
    dy = upstream.picture(0, 0, height, width)
    v = _points_of(x, th, tw, padding)
    d = matrices(-(-k // nr) * nr * tiles, x.dtype)
    _transform_gradient(dy, 0, height, width, n, th, tw, k, d, nr, step)
    phases = memory.empty(36 * c * k, x.dtype)
    phases[...] = 0
    add_weight_gradient(v, d, phases, tiles, 4 * c, k)
    _add_weights_from_phases(phases, kh, kw, c, k, dw.reshape(-1))
    if dx is None:
        return
    del v
    exchanged = memory.empty(36 * c * k, w.dtype)
    exchange_sides(_phase_weights(w), 4 * c, k, exchanged, step, False)
    d = matrices(tiles * k, x.dtype)
    _transform_gradient(dy, 0, height, width, n, th, tw, k, d, k, step)
    dv = matrices(tiles * 4 * c, x.dtype)
    multiply_points(d, exchanged, dv, tiles, k, 4 * c)
    hs, ws = TILE * th + 2, TILE * tw + 2
    dxs = memory.empty(n * hs * ws * 4 * c, x.dtype)
    _add_pixels(dv, n, th, tw, 4 * c, dxs, step)
    _, h, wide, _ = x.shape
    _from_phases(dxs, hs, ws, dx.reshape(-1), n, h, wide, c, padding[0], padding[2])
