"""Losses: one number that says how far the output is from the target. y, target, dy: (N, ...), M numbers in all.

    MSE     L = 1/M sum (y - t)²                                    dy = dL 2 (y - t) / M
    MAE     L = 1/M sum |y - t|                                     dy = dL sign(y - t) / M,  sign(0) = 0
    BCE with logits, p = sigmoid(y), t in [0, 1]:
            L = 1/M sum -t log p - (1 - t) log(1 - p)
              = 1/M sum max(y, 0) - t y + log(1 + e^-|y|)           dy = dL (p - t) / M

dL is the gradient of whatever is computed from the loss; 1 when the loss is the end of the graph. The
second form of BCE never takes the logarithm of 0 and never overflows; it is why the loss takes
logits (what enters the sigmoid) rather than probabilities.

Cached: y and target (references).
"""

from typing import NamedTuple

import numpy as np


class LossCache(NamedTuple):
    y: np.ndarray
    target: np.ndarray


def mse_forward(y: np.ndarray, target: np.ndarray) -> tuple[np.generic, LossCache]:
    """L = mean of (y - t)²; returns the scalar and the cache."""
    d = y - target
    return (d * d).mean(), LossCache(y, target)


def mse_backward(dloss: float, cache: LossCache) -> np.ndarray:
    """dy = dL 2 (y - t) / M."""
    y, target = cache
    return (y - target) * y.dtype.type(2 * dloss / max(y.size, 1))


def mae_forward(y: np.ndarray, target: np.ndarray) -> tuple[np.generic, LossCache]:
    """L = mean of |y - t|; returns the scalar and the cache."""
    d = y - target
    return (d * np.sign(d.real)).mean(), LossCache(y, target)


def mae_backward(dloss: float, cache: LossCache) -> np.ndarray:
    """dy = dL sign(y - t) / M."""
    y, target = cache
    return np.sign((y - target).real) * y.dtype.type(dloss / max(y.size, 1))


def bce_with_logits_forward(y: np.ndarray, target: np.ndarray) -> tuple[np.generic, LossCache]:
    """L = mean of max(y, 0) - t y + log(1 + e^-|y|) for logits y; the scalar and the cache."""
    positive = y.real > 0
    e = np.exp(np.where(positive, -y, y))
    terms = np.where(positive, y, 0) - target * y + np.log1p(e)
    return terms.mean(), LossCache(y, target)


def bce_with_logits_backward(dloss: float, cache: LossCache) -> np.ndarray:
    """dy = dL (sigmoid(y) - t) / M."""
    y, target = cache
    e = np.exp(np.where(y.real >= 0, -y, y))
    p = np.where(y.real >= 0, 1 / (1 + e), e / (1 + e))
    return (p - target) * y.dtype.type(dloss / max(y.size, 1))
