"""Mistakes in activations: ReLU, LeakyReLU, Sigmoid, Tanh.

A wrong backward pass is a formula for dx in dy, y and the slope s; a wrong forward pass one for y in x and the right y.
"""

from collections.abc import Callable

import numpy as np

from nn.check.mutants.dense import half, no_large, one_zero, without_last, write
from nn.check.mutants.table import Function, mutant

RELU, LEAKY, SIGMOID, TANH = "relu", "leaky_relu", "sigmoid", "tanh"


def _dx(of: str, name: str, formula: Callable[..., np.ndarray]) -> None:
    """dx = formula(dy, y)."""
    mutant(f"{of}_backward", name, "dx")(
        lambda right: lambda dy, cache: formula(dy, cache.y).astype(dy.dtype)
    )


def _leaky_dx(name: str, formula: Callable[..., np.ndarray]) -> None:
    """dx = formula(dy, y, s)."""
    mutant("leaky_relu_backward", name, "dx")(
        lambda right: lambda dy, cache: formula(dy, cache.y, cache.negative_slope).astype(dy.dtype)
    )


def _changed_dx(of: str, name: str, change: Callable[..., np.ndarray]) -> None:
    """dx = change(right dx)."""
    mutant(f"{of}_backward", name, "dx")(
        lambda right: lambda dy, cache: change(right(dy, cache)).astype(dy.dtype)
    )


def _y(of: str, name: str, formula: Callable[..., np.ndarray]) -> None:
    """y = formula(x, right y), and that is what the cache keeps too."""

    def make(right):
        def wrong(x, **slope):
            y, cache = right(x, **slope)
            y = formula(x, y, **slope).astype(y.dtype)
            return y, cache._replace(y=y)

        return wrong

    mutant(f"{of}_forward", name, "y")(make)


def _x_overwritten(right: Function) -> Function:
    def wrong(x, **slope):
        y, cache = right(x, **slope)
        write(x, y)
        return y, cache

    return wrong


def _common(of: str) -> None:
    """The mistakes that every activation can have."""
    _dx(of, "dy passes unchanged", lambda dy, y: dy.copy())
    _dx(of, "dy is multiplied by y", lambda dy, y: dy * y)
    _changed_dx(of, "it is 1.0005 times what it should be", lambda dx: dx * 1.0005)
    _changed_dx(of, "its sign is wrong", lambda dx: -dx)
    _changed_dx(of, "the last example gets nothing", without_last)
    _changed_dx(of, "one entry is 0", one_zero)
    _changed_dx(of, "it is rounded to float16", half)

    mutant(f"{of}_backward", "dy is forgotten", "dx")(
        lambda right: lambda dy, cache: right(np.ones_like(dy), cache)
    )

    @mutant(f"{of}_backward", "the output of the first call is used", "dx")
    def _(right):
        kept = {}

        def wrong(dy, cache):
            y = kept.setdefault((cache.y.shape, cache.y.dtype), cache.y)
            return right(dy, cache._replace(y=y))

        return wrong

    @mutant(f"{of}_backward", "dx is written over it", "dy")
    def _(right):
        def wrong(dy, cache):
            dx = right(dy, cache)
            write(dy, dx)
            return dx

        return wrong

    mutant(f"{of}_forward", "y is written over it", "x")(_x_overwritten)


for _of in (RELU, LEAKY, SIGMOID, TANH):
    _common(_of)


_dx(RELU, "half of dy passes where y is 0", lambda dy, y: np.where(y > 0, dy, dy / 2))
_dx(
    RELU,
    "it passes where x is negative, and stops where x is positive",
    lambda dy, y: dy * (y <= 0),
)
_dx(RELU, "the sign of dy decides, where the sign of x should", lambda dy, y: np.maximum(dy, 0))
_dx(RELU, "negative entries of dy are stopped too", lambda dy, y: np.maximum(dy, 0) * (y > 0))
_dx(
    RELU, "a slope of 0.01 is left where x is negative", lambda dy, y: np.where(y > 0, dy, dy / 100)
)
_dx(RELU, "it is 0 where y is above 1", lambda dy, y: dy * ((y > 0) & (y <= 1)))
_changed_dx(RELU, "large entries and NaN are replaced by 0", no_large)

_leaky_dx("the slope at x = 0 is 1", lambda dy, y, s: np.where(y >= 0, dy, s * dy))
_leaky_dx("the slope is squared", lambda dy, y, s: np.where(y > 0, dy, s * s * dy))
_leaky_dx("the slope is 1 - s", lambda dy, y, s: np.where(y > 0, dy, (1 - s) * dy))
_leaky_dx("the slope is -s", lambda dy, y, s: np.where(y > 0, dy, -s * dy))
_leaky_dx("the slope is forgotten, as in ReLU", lambda dy, y, s: np.where(y > 0, dy, 0))
_leaky_dx("the slope is applied where x is positive", lambda dy, y, s: np.where(y > 0, s * dy, dy))
_leaky_dx("the slope is applied everywhere", lambda dy, y, s: s * dy)
_leaky_dx("the slope is always 0.1", lambda dy, y, s: np.where(y > 0, dy, 0.1 * dy))
_leaky_dx(
    "the sign of dy decides, where the sign of x should",
    lambda dy, y, s: np.where(dy > 0, dy, s * dy),
)
_leaky_dx(
    "the part where x is negative is taken twice", lambda dy, y, s: np.where(y > 0, dy, 2 * s * dy)
)


