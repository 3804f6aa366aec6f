"""Convolutions with few channels: the first layer (3 colours in), and few on both sides.

Patches of such a picture are short runs of numbers, and gathering them costs more than multiplying them. Nothing is
gathered here. In a picture with its border of zeros written out, xp (N, HP, WP, C), the KW C numbers that a kernel
row sees lie side by side, and the next place sees the same S C numbers further on. So a kernel row is a matrix
product straight from the picture, a (places, KW C) with rows S C numbers apart, and the KH rows are KH runs of one sum.

    forward      y (places, K) = sum over i of xp[row S p + i] (places, KW C) w[i] (KW C, K)
    few outputs  K = 3 would fill 3 lanes of a vector. So neighbouring places are taken together, as many as fit:
                 G = 5 of them are 15 columns, (KW + G - 1) C numbers are seen, and the weights stand in a band
    weights      dw[i] (KW C, K) = sum over rows p of xp[row S p + i]ᵀ (KW C, OW) dy[row p] (OW, K)

dx of a layer with few outputs is the forward pass of one with few inputs, with the kernel turned (see conv.py). Few
outputs of many channels are computed along the channels instead (see dots.py).
"""

import functools
from collections.abc import Callable

import numpy as np
from numba import get_thread_id, njit, prange

from nn import memory
from nn.cpu.borders import pad
from nn.cpu.ends import Finish
from nn.cpu.gemm import panel_width, scratch
from nn.cpu.simd import (
    TILE_ROWS,
    VECTOR_BYTES,
    clear_span,
    copy_span,
    lanes,
    store_sum,
    tall_finish_1,
    tall_ones_1,
    tall_product_1,
    tile_finish_1,
    tile_finish_2,
    tile_product_1,
    tile_product_2,
)

FEW = 8  # channels on the narrow side, at most
STRIP = 8  # rows of places whose pixels are laid out together, with the border of zeros
SEEN_BYTES = (
    16 * 1024
)  # of dy that the rows of a kernel see one after the other: it stays in the L1 cache
PARTS = 16  # of the sum over pictures in dw: fixed, so that its order does not depend on the number of threads


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


def sums_bias(w_shape: tuple[int, ...]) -> bool:
    """Whether ``weights`` can sum the bias gradient, too: the KW C rows leave the last one of a tall tile free."""
    rows = _rows(w_shape)
    return rows % (2 * TILE_ROWS) == 0 and w_shape[1] * w_shape[2] < rows


