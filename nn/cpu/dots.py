"""Convolutions with few outputs, like the last layer (3 colours out): vectors along the sum.

Everywhere else a vector holds neighbouring outputs of one place. With K = 3 of them 3 lanes of 16 would work. Here
the lanes lie along the sum instead: in a picture with its border of zeros written out, xp (HP, WP, C), the KW C
numbers that a kernel row sees lie side by side, and so do the weights of one output.

    forward    y[p, q, k] = sum over i, v, lane of xp[SH p + i][SW q C + v lanes + lane] w[i, v, k, lane]
               w (KH, V, 3, lanes), V = ceil(KW C / lanes), zeros behind the KW C weights of a kernel row. 5 places
               times 3 outputs are 15 accumulators: each round loads 5 + 3 vectors for 15 multiply-adds, and only
               at the end are the lanes of an accumulator added up
    weights    dw[i] (K, KW C) = sum over rows p of dy[row p]ᵀ (K, OW) xp[row SH p + i] (OW, KW C)
               rows of xp are SW C numbers apart and overlap. A tile is 3 rows, each a number of dy in all lanes, by 5
               vectors of xp: 8 loads for 15 multiply-adds

K outputs are taken in threes. The border is written per task, for as many rows as its L2 cache holds: the whole picture
with its border is never written to memory. dx is the convolution of dy, which has few channels, with the kernel
turned: ``direct.py``.
"""

import functools

import numpy as np
from numba import get_num_threads, get_thread_id, njit, prange

from nn import memory
from nn.cpu.ends import Finish
from nn.cpu.gemm import scratch
from nn.cpu.kernel import kernel
from nn.cpu.simd import (
    DOT_OUTPUTS,
    DOT_PLACES,
    VECTOR_BYTES,
    add_span,
    clear_span,
    copy_span,
    dot_tile,
    lanes,
    low_product_3,
    low_product_5,
    store_sum,
)
from nn.record import contiguous

FEW = 8  # outputs, at most
WORK = 512 * 1024  # bytes of a picture that a task keeps in its L2 cache
PARTS = 32  # of the sum over places in dw, at most: fixed, so that its order does not depend on the number of threads
LEAST_ROWS = 4  # that a part takes: the rows of the border around them are copied in vain
WIDEST = 5 if VECTOR_BYTES == 64 else 3  # vectors in a tile of dw


def fits_forward(w_shape: tuple[int, ...], y_shape: tuple[int, ...], dtype: np.dtype) -> bool:
    """Whether ``forward`` is for this: few outputs, kernel rows that fill a vector, rows of y that hold a tile."""
    _, kw, c, k = w_shape
    return k <= FEW and kw * c >= lanes(dtype) and y_shape[2] >= DOT_PLACES


def fits_weights(w_shape: tuple[int, ...]) -> bool:
    """Whether ``weights`` is for this: few outputs."""
    return w_shape[3] <= FEW


