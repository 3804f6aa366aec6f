"""Convolutions with few channels: the first layer (3 colours in), and few on both sides.

Patches of such a picture are short runs of numbers, and gathering them costs more than multiplying them. Nothing is
gathered here. In a picture with its border of zeros written out, xp (N, HP, WP, C), the KW C numbers that a kernel
row sees lie side by side, and the next place sees the same S C numbers further on. So a kernel row is a matrix
product straight from the picture, a (places, KW C) with rows S C numbers apart, and the KH rows are KH runs of one sum.

    forward      y (places, K) = sum over i of xp[row S p + i] (places, KW C) w[i] (KW C, K)
                 At stride 1 place q at tap j sees what place q + 1 sees at tap j - 1: ``tap_tile`` loads it once
    few outputs  K = 3 would fill 3 lanes of a vector. So neighbouring places are taken together, as many as fit:
                 G = 5 of them are 15 columns, (KW + G - 1) C numbers are seen, and the weights stand in a band
    weights      dw[i] (KW C, K) = sum over rows p of xp[row S p + i]ᵀ (KW C, OW) dy[row p] (OW, K)

dx of a layer with few outputs is the forward pass of one with few inputs, with the kernel turned (see conv.py). Few
outputs of many channels are computed along the channels instead (see dots.py).
"""

import numpy as np
from numba import get_thread_id, njit, prange

from nn import memory
from nn.cpu.borders import pad
from nn.cpu.ends import Finish
from nn.cpu.gemm import pack, panel_width, scratch
from nn.cpu.simd import (
    TAPS,
    TILE_ROWS,
    VECTOR_BYTES,
    activate_span,
    clear_span,
    copy_span,
    lanes,
    store_sum,
    tall_product_1,
    tap_tile,
    tile_product_1,
    tile_product_2,
)

FEW = 8  # channels on the narrow side, at most
PARTS = 32  # of the sum over pictures in dw: fixed, so that its order does not depend on the number of threads