def _logit(y: np.ndarray) -> np.ndarray:
    """The x of a sigmoid, from its y."""
    y = np.clip(y, 1e-30, 1 - 1e-7)
    return np.log(y) - np.log1p(-y)


_dx(
    SIGMOID,
    "the derivative is taken at x, not at y: x (1 - x)",
    lambda dy, y: dy * _logit(y) * (1 - _logit(y)),
)
_dx(
    SIGMOID,
    "the sigmoid is taken of y once more",
    lambda dy, y: dy / (1 + np.exp(-y)) / (1 + np.exp(y)),
)
_dx(SIGMOID, "the factor y is forgotten: 1 - y", lambda dy, y: dy * (1 - y))
_dx(SIGMOID, "a sign is wrong: y (1 + y)", lambda dy, y: dy * y * (1 + y))
_dx(SIGMOID, "the derivative is applied twice: y² (1 - y)²", lambda dy, y: dy * (y * (1 - y)) ** 2)
_dx(SIGMOID, "the derivative is that of tanh: 1 - y²", lambda dy, y: dy * (1 - y * y))
_dx(
    SIGMOID,
    "y is clipped to [0.1, 0.9] in this pass only",
    lambda dy, y: dy * np.clip(y, 0.1, 0.9) * (1 - np.clip(y, 0.1, 0.9)),
)
_dx(SIGMOID, "eps is added to the derivative", lambda dy, y: dy * (y * (1 - y) + 1e-6))
_dx(SIGMOID, "the slope is 1/4 everywhere", lambda dy, y: dy / 4)


def _artanh(y: np.ndarray) -> np.ndarray:
    """The x of a tanh, from its y."""
    return np.arctanh(np.clip(y, -1 + 1e-7, 1 - 1e-7))


_dx(TANH, "the square is forgotten: 1 - y", lambda dy, y: dy * (1 - y))
_dx(TANH, "a sign is wrong: 1 + y²", lambda dy, y: dy * (1 + y * y))
_dx(TANH, "the 1 is forgotten: y²", lambda dy, y: dy * y * y)
_dx(TANH, "everything is squared: (1 - y)²", lambda dy, y: dy * (1 - y) ** 2)
_dx(TANH, "the derivative is that of the sigmoid: y (1 - y)", lambda dy, y: dy * y * (1 - y))
_dx(TANH, "the tanh is taken of y once more", lambda dy, y: dy * (1 - np.tanh(y) ** 2))
_dx(
    TANH, "the derivative is taken at x, not at y: 1 - x²", lambda dy, y: dy * (1 - _artanh(y) ** 2)
)
_dx(
    TANH,
    "y is clipped to [-0.9, 0.9] in this pass only",
    lambda dy, y: dy * (1 - np.clip(y, -0.9, 0.9) ** 2),
)
_dx(TANH, "eps is added to the derivative", lambda dy, y: dy * (1 - y * y + 1e-6))


@mutant("relu_forward", "the slope at x = 0 is 1", "dx")
def _(right):
    # The output is 0 at x = 0 and below, so only the forward pass can treat the two differently.
    def wrong(x):
        y, cache = right(x)
        return y, cache._replace(y=np.where(x.real == 0, x.dtype.type(1), y))

    return wrong


_y(RELU, "the sign is dropped: |x|", lambda x, y: np.where(x.real > 0, x, -x))
_y(
    RELU,
    "a slope of 0.01 is left where x is negative",
    lambda x, y: np.where(x.real > 0, x, x / 100),
)
_y(RELU, "it is cut off above 1 too", lambda x, y: np.where(x.real > 1, 1, y))
_y(
    LEAKY,
    "the slope is forgotten, as in ReLU",
    lambda x, y, negative_slope: np.where(x.real > 0, x, 0),
)
_y(
    LEAKY,
    "the slope is applied where x is positive",
    lambda x, y, negative_slope: np.where(x.real > 0, negative_slope * x, x),
)
_y(
    LEAKY,
    "the slope is squared",
    lambda x, y, negative_slope: np.where(x.real > 0, x, negative_slope**2 * x),
)
_y(SIGMOID, "the sign of the exponent is wrong", lambda x, y: 1 - y)
_y(SIGMOID, "the tanh stands for it", lambda x, y: np.tanh(x))
_y(
    SIGMOID,
    "it is clipped to [0.1, 0.9]",
    lambda x, y: np.where(y.real < 0.1, 0.1, np.where(y.real > 0.9, 0.9, y)),
)
_y(TANH, "its sign is wrong", lambda x, y: -y)
_y(TANH, "the argument is halved: 2 sigmoid(x) - 1", lambda x, y: np.tanh(x / 2))
_y(TANH, "eps is added to the denominator", lambda x, y: y * (1 - 1e-6))
