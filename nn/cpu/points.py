"""Tiles and the points at which they are multiplied: what the ways with fewer multiplications share.

A tile of 4x4 numbers of y sees 6x6 pixels through a 3x3 kernel. ``winograd.py`` says what is done with them.
"""

import numpy as np
from numba import njit

from nn.cpu.gemm import scratch
from nn.cpu.simd import TILE_ROWS, clear_span, copy_span, sandwich

TILE = 4  # pixels of a tile's side
SEEN = TILE + 2
POINTS = SEEN * SEEN


def toom_cook(points: tuple[float, ...], taps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Aᵀ (4, P), Bᵀ (P, P) and G (P, taps) of Toom and Cook, P = taps + 3: so many points, or one less and infinity.

    Aᵀ and G hold powers of the points; row i of Bᵀ the coefficients of the polynomial that is 0 at all points but the
    i-th, where G divides by its value; the last row may be that of infinity, the leading coefficient.
    """
    count, seen = len(points), taps + TILE - 1
    a_t, b_t, g = np.zeros((TILE, seen)), np.zeros((seen, seen)), np.zeros((seen, taps))
    for i, point in enumerate(points):
        others = [p for p in points if p != point]
        a_t[:, i] = point ** np.arange(TILE)
        b_t[i, :count] = np.polynomial.polynomial.polyfromroots(others)
        g[i] = point ** np.arange(taps) / np.prod([point - p for p in others])
    if count < seen:
        a_t[-1, -1] = g[-1, -1] = 1
        b_t[-1] = np.polynomial.polynomial.polyfromroots(points)
    return a_t, b_t, g


# With 0, 1, -1, 2 and -2, as in the papers, the error is four times as large: powers of 2 are far from 1.
A_T, B_T, G = toom_cook((0.0, 5 / 8, -5 / 8, 3 / 2, -3 / 2), 3)

_pixels = sandwich(B_T)  # 6x6 pixels -> 36 points
gradient_to_points = sandwich(A_T.T)  # 4x4 gradients -> 36 points


@njit(cache=True, nogil=True, error_model="numpy")
def whole_tiles(rows: int) -> int:
    """``rows``, rounded up to whole register tiles."""
    return (rows + TILE_ROWS - 1) // TILE_ROWS * TILE_ROWS


@njit(cache=True, nogil=True, error_model="numpy")
def tile_to_points(x, i, first, column, shape, stride, v, to, tiles, point, step, corner) -> None:
    """What one tile of picture i sees, from row ``first`` and ``column`` on, at its 36 points from v[to] on.

    shape: (H, W, C) of x; V (36, channels / L, tiles, L). With stride S the tile sees S S phases, each of C channels
    of V. A tile that hangs over the border is copied first, and the zeros around it written out, into ``corner``.
    """
    h, w, c = shape
    side = SEEN * stride
    if first >= 0 and column >= 0 and first + side <= h and column + side <= w:
        at = ((i * h + first) * w + column) * c
        for phase in range(stride * stride):
            start = at + (phase // stride * w + phase % stride) * c
            for j in range(0, c, step):
                _pixels(
                    x, start + j, stride * w * c, stride * c,
                    v, to + (phase * c + j) * tiles, SEEN * point, point,
                )  # fmt: skip
        return
    before, after = max(0, -column), max(0, min(side, w - column))
    for r in range(side):
        at = r * side * c
        if 0 <= first + r < h and before < after:
            source = ((i * h + first + r) * w + column + before) * c
            clear_span(corner, at, corner, 0, before * c)
            copy_span(corner, at + before * c, x, source, (after - before) * c)
            clear_span(corner, at + after * c, corner, 0, (side - after) * c)
        else:
            clear_span(corner, at, corner, 0, side * c)
    for phase in range(stride * stride):
        start = (phase // stride * side + phase % stride) * c
        for j in range(0, c, step):
            _pixels(
                corner, start + j, stride * side * c, stride * c,
                v, to + (phase * c + j) * tiles, SEEN * point, point,
            )  # fmt: skip


def corners_of(c: int, stride: int, dtype: np.dtype) -> np.ndarray:
    """For each thread, memory for what a tile sees."""
    return scratch((SEEN * stride) ** 2 * c, dtype)
