"""Pixel shuffle on the CPU. The equations stand in ``nn/reference/pixel_shuffle.py``.

For one input pixel and one i, the numbers (j, c) lie side by side in x and in y: runs of R C numbers are copied.
"""

import numpy as np
from numba import prange

from nn import memory
from nn.cpu.kernel import kernel
from nn.cpu.simd import copy_span
from nn.record import contiguous
from nn.reference.pixel_shuffle import PixelShuffleCache


@kernel
def _shuffle(wide, tall, lines, w, run, r, forward):
    for line in prange(lines):  # one row of input pixels
        for i in range(r):
            for q in range(w):
                at_wide = ((line * w + q) * r + i) * run
                at_tall = ((line * r + i) * w + q) * run
                if forward:
                    copy_span(tall, at_tall, wide, at_wide, run)
                else:
                    copy_span(wide, at_wide, tall, at_tall, run)


def shuffle(x: np.ndarray, y: np.ndarray, factor: int) -> None:
    """y (N, H R, W R, C) = x (N, H, W, R R C), shuffled; both contiguous."""
    n, h, w, channels = x.shape
    _shuffle(x.reshape(-1), y.reshape(-1), n * h, w, channels // factor, factor, True)


def pixel_shuffle_forward(x: np.ndarray, *, factor: int) -> tuple[np.ndarray, PixelShuffleCache]:
    """x (N, H, W, R R C) -> y (N, H R, W R, C) with R = factor, and the cache."""
    x = contiguous(x)
    n, h, w, channels = x.shape
    c = channels // (factor * factor)
    y = memory.empty((n, h * factor, w * factor, c), x.dtype)
    shuffle(x, y, factor)
    return y, PixelShuffleCache(factor)


def pixel_shuffle_backward(dy: np.ndarray, cache: PixelShuffleCache) -> np.ndarray:
    """dy (N, H R, W R, C) -> dx (N, H, W, R R C)."""
    dy = contiguous(dy)
    r = cache.factor
    n, rh, rw, c = dy.shape
    dx = memory.empty((n, rh // r, rw // r, r * r * c), dy.dtype)
    _shuffle(dx.reshape(-1), dy.reshape(-1), n * rh // r, rw // r, r * c, r, False)
    return dx
