"""Mistakes in losses: MSE, MAE and BCE with logits.

A wrong backward pass is a formula for dy in d = y - t and the like, times ``scale`` = dL / M where it keeps the mean.
"""

from collections.abc import Callable

import numpy as np

from nn.check.mutants.dense import half, one_zero, without_last, write
from nn.check.mutants.table import mutant

MSE, MAE, BCE = "mse", "mae", "bce_with_logits"


def _dy(of: str, name: str, formula: Callable[..., np.ndarray]) -> None:
    """dy = formula(y, t), which is then multiplied by dL / M."""

    def make(right):
        def wrong(dloss, cache):
            y, target = cache
            return formula(y, target).astype(y.dtype) * y.dtype.type(dloss / max(y.size, 1))

        return wrong

    mutant(f"{of}_backward", name, "dy")(make)


def _changed_dy(of: str, name: str, change: Callable[..., np.ndarray]) -> None:
    """dy = change(right dy, dL)."""

    def make(right):
        def wrong(dloss, cache):
            return change(right(dloss, cache), dloss).astype(cache.y.dtype)

        return wrong

    mutant(f"{of}_backward", name, "dy")(make)


def _loss(of: str, name: str, formula: Callable[..., np.generic]) -> None:
    """L = formula(y, t, right L); the cache is the right one."""

    def make(right):
        def wrong(y, target):
            loss, cache = right(y, target)
            return y.dtype.type(formula(y, target, loss)), cache

        return wrong

    mutant(f"{of}_forward", name, "loss")(make)


def _overwritten(of: str, name: str, damaged: str) -> None:
    def make(right):
        def wrong(dloss, cache):
            dy = right(dloss, cache)
            write(getattr(cache, damaged), dy)
            return dy

        return wrong

    mutant(f"{of}_backward", name, damaged)(make)


def _common(of: str) -> None:
    """The mistakes that every loss can have."""
    _changed_dy(of, "the mean is forgotten: it is not divided by M", lambda dy, dloss: dy * dy.size)
    _changed_dy(
        of,
        "it is divided by the number of examples, not by M",
        lambda dy, dloss: dy * (dy.size / max(len(dy), 1)),
    )
    _changed_dy(of, "it is divided by M twice", lambda dy, dloss: dy / max(dy.size, 1))
    _changed_dy(of, "its sign is wrong: t - y", lambda dy, dloss: -dy)
    _changed_dy(of, "the incoming gradient is squared", lambda dy, dloss: dy * dloss)
    _changed_dy(of, "it is 1.0005 times what it should be", lambda dy, dloss: dy * 1.0005)
    _changed_dy(of, "it is rounded to float16", lambda dy, dloss: half(dy))
    _changed_dy(of, "the last example gets nothing", lambda dy, dloss: without_last(dy))
    _changed_dy(of, "one entry is 0", lambda dy, dloss: one_zero(dy))
    _changed_dy(of, "it is taken without its sign", lambda dy, dloss: np.abs(dy))
    _overwritten(of, "dy is written over the output", "y")
    _overwritten(of, "dy is written over the target", "target")

    mutant(f"{of}_backward", "the incoming gradient is ignored", "dy")(
        lambda right: lambda dloss, cache: right(1.0, cache)
    )

    @mutant(f"{of}_backward", "the output of the first call is used", "dy")
    def _(right):
        kept = {}

        def wrong(dloss, cache):
            y = kept.setdefault((cache.y.shape, cache.y.dtype), cache.y)
            return right(dloss, cache._replace(y=y))

        return wrong

    _loss(of, "it is a sum, where it should be a mean", lambda y, t, loss: loss * y.size)
    _loss(
        of,
        "it is divided by the number of examples, not by M",
        lambda y, t, loss: loss * (y.size / max(len(y), 1)),
    )
    _loss(of, "it is 1.0005 times what it should be", lambda y, t, loss: loss * 1.0005)


for _of in (MSE, MAE, BCE):
    _common(_of)

