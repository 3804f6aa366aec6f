"""Convolutions with nothing gathered: matrix products straight from the picture.

Patches of a picture of few channels are short runs of numbers, and gathering them costs more than multiplying them.
Those of many channels cost less, but not nothing. In a picture with its border of zeros written out, xp (N, HP, WP, C),
the KW C numbers that a kernel row sees lie side by side, and the next place sees the same S C numbers further on. So
a kernel row is a matrix product straight from the picture, a (places, KW C) with rows S C numbers apart, and the KH
rows are KH runs of one sum. Where there is no border, the picture is read where it lies, a 1x1 kernel's above all.

    forward      y (places, K) = sum over i of xp[row S p + i] (places, KW C) w[i] (KW C, K)
    few outputs  K = 3 would fill 3 lanes of a vector. So neighbouring places are taken together, as many as fit:
                 G = 5 of them are 15 columns, (KW + G - 1) C numbers are seen, and the weights stand in a band
    weights      dw[i] (KW C, K) = sum over rows p of xp[row S p + i]ᵀ (KW C, OW) dy[row p] (OW, K)

The weights of a panel of outputs are read again for every tile of places, so they must stay in the L2 cache; with
more of them, blocks of patches (im2col.py) are faster.

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
from nn.cpu.gemm import pack, panel_width, panels, scratch
from nn.cpu.kernel import kernel
from nn.cpu.rows import with_slack
from nn.cpu.simd import (
    TALL_ROWS,
    TILE_ROWS,
    VECTOR_BYTES,
    add_span,
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
from nn.record import call, contiguous

FEW = 8  # channels on the narrow side, at most
STRIP = 8  # rows of places whose pixels are laid out together, with the border of zeros
PANEL_BYTES = 256 * 1024  # of weights, at most: half of a small L2 cache
MOST_WEIGHTS = 1024 * 1024  # more of them are summed where they stand (im2col.py), not in parts
STRIP_NUMBERS = 64 * 1024  # of a strip, at most, if that is more than one row
SEEN_BYTES = (
    16 * 1024
)  # of dy that the rows of a kernel see one after the other: it stays in the L1 cache
PARTS = 16  # of the sum over places in dw, at most: fixed, so that its order does not depend on the number of threads
PARTIAL_NUMBERS = 256 * 1024  # of all parts together, if that is more than one part


def fits_forward(w_shape: tuple[int, ...], y_shape: tuple[int, ...], dtype: np.dtype) -> bool:
    """Whether ``forward`` is for this: rows of places long enough for a tile, a panel of weights that stays in the
    cache from one tile to the next."""
    panel = w_shape[0] * w_shape[1] * w_shape[2] * panel_width(w_shape[3], dtype)
    return y_shape[2] >= TILE_ROWS and panel * dtype.itemsize <= PANEL_BYTES


def _strip(w_shape: tuple[int, ...], oh: int, ow: int, stride: tuple[int, int]) -> int:
    """Rows of places whose pixels are laid out together: so few that they stay in the cache."""
    kh, kw, c, _ = w_shape
    row = ((ow - 1) * stride[1] + kw) * c
    return max(1, min(STRIP, oh, (STRIP_NUMBERS // row - kh) // stride[0] + 1))


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
    """Whether ``weights`` is for this: outputs that fill half of their vectors at least, a quarter where vectors along
    the inputs (dots.py) would be no better filled, and not too many weights."""
    k, vector = w_shape[3], lanes(dtype)
    weights = w_shape[0] * _rows(w_shape) * k
    filled = (4 if w_shape[2] <= FEW else 2) * k
    return filled >= -(-k // vector) * vector and weights <= MOST_WEIGHTS


def sums_bias(w_shape: tuple[int, ...]) -> bool:
    """Whether ``weights`` can sum the bias gradient, too: the KW C rows leave the last one of a tall tile free."""
    _, kw, c, _ = w_shape
    rows = _rows(w_shape)
    return c <= FEW and rows % TALL_ROWS == 0 and kw * c < rows


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
    return VECTOR_BYTES == 64 and places >= TALL_ROWS


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
    """The loops of ``forward`` for one tile and places ``near`` numbers apart, 0: any.

    A kernel that knows the distance needs no registers for it, and what is compiled is what is used.
    """
    high = TALL_ROWS if kind == TALL else TILE_ROWS

    @kernel
    def run(
        x, h, wx, c, top, left, w, nr, bias, slope, y, n, oh, ow, k, kh, kw, sh, sw, wp, strip, spaces, tiles
    ):  # fmt: skip
        """A strip of rows of places at a time; the last tile of a row overlaps the one before it."""
        apart = near if near > 0 else sw * c
        depth, row = kw * c, wp * c
        strips = (oh + strip - 1) // strip
        for task in prange(n * strips):
            tile = tiles[get_thread_id()]
            i, first = task // strips, task % strips * strip
            last = min(oh, first + strip)
            picture = x[i * h * wx * c : (i + 1) * h * wx * c]
            if spaces.size > 0:
                seen, begin = spaces[get_thread_id()], 0
                rows = (last - first - 1) * sh + kh
                _lay_out(picture, h, wx, c, first * sh - top, rows, left, wp, seen)
            else:
                seen, begin = picture, first * sh * row
            for j in range(0, k, nr):
                width = min(nr, k - j)
                whole = width == nr
                panel = j // nr * kh * depth * nr
                for p in range(first, last):
                    line, start = i * oh + p, begin + sh * (p - first) * row
                    for q0 in range(0, ow, high):
                        q = min(q0, ow - high)
                        at, to = start + q * sw * c, (line * ow + q) * k + j
                        out, o0, o_row = (y, to, k) if whole else (tile, 0, nr)
                        if kind == TALL:
                            tall_finish_1(seen, at, apart, 1, row, w, panel, nr, depth * nr, out, o0, o_row,
                                          depth, kh, bias, j, slope)  # fmt: skip
                        elif kind == LOW or k - j <= nr // 2:  # the last panel may be half empty
                            tile_finish_1(seen, at, apart, 1, row, w, panel, nr, depth * nr, out, o0, o_row,
                                          depth, kh, bias, j, slope)  # fmt: skip
                        else:
                            tile_finish_2(seen, at, apart, 1, row, w, panel, nr, depth * nr, out, o0, o_row,
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
    k = w.shape[3]
    kh, kw, c, _ = w.shape
    (sh, sw), (top, _, left, _) = stride, padding
    x_shape, (n, oh, ow) = x.shape, y.shape[:3]
    if kh == kw == sh == sw == 1 and not any(padding):
        x_shape, (n, oh, ow) = _long_rows(x.shape)
    wp = (ow - 1) * sw + kw
    nr = panel_width(k, x.dtype)
    columns = -(-k // nr) * nr
    bias = memory.scratch(columns, x.dtype)
    call(np.copyto, bias[:k], finish.bias)
    call(np.copyto, bias[k:], 0)
    strip = _strip(w.shape, oh, ow, stride)
    inside = not any(padding)
    if inside:
        wp = x_shape[2]
    spaces = scratch(0 if inside else ((strip - 1) * sh + kh) * wp * c, x.dtype)
    call(np.copyto, spaces, 0)
    tiles = scratch(TALL_ROWS * nr, x.dtype)
    kind = WIDE if nr > lanes(x.dtype) else TALL if _tall(ow) else LOW
    _forward_of(kind, sw * c if c <= FEW else 0)(
        x.reshape(-1), *x_shape[1:], top, left, _packed(w, nr), nr, bias, finish.slope,
        y.reshape(-1), n, oh, ow, k, kh, kw, sh, sw, wp, strip, spaces, tiles,
    )  # fmt: skip


def _long_rows(shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, int, int]]:
    """The shape of x (N, H, W, C) for a kernel that sees one pixel, in rows long enough for tiles: one picture."""
    n, h, w, c = shape
    rows, places = (n * h, w) if w >= 4 * TILE_ROWS else (n, h * w)
    return (1, rows, places, c), (1, rows, places)


def _packed(w: np.ndarray, nr: int) -> np.ndarray:
    """w (KH, KW, C, K) in panels of ``nr`` outputs, the last filled up with zeros."""
    k = w.shape[3]
    numbers = w[..., 0].size
    if w.shape[2] > FEW:
        packed = panels(numbers, k, w.dtype)
        pack(contiguous(w).reshape(numbers, k), packed, nr)
        return packed
    packed = memory.scratch((-(-k // nr), numbers, nr), w.dtype)
    call(_pack_few, w, packed)
    return packed.reshape(-1)


def _pack_few(w: np.ndarray, packed: np.ndarray) -> None:
    """packed (panels, KH KW C, NR) = a few weights (KH, KW, C, K), which are not worth threads."""
    nr = packed.shape[2]
    packed[...] = 0
    for panel, part in enumerate(
        np.split(w.reshape(-1, w.shape[3]), range(nr, w.shape[3], nr), axis=1)
    ):
        packed[panel, :, : part.shape[1]] = part


@kernel
def _few_outputs(xp, wp, hp, c, w, nr, bias, y, n, oh, ow, k, kh, seen, group, groups, tiles):
    """Places in groups; a picture's groups follow each other evenly, because a row is a whole number of groups."""
    narrow = nr * y.itemsize <= VECTOR_BYTES
    depth, rows = seen * c, oh * groups
    tall = _tall(rows) and narrow
    high = TALL_ROWS if tall else TILE_ROWS
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