def _rows(w_shape: tuple[int, ...]) -> int:
    """KW C, in whole tiles."""
    return -(-w_shape[1] * w_shape[2] // TILE_ROWS) * TILE_ROWS


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


@njit(cache=True, nogil=True, error_model="numpy")
def _tall(places: int) -> bool:
    """Whether so many places fill a tile of one vector with twice the rows.

    Where one vector is enough, it is faster, given 32 registers.
    """
    return VECTOR_BYTES == 64 and places >= 2 * TILE_ROWS


@njit(cache=True, nogil=True, error_model="numpy")
def _lay_out(x, h, w, c, first, rows, left, wp, out):
    """The rows ``first`` ... of a picture x (H, W, C), a flat view, into out (rows, WP, C), its sides 0 already."""
    seen = max(0, min(w, wp - left))
    for r in range(rows):
        at, row = (r * wp + left) * c, first + r
        if 0 <= row < h:
            copy_span(out, at, x, row * w * c, seen * c)
        else:
            clear_span(out, at, out, 0, seen * c)


# Tiles that ``forward`` has: many places of one vector of outputs, few of one, few of two.
TALL, LOW, WIDE = range(3)


@functools.cache
def _forward_of(kind: int, near: int) -> Callable[..., None]:
    """The loops of ``forward`` for one tile and places ``near`` numbers apart.

    A kernel that knows the distance needs no registers for it, and what is compiled is what is used.
    """
    high = 2 * TILE_ROWS if kind == TALL else TILE_ROWS

    @njit(parallel=True, cache=True, nogil=True, error_model="numpy")
    def run(
        x, h, wx, c, top, left, w, nr, bias, slope, y, n, oh, ow, k, kh, kw, sh, sw, wp, strip, spaces, tiles
    ):  # fmt: skip
        """A strip of rows of places at a time; the last tile of a row overlaps the one before it."""
        depth = kw * c
        strips = (oh + strip - 1) // strip
        for task in prange(n * strips):
            xp, tile = spaces[get_thread_id()], tiles[get_thread_id()]
            i, first = task // strips, task % strips * strip
            last = min(oh, first + strip)
            picture = x[i * h * wx * c : (i + 1) * h * wx * c]
            rows = (last - first - 1) * sh + kh
            _lay_out(picture, h, wx, c, first * sh - top, rows, left, wp, xp)
            for p in range(first, last):
                line, start = i * oh + p, sh * (p - first) * wp * c
                for j in range(0, k, nr):
                    width = min(nr, k - j)
                    whole = width == nr
                    panel = j // nr * kh * depth * nr
                    for q0 in range(0, ow, high):
                        q = min(q0, ow - high)
                        at, to = start + q * sw * c, (line * ow + q) * k + j
                        out, o0, o_row = (y, to, k) if whole else (tile, 0, nr)
                        if kind == TALL:
                            tall_finish_1(xp, at, near, 1, wp * c, w, panel, nr, depth * nr, out, o0, o_row,
                                          depth, kh, bias, j, slope)  # fmt: skip
                        elif kind == LOW:
                            tile_finish_1(xp, at, near, 1, wp * c, w, panel, nr, depth * nr, out, o0, o_row,
                                          depth, kh, bias, j, slope)  # fmt: skip
                        else:
                            tile_finish_2(xp, at, near, 1, wp * c, w, panel, nr, depth * nr, out, o0, o_row,
                                          depth, kh, bias, j, slope)  # fmt: skip
                        if not whole:
                            for r in range(high):
                                copy_span(y, to + r * k, tile, r * nr, width)

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
    wp = (ow - 1) * sw + kw
    nr = panel_width(k, x.dtype)
    columns = -(-k // nr) * nr
    packed = np.zeros((columns // nr, kh * kw * c, nr), x.dtype)  # panels; there are few weights
    for j in range(0, k, nr):
        packed[j // nr, :, : min(nr, k - j)] = w[..., j : j + nr].reshape(-1, min(nr, k - j))
    bias = np.zeros(columns, x.dtype)
    bias[:k] = finish.bias
    spaces = scratch(((STRIP - 1) * sh + kh) * wp * c, x.dtype)
    spaces[...] = 0
    tiles = scratch(2 * TILE_ROWS * nr, x.dtype)
    kind = WIDE if nr > lanes(x.dtype) else TALL if _tall(ow) else LOW
    _forward_of(kind, sw * c)(
        x.reshape(-1), *x.shape[1:], top, left, packed.reshape(-1), nr, bias, finish.slope,
        y.reshape(-1), n, oh, ow, k, kh, kw, sh, sw, wp, STRIP, spaces, tiles,
    )  # fmt: skip


@njit(parallel=True, cache=True, nogil=True, error_model="numpy")
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


@functools.cache
def _weights_of(near: int) -> Callable[..., None]:
    """The loops of ``weights`` for places ``near`` numbers apart."""

    @njit(parallel=True, cache=True, nogil=True, error_model="numpy")
    def run(
        x, h, wx, c, top, left, dy, n, oh, ow, k, kh, kw, sh, sw, wp, rows, step, block, sums, spaces, partial
    ):  # fmt: skip
        """partial (PARTS, KH, ROWS, K): each part the sum over its share of the pictures, in whole tiles of rows.

        A tile that hangs over the last of the KW C rows sees the next pixel's numbers; its rows there are not used.
        """
        share = (n + PARTS - 1) // PARTS
        for part in prange((n + share - 1) // share):
            xp = spaces[get_thread_id()]
            for image in range(part * share, min(n, (part + 1) * share)):
                picture = x[image * h * wx * c : (image + 1) * h * wx * c]
                _lay_out(picture, h, wx, c, -top, (oh - 1) * sh + kh, left, wp, xp)
                for j in range(0, k, step):
                    for p in range(0, oh, block):
                        runs = min(block, oh - p)
                        add = image > part * share or p > 0
                        d0 = ((image * oh + p) * ow) * k + j
                        for i in range(kh):
                            base, start = (part * kh + i) * rows * k + j, (p * sh + i) * wp * c
                            r = 0
                            while r < rows:
                                if sums and i == 0 and r + 2 * TILE_ROWS == rows:
                                    tall_ones_1(xp, start + r, 1, near, sh * wp * c, dy, d0, k, ow * k,
                                                partial, base + r * k, k, ow, runs, add)  # fmt: skip
                                    r += 2 * TILE_ROWS
                                elif rows - r > TILE_ROWS:
                                    tall_product_1(xp, start + r, 1, near, sh * wp * c, dy, d0, k, ow * k,
                                                   partial, base + r * k, k, ow, runs, add)  # fmt: skip
                                    r += 2 * TILE_ROWS
                                else:
                                    tile_product_1(xp, start + r, 1, near, sh * wp * c, dy, d0, k, ow * k,
                                                   partial, base + r * k, k, ow, runs, add)  # fmt: skip
                                    r += TILE_ROWS

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

    db (K) += the sum of dy over all places, where a row of the tiles is to spare for it (``sums_bias``).
    """
    n, oh, ow, k = dy.shape
    kh, kw, c, _ = dw.shape
    (sh, sw), (top, _, left, _) = stride, padding
    hp, wp = (oh - 1) * sh + kh, (ow - 1) * sw + kw
    rows = _rows(dw.shape)
    share = -(-n // PARTS)
    partial = memory.scratch((-(-n // share), kh, rows, k), x.dtype)
    spaces = scratch(hp * wp * c + rows, x.dtype)
    spaces[...] = 0
    _weights_of(sw * c)(
        x.reshape(-1), *x.shape[1:], top, left, dy.reshape(-1), n, oh, ow, k, kh, kw, sh, sw, wp,
        rows, lanes(x.dtype), max(1, SEEN_BYTES // (ow * VECTOR_BYTES)), db is not None, spaces, partial.reshape(-1),
    )  # fmt: skip
    total = partial.sum(axis=0)
    dw += total[:, : kw * c].reshape(dw.shape)
    if db is not None:
        db += total[0, -1]


def _inside(
    x: np.ndarray, padding: tuple[int, int, int, int], height: int, width: int
) -> np.ndarray:
    """The rows and columns of x that the convolution sees at all: a stride may leave some out at the end."""
    rows, columns = height - padding[0], width - padding[2]
    return np.ascontiguousarray(x[:, : max(rows, 0), : max(columns, 0)])