def fits_forward(w_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> bool:
    """Whether ``forward`` is for this: few channels in, and rows of places long enough for a tile."""
    return w_shape[2] <= FEW and y_shape[2] >= TILE_ROWS


def fits_few_outputs(
    w_shape: tuple[int, ...], y_shape: tuple[int, ...], stride: tuple[int, int], dtype: np.dtype
) -> bool:
    """Whether ``few_outputs`` is for this: long rows, and groups of places enough for a tile."""
    _, oh, ow, k = y_shape
    if k > min(FEW, _band_width(k, dtype)) or stride != (1, 1) or ow < 4 * TILE_ROWS:
        return False
    return oh * _groups(ow, w_shape[1], _group(k, dtype)) >= TILE_ROWS


def _group(k: int, dtype: np.dtype) -> int:
    """Neighbouring places whose ``k`` outputs ``few_outputs`` takes together."""
    return max(1, _band_width(k, dtype) // k)


def _band_width(k: int, dtype: np.dtype) -> int:
    """Columns of its matrix, in whole vectors."""
    return panel_width(2 * lanes(dtype) if k > lanes(dtype) else 16, dtype)


def _groups(ow: int, kw: int, group: int) -> int:
    """Groups in a row, so many that the pixels seen by its last place are in one, too."""
    return -(-(ow + kw - 1) // group)


def fits_weights(w_shape: tuple[int, ...], dtype: np.dtype) -> bool:
    """Whether ``weights`` is for this: few channels in, outputs in whole vectors, a kernel row as long as a tile."""
    _, kw, c, k = w_shape
    return c <= FEW and k % lanes(dtype) == 0 and kw * c >= TILE_ROWS


def padded(
    x: np.ndarray, padding: tuple[int, int, int, int], height: int, width: int
) -> np.ndarray:
    """x (N, H, W, C) in a picture (N, height, width, C) of zeros, behind the upper and left border."""
    n, h, w, c = x.shape
    # The last group of places may read past the end, less than a row, what is then multiplied by 0: it must be numbers.
    slack = width * c
    xp = memory.scratch(n * height * width * c + slack, x.dtype)
    xp[xp.size - slack :] = 0
    pad(x.reshape(-1), n, h, w, c, padding[0], padding[2], xp, height, width, c)
    return xp


@njit(cache=True, nogil=True)
def _tall(places: int) -> bool:
    """Whether so many places fill a tile of one vector with twice the rows.

    Where one vector is enough, or places share what they see (``tap_tile``), it is faster, given 32 registers.
    """
    return VECTOR_BYTES == 64 and places >= 2 * TILE_ROWS


@njit(parallel=True, cache=True, nogil=True)
def _forward(xp, hp, wp, c, w, nr, bias, slope, y, n, oh, ow, k, kh, kw, sh, sw, tiles):
    """One row of places at a time; the last tile of a row overlaps the one before it."""
    narrow = nr * y.itemsize <= VECTOR_BYTES
    depth = kw * c
    tall = _tall(ow) and narrow
    shared = kw == TAPS and sw == 1
    for line in prange(n * oh):
        tile = tiles[get_thread_id()]
        i, p = line // oh, line % oh
        start = (i * hp + sh * p) * wp * c
        for j in range(0, k, nr):
            width = min(nr, k - j)
            panel = j // nr * kh * depth * nr
            q = 0
            while q < ow:
                high = 2 * TILE_ROWS if tall and ow - q > TILE_ROWS else TILE_ROWS
                q = min(q, ow - high)
                at, to = start + q * sw * c, (line * ow + q) * k + j
                whole = width == nr
                out, o0, o_row = (y, to, k) if whole else (tile, 0, nr)
                if high > TILE_ROWS and shared:
                    tap_tile(xp, at, c, wp * c, w, panel, depth * nr, out, o0, o_row, c, kh)
                elif high > TILE_ROWS:
                    tall_product_1(xp, at, sw * c, 1, wp * c, w, panel, nr, depth * nr, out, o0, o_row,
                                   depth, kh, False)  # fmt: skip
                elif narrow:
                    tile_product_1(xp, at, sw * c, 1, wp * c, w, panel, nr, depth * nr, out, o0, o_row,
                                   depth, kh, False)  # fmt: skip
                else:
                    tile_product_2(xp, at, sw * c, 1, wp * c, w, panel, nr, depth * nr, out, o0, o_row,
                                   depth, kh, False)  # fmt: skip
                for r in range(high):
                    if not whole:
                        copy_span(y, to + r * k, tile, r * nr, width)
                    activate_span(y, to + r * k, bias, j, slope, width)
                q += high


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
    hp, wp = (oh - 1) * stride[0] + kh, (ow - 1) * stride[1] + kw
    xp = padded(_inside(x, padding, hp, wp), padding, hp, wp)
    shared = _tall(ow) and kw == TAPS and stride[1] == 1
    nr = lanes(x.dtype) if shared else panel_width(k, x.dtype)
    packed = memory.scratch(-(-k // nr) * nr * kh * kw * c, x.dtype)
    pack(np.ascontiguousarray(w).reshape(-1, k), packed, nr)
    tiles = scratch(2 * TILE_ROWS * nr, x.dtype)
    _forward(
        xp, hp, wp, c, packed, nr, finish.bias, finish.slope, y.reshape(-1), n, oh, ow, k, kh, kw, *stride, tiles,
    )  # fmt: skip


@njit(parallel=True, cache=True, nogil=True)
def _few_outputs(xp, wp, hp, c, w, nr, bias, y, n, oh, ow, k, kh, seen, group, groups, tiles):
    """Places in groups; a picture's groups follow each other evenly, because a row is a whole number of groups."""
    narrow = nr * y.itemsize <= VECTOR_BYTES
    depth, rows = seen * c, oh * groups
    tall = _tall(rows) and narrow
    high = 2 * TILE_ROWS if tall else TILE_ROWS
    blocks = (rows + high - 1) // high
    for task in prange(n * blocks):
        tile = tiles[get_thread_id()]
        i, first = task // blocks, min(task % blocks * high, rows - high)
        at = i * hp * wp * c + first * group * c
        if tall:
            tall_product_1(
                xp, at, group * c, 1, wp * c, w, 0, nr, depth * nr, tile, 0, nr, depth, kh, False
            )
        elif narrow:
            tile_product_1(
                xp, at, group * c, 1, wp * c, w, 0, nr, depth * nr, tile, 0, nr, depth, kh, False
            )
        else:
            tile_product_2(
                xp, at, group * c, 1, wp * c, w, 0, nr, depth * nr, tile, 0, nr, depth, kh, False
            )
        line, q = i * oh + first // groups, first % groups * group
        for r in range(high):
            valid = min(group, ow - q) * k
            if valid > 0:
                store_sum(y, (line * ow + q) * k, tile, r * nr, bias, 0, valid)
            q += group
            if q == groups * group:
                line, q = line + 1, 0


def few_outputs(
    x: np.ndarray,
    w: np.ndarray,
    finish: Finish,
    y: np.ndarray,
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
) -> None:
    """y (N, OH, OW, K) = x (N, H, W, C) convolved with w (KH, KW, C, K), finished but for the shuffle; S = 1."""
    n, oh, ow, k = y.shape
    kh, kw, c, _ = w.shape
    nr, group = _band_width(k, x.dtype), _group(k, x.dtype)
    seen, groups = kw + group - 1, _groups(ow, kw, group)
    band = np.zeros((kh, seen, c, nr), x.dtype)
    for g in range(group):
        band[:, g : g + kw, :, g * k : (g + 1) * k] = w
    hp, wp = oh + kh - 1, groups * group
    xp = padded(_inside(x, padding, hp, wp), padding, hp, wp)
    tiled = np.zeros(2 * nr, x.dtype)
    tiled[: group * k] = np.tile(finish.bias, group)
    tiles = scratch(2 * TILE_ROWS * nr + nr, x.dtype)
    _few_outputs(
        xp, wp, hp, c, band.reshape(-1), nr, tiled, y.reshape(-1), n, oh, ow, k, kh, seen, group, groups, tiles,
    )  # fmt: skip
    finish.activate(y)


@njit(parallel=True, cache=True, nogil=True)
def _weights(xp, hp, wp, c, dy, n, oh, ow, k, kh, kw, sh, sw, nr, partial):
    """partial (PARTS, KH, KW C, K): each part the sum over its share of the pictures."""
    narrow = nr * dy.itemsize <= VECTOR_BYTES
    rows = kw * c
    share = (n + PARTS - 1) // PARTS
    for task in prange(PARTS * kh):
        part, i = task // kh, task % kh
        base = (part * kh + i) * rows * k
        if part * share >= n:
            clear_span(partial, base, partial, 0, rows * k)
        for image in range(part * share, min(n, (part + 1) * share)):
            add = image > part * share
            for j in range(0, k, nr):
                for r in range(0, rows - TILE_ROWS + 1, TILE_ROWS):
                    at, to = (image * hp + i) * wp * c + r, base + r * k + j
                    if narrow:
                        tile_product_1(xp, at, 1, sw * c, sh * wp * c, dy, image * oh * ow * k + j, k, ow * k,
                                       partial, to, k, ow, oh, add)  # fmt: skip
                    else:
                        tile_product_2(xp, at, 1, sw * c, sh * wp * c, dy, image * oh * ow * k + j, k, ow * k,
                                       partial, to, k, ow, oh, add)  # fmt: skip


@njit(parallel=True, cache=True, nogil=True)
def _last_rows(xp, hp, wp, c, dy, n, oh, ow, k, kh, kw, sh, sw, nr, partial, tiles):
    """The rows of ``_weights`` that are left over after whole tiles: a tile that ends with the last one."""
    narrow = nr * dy.itemsize <= VECTOR_BYTES
    rows = kw * c
    left = rows % TILE_ROWS
    first = rows - TILE_ROWS
    share = (n + PARTS - 1) // PARTS
    for task in prange(PARTS * kh):
        part, i = task // kh, task % kh
        tile = tiles[get_thread_id()]
        base = (part * kh + i) * rows * k
        for j in range(0, k, nr):
            for image in range(part * share, min(n, (part + 1) * share)):
                at, add = (image * hp + i) * wp * c + first, image > part * share
                if narrow:
                    tile_product_1(xp, at, 1, sw * c, sh * wp * c, dy, image * oh * ow * k + j, k, ow * k,
                                   tile, 0, nr, ow, oh, add)  # fmt: skip
                else:
                    tile_product_2(xp, at, 1, sw * c, sh * wp * c, dy, image * oh * ow * k + j, k, ow * k,
                                   tile, 0, nr, ow, oh, add)  # fmt: skip
            if part * share < n:
                for r in range(TILE_ROWS - left, TILE_ROWS):
                    copy_span(partial, base + (first + r) * k + j, tile, r * nr, nr)


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
    hp, wp = (oh - 1) * stride[0] + kh, (ow - 1) * stride[1] + kw
    xp = padded(_inside(x, padding, hp, wp), padding, hp, wp)
    nr = 2 * lanes(x.dtype) if k % (2 * lanes(x.dtype)) == 0 else lanes(x.dtype)
    partial = memory.scratch((PARTS, kh * kw * c * k), x.dtype)
    sizes = (xp, hp, wp, c, dy.reshape(-1), n, oh, ow, k, kh, kw, *stride, nr, partial.reshape(-1))
    _weights(*sizes)
    if kw * c % TILE_ROWS:
        _last_rows(*sizes, scratch(TILE_ROWS * nr, x.dtype))
    dw += partial.sum(axis=0).reshape(dw.shape)


def _inside(
    x: np.ndarray, padding: tuple[int, int, int, int], height: int, width: int
) -> np.ndarray:
    """The rows and columns of x that the convolution sees at all: a stride may leave some out at the end."""
    rows, columns = height - padding[0], width - padding[2]
    return np.ascontiguousarray(x[:, : max(rows, 0), : max(columns, 0)])
