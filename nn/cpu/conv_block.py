"""Convolution, activation and pixel shuffle in one pass. The equations stand in ``nn/reference/conv_block.py``."""

import numpy as np

from nn import memory
from nn.cpu.conv import run_backward, run_forward
from nn.cpu.ends import Finish, Upstream
from nn.record import contiguous
from nn.reference.conv import Conv2dCache, conv2d_out_size
from nn.reference.conv_block import ConvBlockCache


def conv_block_forward(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    *,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    precision: str = "fast",
    negative_slope: float = 1.0,
    factor: int = 1,
) -> tuple[np.ndarray, ConvBlockCache]:
    """x (N, H, W, C), w (KH, KW, C, K), b (K) or None -> y (N, OH R, OW R, K / R²) and the cache."""
    x = contiguous(x)
    k = w.shape[3]
    oh, ow = conv2d_out_size(x.shape, w.shape, stride, padding)
    y = memory.empty((x.shape[0], oh * factor, ow * factor, k // factor**2), x.dtype)
    cache = Conv2dCache(x, w, stride, padding, precision)
    run_forward(cache, Finish.make(b, k, x.dtype, negative_slope, factor), y)
    return y, ConvBlockCache(*cache, y, negative_slope, factor)


def conv_block_backward(
    dy: np.ndarray,
    cache: ConvBlockCache,
    dw: np.ndarray,
    db: np.ndarray | None,
    *,
    need_dx: bool = True,
) -> np.ndarray | None:
    """Adds to dw (KH, KW, C, K) and db (K); returns dx (N, H, W, C), or None if it is not needed."""
    slope = dy.dtype.type(cache.negative_slope)
    upstream = Upstream(contiguous(dy), cache.y, slope, cache.factor, db)
    return run_backward(upstream, cache.conv, dw, need_dx)
