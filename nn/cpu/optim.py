"""Optimizers on the CPU: one pass over the arena. The equations stand in ``nn/reference/optim.py``."""

import math

import numpy as np
from numba import prange

from nn.cpu.kernel import kernel


@kernel
def _sgd(w, dw, rate, decay):
    for i in prange(w.size):
        w[i] -= rate * (dw[i] + decay * w[i])


@kernel
def _momentum(w, dw, v, rate, momentum, nesterov, decay):
    for i in prange(w.size):
        g = dw[i] + decay * w[i]
        v[i] = momentum * v[i] + g
        w[i] -= rate * (g + momentum * v[i] if nesterov else v[i])


@kernel
def _adam(w, dw, m, v, m_scale, v_scale, beta1, rest1, beta2, rest2, eps, decay):
    for i in prange(w.size):
        g = dw[i] + decay * w[i]
        m[i] = beta1 * m[i] + rest1 * g
        v[i] = beta2 * v[i] + rest2 * (g * g)
        w[i] -= m_scale * m[i] / (math.sqrt(v[i]) * v_scale + eps)


def sgd_step(
    w: np.ndarray,
    dw: np.ndarray,
    v: np.ndarray | None,
    *,
    learning_rate: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> None:
    """One step of SGD on w (P), in place; v (P) is the velocity, or None when momentum is 0."""
    t = w.dtype.type
    if v is None:
        _sgd(w, dw, t(learning_rate), t(weight_decay))
    else:
        _momentum(w, dw, v, t(learning_rate), t(momentum), nesterov, t(weight_decay))


def adam_step(
    w: np.ndarray,
    dw: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    *,
    step: int,
    learning_rate: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> None:
    """One step of Adam on w (P), in place; m and v (P) are its moments; ``step`` counts from 1."""
    t = w.dtype.type
    m_hat_scale = t(learning_rate / (1 - beta1**step))
    v_hat_root = t(1 / math.sqrt(1 - beta2**step))
    _adam(
        w,
        dw,
        m,
        v,
        m_hat_scale,
        v_hat_root,
        t(beta1),
        t(1 - beta1),
        t(beta2),
        t(1 - beta2),
        t(eps),
        t(weight_decay),
    )
