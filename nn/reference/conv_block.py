"""A convolution, its activation and its pixel shuffle as one operation: what fast backends do in one pass.

    x (N, H, W, C)   w (KH, KW, C, K)   b (K)   y (N, OH R, OW R, K / R²)      s = negative_slope >= 0, R = factor

    forward     z = conv(x, w, b)                                   nn/reference/conv.py
                a = z where z > 0, else s z                         nn/reference/activation.py
                y = shuffle(a, R)                                   nn/reference/pixel_shuffle.py

    backward    the three backwards in the other order. The slope is read from y, because y > 0 exactly where z > 0,
                and the shuffle changes the places of numbers alone, so it can be undone before the slope or after it

s = 0 is ReLU, s = 1 no activation, R = 1 no shuffle. Cached: what the convolution caches, and y.
"""

from typing import NamedTuple

import numpy as np

from nn.reference.activation import LeakyReLUCache, leaky_relu_backward, leaky_relu_forward
from nn.reference.conv import Conv2dCache, conv2d_backward, conv2d_forward
from nn.reference.pixel_shuffle import (
    PixelShuffleCache,
    pixel_shuffle_backward,
    pixel_shuffle_forward,
)


class ConvBlockCache(NamedTuple):
    x: np.ndarray  # (N, H, W, C)
    w: np.ndarray  # (KH, KW, C, K)
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    precision: str
    y: np.ndarray  # (N, OH R, OW R, K / R²)
    negative_slope: float
    factor: int

    @property
    def conv(self) -> Conv2dCache:
        """The part that is the convolution's."""
        return Conv2dCache(*self[:5])


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
    z, conv = conv2d_forward(x, w, b, stride=stride, padding=padding, precision=precision)
    a, _ = leaky_relu_forward(z, negative_slope=negative_slope)
    y, _ = pixel_shuffle_forward(a, factor=factor)
    return y, ConvBlockCache(*conv, y, negative_slope, factor)


def conv_block_backward(
    dy: np.ndarray,
    cache: ConvBlockCache,
    dw: np.ndarray,
    db: np.ndarray | None,
    *,
    need_dx: bool = True,
) -> np.ndarray | None:
    """Adds to dw (KH, KW, C, K) and db (K); returns dx (N, H, W, C), or None if it is not needed."""
    da = leaky_relu_backward(dy, LeakyReLUCache(cache.y, cache.negative_slope))
    dz = pixel_shuffle_backward(da, PixelShuffleCache(cache.factor))
    return conv2d_backward(dz, cache.conv, dw, db, need_dx=need_dx)