_dy(MSE, "the factor 2 is forgotten", lambda y, t: y - t)
_dy(MSE, "the factor is 4: the 2 is there twice", lambda y, t: 4 * (y - t))
_dy(MSE, "the difference is squared, as in the loss", lambda y, t: (y - t) ** 2)
_dy(MSE, "it is that of the absolute error: the sign alone", lambda y, t: np.sign(y - t))
_dy(MSE, "the target is forgotten: 2 y", lambda y, t: 2 * y)
_dy(MSE, "the difference is clipped to [-1, 1]", lambda y, t: 2 * np.clip(y - t, -1, 1))
_dy(
    MSE,
    "the difference is computed in float32",
    lambda y, t: 2 * (y.astype(np.float32) - t.astype(np.float32)),
)

_dy(MAE, "sign(0) is taken to be 1", lambda y, t: np.where(y >= t, 1, -1))
_dy(MAE, "sign(0) is taken to be -1", lambda y, t: np.where(y > t, 1, -1))
_dy(MAE, "the sign is forgotten: y - t", lambda y, t: y - t)
_dy(MAE, "the sign is that of the output: the target is forgotten", lambda y, t: np.sign(y))
_dy(MAE, "it is smooth near 0: y - t clipped to [-1, 1]", lambda y, t: np.clip(y - t, -1, 1))
_dy(MAE, "it is 0 where the output is below the target", lambda y, t: np.where(y > t, 1, 0))
_dy(MAE, "a factor of 2 is left over from the squared error", lambda y, t: 2 * np.sign(y - t))


def _sigmoid(y: np.ndarray) -> np.ndarray:
    e = np.exp(np.where(y.real >= 0, -y, y))
    return np.where(y.real >= 0, 1 / (1 + e), e / (1 + e))


def _clipped(p: np.ndarray) -> np.ndarray:
    """p in [0.1, 0.9]; complex numbers keep their imaginary part in between."""
    return np.where(p.real < 0.1, 0.1, np.where(p.real > 0.9, 0.9, p))


def _cross_entropy(p: np.ndarray, t: np.ndarray, eps: float = 1e-30) -> np.ndarray:
    return -t * np.log(p + eps) - (1 - t) * np.log(1 - p + eps)


_dy(BCE, "the sigmoid is forgotten: y - t", lambda y, t: y - t)
_dy(
    BCE,
    "the sigmoid's derivative is multiplied in once more",
    lambda y, t: (_sigmoid(y) - t) * _sigmoid(y) * (1 - _sigmoid(y)),
)
_dy(
    BCE,
    "it is the gradient for p, not for the logit",
    lambda y, t: (_sigmoid(y) - t) / (_sigmoid(y) * (1 - _sigmoid(y)) + 1e-12),
)
_dy(BCE, "p is clipped to [0.1, 0.9] in this pass only", lambda y, t: _clipped(_sigmoid(y)) - t)
_dy(BCE, "the half with 1 - t is forgotten: -t (1 - p)", lambda y, t: -t * (1 - _sigmoid(y)))
_dy(BCE, "the half with t is forgotten: (1 - t) p", lambda y, t: (1 - t) * _sigmoid(y))
_dy(BCE, "the target is rounded to 0 or 1", lambda y, t: _sigmoid(y) - (t > 0.5))
_dy(BCE, "the sigmoid is taken of -y", lambda y, t: _sigmoid(-y) - t)
_dy(BCE, "a factor of 2 is left over from the squared error", lambda y, t: 2 * (_sigmoid(y) - t))
_dy(BCE, "the sigmoid is computed in float32", lambda y, t: _sigmoid(y.astype(np.float32)) - t)

_loss(MSE, "it is halved", lambda y, t, loss: loss / 2)
_loss(MSE, "the root of it is taken", lambda y, t, loss: np.sqrt(loss))
_loss(MAE, "the difference keeps its sign", lambda y, t, loss: (y - t).mean())
_loss(MAE, "the difference is squared, as in MSE", lambda y, t, loss: ((y - t) ** 2).mean())
_loss(
    BCE,
    "the half with 1 - t is forgotten",
    lambda y, t, loss: (-t * np.log(_sigmoid(y) + 1e-30)).mean(),
)
_loss(
    BCE,
    "p is clipped to [0.1, 0.9] in this pass only",
    lambda y, t, loss: _cross_entropy(_clipped(_sigmoid(y)), t).mean(),
)
_loss(
    BCE,
    "eps is added inside the logarithms",
    lambda y, t, loss: _cross_entropy(_sigmoid(y), t, 1e-5).mean(),
)
