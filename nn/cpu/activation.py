"""Activations on the CPU. The equations and conventions stand in ``nn/reference/activation.py``."""

import math

import numpy as np
from numba import prange

from nn import memory
from nn.cpu.exponential import exp_single
from nn.cpu.kernel import kernel
from nn.record import contiguous
from nn.reference.activation import ActivationCache, LeakyReLUCache


@kernel
def _leaky_relu(x, slope, y):
    for i in prange(x.size):
        y[i] = x[i] if x[i] > 0 else slope * x[i]


@kernel
def _leaky_relu_backward(dy, y, slope, dx):
    for i in prange(dy.size):
        dx[i] = dy[i] if y[i] > 0 else slope * dy[i]


@kernel
def _sigmoid(x, y):
    for i in prange(x.size):
        e = math.exp(-abs(x[i]))
        y[i] = (1 if x[i] >= 0 else e) / (1 + e)


@kernel
def _sigmoid_single(x, y):
    one = np.float32(1)
    for i in prange(x.size):
        e = exp_single(-abs(x[i]))
        y[i] = (one if x[i] >= 0 else e) / (one + e)


@kernel
def _sigmoid_backward(dy, y, dx):
    for i in prange(dy.size):
        dx[i] = dy[i] * y[i] * (1 - y[i])


@kernel
def _tanh(x, y):
    for i in prange(x.size):
        y[i] = math.tanh(x[i])


@kernel
def _tanh_backward(dy, y, dx):
    for i in prange(dy.size):
        dx[i] = dy[i] * (1 - y[i] * y[i])


def _flat(x: np.ndarray) -> np.ndarray:
    return contiguous(x).reshape(-1)


def relu_forward(x: np.ndarray) -> tuple[np.ndarray, ActivationCache]:
    """y = x where x > 0, else 0."""
    y = memory.empty(x.shape, x.dtype)
    _leaky_relu(_flat(x), x.dtype.type(0), y.reshape(-1))
    return y, ActivationCache(y)


def relu_backward(dy: np.ndarray, cache: ActivationCache) -> np.ndarray:
    """dx = dy where x > 0, else 0."""
    dx = memory.empty(dy.shape, dy.dtype)
    _leaky_relu_backward(_flat(dy), cache.y.reshape(-1), dy.dtype.type(0), dx.reshape(-1))
    return dx


def leaky_relu_forward(
    x: np.ndarray, *, negative_slope: float
) -> tuple[np.ndarray, LeakyReLUCache]:
    """y = x where x > 0, else s x with s = negative_slope >= 0."""
    y = memory.empty(x.shape, x.dtype)
    _leaky_relu(_flat(x), x.dtype.type(negative_slope), y.reshape(-1))
    return y, LeakyReLUCache(y, negative_slope)


def leaky_relu_backward(dy: np.ndarray, cache: LeakyReLUCache) -> np.ndarray:
    """dx = dy where x > 0, else s dy."""
    slope = dy.dtype.type(cache.negative_slope)
    dx = memory.empty(dy.shape, dy.dtype)
    _leaky_relu_backward(_flat(dy), cache.y.reshape(-1), slope, dx.reshape(-1))
    return dx


def sigmoid_forward(x: np.ndarray) -> tuple[np.ndarray, ActivationCache]:
    """y = 1 / (1 + exp(-x)), without overflow."""
    y = memory.empty(x.shape, x.dtype)
    (_sigmoid_single if x.dtype == np.float32 else _sigmoid)(_flat(x), y.reshape(-1))
    return y, ActivationCache(y)


def sigmoid_backward(dy: np.ndarray, cache: ActivationCache) -> np.ndarray:
    """dx = dy y (1 - y)."""
    dx = memory.empty(dy.shape, dy.dtype)
    _sigmoid_backward(_flat(dy), cache.y.reshape(-1), dx.reshape(-1))
    return dx


def tanh_forward(x: np.ndarray) -> tuple[np.ndarray, ActivationCache]:
    """y = tanh(x)."""
    y = memory.empty(x.shape, x.dtype)
    _tanh(_flat(x), y.reshape(-1))
    return y, ActivationCache(y)


def tanh_backward(dy: np.ndarray, cache: ActivationCache) -> np.ndarray:
    """dx = dy (1 - y²)."""
    dx = memory.empty(dy.shape, dy.dtype)
    _tanh_backward(_flat(dy), cache.y.reshape(-1), dx.reshape(-1))
    return dx
