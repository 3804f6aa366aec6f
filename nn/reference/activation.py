"""Activations: one function applied to every number. Shapes: x, y, dy, dx all (N, ...).

    ReLU        y = x where x > 0, else 0             dx = dy where x > 0, else 0
    LeakyReLU   y = x where x > 0, else s x           dx = dy where x > 0, else s dy     0 <= s
    Sigmoid     y = 1 / (1 + exp(-x))                 dx = dy y (1 - y)
    Tanh        y = (e^x - e^-x) / (e^x + e^-x)       dx = dy (1 - y²)

Each backward pass needs only the output y: y > 0 exactly where x > 0, and the last two
derivatives are polynomials in y. So x can be freed, and y is what the next layer keeps anyway.
Convention at the kink: the slope at x = 0 is that of the left side (0 for ReLU, s for LeakyReLU), as in PyTorch.

Cached: y (a reference), and s. Cost: N ... elements, no multiply-adds counted.
"""

from typing import NamedTuple

import numpy as np


class ActivationCache(NamedTuple):
    y: np.ndarray


class LeakyReLUCache(NamedTuple):
    y: np.ndarray
    negative_slope: float


def relu_forward(x: np.ndarray) -> tuple[np.ndarray, ActivationCache]:
    """y = x where x > 0, else 0."""
    y = np.where(x.real > 0, x, x.dtype.type(0))
    return y, ActivationCache(y)


def relu_backward(dy: np.ndarray, cache: ActivationCache) -> np.ndarray:
    """dx = dy where x > 0, else 0."""
    return np.where(cache.y.real > 0, dy, dy.dtype.type(0))


def leaky_relu_forward(
    x: np.ndarray, *, negative_slope: float
) -> tuple[np.ndarray, LeakyReLUCache]:
    """y = x where x > 0, else s x with s = negative_slope >= 0."""
    y = np.where(x.real > 0, x, x * x.dtype.type(negative_slope))
    return y, LeakyReLUCache(y, negative_slope)


def leaky_relu_backward(dy: np.ndarray, cache: LeakyReLUCache) -> np.ndarray:
    """dx = dy where x > 0, else s dy."""
    return np.where(cache.y.real > 0, dy, dy * dy.dtype.type(cache.negative_slope))


def sigmoid_forward(x: np.ndarray) -> tuple[np.ndarray, ActivationCache]:
    """y = 1 / (1 + exp(-x)), written so that exp never overflows: e = exp(-|x|) is at most 1."""
    e = np.exp(np.where(x.real >= 0, -x, x))
    y = np.where(x.real >= 0, 1 / (1 + e), e / (1 + e))
    return y, ActivationCache(y)


def sigmoid_backward(dy: np.ndarray, cache: ActivationCache) -> np.ndarray:
    """dx = dy y (1 - y)."""
    return dy * cache.y * (1 - cache.y)


def tanh_forward(x: np.ndarray) -> tuple[np.ndarray, ActivationCache]:
    """y = tanh(x)."""
    y = np.tanh(x)
    return y, ActivationCache(y)


def tanh_backward(dy: np.ndarray, cache: ActivationCache) -> np.ndarray:
    """dx = dy (1 - y²)."""
    return dy * (1 - cache.y * cache.y)
