"""Mistakes in Flatten and Reshape, which are the layer's own methods: numbers in the wrong order, or changed."""

from collections.abc import Callable

import numpy as np

from nn.check.mutants.dense import one_zero, without_last, write
from nn.check.mutants.table import Function, mutant


def channels_first(a: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The numbers of each example, as if the last axis of the picture, a or ``shape``, came first in memory."""
    if min(a.ndim, len(shape)) < 2:
        return a.reshape(shape)
    if a.ndim > len(shape):
        return np.moveaxis(a, -1, 1).reshape(shape)
    return np.moveaxis(a.reshape(shape[0], shape[-1], *shape[1:-1]), 1, -1)


def column_major(a: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Fortran's memory order: the first index counts fastest."""
    return a.reshape(shape, order="F")


def batch_last(a: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The numbers read as if the examples were the last axis in memory."""
    return np.moveaxis(a.reshape(*shape[1:], shape[0]), -1, 0)


def backwards(a: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The numbers of each example from the last to the first."""
    items = int(np.prod(shape[1:]))
    return a.reshape(shape[0], items)[:, ::-1].reshape(shape)


ORDERS = {
    "the channels come first, as in NCHW": channels_first,
    "it is read column by column, in Fortran's order": column_major,
    "examples and their numbers are mixed up": batch_last,
    "each example is read from its last number to its first": backwards,
}


def _backward(f: Callable[..., np.ndarray]) -> Callable[[Function], Function]:
    """dx = f(dy, x's shape)."""

    def make(right):
        def wrong(self, dy, saved, need_dx):
            return f(dy, saved) if need_dx else None

        return wrong

    return make


def _forward(f: Callable[..., np.ndarray]) -> Callable[[Function], Function]:
    """y = f(x, y's shape)."""

    def make(right):
        def wrong(self, x):
            y, saved = right(self, x)
            return f(x, y.shape), saved

        return wrong

    return make


def _set_to_zero(right: Function) -> Function:
    def wrong(self, dy, saved, need_dx):
        dx = right(self, dy, saved, need_dx)
        dx = None if dx is None else dx.copy()  # it is dy itself under another shape
        write(dy, 0)
        return dx

    return wrong


def _not_wanted(right: Function) -> Function:
    return lambda self, dy, saved, need_dx: right(self, dy, saved, True)


for _layer in ("Flatten", "Reshape"):
    _of = f"{_layer}._backward"
    for _name, _order in ORDERS.items():
        mutant(_of, _name, "dx")(_backward(_order))
        mutant(f"{_layer}._forward", _name, "y")(_forward(_order))
    mutant(_of, "it keeps the shape of dy", "dx")(_backward(lambda dy, shape: dy))
    mutant(_of, "it is 1.0005 times what it should be", "dx")(
        _backward(lambda dy, shape: dy.reshape(shape) * 1.0005)
    )
    mutant(_of, "it is divided by the number of examples", "dx")(
        _backward(lambda dy, shape: dy.reshape(shape) / max(len(dy), 1))
    )
    mutant(_of, "the last example gets nothing", "dx")(
        _backward(lambda dy, shape: without_last(dy.reshape(shape)))
    )
    mutant(_of, "one entry is 0", "dx")(_backward(lambda dy, shape: one_zero(dy.reshape(shape))))
    mutant(_of, "it is computed where it is not wanted", "dx")(_not_wanted)
    mutant(_of, "it is set to 0 after use", "dy")(_set_to_zero)
