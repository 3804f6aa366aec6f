"""Convolution on the CPU. The equations stand in ``nn/reference/conv.py``.

Each pass is a matrix product with the patches of the input as one side ("im2col"):

    row m = (n, p, q)          one place of the output, M = N OH OW of them
    column r = (i, j, c)       one number of the patch seen there, R = KH KW C of them
    gather     `_convolve`     y  (M, K) = patches (M, R) w (R, K)
    scatter    `_spread`       patches' gradient (M, R) = dy (M, K) w' (K, R), each number added back to the pixel it
                               came from: dx
    weights    `_correlate`    dw (R, K) += patches' (R, M) dy (M, K)

With stride 1 there are two ways to each, because dx is itself a convolution (of dy, with the kernel turned by
180 degrees), y itself a scattering, and dw can take its patches from dy as well as from x. The way with the
fewer numbers to gather or scatter is taken: patches of the side with the fewer channels.

The patches are never stored: each block of them (ROWS x DEPTH) is gathered into the L2 cache just before it
is multiplied. In the memory layout NHWC the numbers (j, c) of one kernel row lie side by side, so gathering
is copying runs of KW C numbers.

Other ways, for what they fit: fewer multiplications for 3x3 kernels of stride 1 (``winograd.py``) and 5x5 ones of
stride 2 (``phases.py``) in float32; nothing gathered at all where one side has few channels (``direct.py`` for few
inputs, ``dots.py`` for few outputs).
"""

from collections.abc import Callable
from types import ModuleType

import numpy as np
from numba import get_num_threads, get_thread_id, njit, prange

from nn.cpu import direct, dots, memory, phases, winograd
from nn.cpu.gemm import (
    DEPTH,
    PAD,
    ROWS,
    block_rows,
    edge_size,
    multiply_block,
    pack,
    pack_transposed,
    panel_width,
    panels,
    scratch,
)
from nn.cpu.rows import add_column_sums
from nn.cpu.simd import TILE_ROWS, add_span, clear_span, copy_span
from nn.reference.conv import Conv2dCache, conv2d_out_size

WEIGHT_ROWS = 32 * TILE_ROWS  # rows of dw that one task computes
WINOGRAD_TILES = 16  # from so many tiles on
SCATTER_GAIN = 2  # scattering takes over where it moves so many times fewer numbers than gathering


@njit(cache=True, nogil=True)
def _patches(
    x, shape, patches, patch_row, m0, rows, r0, r1, kw, sh, sw, top, left, oh, ow, scatter
):
    """Between pictures and patches: one walk over the runs of neighbouring numbers, for both ways.

    gather     patches[row] = the patch at place m0 + row of x (N, H, W, C), numbers r0 .. r1; zeros where it hangs
               over the border
    scatter    x += the same numbers, each at the pixel that it would be gathered from
    """
    _, height, width, c = shape
    line = kw * c
    for row in range(rows):
        m = m0 + row
        q = m % ow
        p = m // ow % oh
        first_line = m // (ow * oh) * height
        at = row * patch_row
        left_pixel = q * sw - left
        lowest = max(0, -left_pixel * c)
        highest = min(line, (width - left_pixel) * c)
        r = r0
        while r < r1:
            i = r // line
            start = r - i * line
            stop = min(line, start + r1 - r)
            y = p * sh + i - top
            lo = min(max(start, lowest), stop)
            hi = max(min(stop, highest), lo)
            inside = 0 <= y < height and lo < hi
            pixel = ((first_line + y) * width + left_pixel) * c
            if scatter:
                if inside:
                    add_span(x, pixel + lo, patches, at + lo - start, hi - lo)
            elif inside:
                if lo > start:
                    clear_span(patches, at, patches, 0, lo - start)
                copy_span(patches, at + lo - start, x, pixel + lo, hi - lo)
                if hi < stop:
                    clear_span(patches, at + hi - start, patches, 0, stop - hi)
            else:
                clear_span(patches, at, patches, 0, stop - start)
            at += stop - start
            r += stop - start