@njit(cache=True, nogil=True, error_model="numpy")
def _window(x, image, h, width, c, first, count, left, wp, out):
    """Rows first .. first + count of picture ``image`` between zeros, ``wp`` pixels wide, and zeros behind the last.

    What a tile reads behind a row's end is multiplied by 0 or thrown away, but must be numbers.
    """
    before = min(left, wp)
    seen = min(width, wp - before)
    after = wp - before - seen
    for r in range(count):
        row, at = first + r, r * wp * c
        if 0 <= row < h:
            clear_span(out, at, out, 0, before * c)
            copy_span(out, at + before * c, x, (image * h + row) * width * c, seen * c)
            clear_span(out, at + (before + seen) * c, out, 0, after * c)
        else:
            clear_span(out, at, out, 0, wp * c)
    clear_span(out, count * wp * c, out, 0, 5 * VECTOR_BYTES // out.itemsize)


@kernel
def _forward(
    x, n, h, width, c, w, vectors, bias, y, oh, ow, k, kh, sh, sw, top, left, wp, block, work, tiles
):
    """A block of rows at a time; the last places of a row overlap those before them."""
    blocks = (oh + block - 1) // block
    lane = VECTOR_BYTES // y.itemsize
    done = DOT_PLACES * DOT_OUTPUTS
    for task in prange(n * blocks):
        t = get_thread_id()
        xp, tile = work[t], tiles[t]
        image, p0 = task // blocks, task % blocks * block
        rows = min(block, oh - p0)
        _window(x, image, h, width, c, p0 * sh - top, (rows - 1) * sh + kh, left, wp, xp)
        for p in range(rows):
            line = (image * oh + p0 + p) * ow
            for j in range(0, k, DOT_OUTPUTS):
                group = j * kh * vectors * lane
                q = 0
                while q < ow:
                    q = min(q, ow - DOT_PLACES)
                    dot_tile(
                        xp,
                        (p * sh * wp + q * sw) * c,
                        sw * c,
                        wp * c,
                        w,
                        group,
                        vectors,
                        kh,
                        tile,
                        0,
                    )
                    to = (line + q) * k
                    if k == DOT_OUTPUTS:
                        for i in range(0, done, 2 * lane):
                            store_sum(y, to + i, tile, i, bias, i, min(2 * lane, done - i))
                    else:
                        for r in range(DOT_PLACES):
                            store_sum(
                                y,
                                to + r * k + j,
                                tile,
                                r * DOT_OUTPUTS,
                                bias,
                                j,
                                min(DOT_OUTPUTS, k - j),
                            )
                    q += DOT_PLACES


@kernel(parallel=False)
def _pack(w, kh, seen, k, vectors, lane, packed, bias, tiled):
    """packed (groups, KH, vectors, 3, L): w (KH, KW C, K) by output, zeros behind its rows and outputs.

    tiled: the bias of each number of a tile of places, where that is stored at once, or of one place.
    """
    packed[:] = 0
    for i in range(kh):
        for at in range(seen):
            to = (i * vectors + at // lane) * DOT_OUTPUTS * lane + at % lane
            for j in range(k):
                group = j // DOT_OUTPUTS * kh * vectors * DOT_OUTPUTS * lane
                packed[group + to + j % DOT_OUTPUTS * lane] = w[(i * seen + at) * k + j]
    tiled[:] = 0
    for i in range(DOT_PLACES * k if k == DOT_OUTPUTS else k):
        tiled[i] = bias[i % k]


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
    lane = lanes(x.dtype)
    wp, vectors, groups = (ow - 1) * stride[1] + kw, -(-kw * c // lane), -(-k // DOT_OUTPUTS)
    packed = memory.scratch(groups * DOT_OUTPUTS * kh * vectors * lane, x.dtype)
    # A tile is written in whole vectors, and read from any place on.
    numbers = (-(-DOT_PLACES * DOT_OUTPUTS // lane) + 1) * lane
    tiled = memory.scratch(numbers, x.dtype)
    _pack(
        contiguous(w).reshape(-1),
        kh,
        kw * c,
        k,
        vectors,
        lane,
        packed,
        finish.bias,
        tiled,
    )
    block = min(
        _rows(wp * c * x.itemsize, oh, kh, stride[0]),
        max(LEAST_ROWS, -(-n * oh // (2 * get_num_threads()))),
    )
    work = scratch(_work_size(block, kh, stride[0], wp * c, lane), x.dtype)
    _forward(
        x.reshape(-1), *x.shape, packed, vectors, tiled, y.reshape(-1), oh, ow, k, kh,
        *stride, padding[0], padding[2], wp, block, work, scratch(numbers, x.dtype),
    )  # fmt: skip
    finish.activate(y)


@kernel
def _weights(
    x,
    n,
    h,
    width,
    c,
    dy,
    oh,
    ow,
    k,
    kh,
    sh,
    sw,
    top,
    left,
    wp,
    vectors,
    block,
    share,
    partial,
    size,
    work,
):
    """partial (parts, KH, groups, 3, vectors' numbers): each part the sum over ``share`` blocks of rows.

    A group is 3 outputs. The last of several begins earlier rather than read behind dy; where there are fewer than 3,
    each output is a group of its own, three times.
    """
    lane = VECTOR_BYTES // x.itemsize
    line = vectors * lane
    groups = (k + DOT_OUTPUTS - 1) // DOT_OUTPUTS if k >= DOT_OUTPUTS else k
    a_row = 1 if k >= DOT_OUTPUTS else 0
    blocks = (oh + block - 1) // block
    for part in prange(partial.size // size):
        xp = work[get_thread_id()]
        for task in range(part * share, min(n * blocks, (part + 1) * share)):
            image, p0 = task // blocks, task % blocks * block
            rows = min(block, oh - p0)
            _window(x, image, h, width, c, p0 * sh - top, (rows - 1) * sh + kh, left, wp, xp)
            add = task > part * share
            for i in range(kh):
                for g in range(groups):
                    first = min(g * DOT_OUTPUTS, k - DOT_OUTPUTS) if a_row else g
                    at = (image * oh + p0) * ow * k + first
                    to = part * size + (i * groups + g) * DOT_OUTPUTS * line
                    v = 0
                    while v < vectors:
                        seen = i * wp * c + v * lane
                        if WIDEST == 5 and vectors - v > 3:
                            low_product_5(dy, at, a_row, k, ow * k, xp, seen, sw * c, sh * wp * c,
                                          partial, to + v * lane, line, ow, rows, add)  # fmt: skip
                            v += 5
                        else:
                            low_product_3(dy, at, a_row, k, ow * k, xp, seen, sw * c, sh * wp * c,
                                          partial, to + v * lane, line, ow, rows, add)  # fmt: skip
                            v += 3


@kernel(parallel=False)
def _add_parts(partial, size, kh, seen, k, line, slots, dw):
    """dw (KH, KW C, K) += all of ``partial``, whose first part is written to."""
    for at in range(size, partial.size, size):
        add_span(partial, 0, partial, at, size)
    rows = size // (kh * line)
    for i in range(kh):
        for j in range(k):
            at = (i * rows + slots[j]) * line
            for s in range(seen):
                dw[(i * seen + s) * k + j] += partial[at + s]


def weights(
    x: np.ndarray,
    dy: np.ndarray,
    dw: np.ndarray,
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
    db: None = None,
) -> None:
    """dw (KH, KW, C, K) += the gradient of the weights, from x (N, H, W, C) and dy (N, OH, OW, K)."""
    n, oh, ow, k = dy.shape
    kh, kw, c, _ = dw.shape
    lane = lanes(x.dtype)
    wp, vectors = (ow - 1) * stride[1] + kw, -(-kw * c // lane)
    vectors = _whole_tiles(vectors)
    block = min(_rows(wp * c * x.itemsize, oh, kh, stride[0]), max(LEAST_ROWS, -(-n * oh // PARTS)))
    tasks = n * -(-oh // block)
    share = -(-tasks // PARTS)
    slots = _slots(k)
    size = kh * (int(slots[-1]) // DOT_OUTPUTS + 1) * DOT_OUTPUTS * vectors * lane
    partial = memory.scratch(-(-tasks // share) * size, x.dtype)
    work = scratch(_work_size(block, kh, stride[0], wp * c, lane), x.dtype)
    _weights(
        x.reshape(-1), *x.shape, dy.reshape(-1), oh, ow, k, kh, *stride, padding[0], padding[2], wp, vectors, block,
        share, partial, size, work,
    )  # fmt: skip
    _add_parts(partial, size, kh, kw * c, k, vectors * lane, slots, dw.reshape(-1))


def _rows(line: int, oh: int, kh: int, sh: int) -> int:
    """Rows of places in a block: as many as WORK holds, blocks of a picture alike; ``line`` bytes in a row of xp."""
    most = max(1, (WORK // line - kh) // sh + 1)
    return -(-oh // -(-oh // most))


def _work_size(block: int, kh: int, sh: int, line: int, lane: int) -> int:
    """Numbers of a block with its border and the zeros behind it, in whole vectors."""
    return -(-((block - 1) * sh + kh) * line // lane) * lane + 5 * lane


def _whole_tiles(vectors: int) -> int:
    """Vectors of a row of dw, rounded up to what ``_weights`` covers with its tiles."""
    if WIDEST == 3:
        return -(-vectors // 3) * 3
    rest = vectors % 5
    return vectors + (0 if rest == 0 else (3 if rest <= 3 else 5) - rest)


@functools.cache
def _slots(k: int) -> np.ndarray:
    """Where output 0 .. K - 1 lies among the rows of ``_weights``' groups."""
    if k < DOT_OUTPUTS:
        return np.array([DOT_OUTPUTS * j for j in range(k)])
    whole = k // DOT_OUTPUTS * DOT_OUTPUTS
    behind = range(whole, k)  # in the last group, which ends with output K - 1
    return np.array([*range(whole), *(whole + DOT_OUTPUTS - k + j for j in behind)])