@kernel(parallel=False)
def _fill_band(w, kh, seen, c, k, group, nr, band, bias, tiled):
    """band (KH, (KW + G - 1) C, NR): w (KH, KW C, K) once for each of a group's G places, a place further on.

    tiled: the bias of a group.
    """
    band[:] = 0
    tiled[:] = 0
    for g in range(group):
        for i in range(kh):
            for at in range(seen):
                to = ((i * (seen + (group - 1) * c)) + g * c + at) * nr + g * k
                for j in range(k):
                    band[to + j] = w[(i * seen + at) * k + j]
        for j in range(k):
            tiled[g * k + j] = bias[j]


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
    band, tiled = memory.scratch(kh * seen * c * nr, x.dtype), memory.scratch(2 * nr, x.dtype)
    _fill_band(contiguous(w).reshape(-1), kh, kw * c, c, k, group, nr, band, finish.bias, tiled)
    hp, wp = oh + kh - 1, groups * group
    xp = padded(_inside(x, padding, hp, wp), padding, hp, wp)
    tiles = scratch(TALL_ROWS * nr + nr, x.dtype)
    _few_outputs(
        xp, wp, hp, c, band, nr, tiled, y.reshape(-1), n, oh, ow, k, kh, seen, group, groups, tiles,
    )  # fmt: skip
    finish.activate(y)


