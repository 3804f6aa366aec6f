"""Losses on the CPU. The equations stand in ``nn/reference/losses.py``.

Sums are taken in float64, in a fixed number of parts, so that they neither lose digits over a
million numbers nor depend on the number of threads. Within a part LLVM may add in an order of its own ("reassoc"),
which it needs to sum several numbers at a time; that order is the same in every run.
"""

import math

import numpy as np
from numba import njit, prange

from nn import memory
from nn.cpu.exponential import exp_single
from nn.cpu.kernel import Kernel, kernel
from nn.record import contiguous
from nn.reference.losses import LossCache

PARTS = 64


@njit(cache=True, nogil=True, fastmath={"reassoc"})
def _sum_of_squares(y, t):
    total = 0.0
    for i in range(y.size):
        d = np.float64(y[i] - t[i])
        total += d * d
    return total


@njit(cache=True, nogil=True, fastmath={"reassoc"})
def _sum_of_distances(y, t):
    total = 0.0
    for i in range(y.size):
        total += abs(np.float64(y[i] - t[i]))
    return total


@njit(cache=True, nogil=True)
def _mean(partial, count):
    total = 0.0
    for part in range(PARTS):
        total += partial[part]
    return total / max(count, 1)


@kernel
def _mse(y, t, partial, loss):
    share = (y.size + PARTS - 1) // PARTS
    for part in prange(PARTS):
        own = slice(min(y.size, part * share), min(y.size, (part + 1) * share))
        partial[part] = _sum_of_squares(y[own], t[own])
    loss[0] = _mean(partial, y.size)


@kernel
def _mse_backward(y, t, scale, dy):
    for i in prange(y.size):
        dy[i] = (y[i] - t[i]) * scale


@kernel
def _mae(y, t, partial, loss):
    share = (y.size + PARTS - 1) // PARTS
    for part in prange(PARTS):
        own = slice(min(y.size, part * share), min(y.size, (part + 1) * share))
        partial[part] = _sum_of_distances(y[own], t[own])
    loss[0] = _mean(partial, y.size)


@kernel
def _mae_backward(y, t, scale, dy):
    for i in prange(y.size):
        d = y[i] - t[i]
        dy[i] = scale if d > 0 else (-scale if d < 0 else d)


@kernel
def _bce_with_logits(y, t, partial, loss):
    share = (y.size + PARTS - 1) // PARTS
    for part in prange(PARTS):
        total = 0.0
        for i in range(part * share, min(y.size, (part + 1) * share)):
            v = np.float64(y[i])
            total += max(v, 0.0) - t[i] * v + math.log1p(math.exp(-abs(v)))
        partial[part] = total
    loss[0] = _mean(partial, y.size)


@kernel
def _bce_with_logits_backward(y, t, scale, dy):
    for i in prange(y.size):
        e = math.exp(-abs(y[i]))
        p = (1 if y[i] >= 0 else e) / (1 + e)
        dy[i] = (p - t[i]) * scale


@kernel
def _bce_with_logits_backward_single(y, t, scale, dy):
    one = np.float32(1)
    for i in prange(y.size):
        e = exp_single(-abs(y[i]))
        p = (one if y[i] >= 0 else e) / (one + e)
        dy[i] = (p - t[i]) * scale


def _flat(x: np.ndarray) -> np.ndarray:
    return contiguous(x).reshape(-1)


def _forward(run: Kernel, y: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, LossCache]:
    partial, loss = np.empty(PARTS, np.float64), np.empty(1, y.dtype)
    run(_flat(y), _flat(target), partial, loss)
    return loss.reshape(()), LossCache(y, target)


def _backward(run: Kernel, scale: float, cache: LossCache) -> np.ndarray:
    y, target = cache
    dy = memory.empty(y.shape, y.dtype)
    scale = y.dtype.type(scale / max(y.size, 1))
    run(_flat(y), _flat(target), scale, dy.reshape(-1))
    return dy


def mse_forward(y: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, LossCache]:
    """L = mean of (y - t)²; returns the number () and the cache."""
    return _forward(_mse, y, target)


def mse_backward(dloss: float, cache: LossCache) -> np.ndarray:
    """dy = dL 2 (y - t) / M."""
    return _backward(_mse_backward, 2 * dloss, cache)


def mae_forward(y: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, LossCache]:
    """L = mean of |y - t|; returns the number () and the cache."""
    return _forward(_mae, y, target)


def mae_backward(dloss: float, cache: LossCache) -> np.ndarray:
    """dy = dL sign(y - t) / M."""
    return _backward(_mae_backward, dloss, cache)


def bce_with_logits_forward(y: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, LossCache]:
    """L = mean of max(y, 0) - t y + log(1 + e^-|y|) for logits y; the number () and the cache."""
    return _forward(_bce_with_logits, y, target)


def bce_with_logits_backward(dloss: float, cache: LossCache) -> np.ndarray:
    """dy = dL (sigmoid(y) - t) / M."""
    single = cache.y.dtype == np.float32
    run = _bce_with_logits_backward_single if single else _bce_with_logits_backward
    return _backward(run, dloss, cache)
