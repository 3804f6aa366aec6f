"""Mistakes in the pixel shuffle: numbers that arrive at the wrong place, and those that are changed on the way."""

from collections.abc import Callable

import numpy as np

from nn.check.mutants.dense import one_zero, without_last, write
from nn.check.mutants.table import Function, mutant

BACKWARD, FORWARD = "pixel_shuffle_backward", "pixel_shuffle_forward"


def _blocks(dx: np.ndarray, r: int) -> np.ndarray:
    """The channels as (i, j, c)."""
    return dx.reshape(*dx.shape[:3], r, r, dx.shape[3] // (r * r))


def _blocks_changed(f: Callable[[np.ndarray], np.ndarray]) -> Callable[[Function], Function]:
    """dx whose channels, as (N, H, W, i, j, c), went through f."""

    def make(right):
        def wrong(dy, cache):
            dx = right(dy, cache)
            return np.ascontiguousarray(f(_blocks(dx, cache.factor))).reshape(dx.shape)

        return wrong

    return make


def _changed(f: Callable[..., np.ndarray]) -> Callable[[Function], Function]:
    """dx = f(right dx, dy, R)."""

    def make(right):
        def wrong(dy, cache):
            return f(right(dy, cache), dy, cache.factor)

        return wrong

    return make


def _misplaced(f: Callable[[np.ndarray], np.ndarray]) -> Callable[[Function], Function]:
    """y of x whose channels, as (N, H, W, i, j, c), went through f; the cache is the right one."""

    def make(right):
        def wrong(x, *, factor):
            return right(
                np.ascontiguousarray(f(_blocks(x, factor))).reshape(x.shape), factor=factor
            )

        return wrong

    return make


def _columns_for_rows(dx: np.ndarray, dy: np.ndarray, r: int) -> np.ndarray:
    n, rh, rw, c = dy.shape
    blocks = dy.reshape(n, rw // r, r, rh // r, r, c).transpose(0, 1, 3, 2, 4, 5)
    return blocks.reshape(dx.shape)


def _first_of_block(b: np.ndarray) -> np.ndarray:
    return np.broadcast_to(b[:, :, :, :1, :1], b.shape)


def _summed(b: np.ndarray) -> np.ndarray:
    return np.broadcast_to(b.sum(axis=(3, 4), keepdims=True), b.shape)


def _without_last_row(dx: np.ndarray, dy: np.ndarray, r: int) -> np.ndarray:
    dx = dx.copy()
    dx[:, -1:] = 0
    return dx


for _name, _change in {
    "channels are read as (c, i, j), PyTorch's order": lambda b: np.moveaxis(b, 5, 3),
    "rows and columns within a block are exchanged": lambda b: b.swapaxes(3, 4),
    "rows within a block are upside down": lambda b: b[:, :, :, ::-1],
    "columns within a block are turned round": lambda b: b[:, :, :, :, ::-1],
    "every number of a block is the first": _first_of_block,
}.items():
    mutant(BACKWARD, _name, "dx")(_blocks_changed(_change))
    mutant(FORWARD, _name, "y")(_misplaced(_change))

mutant(BACKWARD, "every number of a block is the block's sum", "dx")(_blocks_changed(_summed))
mutant(BACKWARD, "it is reshaped without a transpose", "dx")(
    _changed(lambda dx, dy, r: dy.reshape(dx.shape))
)
mutant(BACKWARD, "height and width are exchanged", "dx")(_changed(_columns_for_rows))
mutant(BACKWARD, "it is divided by the size of a block", "dx")(
    _changed(lambda dx, dy, r: dx / (r * r))
)
mutant(BACKWARD, "its sign is wrong", "dx")(_changed(lambda dx, dy, r: -dx))
mutant(BACKWARD, "it is 1.0005 times what it should be", "dx")(
    _changed(lambda dx, dy, r: dx * 1.0005)
)
mutant(BACKWARD, "the last row of the picture gets nothing", "dx")(_changed(_without_last_row))
mutant(BACKWARD, "the last example gets nothing", "dx")(
    _changed(lambda dx, dy, r: without_last(dx))
)
mutant(BACKWARD, "one entry is 0", "dx")(_changed(lambda dx, dy, r: one_zero(dx)))


@mutant(BACKWARD, "dx of the calls before is still in it", "dx")
def _(right):
    total = {}

    def wrong(dy, cache):
        dx = right(dy, cache)
        key = dx.shape, dx.dtype
        dx = total[key] = dx + total.get(key, 0)
        return dx.copy()

    return wrong


@mutant(BACKWARD, "it is set to 0 after use", "dy")
def _(right):
    def wrong(dy, cache):
        dx = right(dy, cache).copy()  # with a factor of 1 it may be dy itself
        write(dy, 0)
        return dx

    return wrong


@mutant(FORWARD, "it is reshaped without a transpose", "y")
def _(right):
    def wrong(x, *, factor):
        y, cache = right(x, factor=factor)
        return x.reshape(y.shape), cache

    return wrong
