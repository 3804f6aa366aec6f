"""Mistakes where a convolution, its activation and its shuffle meet. Those of each alone stand in its own file."""

from collections.abc import Callable

import numpy as np

from nn.check.mutants.dense import common, fresh, with_dy
from nn.check.mutants.table import Function, mutant
from nn.reference.pixel_shuffle import PixelShuffleCache, pixel_shuffle_backward

BACKWARD, FORWARD = "conv_block_backward", "conv_block_forward"

common(BACKWARD)


def _cache(**changes: Callable) -> Callable[[Function], Function]:
    """The right pass with fields of the cache changed, each a function of the cache."""

    def make(right):
        def wrong(dy, cache, dw, db, *, need_dx=True):
            changed = cache._replace(**{name: f(cache) for name, f in changes.items()})
            return right(dy, changed, dw, db, need_dx=need_dx)

        return wrong

    return make


def _db(f: Callable) -> Callable[[Function], Function]:
    """dx and dw are right, db = f(dy, cache)."""

    def make(right):
        def wrong(dy, cache, dw, db, *, need_dx=True):
            dx, gw, gb = fresh(right, dy, cache, dw, db, need_dx)
            dw += gw
            if gb is not None:
                db += f(dy, cache)
            return dx

        return wrong

    return make


def _unshuffled(dy: np.ndarray, cache) -> np.ndarray:
    return pixel_shuffle_backward(dy, PixelShuffleCache(cache.factor))


def _swapped(a: np.ndarray, cache) -> np.ndarray:
    """Each square of R x R pixels of a transposed."""
    n, height, width, c = a.shape
    r = cache.factor
    squares = a.reshape(n, height // r, r, width // r, r, c).transpose(0, 1, 4, 3, 2, 5)
    return np.ascontiguousarray(squares).reshape(a.shape)


def _swapped_dy(right: Function) -> Function:
    def wrong(dy, cache, dw, db, *, need_dx=True):
        swapped = cache._replace(y=_swapped(cache.y, cache))
        return right(_swapped(dy, cache), swapped, dw, db, need_dx=need_dx)

    return wrong


every = ("dx", "dw", "db")
mutant(BACKWARD, "the activation is left out", *every)(_cache(negative_slope=lambda cache: 1.0))
mutant(BACKWARD, "the slope is taken on the wrong side", *every)(_cache(y=lambda cache: -cache.y))
mutant(BACKWARD, "the slope is squared", *every)(
    _cache(negative_slope=lambda cache: cache.negative_slope**2)
)
mutant(BACKWARD, "the slope is 0, as if it were a ReLU", *every)(
    _cache(negative_slope=lambda cache: 0.0)
)
mutant(BACKWARD, "the slope of another pixel of the square is taken", *every)(
    _cache(y=lambda cache: _swapped(cache.y, cache))
)
mutant(BACKWARD, "rows and columns of a square are exchanged", *every)(_swapped_dy)
mutant(BACKWARD, "dy is multiplied by y", *every)(
    lambda right: (
        lambda dy, cache, dw, db, *, need_dx=True: right(
            dy * cache.y, cache, dw, db, need_dx=need_dx
        )
    )
)
mutant(BACKWARD, "the bias is summed before the activation's slope", "db")(
    _db(lambda dy, cache: _unshuffled(dy, cache).sum(axis=(0, 1, 2)))
)
mutant(BACKWARD, "only the first pixel of each square counts", *every)(
    lambda right: (
        lambda dy, cache, dw, db, *, need_dx=True: right(
            _first_of_squares(dy, cache.factor), cache, dw, db, need_dx=need_dx
        )
    )
)
mutant(BACKWARD, "it is divided by the pixels of a square", *every)(
    lambda right: (
        lambda dy, cache, dw, db, *, need_dx=True: right(
            dy / cache.factor**2, cache, dw, db, need_dx=need_dx
        )
    )
)
mutant(BACKWARD, "pictures are upside down", *every)(
    with_dy(lambda dy: np.ascontiguousarray(dy[:, ::-1]))
)


def _first_of_squares(dy: np.ndarray, r: int) -> np.ndarray:
    first = np.zeros_like(dy)
    first[:, ::r, ::r] = dy[:, ::r, ::r]
    return first


def _forward(f: Callable) -> Callable[[Function], Function]:
    """y = f(right, x, w, b, options), the cache that of the right pass but for y."""

    def make(right):
        def wrong(x, w, b, **options):
            _, cache = right(x, w, b, **options)
            y = f(right, x, w, b, options)
            return y, cache._replace(y=y)

        return wrong

    return make


mutant(FORWARD, "the activation is left out", "y")(
    _forward(lambda right, x, w, b, o: right(x, w, b, **o | {"negative_slope": 1.0})[0])
)
mutant(FORWARD, "the slope is squared", "y")(
    _forward(
        lambda right, x, w, b, o: right(
            x, w, b, **o | {"negative_slope": o["negative_slope"] ** 2}
        )[0]
    )
)
mutant(FORWARD, "the bias comes behind the activation", "y")(
    _forward(
        lambda right, x, w, b, o: (
            right(x, w, None, **o)[0] + (0 if b is None else b.reshape(o["factor"] ** 2, -1)[0])
        )
    )
)
mutant(FORWARD, "rows and columns of a square are exchanged", "y")(
    lambda right: _with_swapped_y(right)
)
mutant(FORWARD, "it is 1.0005 times what it should be", "y")(
    _forward(lambda right, x, w, b, o: right(x, w, b, **o)[0] * 1.0005)
)


def _with_swapped_y(right: Function) -> Function:
    def wrong(x, w, b, **options):
        y, cache = right(x, w, b, **options)
        return _swapped(y, cache), cache

    return wrong
