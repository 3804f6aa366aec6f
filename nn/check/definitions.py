"""Every operation once more, from its definition: loops over single numbers, nothing shared with a backend.

Slow, and so plain that there is nothing to get wrong but the definition itself. y of every layer, every loss; of
the convolution also its three gradients, as sums over every product that was made on the way forward.

x (N, H, W, C), weight (KH, KW, C, K), bias (K), y (N, OH, OW, K); dense x (N, I), weight (I, O).
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np


def conv2d(layer: Any, x: np.ndarray) -> np.ndarray:
    """y[n, p, q, k] = b[k] + sum over i, j, c of x[n, SH p + i - top, SW q + j - left, c] w[i, j, c, k]."""
    w, b = layer.weight.value, layer.bias
    y = np.zeros(layer.out_shape(x.shape))
    for (n, p, q, k), (i, j, c), (r, s) in _products(layer, x, y.shape):
        y[n, p, q, k] += x[n, r, s, c] * w[i, j, c, k]
    for n, p, q, k in np.ndindex(y.shape):
        y[n, p, q, k] += 0.0 if b is None else b.value[k]
    return y


def conv2d_gradients(layer: Any, x: np.ndarray, dy: np.ndarray) -> dict[str, np.ndarray]:
    """Each product x w in the sum that is y sends dy w back to its x, and dy x to its w."""
    w = layer.weight.value
    dx, dw, db = np.zeros(x.shape), np.zeros(w.shape), np.zeros(w.shape[3])
    for (n, p, q, k), (i, j, c), (r, s) in _products(layer, x, dy.shape):
        dx[n, r, s, c] += dy[n, p, q, k] * w[i, j, c, k]
        dw[i, j, c, k] += dy[n, p, q, k] * x[n, r, s, c]
    for n, p, q, k in np.ndindex(dy.shape):
        db[k] += dy[n, p, q, k]
    return {"x": dx, "weight": dw} | ({} if layer.bias is None else {"bias": db})


def _products(layer: Any, x: np.ndarray, y_shape: tuple[int, ...]) -> Any:
    """Every product of the convolution: its place in y, its tap, and the pixel of x, where there is one."""
    (sh, sw), (kh, kw) = layer.stride, layer.kernel_size
    _, height, width, channels = x.shape
    top, _, left, _ = layer.pads(height, width)
    for n, p, q, k in np.ndindex(y_shape):
        for i, j, c in itertools.product(range(kh), range(kw), range(channels)):
            r, s = sh * p + i - top, sw * q + j - left
            if 0 <= r < height and 0 <= s < width:
                yield (n, p, q, k), (i, j, c), (r, s)


def conv_block(layer: Any, x: np.ndarray) -> np.ndarray:
    """The convolution, then the slope of each number below 0, then each number's place in the shuffle."""
    z = conv2d(layer.conv, x)
    for index in np.ndindex(z.shape):
        z[index] *= 1.0 if z[index] > 0 else layer.negative_slope
    return shuffled(z, layer.factor)


def dense(layer: Any, x: np.ndarray) -> np.ndarray:
    """y[n, o] = b[o] + sum over i of x[n, i] w[i, o]."""
    w, b = layer.weight.value, layer.bias
    y = np.empty((len(x), w.shape[1]))
    for n, o in np.ndindex(y.shape):
        terms = [x[n, i] * w[i, o] for i in range(w.shape[0])]
        y[n, o] = math.fsum(terms) + (0.0 if b is None else b.value[o])
    return y


def pixel_shuffle(layer: Any, x: np.ndarray) -> np.ndarray:
    """y[n, R h + i, R w + j, c] = x[n, h, w, (R i + j) C + c]."""
    return shuffled(x, layer.factor)


def shuffled(x: np.ndarray, r: int) -> np.ndarray:
    """What ``pixel_shuffle`` says, for R = r."""
    height, width, channels = x.shape[1] * r, x.shape[2] * r, x.shape[3] // r**2
    y = np.empty((len(x), height, width, channels))
    for n, row, column, c in np.ndindex(y.shape):
        (h, i), (w, j) = divmod(row, r), divmod(column, r)
        y[n, row, column, c] = x[n, h, w, (r * i + j) * channels + c]
    return y


def reshape(layer: Any, x: np.ndarray) -> np.ndarray:
    """The same numbers one after the other, under another shape."""
    y = np.empty(layer.out_shape(x.shape))
    numbers = (x[index] for index in np.ndindex(x.shape))
    for index, number in zip(np.ndindex(y.shape), numbers, strict=True):
        y[index] = number
    return y


def _each_number(f: Callable[[Any, float], float]) -> Callable[[Any, np.ndarray], np.ndarray]:
    def apply(layer: Any, x: np.ndarray) -> np.ndarray:
        y = np.empty(x.shape)
        for index in np.ndindex(x.shape):
            y[index] = f(layer, float(x[index]))
        return y

    return apply


def _mean(f: Callable[[float, float], float]) -> Callable[..., np.ndarray]:
    def apply(loss: Any, y: np.ndarray, target: np.ndarray) -> np.ndarray:
        terms = [f(float(a), float(t)) for a, t in zip(y.flat, target.flat, strict=True)]
        return np.array(math.fsum(terms) / len(terms))

    return apply


def _bce_with_logits(y: float, target: float) -> float:
    """-t log p - (1 - t) log(1 - p) for p = 1 / (1 + e^-y), whose logarithms are -log(1 + e^-y) and -log(1 + e^y)."""
    log_p, log_rest = (-math.log1p(math.exp(s * y)) if s * y < 700 else -s * y for s in (-1, 1))
    return -target * log_p - (1 - target) * log_rest


DEFINITIONS: dict[str, Callable[..., np.ndarray]] = {
    "Conv2d": conv2d,
    "ConvBlock": conv_block,
    "Dense": dense,
    "PixelShuffle": pixel_shuffle,
    "Reshape": reshape,
    "Flatten": reshape,
    "ReLU": _each_number(lambda _, x: x if x > 0 else 0.0),
    "LeakyReLU": _each_number(lambda layer, x: x if x > 0 else layer.negative_slope * x),
    "Sigmoid": _each_number(lambda _, x: 1 / (1 + math.exp(-x)) if x > -700 else math.exp(x)),
    "Tanh": _each_number(lambda _, x: math.tanh(x)),
    "MSE": _mean(lambda y, t: (y - t) ** 2),
    "MAE": _mean(lambda y, t: abs(y - t)),
    "BCEWithLogits": _mean(_bce_with_logits),
}
