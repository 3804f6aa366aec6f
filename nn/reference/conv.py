"""Two-dimensional convolution: one small weight matrix slid over the picture.

    x (N, H, W, C)   w (KH, KW, C, K)   b (K)   y (N, OH, OW, K)
    stride (SH, SW)   padding (top, bottom, left, right), filled with zeros: xp is x with that border
    OH = (H + top + bottom - KH) // SH + 1,   OW = (W + left + right - KW) // SW + 1

    forward     y[n, p, q, k] = b[k] + sum_{i, j, c} xp[n, SH p + i, SW q + j, c] w[i, j, c, k]

    backward    xp[n, r, s, c] met w[i, j, c, k] on the way to every y[n, p, q, k] with SH p + i = r and SW q + j = s:
                dxp[n, SH p + i, SW q + j, c] += sum_k dy[n, p, q, k] w[i, j, c, k]      for every tap i, j
                dw[i, j, c, k] = sum_{n, p, q} xp[n, SH p + i, SW q + j, c] dy[n, p, q, k]   w is shared by all places
                db[k]          = sum_{n, p, q} dy[n, p, q, k]
                dx             = dxp without its border

(What mathematics calls convolution flips the kernel; like every framework this is cross-correlation.)
For one tap (i, j) the pixels xp[:, SH p + i, SW q + j, :] are a strided slice, so each tap is one
matrix product; the code below is the sum over taps, in the order of the equations.

Cached: x, w (references), stride, padding. Cost: N OH OW KH KW C K multiply-adds forward, twice that backward.
Source: Dumoulin and Visin, A guide to convolution arithmetic for deep learning, arXiv:1603.07285.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np


class Conv2dCache(NamedTuple):
    x: np.ndarray  # (N, H, W, C)
    w: np.ndarray  # (KH, KW, C, K)
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    precision: str = "fast"


def conv2d_out_size(
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
) -> tuple[int, int]:
    """(OH, OW) for x (N, H, W, C), w (KH, KW, C, K); ValueError where nothing would come out."""
    top, bottom, left, right = padding
    oh = (x_shape[1] + top + bottom - w_shape[0]) // stride[0] + 1
    ow = (x_shape[2] + left + right - w_shape[1]) // stride[1] + 1
    if oh < 1 or ow < 1:
        raise ValueError(
            f"a {w_shape[0]}x{w_shape[1]} kernel does not fit into a {x_shape[1]}x{x_shape[2]} "
            f"input with padding {padding}"
        )
    return oh, ow


def _taps(
    cache: Conv2dCache, oh: int, ow: int
) -> Iterator[tuple[int, int, tuple[slice, slice, slice]]]:
    """For every kernel tap (i, j): the slice of the padded input that it meets, (N, OH, OW, C)."""
    (sh, sw), (kh, kw) = cache.stride, cache.w.shape[:2]
    for i in range(kh):
        for j in range(kw):
            rows = slice(i, i + sh * (oh - 1) + 1, sh)
            columns = slice(j, j + sw * (ow - 1) + 1, sw)
            yield i, j, (slice(None), rows, columns)


def _pad(x: np.ndarray, padding: tuple[int, int, int, int]) -> np.ndarray:
    top, bottom, left, right = padding
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))


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

    precision: "exact" asks a fast backend for nothing but sums of products; here it makes no difference.
    """
    cache = Conv2dCache(x, w, stride, padding, precision)
    oh, ow = conv2d_out_size(x.shape, w.shape, stride, padding)
    xp = _pad(x, padding)
    y = np.zeros((x.shape[0], oh, ow, w.shape[3]), np.result_type(x, w))
    for i, j, seen in _taps(cache, oh, ow):
        y += xp[seen] @ w[i, j]  # (N, OH, OW, C) (C, K)
    if b is not None:
        y = y + b
    return y, cache


def conv2d_backward(
    dy: np.ndarray,
    cache: Conv2dCache,
    dw: np.ndarray,
    db: np.ndarray | None,
    *,
    need_dx: bool = True,
) -> np.ndarray | None:
    """Adds to dw (KH, KW, C, K) and db (K); returns dx (N, H, W, C), or None if it is not needed."""
    x, w, _, padding, _ = cache
    oh, ow = dy.shape[1:3]
    xp = _pad(x, padding)
    dxp = np.zeros(xp.shape, np.result_type(dy, w))
    for i, j, seen in _taps(cache, oh, ow):
        dw[i, j] += np.tensordot(xp[seen], dy, axes=((0, 1, 2), (0, 1, 2)))  # (C, K)
        if need_dx:
            dxp[seen] += dy @ w[i, j].T  # (N, OH, OW, K) (K, C)
    if db is not None:
        db += dy.sum(axis=(0, 1, 2))
    if not need_dx:
        return None
    top, _, left, _ = padding
    return np.ascontiguousarray(dxp[:, top : top + x.shape[1], left : left + x.shape[2]])
