"""Optimizers: how a step is made from a gradient. All arrays are flat (P), written in place; g = dw + decay w.

    SGD         w -= lr g
    momentum    v = mu v + g                      w -= lr v
    Nesterov    v = mu v + g                      w -= lr (g + mu v)
    Adam        m = b1 m + (1 - b1) g             v = b2 v + (1 - b2) g²              t = 1, 2, ...
                w -= lr m̂ / (sqrt(v̂) + eps)       m̂ = m / (1 - b1^t)   v̂ = v / (1 - b2^t)

m and v start at 0, so after t steps they hold only the fraction 1 - b^t of an average: dividing by it
removes that bias. eps stands outside the root, as in PyTorch.

Sources: Sutskever et al. 2013 (momentum, in PyTorch's form, lr outside v); Kingma and Ba, arXiv:1412.6980.
"""

import numpy as np


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
    g = dw + t(weight_decay) * w if weight_decay else dw
    if v is not None:
        v[:] = t(momentum) * v + g
        g = g + t(momentum) * v if nesterov else v
    w -= t(learning_rate) * g


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
    g = dw + t(weight_decay) * w if weight_decay else dw
    m[:] = t(beta1) * m + t(1 - beta1) * g
    v[:] = t(beta2) * v + t(1 - beta2) * (g * g)
    m_hat_scale = t(learning_rate / (1 - beta1**step))
    v_hat_root = t(1 / np.sqrt(1 - beta2**step))
    w -= m_hat_scale * m / (np.sqrt(v) * v_hat_root + t(eps))
