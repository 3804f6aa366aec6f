"""Any convolution as matrix products with the patches of the input ("im2col"): the general way.

    row m = (n, p, q)          one place of the output, M = N OH OW of them
    column r = (i, j, c)       one number of the patch seen there, R = KH KW C of them
    convolve    y  (M, K) = patches (M, R) w (R, K)
    spread      patches' gradient (M, R) = dy (M, K) w' (K, R), each number added back to the pixel it came from: dx
    correlate   dw (R, K) += patches' (R, M) dy (M, K)

The patches are never stored: each block of them (ROWS x DEPTH) is gathered into the L2 cache just before it
is multiplied. In the memory layout NHWC the numbers (j, c) of one kernel row lie side by side, so gathering
is copying runs of KW C numbers.
"""

import numpy as np
from numba import get_num_threads, get_thread_id, njit, prange

from nn.cpu.ends import Finish
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
from nn.cpu.kernel import kernel
from nn.cpu.simd import TILE_ROWS, activate_span, add_span, clear_span, copy_span
from nn.record import contiguous

WEIGHT_ROWS = 32 * TILE_ROWS  # rows of dw that one task computes


@njit(cache=True, nogil=True, error_model="numpy")
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


@kernel
def _forward(
    x, shape, w, nr, bias, slope, y, k, r, kw, sh, sw, top, left, oh, ow, block, work, edges
):
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
        for row in range(m0, m0 + rows):
            activate_span(y, row * k, bias, 0, slope, k)


@kernel
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


@kernel
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


def convolve(
    x: np.ndarray,
    w: np.ndarray,
    finish: Finish,
    y: np.ndarray,
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
) -> None:
    """y (N, OH, OW, K) = x (N, H, W, C) convolved with w (KH, KW, C, K), finished but for the shuffle."""
    n, oh, ow, k = y.shape
    r = w[..., 0].size
    nr = panel_width(k, x.dtype)
    packed = panels(r, k, x.dtype)
    pack(contiguous(w).reshape(r, k), packed, nr)
    _forward(
        x.reshape(-1),
        x.shape,
        packed,
        nr,
        finish.bias,
        finish.slope,
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


def spread(
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
    pack_transposed(contiguous(w).reshape(r, k), packed, nr)
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


def correlate(
    x: np.ndarray,
    dy: np.ndarray,
    dw: np.ndarray,
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
    db: None = None,
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
