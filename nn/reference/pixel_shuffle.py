"""Pixel shuffle: R x R neighbouring pixels are made from one pixel's channels.

    x (N, H, W, R R C)   y (N, H R, W R, C)

    forward     y[n, R h + i, R w + j, c] = x[n, h, w, (R i + j) C + c]      i, j in 0 .. R-1
    backward    dx[n, h, w, (R i + j) C + c] = dy[n, R h + i, R w + j, c]

Every number is moved and none is changed, so the backward pass moves them back. The channel axis is
split as (i, j, c), TensorFlow's depth-to-space and the 2017 network's order; PyTorch's PixelShuffle
splits it as (c, i, j), so its weights fit after one permutation of the convolution's outputs.

Cached: R. Cost: no arithmetic. Source: Shi et al., arXiv:1609.05158.
"""

from typing import NamedTuple

import numpy as np


class PixelShuffleCache(NamedTuple):
    factor: int


def pixel_shuffle_forward(x: np.ndarray, *, factor: int) -> tuple[np.ndarray, PixelShuffleCache]:
    """x (N, H, W, R R C) -> y (N, H R, W R, C) with R = factor, and the cache."""
    n, h, w, channels = x.shape
    c = channels // (factor * factor)
    y = x.reshape(n, h, w, factor, factor, c).transpose(0, 1, 3, 2, 4, 5)  # n h i w j c
    return y.reshape(n, h * factor, w * factor, c), PixelShuffleCache(factor)


def pixel_shuffle_backward(dy: np.ndarray, cache: PixelShuffleCache) -> np.ndarray:
    """dy (N, H R, W R, C) -> dx (N, H, W, R R C)."""
    r = cache.factor
    n, rh, rw, c = dy.shape
    dx = dy.reshape(n, rh // r, r, rw // r, r, c).transpose(0, 1, 3, 2, 4, 5)  # n h w i j c
    return dx.reshape(n, rh // r, rw // r, r * r * c)
