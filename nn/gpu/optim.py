"""Optimizers on the GPU: one pass over the arena. The equations stand in ``nn/reference/optim.py``; kernels: optim.cu.

``sgd_arena`` and ``adam_arena`` are the same with everything that changes from step to step in an array of the card,
``now``; ``numbers_now`` makes its contents. So a step that was recorded as a graph can be run again with another rate.
"""

import math
from typing import Any

import numpy as np

from nn.gpu import device
from nn.gpu.device import Array, on_card


def numbers_now(
    dtype: Any, learning_rate: float, *, step: int = 0, betas: tuple[float, float] | None = None,
    loss_scale: float = 1.0,
) -> np.ndarray:  # fmt: skip
    """What ``now`` holds (optim.cu): for SGD without ``betas``, for Adam with them; step counts from 1."""
    rate, root = learning_rate, 1.0
    if betas is not None:
        rate = learning_rate / (1 - betas[0] ** step)
        root = 1 / math.sqrt(1 - betas[1] ** step)
    return np.array([rate, root, 1 / loss_scale], dtype)


def sgd_arena(
    w: Array,
    dw: Array,
    v: Array | None,
    now: Array,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    flag: Array | None = None,
) -> None:
    """``sgd_step`` with rate and loss scale in ``now``; not taken where ``flag`` (1) is not 0."""
    t = w.dtype.type
    if v is None:
        _each("sgd", (w, dw), (now, flag, t(weight_decay)))
    else:
        _each("momentum", (w, dw, v), (now, flag, t(momentum), nesterov, t(weight_decay)))


def adam_arena(
    w: Array,
    dw: Array,
    m: Array,
    v: Array,
    now: Array,
    *,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float = 0.0,
    flag: Array | None = None,
) -> None:
    """``adam_step`` with rate, bias corrections and loss scale in ``now``; not taken where ``flag`` (1) is not 0."""
    t = w.dtype.type
    betas = (t(beta1), t(1 - beta1), t(beta2), t(1 - beta2))
    _each("adam", (w, dw, m, v), (now, flag, *betas, t(eps), t(weight_decay)))


def look_for_infinities(dw: Array, flag: Array) -> None:
    """flag[0] = 1 where a number of dw is infinite or none; as it was otherwise."""
    _each("not_finite", (dw,), (flag,))


def _each(kernel: str, arrays: tuple[Array, ...], args: tuple[Any, ...]) -> None:
    """A kernel of optim.cu that goes through arrays of the same size, four numbers at a time where they are aligned."""
    size, vec = arrays[0].size, 4 if device.aligned(*arrays) else 1
    blocks = min(-(-size // (vec * device.THREADS)), device.MOST_BLOCKS)
    given, real = (*arrays, *args, np.int64(size)), device.real(arrays[0].dtype)
    device.launch("optim.cu", kernel, blocks, device.THREADS, given, real=real, VEC=vec)


@on_card
def sgd_step(
    w: Array,
    dw: Array,
    v: Array | None,
    *,
    learning_rate: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> None:
    """One step of SGD on w (P), in place; v (P) is the velocity, or None when momentum is 0."""
    now = device.upload(numbers_now(w.dtype, learning_rate))
    sgd_arena(w, dw, v, now, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)


@on_card
def adam_step(
    w: Array,
    dw: Array,
    m: Array,
    v: Array,
    *,
    step: int,
    learning_rate: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> None:
    """One step of Adam on w (P), in place; m and v (P) are its moments; ``step`` counts from 1."""
    now = device.upload(numbers_now(w.dtype, learning_rate, step=step, betas=(beta1, beta2)))
    adam_arena(w, dw, m, v, now, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay)
