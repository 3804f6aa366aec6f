"""Losses on the GPU. The equations stand in ``nn/reference/losses.py``; kernels and the order of sums: losses.cu.

Among arrays of the card the loss is an array of the card, too, of no axes: ``float(loss)`` waits for it.
"""

import numpy as np

from nn.gpu import device
from nn.gpu.device import Array, on_card
from nn.reference.losses import LossCache

PARTS = 256  # blocks, at most; each has a partial sum
PART = 4096  # numbers that are worth a block


def _forward(kernel: str, y: Array, target: Array) -> tuple[Array, LossCache]:
    cache = LossCache(y, target)
    y, target = device.contiguous(y), device.contiguous(target)
    parts = min(PARTS, -(-y.size // PART))
    partial, loss = device.empty(parts, np.float64), device.empty((), y.dtype)
    size, real = np.int64(y.size), device.real(y.dtype)
    device.launch("losses.cu", kernel, parts, 256, (y, target, partial, size), real=real)
    device.launch("losses.cu", "mean", 1, 256, (partial, parts, loss, size), real=real)
    return loss, cache


def _backward(kernel: str, scale: float, cache: LossCache) -> Array:
    y, target = map(device.contiguous, cache)
    dy = device.empty(y.shape, y.dtype)
    args = (y, target, y.dtype.type(scale / max(y.size, 1)), dy)
    device.each("losses.cu", kernel, y.size, args, real=device.real(y.dtype))
    return dy


@on_card
def mse_forward(y: Array, target: Array) -> tuple[Array, LossCache]:
    """L = mean of (y - t)²; returns the scalar and the cache."""
    return _forward("mse", y, target)


@on_card
def mse_backward(dloss: float, cache: LossCache) -> Array:
    """dy = dL 2 (y - t) / M."""
    return _backward("mse_backward", 2 * dloss, cache)


@on_card
def mae_forward(y: Array, target: Array) -> tuple[Array, LossCache]:
    """L = mean of |y - t|; returns the scalar and the cache."""
    return _forward("mae", y, target)


@on_card
def mae_backward(dloss: float, cache: LossCache) -> Array:
    """dy = dL sign(y - t) / M."""
    return _backward("mae_backward", dloss, cache)


@on_card
def bce_with_logits_forward(y: Array, target: Array) -> tuple[Array, LossCache]:
    """L = mean of max(y, 0) - t y + log(1 + e^-|y|) for logits y; the scalar and the cache."""
    return _forward("bce_with_logits", y, target)


@on_card
def bce_with_logits_backward(dloss: float, cache: LossCache) -> Array:
    """dy = dL (sigmoid(y) - t) / M."""
    return _backward("bce_with_logits_backward", dloss, cache)
