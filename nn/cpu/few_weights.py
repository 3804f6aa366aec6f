"""The gradient of few 3x3 weights by Winograd's way, with nothing of it ever leaving the cache of its thread.

``winograd.py`` transforms a few pictures, then multiplies, then transforms back, and between two of these all threads
wait for each other and read what others wrote. With few channels the products take no longer than that. Here a task
does everything for its share of the rows of tiles, T tiles at a time:

    V[p] (T, C) = Bᵀ x B,   D[p] (T, K) = A dy Aᵀ       at 36 points p
    dU[p] (C, K) += V[p]ᵀ D[p]
    its part of dw = Gᵀ dU G                            at its end; the parts are added in their order

So it gains most where memory is slow: 16 channels, dx included, 1.2 to 1.5 times as fast as that way on quiet cores and
2.3 to 2.8 times beside others that use the same caches; 32 channels 1.0 to 1.3 and 1.3 to 1.8 times.
"""

import numpy as np
from numba import get_thread_id, njit, prange

from nn import memory
from nn.cpu.gemm import PAD, scratch
from nn.cpu.kernel import kernel
from nn.cpu.points import POINTS, SEEN, TILE, G, corners_of, gradient_to_points, tile_to_points
from nn.cpu.simd import (
    FLOATS,
    NEAR_ROWS,
    TILE_ROWS,
    add_span,
    near_product_1,
    near_product_2,
    sandwich,
)

MOST = 32  # channels
MOST_GROUPS = 4  # of outputs: V is made anew for each
PARTS = 16  # of the sum over tiles, at most: fixed, so that its order does not depend on the number of threads
LEAST = 32  # tiles of a part: with fewer, dU is read and written too often for what is added
GRADIENT_BYTES = 160 * 1024  # of dU: it stays in the L2 cache,
CACHED = 400 * 1024  # bytes, together with V and D

_weights_back = sandwich(G.T)  # 36 points -> 3x3 gradients


def fits(w_shape: tuple[int, ...], tiles: int, dtype: np.dtype) -> bool:
    """Whether a kernel (3, 3, C, K) that ``winograd.py`` takes has few weights for so many tiles."""
    c, k = w_shape[2:]
    return c <= MOST and k <= MOST_GROUPS * _columns(c, k, dtype) and tiles >= LEAST * PARTS


def _columns(c: int, k: int, dtype: np.dtype) -> int:
    """Outputs of a task: as many as leave dU (36, C, outputs) its place in the cache, in pairs of vectors."""
    pair = 2 * FLOATS
    most = GRADIENT_BYTES // (POINTS * c * dtype.itemsize)
    return min(k, max(pair, most // pair * pair))


@njit(cache=True, nogil=True, error_model="numpy")
def _multiply(own, room, tiles, c, columns, width, add):
    """dU[p] (C, columns) = V[p]ᵀ D[p], or +=, at all points; all three lie in ``own`` behind each other.

    V[p] (C / L, room, L) and D[p] (columns / L, room, L) hold so many ``tiles``, D the first ``width`` outputs.
    """
    v_point, d_point, u_point = room * c + PAD, room * columns + PAD, c * columns + PAD
    d0 = POINTS * v_point
    u0 = d0 + POINTS * d_point
    for point in range(POINTS):
        for j in range(0, width, 2 * FLOATS):
            b, to = d0 + point * d_point + j * room, u0 + point * u_point + j
            for i in range(0, c, NEAR_ROWS):
                a = point * v_point + i // FLOATS * room * FLOATS + i % FLOATS
                if width - j <= FLOATS:
                    near_product_1(own, a, 1, FLOATS, 0, own, b, FLOATS, 0, own, to + i * columns, columns,
                                   tiles, 1, add)  # fmt: skip
                else:
                    near_product_2(own, a, 1, FLOATS, 0, own, b, FLOATS, FLOATS * room, own,
                                   to + i * columns, columns, tiles, 1, add)  # fmt: skip


@kernel
def _gradient(x, shape, top, left, dy, n, th, tw, k, columns, room, share, partial, work, corners):
    """partial (parts, 3, 3, C, K) from x (N, H, W, C) and dy (N, 4 TH, 4 TW, K).

    A task takes a part of the rows of tiles, ``share`` of them, and ``columns`` outputs, ``room`` tiles at a time.
    work: (threads, numbers of V, D and dU); corners: (threads, numbers that a tile sees).
    """
    c, line = shape[2], TILE * tw * k
    groups, parts = (k + columns - 1) // columns, (n * th + share - 1) // share
    v_point, d_point, u_point = room * c + PAD, room * columns + PAD, c * columns + PAD
    u0 = POINTS * (v_point + d_point)
    for task in prange(parts * groups):
        own, corner = work[get_thread_id()], corners[get_thread_id()]
        part, first = task // groups, task % groups * columns
        width = min(columns, k - first)
        begin, end = part * share * tw, min(n * th, (part + 1) * share) * tw
        for t0 in range(begin, end, room):
            tiles = min(room, end - t0)
            for t in range(tiles):
                row, q = (t0 + t) // tw, (t0 + t) % tw
                tile_to_points(x, row // th, TILE * (row % th) - top, TILE * q - left, shape, 1,
                               own, t * FLOATS, room, v_point, FLOATS, corner)  # fmt: skip
                at = row * TILE * line + TILE * q * k + first
                to = POINTS * v_point + t * FLOATS
                for j in range(0, width, FLOATS):
                    gradient_to_points(
                        dy, at + j, line, k, own, to + j * room, SEEN * d_point, d_point
                    )
            _multiply(own, room, tiles, c, columns, width, t0 > begin)
        for i in range(c):
            to = (part * 9 * c + i) * k + first
            for j in range(0, width, FLOATS):
                _weights_back(own, u0 + i * columns + j, SEEN * u_point, u_point,
                              partial, to + j, 3 * c * k, c * k)  # fmt: skip


@kernel
def _add_parts(partial, size, k, dw):
    """dw (3, 3, C, K) += all parts (parts, size), in their order."""
    for row in prange(size // k):
        for at in range(row * k, partial.size, size):
            add_span(dw, row * k, partial, at, k)


def gradient(
    x: np.ndarray,
    dy: np.ndarray,
    dw: np.ndarray,
    th: int,
    tw: int,
    padding: tuple[int, int, int, int],
) -> None:
    """dw (3, 3, C, K) += the gradient of the weights, from x (N, H, W, C) and dy (N, 4 TH, 4 TW, K), flat, in which
    zeros are where y has nothing. Inside a frame."""
    n, (c, k), (top, _, left, _) = len(x), dw.shape[2:], padding
    columns = _columns(c, k, x.dtype)
    share = -(-n * th // PARTS)
    free = CACHED - POINTS * x.itemsize * c * columns
    room = max(TILE_ROWS, min(share * tw, free // (POINTS * x.itemsize * (c + columns))))
    partial = memory.scratch(-(-n * th // share) * dw.size, x.dtype)
    work = scratch(POINTS * (room * (c + columns) + c * columns + 3 * PAD), x.dtype)
    _gradient(
        x.reshape(-1), x.shape[1:], top, left, dy, n, th, tw, k, columns, room, share, partial, work,
        corners_of(c, 1, x.dtype),
    )  # fmt: skip
    _add_parts(partial, dw.size, k, dw.reshape(-1))