# Tiles that ``weights`` has: many rows of one vector of outputs, few of two.
HIGH, BROAD = range(2)


@functools.cache
def _weights_of(kind: int, near: int) -> Callable[..., None]:
    """The loops of ``weights`` for one tile and places ``near`` numbers apart, 0: any."""

    @kernel
    def run(
        x, h, wx, c, top, left, dy, last, n, oh, ow, k, kh, kw, sh, sw, wp, rows, vector, block, share, columns,
        sums, spaces, partial, outputs, dw, db,
    ):  # fmt: skip
        """partial (PARTS, KH, ROWS, K): each part the sum over its share of the blocks of rows, in whole tiles of rows.

        A tile that hangs over the last of the KW C rows sees the next pixel's numbers; its rows there are not used.
        K is ``outputs`` in whole vectors; those of dy end in numbers of the next place, and what they add up to is
        not used. Behind the last one nothing may be read: ``last`` (see ``with_slack``).
        """
        apart, row, depth = near if near > 0 else sw * c, wp * c, kw * c
        step = vector * (2 if kind == BROAD else 1)
        blocks = (oh + block - 1) // block
        parts = (n * blocks + share - 1) // share
        groups = (k + columns - 1) // columns
        for task in prange(parts * groups):
            part, left_k = task // groups, task % groups * columns
            right_k = min(k, left_k + columns)
            for at in range(part * share, min(n * blocks, (part + 1) * share)):
                image, p = at // blocks, at % blocks * block
                runs, add = min(block, oh - p), at > part * share
                picture = x[image * h * wx * c : (image + 1) * h * wx * c]
                if spaces.size > 0:
                    seen, begin = spaces[get_thread_id()], 0
                    _lay_out(picture, h, wx, c, p * sh - top, (runs - 1) * sh + kh, left, wp, seen)
                else:
                    seen, begin = picture, p * sh * row
                late = image == n - 1 and last.size > 0
                g, g0 = (last, p * ow * outputs) if late else (dy, (image * oh + p) * ow * outputs)
                for j in range(left_k, right_k, step):
                    d0 = g0 + j
                    for i in range(kh):
                        base, start = (part * kh + i) * rows * k + j, begin + i * row
                        r = 0
                        while r < rows:
                            if kind == BROAD:
                                tile_product_2(seen, start + r, 1, apart, sh * row, g, d0, outputs, ow * outputs,
                                               partial, base + r * k, k, ow, runs, add)  # fmt: skip
                                r += TILE_ROWS
                            elif sums and i == 0 and r + TALL_ROWS == rows:
                                tall_ones_1(seen, start + r, 1, apart, sh * row, g, d0, outputs, ow * outputs,
                                            partial, base + r * k, k, ow, runs, add)  # fmt: skip
                                r += TALL_ROWS
                            elif rows - r > TILE_ROWS:
                                tall_product_1(seen, start + r, 1, apart, sh * row, g, d0, outputs, ow * outputs,
                                               partial, base + r * k, k, ow, runs, add)  # fmt: skip
                                r += TALL_ROWS
                            else:
                                tile_product_1(seen, start + r, 1, apart, sh * row, g, d0, outputs, ow * outputs,
                                               partial, base + r * k, k, ow, runs, add)  # fmt: skip
                                r += TILE_ROWS

        for i in range(kh):  # the parts in their order
            for part in range(parts):
                at = (part * kh + i) * rows * k
                if outputs == k:
                    add_span(dw, i * depth * k, partial, at, depth * k)
                else:
                    for r in range(depth):
                        add_span(dw, (i * depth + r) * outputs, partial, at + r * k, outputs)
                if sums and i == 0:
                    add_span(db, 0, partial, at + (rows - 1) * k, outputs)

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
    kh, kw, c, outputs = dw.shape
    (sh, sw), (top, _, left, _) = stride, padding
    x_shape, (n, oh, ow) = x.shape, dy.shape[:3]
    if kh == kw == sh == sw == 1 and not any(padding):
        x_shape, (n, oh, ow) = _long_rows(x.shape)
    vector = lanes(x.dtype)
    k = -(-outputs // vector) * vector
    rows = _rows(dw.shape)
    kind = BROAD if k % (2 * vector) == 0 and c > FEW else HIGH
    step = vector * (2 if kind == BROAD else 1)
    block = max(1, min(oh, SEEN_BYTES // (ow * VECTOR_BYTES)))
    units = n * -(-oh // block)
    share = -(-units // max(1, min(units, PARTS, PARTIAL_NUMBERS // (kh * rows * k))))
    parts = -(-units // share)
    columns = -(-k // step // -(-PARTS // parts)) * step
    # Where there is no border and no tile hangs over, the pictures are read as they lie.
    inside = not any(padding) and rows == kw * c
    wp = x_shape[2] if inside else (ow - 1) * sw + kw
    spaces = scratch(0 if inside else ((block - 1) * sh + kh) * wp * c + rows, x.dtype)
    call(np.copyto, spaces, 0)
    partial = memory.scratch((parts, kh, rows, k), x.dtype)
    bias = np.empty(0, x.dtype) if db is None else db
    _weights_of(kind, sw * c if c <= FEW else 0)(
        x.reshape(-1), *x_shape[1:], top, left, dy.reshape(-1), with_slack(dy.reshape(n, oh, ow, outputs)),
        n, oh, ow, k, kh, kw, sh, sw, wp, rows, vector, block, share, columns, db is not None, spaces,
        partial.reshape(-1), outputs, dw.reshape(-1), bias,
    )  # fmt: skip


def _inside(
    x: np.ndarray, padding: tuple[int, int, int, int], height: int, width: int
) -> np.ndarray:
    """The rows and columns of x that the convolution sees at all: a stride may leave some out at the end."""
    rows, columns = height - padding[0], width - padding[2]
    return contiguous(x[:, : max(rows, 0), : max(columns, 0)])
