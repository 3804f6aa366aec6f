"""Mistakes in dense layers, and those that dense layers share with convolutions (``common``).

A wrong backward pass mostly takes what the right one gives (``fresh``) and changes it (``change``), or gives the right
one a changed dy (``with_dy``). Gradients of parameters are added to dw and db, right or wrong.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from nn.check.mutants.table import Function, mutant

Change = Callable[
    [np.ndarray, np.ndarray, Any], np.ndarray
]  # (gradient, dy, cache) -> wrong gradient


def fresh(
    right: Function,
    dy: np.ndarray,
    cache: Any,
    dw: np.ndarray,
    db: np.ndarray | None,
    need_dx: bool = True,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray | None]:
    """dx, and what ``right`` adds to dw and to db, each in an array of its own (None stays None)."""
    gw, gb = np.zeros_like(dw), None if db is None else np.zeros_like(db)
    return right(dy, cache, gw, gb, need_dx=need_dx), gw, gb


def same(g: np.ndarray, dy: np.ndarray, cache: Any) -> np.ndarray:
    """The change that changes nothing."""
    return g


def change(
    dx: Change = same, dw: Change = same, db: Change = same
) -> Callable[[Function], Function]:
    """Right gradients, each put through a function before it is returned or added."""

    def make(right):
        def wrong(dy, cache, to_dw, to_db, *, need_dx=True):
            gx, gw, gb = fresh(right, dy, cache, to_dw, to_db, need_dx)
            to_dw += dw(gw, dy, cache)
            if gb is not None:
                to_db += db(gb, dy, cache)
            return dx(gx, dy, cache) if need_dx else None

        return wrong

    return make


def change_all(f: Callable[[np.ndarray], np.ndarray]) -> Callable[[Function], Function]:
    """The same change of dx, dw and db."""
    each = lambda g, dy, cache: f(g)  # noqa: E731
    return change(each, each, each)


def with_dy(f: Callable[[np.ndarray], np.ndarray]) -> Callable[[Function], Function]:
    """The right pass for a wrong dy."""

    def make(right):
        def wrong(dy, cache, dw, db, *, need_dx=True):
            return right(f(dy), cache, dw, db, need_dx=need_dx)

        return wrong

    return make


def write(array: np.ndarray, values: Any) -> None:
    """Writes over an array that belongs to somebody else; one that is read-only stays as it is."""
    if array.flags.writeable:
        array[...] = values


def without_last(a: np.ndarray) -> np.ndarray:
    """A copy of (N, ...) in which the last example is 0."""
    a = a.copy()
    a[-1:] = 0
    return a


def one_zero(a: np.ndarray) -> np.ndarray:
    """A copy in which the number in the middle is 0."""
    a = a.copy()
    a.reshape(-1)[a.size // 2 : a.size // 2 + 1] = 0
    return a


def half(a: np.ndarray) -> np.ndarray:
    """Rounded to float16, and back in its own type."""
    with np.errstate(over="ignore"):
        return a.astype(np.float16).astype(a.dtype)


def no_large(a: np.ndarray) -> np.ndarray:
    """0 for NaN, and for whatever is not below 2."""
    return np.where(np.abs(a) < 2, a, a.dtype.type(0))


def common(of: str) -> None:
    """The mistakes that every layer with weights can have, dense or convolution."""
    _common_changes(of)
    _common_sums(of)
    _common_memory(of)


def _common_changes(of: str) -> None:
    every = ("dx", "dw", "db")
    mutant(of, "its sign is wrong", *every)(with_dy(lambda dy: -dy))
    mutant(of, "dy is taken without its sign", *every)(with_dy(np.abs))
    mutant(of, "it is 1.0005 times what it should be", *every)(change_all(lambda g: g * 1.0005))
    mutant(of, "it is rounded to float16", *every)(change_all(half))
    mutant(of, "it is clipped to [-1, 1]", *every)(change_all(lambda g: np.clip(g, -1, 1)))
    mutant(of, "large entries and NaN are replaced by 0", *every)(change_all(no_large))
    mutant(of, "one entry is 0", "dx")(change(dx=lambda g, dy, cache: one_zero(g)))
    mutant(of, "one weight gets no gradient", "dw")(change(dw=lambda g, dy, cache: one_zero(g)))
    decayed = change(dw=lambda g, dy, cache: g + cache.w)
    mutant(of, "the weights themselves are added, as if to let them decay", "dw")(decayed)
    mutant(of, "nothing is added to it", "dw")(change(dw=lambda g, dy, cache: 0 * g))
    mutant(of, "the bias gets no gradient", "db")(change(db=lambda g, dy, cache: 0 * g))
    mutant(of, "the bias is counted twice", "db")(change(db=lambda g, dy, cache: 2 * g))

    @mutant(of, "it is computed in float32", *every)
    def _(right):
        def wrong(dy, cache, dw, db, *, need_dx=True):
            single = lambda a: None if a is None else a.astype(np.float32)  # noqa: E731
            fields = cache._asdict().items()
            arrays = {name: single(a) for name, a in fields if isinstance(a, np.ndarray)}
            small = cache._replace(**arrays)
            dx, gw, gb = fresh(right, single(dy), small, single(dw), single(db), need_dx)
            dw += gw
            if db is not None:
                db += gb
            return dx.astype(dy.dtype) if need_dx else None

        return wrong


def _common_sums(of: str) -> None:
    mean = lambda g, dy, cache: g / max(len(dy), 1)  # noqa: E731
    name = "it is a mean over the batch, where it should be a sum"
    mutant(of, name, "dw", "db")(change(dw=mean, db=mean))
    mutant(of, "it is divided by the number of examples", "dx")(change(dx=mean))
    mutant(of, "the last example is left out", "dx", "dw", "db")(with_dy(without_last))

    @mutant(of, "every example gets the gradient of the first", "dx")
    def _(right):
        repeat = lambda g, dy, cache: np.broadcast_to(g[:1], g.shape).copy()  # noqa: E731
        return change(dx=repeat)(right)

    @mutant(of, "only the first example counts", "dw", "db")
    def _(right):
        def wrong(dy, cache, dw, db, *, need_dx=True):
            first = dy.copy()
            first[1:] = 0
            right(first, cache, dw, db, need_dx=False)
            return fresh(right, dy, cache, dw, db)[0] if need_dx else None

        return wrong

    @mutant(of, "it is assigned, where it should be added", "dw", "db")
    def _(right):
        def wrong(dy, cache, dw, db, *, need_dx=True):
            dx, dw[...], gb = fresh(right, dy, cache, dw, db, need_dx)
            if db is not None:
                db[...] = gb
            return dx

        return wrong


def _common_memory(of: str) -> None:
    @mutant(of, "nothing is added where no dx is wanted", "dw", "db")
    def _(right):
        def wrong(dy, cache, dw, db, *, need_dx=True):
            return right(dy, cache, dw, db) if need_dx else None

        return wrong

    @mutant(of, "it is computed where it is not wanted", "dx")
    def _(right):
        def wrong(dy, cache, dw, db, *, need_dx=True):
            return right(dy, cache, dw, db, need_dx=True)

        return wrong

    @mutant(of, "dx of the calls before is still in it", "dx")
    def _(right):
        total = {}

        def wrong(dy, cache, dw, db, *, need_dx=True):
            dx = right(dy, cache, dw, db, need_dx=need_dx)
            if dx is not None:
                key = dx.shape, dx.dtype
                dx = total[key] = dx + total.get(key, 0)
                return dx.copy()
            return None

        return wrong

    @mutant(of, "the input of the first call is used", "dw")
    def _(right):
        kept = {}

        def wrong(dy, cache, dw, db, *, need_dx=True):
            x = kept.setdefault((cache.x.shape, cache.x.dtype), cache.x)
            return right(dy, cache._replace(x=x), dw, db, need_dx=need_dx)

        return wrong

    def afterwards(damage):
        def make(right):
            def wrong(dy, cache, dw, db, *, need_dx=True):
                dx = right(dy, cache, dw, db, need_dx=need_dx)
                damage(dy, cache, dx)
                return dx

            return wrong

        return make

    mutant(of, "it is set to 0 after use", "dy")(afterwards(lambda dy, cache, dx: write(dy, 0)))
    overwrite = lambda dy, cache, dx: None if dx is None else write(cache.x, dx)  # noqa: E731
    mutant(of, "dx is written over the input", "x")(afterwards(overwrite))
    turn = lambda dy, cache, dx: write(cache.w, cache.w[::-1, ::-1].copy())  # noqa: E731
    mutant(of, "the weights are turned round and left so", "w")(afterwards(turn))


common("dense_backward")


def reshaped(w: np.ndarray) -> np.ndarray:
    """w (..., C, K) as a code reads it that reshapes to (..., K, C) where it should transpose."""
    *kernel, c, k = w.shape
    return w.reshape(*kernel, k, c).swapaxes(-1, -2)


mutant("dense_backward", "a reshape stands for the transpose of the weights", "dx")(
    change(dx=lambda g, dy, cache: dy @ reshaped(cache.w).T)
)
mutant("dense_backward", "rows and columns are mixed up by a reshape", "dw")(
    change(dw=lambda g, dy, cache: (dy.T @ cache.x).reshape(g.shape))
)
mutant("dense_backward", "x and dy are summed over the batch before they are multiplied", "dw")(
    change(dw=lambda g, dy, cache: np.outer(cache.x.sum(axis=0), dy.sum(axis=0)))
)
mutant("dense_backward", "it sums the rows of dy, where it should sum the columns", "db")(
    change(db=lambda g, dy, cache: np.resize(dy.sum(axis=1), g.shape) if dy.size else g)
)


@mutant("dense_backward", "the last input is left out", "dx", "dw")
def _(right):
    def no_input(g, dy, cache):
        g = g.copy()
        g[:, -1:] = 0
        return g

    def no_row(g, dy, cache):
        g[-1:] = 0
        return g

    return change(dx=no_input, dw=no_row)(right)


@mutant("dense_backward", "the last output is left out", "dx", "dw", "db")
def _(right):
    def fewer(dy):
        dy = dy.copy()
        dy[:, -1:] = 0
        return dy

    return with_dy(fewer)(right)


def _forward(f: Callable[..., np.ndarray]) -> Callable[[Function], Function]:
    """y = f(x, w, b, right y); the cache is the right one."""

    def make(right):
        def wrong(x, w, b):
            y, cache = right(x, w, b)
            return f(x, w, 0 if b is None else b, y), cache

        return wrong

    return make


mutant("dense_forward", "the bias is forgotten", "y")(_forward(lambda x, w, b, y: x @ w))
mutant("dense_forward", "the bias is added twice", "y")(_forward(lambda x, w, b, y: y + b))
mutant("dense_forward", "rows and columns of the weights are mixed up by a reshape", "y")(
    _forward(lambda x, w, b, y: x @ reshaped(w) + b)
)
mutant("dense_forward", "the last input is left out", "y")(
    _forward(lambda x, w, b, y: x[:, :-1] @ w[:-1] + b)
)
mutant("dense_forward", "the bias is subtracted", "y")(_forward(lambda x, w, b, y: y - 2 * b))
mutant("dense_forward", "it is 1.0005 times what it should be", "y")(
    _forward(lambda x, w, b, y: y * 1.0005)
)


@mutant("dense_forward", "x is set to 0 after use", "x")
def _(right):
    def wrong(x, w, b):
        y, cache = right(x, w, b)
        write(x, 0)
        return y, cache

    return wrong