@njit(parallel=True, cache=True, nogil=True)
def _forward(x, shape, w, nr, bias, y, k, r, kw, sh, sw, top, left, oh, ow, block, work, edges):
    m = shape[0] * oh * ow
    for task in prange((m + block - 1) // block):
        t = get_thread_id()
        m0 = task * block
        rows = min(block, m - m0)
        for r0 in range(0, r, DEPTH):
            depth = min(DEPTH, r - r0)
            a_row = depth + PAD
            _patches(
                x,
                shape,
                work[t],
                a_row,
                m0,
                rows,
                r0,
                r0 + depth,
                kw,
                sh,
                sw,
                top,
                left,
                oh,
                ow,
                False,
            )
            multiply_block(
                work[t],
                0,
                a_row,
                1,
                rows,
                w,
                r0 * nr,
                r * nr,
                nr,
                y,
                m0 * k,
                k,
                k,
                depth,
                r0 > 0,
                edges[t],
            )
        if bias.size:
            for row in range(m0, m0 + rows):
                add_span(y, row * k, bias, 0, k)


@njit(parallel=True, cache=True, nogil=True)
def _backward_weight(x, shape, dy, nr, dw, k, r, kw, sh, sw, top, left, oh, ow, block, work, edges):
    m = shape[0] * oh * ow
    for task in prange((r + block - 1) // block):
        t = get_thread_id()
        r0 = task * block
        rows = min(block, r - r0)
        a_row = rows + PAD
        for m0 in range(0, m, DEPTH):
            depth = min(DEPTH, m - m0)
            _patches(
                x,
                shape,
                work[t],
                a_row,
                m0,
                depth,
                r0,
                r0 + rows,
                kw,
                sh,
                sw,
                top,
                left,
                oh,
                ow,
                False,
            )
            multiply_block(
                work[t],
                0,
                1,
                a_row,
                rows,
                dy,
                m0 * nr,
                m * nr,
                nr,
                dw,
                r0 * k,
                k,
                k,
                depth,
                True,
                edges[t],
            )


@njit(parallel=True, cache=True, nogil=True)
def _backward_input(
    dy, w, nr, dx, shape, k, r, kw, sh, sw, top, left, oh, ow, images, chunk, work, edges
):
    places = oh * ow
    picture = shape[1] * shape[2] * shape[3]
    for task in prange((shape[0] + images - 1) // images):
        t = get_thread_id()
        n0 = task * images
        count = min(images, shape[0] - n0)
        clear_span(dx, n0 * picture, dx, 0, count * picture)
        for m0 in range(n0 * places, (n0 + count) * places, ROWS):
            rows = min(ROWS, (n0 + count) * places - m0)
            for r0 in range(0, r, chunk):
                columns = min(chunk, r - r0)
                for k0 in range(0, k, DEPTH):
                    multiply_block(
                        dy,
                        m0 * k + k0,
                        k,
                        1,
                        rows,
                        w,
                        r0 * k + k0 * nr,
                        k * nr,
                        nr,
                        work[t],
                        0,
                        chunk,
                        columns,
                        min(DEPTH, k - k0),
                        k0 > 0,
                        edges[t],
                    )
                _patches(
                    dx,
                    shape,
                    work[t],
                    chunk,
                    m0,
                    rows,
                    r0,
                    r0 + columns,
                    kw,
                    sh,
                    sw,
                    top,
                    left,
                    oh,
                    ow,
                    True,
                )


def conv2d_forward(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    *,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    precision: str = "fast",
) -> tuple[np.ndarray, Conv2dCache]:
    """x (N, H, W, C), w (KH, KW, C, K), b (K) or None -> y (N, OH, OW, K) and the cache.

    precision: "fast" may use Winograd's way in float32 (``nn/cpu/winograd.py`` states its error), "exact" does not.
    """
    x = np.ascontiguousarray(x)
    oh, ow = conv2d_out_size(x.shape, w.shape, stride, padding)
    y = memory.empty((x.shape[0], oh, ow, w.shape[3]), x.dtype)
    if y.size == 0:
        pass
    elif _is_fast(y.shape, w, stride, precision):
        winograd.convolve(x, w, _bias(b, x), y, padding)
    elif _is_fast(y.shape, w, stride, precision, phases):
        phases.convolve(x, w, _bias(b, x), y, padding)
    elif narrow := _narrow(w.shape, y.shape, stride, x.dtype):
        narrow(x, w, _bias(b, x), y, stride, padding)
    elif _turns(w.shape, stride, padding) and w.shape[3] * SCATTER_GAIN <= w.shape[2]:
        _spread(x, _turned(w), y, stride, _around(w.shape, padding))
        if b is not None:
            y += b
    else:
        _convolve(x, w, _bias(b, x), y, stride, padding)
    return y, Conv2dCache(x, w, stride, padding, precision)


def conv2d_backward(
    dy: np.ndarray,
    cache: Conv2dCache,
    dw: np.ndarray,
    db: np.ndarray | None,
    *,
    need_dx: bool = True,
) -> np.ndarray | None:
    """Adds to dw (KH, KW, C, K) and db (K); returns dx (N, H, W, C), or None if it is not needed."""
    x, w, stride, padding, precision = cache
    c, k = w.shape[2:]
    if dy.size == 0:
        return np.zeros_like(x) if need_dx else None
    dy = np.ascontiguousarray(dy)
    if db is not None:
        add_column_sums(dy.reshape(-1, k), db)
    if _is_fast(dy.shape, w, stride, precision, phases):
        dx = memory.empty(x.shape, dy.dtype) if need_dx else None
        phases.backward(x, w, dy, dw, dx, padding)
        return dx
    turns = _turns(w.shape, stride, padding)
    fast = _is_fast(dy.shape, w, stride, precision)
    if fast:
        winograd.correlate(x, dy, dw, padding)
    elif direct.fits_weights(w.shape, dy.dtype):
        direct.weights(x, dy, dw, stride, padding)
    elif dots.fits_weights(w.shape):
        dots.weights(x, dy, dw, stride, padding)
    elif turns and k < c:
        turned = np.zeros((*w.shape[:2], k, c), dy.dtype)
        _correlate(dy, x, turned, stride, _around(w.shape, padding))
        dw += _turned(turned)
    else:
        _correlate(x, dy, dw, stride, padding)
    if not need_dx:
        return None
    dx = memory.empty(x.shape, dy.dtype)
    if turns and fast:
        winograd.spread(dy, w, dx, padding)
    elif turns and (narrow := _narrow((*w.shape[:2], k, c), x.shape, stride, dy.dtype)):
        nothing = np.empty(0, dy.dtype)
        narrow(dy, _turned(w), nothing, dx, stride, _around(w.shape, padding))
    elif turns and k < c * SCATTER_GAIN:
        nothing = np.empty(0, dy.dtype)
        _convolve(dy, _turned(w), nothing, dx, stride, _around(w.shape, padding))
    else:
        _spread(dy, w, dx, stride, padding)
    return dx


def _narrow(
    w_shape: tuple[int, ...], y_shape: tuple[int, ...], stride: tuple[int, int], dtype: np.dtype
) -> Callable[..., None] | None:
    """The way of convolving with a kernel (KH, KW, C, K) of few channels on one side; None where none fits."""
    c, k = w_shape[2:]
    band = direct.fits_few_outputs(w_shape, y_shape, stride, dtype)
    if band and c <= direct.FEW and k > dots.DOT_OUTPUTS:
        return direct.few_outputs
    if dots.fits_forward(w_shape, y_shape, dtype):
        return dots.forward
    if band:
        return direct.few_outputs
    return direct.forward if direct.fits_forward(w_shape, y_shape) else None


def _bias(b: np.ndarray | None, x: np.ndarray) -> np.ndarray:
    """b (K), or nothing (0): kernels take arrays only."""
    return np.empty(0, x.dtype) if b is None else b


def _is_fast(
    y_shape: tuple[int, ...],
    w: np.ndarray,
    stride: tuple[int, int],
    precision: str,
    way: ModuleType = winograd,
) -> bool:
    """Whether Winograd's way is taken: where it fits, is allowed, and has enough whole tiles to pay.

    way: the module for this kernel and stride.
    """
    n, oh, ow, _ = y_shape
    tiles = n * -(-oh // winograd.TILE) * -(-ow // winograd.TILE)
    pays = tiles >= WINOGRAD_TILES and n * oh * ow >= tiles * winograd.TILE**2 // 2
    return precision != "exact" and pays and way.fits(w.shape, stride, w.dtype)


def _turns(
    w_shape: tuple[int, ...], stride: tuple[int, int], padding: tuple[int, int, int, int]
) -> bool:
    """Whether the way back of this convolution is one, too: stride 1, and no more padding than kernel."""
    return stride == (1, 1) and max(padding[:2]) < w_shape[0] and max(padding[2:]) < w_shape[1]


def _turned(w: np.ndarray) -> np.ndarray:
    """The kernel (KH, KW, C, K) of the way back, (KH, KW, K, C): turned by 180 degrees, sides exchanged."""
    return np.ascontiguousarray(w[::-1, ::-1].transpose(0, 1, 3, 2))


def _around(
    w_shape: tuple[int, ...], padding: tuple[int, int, int, int]
) -> tuple[int, int, int, int]:
    """The padding of the way back."""
    kh, kw = w_shape[:2]
    top, bottom, left, right = padding
    return kh - 1 - top, kh - 1 - bottom, kw - 1 - left, kw - 1 - right


def _convolve(
    x: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray,
    y: np.ndarray,
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
) -> None:
    """y (N, OH, OW, K) = x (N, H, W, C) convolved with w (KH, KW, C, K), plus bias (K) or none (0)."""
    n, oh, ow, k = y.shape
    r = w[..., 0].size
    nr = panel_width(k, x.dtype)
    packed = panels(r, k, x.dtype)
    pack(np.ascontiguousarray(w).reshape(r, k), packed, nr)
    _forward(
        x.reshape(-1),
        x.shape,
        packed,
        nr,
        bias,
        y.reshape(-1),
        k,
        r,
        w.shape[1],
        *stride,
        padding[0],
        padding[2],
        oh,
        ow,
        block_rows(n * oh * ow),
        scratch(ROWS * (DEPTH + PAD), x.dtype),
        scratch(edge_size(nr), x.dtype),
    )


def _spread(
    dy: np.ndarray,
    w: np.ndarray,
    dx: np.ndarray,
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
) -> None:
    """dx (N, H, W, C) = the adjoint of the convolution with w (KH, KW, C, K), of dy (N, OH, OW, K)."""
    n, oh, ow, k = dy.shape
    r = w[..., 0].size
    nr = panel_width(r, dy.dtype)
    packed = panels(k, r, dy.dtype)
    pack_transposed(np.ascontiguousarray(w).reshape(r, k), packed, nr)
    chunk = 8 * nr
    images = max(1, min(-(-n // (2 * get_num_threads())), ROWS // (oh * ow)))
    _backward_input(
        dy.reshape(-1),
        packed,
        nr,
        dx.reshape(-1),
        dx.shape,
        k,
        r,
        w.shape[1],
        *stride,
        padding[0],
        padding[2],
        oh,
        ow,
        images,
        chunk,
        scratch(ROWS * chunk, dy.dtype),
        scratch(edge_size(nr), dy.dtype),
    )


def _correlate(
    x: np.ndarray,
    dy: np.ndarray,
    dw: np.ndarray,
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
) -> None:
    """dw (KH, KW, C, K) += patches of x (N, H, W, C), transposed, times dy (N, OH, OW, K)."""
    _, oh, ow, k = dy.shape
    r = dw[..., 0].size
    rows = dy.reshape(-1, k)
    nr = panel_width(k, dy.dtype)
    packed = panels(rows.shape[0], k, dy.dtype)
    pack(rows, packed, nr)
    share = -(-r // (2 * get_num_threads()))
    block = max(TILE_ROWS, min(WEIGHT_ROWS, -(-share // TILE_ROWS) * TILE_ROWS))
    _backward_weight(
        x.reshape(-1),
        x.shape,
        packed,
        nr,
        dw.reshape(-1),
        k,
        r,
        dw.shape[1],
        *stride,
        padding[0],
        padding[2],
        oh,
        ow,
        block,
        scratch(DEPTH * (WEIGHT_ROWS + PAD), dy.dtype),
        scratch(edge_size(nr), dy.dtype),
    )
