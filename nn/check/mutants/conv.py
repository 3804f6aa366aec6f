"""Mistakes in convolutions. Helpers, and the mistakes that dense layers make too, stand in ``dense.py``.

Most are a right loop that reads something wrongly: the stride, the padding or the kernel. So there is one loop here,
forward and backward, on a canvas that has room for wrong strides and borders, and each mistake is a changed cache.
"""

from collections.abc import Callable, Iterator

import numpy as np

from nn.check.mutants.dense import change, common, fresh, reshaped, with_dy, write
from nn.check.mutants.table import Function, mutant
from nn.reference.conv import Conv2dCache, conv2d_out_size

Misreading = Callable[[Conv2dCache], Conv2dCache]
Tap = tuple[int, int, tuple[slice, slice, slice]]


def _canvas(cache: Conv2dCache, oh: int, ow: int) -> tuple[np.ndarray, tuple[slice, ...]]:
    """Zeros around x, enough for every tap and every border; and where in it x lies."""
    x, w, (sh, sw), (top, _, left, _), _ = cache
    n, height, width, c = x.shape
    rows = max(sh * (oh - 1) + w.shape[0], top + height)
    columns = max(sw * (ow - 1) + w.shape[1], left + width)
    inside = slice(None), slice(top, top + height), slice(left, left + width)
    canvas = np.zeros((n, rows, columns, c), x.dtype)
    canvas[inside] = x
    return canvas, inside


def _taps(cache: Conv2dCache, oh: int, ow: int) -> Iterator[Tap]:
    (sh, sw), (kh, kw) = cache.stride, cache.w.shape[:2]
    for i in range(kh):
        for j in range(kw):
            rows = slice(i, i + sh * (oh - 1) + 1, sh)
            columns = slice(j, j + sw * (ow - 1) + 1, sw)
            yield i, j, (slice(None), rows, columns)


def _backward(
    dy: np.ndarray, cache: Conv2dCache, *, overwrite: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """dx and dw; with ``overwrite`` a tap's part of dx replaces what was there."""
    oh, ow = dy.shape[1:3]
    xp, inside = _canvas(cache, oh, ow)
    dxp, dw = np.zeros_like(xp), np.zeros_like(cache.w)
    for i, j, seen in _taps(cache, oh, ow):
        dw[i, j] = np.tensordot(xp[seen], dy, axes=((0, 1, 2), (0, 1, 2)))
        dxp[seen] = dy @ cache.w[i, j].T + (0 if overwrite else dxp[seen])
    return np.ascontiguousarray(dxp[inside]), dw


def _read_as(misread: Misreading) -> Callable[[Function], Function]:
    """dx and dw of the loop that reads its cache wrongly."""

    def make(right):
        def wrong(dy, cache, dw, db, *, need_dx=True):
            if db is not None:
                db += dy.sum(axis=(0, 1, 2))
            dx, gw = _backward(dy, misread(cache))
            dw += gw
            return dx if need_dx else None

        return wrong

    return make


def _forward_as(misread: Misreading) -> Callable[[Function], Function]:
    """y of the loop that reads x, w, stride and padding wrongly; the cache is the right one."""

    def make(right):
        def wrong(x, w, b, *, stride=(1, 1), padding=(0, 0, 0, 0), precision="fast"):
            cache = Conv2dCache(x, w, stride, padding)
            oh, ow = conv2d_out_size(x.shape, w.shape, stride, padding)
            read = misread(cache)
            xp, _ = _canvas(read, oh, ow)
            y = np.zeros((x.shape[0], oh, ow, w.shape[3]), np.result_type(x, w))
            for i, j, seen in _taps(read, oh, ow):
                y += xp[seen] @ read.w[i, j]
            return y if b is None else y + b, cache

        return wrong

    return make


def _turned(w: np.ndarray) -> np.ndarray:
    return w[::-1, ::-1]


def _kernel_exchanged(w: np.ndarray) -> np.ndarray:
    """Rows and columns of the kernel exchanged; one that is not square is read in its new shape."""
    return w.swapaxes(0, 1).reshape(w.shape)


def _no_last_tap_row(w: np.ndarray) -> np.ndarray:
    w = w.copy()
    w[-1] = 0
    return w


def _other_side(cache: Conv2dCache) -> Conv2dCache:
    top, bottom, left, right = cache.padding
    return cache._replace(padding=(bottom, top, right, left))


def _rows_for_columns(cache: Conv2dCache) -> Conv2dCache:
    top, bottom, left, right = cache.padding
    return cache._replace(padding=(left, right, top, bottom))


def _one_more(cache: Conv2dCache) -> Conv2dCache:
    return cache._replace(padding=tuple(p + 1 for p in cache.padding))


MISREADINGS: dict[str, Misreading] = {
    "the stride is ignored": lambda cache: cache._replace(stride=(1, 1)),
    "the stride's rows and columns are exchanged": lambda cache: cache._replace(
        stride=cache.stride[::-1]
    ),
    "the padding is ignored": lambda cache: cache._replace(padding=(0, 0, 0, 0)),
    "the padding is one pixel too large": _one_more,
    "the odd pixel of padding is on the wrong side": _other_side,
    "the padding's rows and columns are exchanged": _rows_for_columns,
}

common("conv2d_backward")
for _name, _misread in MISREADINGS.items():
    mutant("conv2d_backward", _name, "dx", "dw")(_read_as(_misread))
    mutant("conv2d_forward", _name, "y")(_forward_as(_misread))


def _kernel(
    of_w: Callable[[np.ndarray], np.ndarray],
    of_dw: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Callable[[Function], Function]:
    """dx for a changed kernel, and dw changed in the same way, or in that of ``of_dw``."""

    def make(right):
        def wrong(dy, cache, dw, db, *, need_dx=True):
            read = cache._replace(w=np.ascontiguousarray(of_w(cache.w)))
            dx, gw, gb = fresh(right, dy, read, dw, db, need_dx)
            dw += (of_dw or of_w)(gw)
            if db is not None:
                db += gb
            return dx

        return wrong

    return make


def _upside_down(w: np.ndarray) -> np.ndarray:
    return w[::-1]


KERNELS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "the kernel is flipped": _turned,
    "the kernel is upside down": _upside_down,
    "the kernel's rows and columns are exchanged": _kernel_exchanged,
    "the last row of the kernel is left out": _no_last_tap_row,
}

for _name, _change in KERNELS.items():
    mutant("conv2d_backward", _name, "dx", "dw")(_kernel(_change))
    mutant("conv2d_forward", _name, "y")(
        _forward_as(lambda cache, f=_change: cache._replace(w=f(cache.w)))
    )


@mutant("conv2d_backward", "a reshape stands for the transpose that exchanges C and K", "dx", "dw")
def _(right):
    return _kernel(reshaped, lambda g: g.swapaxes(2, 3).reshape(g.shape))(right)


mutant("conv2d_forward", "channels are mixed up: C and K are exchanged by a reshape", "y")(
    _forward_as(lambda cache: cache._replace(w=reshaped(cache.w)))
)


@mutant("conv2d_backward", "taps that overlap overwrite each other", "dx")
def _(right):
    return change(dx=lambda g, dy, cache: _backward(dy, cache, overwrite=True)[0])(right)


@mutant("conv2d_backward", "it is shifted by one column", "dx")
def _(right):
    return change(dx=lambda g, dy, cache: np.roll(g, 1, axis=2))(right)


@mutant("conv2d_backward", "the border is cut off one row too late", "dx")
def _(right):
    def cut(g, dy, cache):
        g = np.roll(g, -1, axis=1)
        g[:, -1:] = 0
        return g

    return change(dx=cut)(right)


@mutant("conv2d_backward", "the border pixels of the picture get nothing", "dx")
def _(right):
    def inner(g, dy, cache):
        inside = np.zeros_like(g)
        inside[:, 1:-1, 1:-1] = g[:, 1:-1, 1:-1]
        return inside

    return change(dx=inner)(right)


@mutant("conv2d_backward", "the last row and column of the picture get nothing", "dx")
def _(right):
    def smaller(g, dy, cache):
        inside = np.zeros_like(g)
        inside[:, :-1, :-1] = g[:, :-1, :-1]
        return inside

    return change(dx=smaller)(right)


@mutant("conv2d_backward", "the last row of the output is left out", "dx", "dw", "db")
def _(right):
    def fewer(dy):
        dy = dy.copy()
        dy[:, -1:] = 0
        return dy

    return with_dy(fewer)(right)


@mutant("conv2d_backward", "rows and columns of the picture are exchanged", "dx")
def _(right):
    return change(dx=lambda g, dy, cache: np.ascontiguousarray(g.swapaxes(1, 2)).reshape(g.shape))(
        right
    )


@mutant("conv2d_backward", "it is right for square pictures only: H stands for W", "dx")
def _(right):
    def lines_of_h(g, dy, cache):
        n, height, width, c = g.shape
        at = np.add.outer(np.arange(height) * height, np.arange(width)).reshape(-1)
        flat = np.zeros((n, height * width, c), g.dtype)
        flat[:, at % max(height * width, 1)] = g.reshape(n, height * width, c)
        return flat.reshape(g.shape)

    return change(dx=lines_of_h)(right)


@mutant("conv2d_backward", "it is right for square kernels only: both loops run to KW", "dx", "dw")
def _(right):
    def to_kw(w):
        w = w.copy()
        w[w.shape[1] :] = 0
        return w

    return _kernel(to_kw)(right)


@mutant("conv2d_backward", "it is a mean over the output's pixels, not a sum", "dw", "db")
def _(right):
    mean = lambda g, dy, cache: g / (dy.shape[1] * dy.shape[2])  # noqa: E731
    return change(dw=mean, db=mean)(right)


@mutant("conv2d_backward", "only the first pixel of each output counts", "db")
def _(right):
    return change(db=lambda g, dy, cache: dy[:, 0, 0].sum(axis=0))(right)


@mutant("conv2d_backward", "the bias is counted once for every tap of the kernel", "db")
def _(right):
    return change(db=lambda g, dy, cache: g * (cache.w.shape[0] * cache.w.shape[1]))(right)


def _bias(times: int) -> Callable[[Function], Function]:
    def make(right):
        def wrong(x, w, b, **options):
            y, cache = right(x, w, b, **options)
            return y if b is None else y + (times - 1) * b, cache

        return wrong

    return make


mutant("conv2d_forward", "the bias is forgotten", "y")(_bias(0))
mutant("conv2d_forward", "the bias is added twice", "y")(_bias(2))


@mutant("conv2d_forward", "the bias is added once for every tap of the kernel", "y")
def _(right):
    def wrong(x, w, b, **options):
        return _bias(w.shape[0] * w.shape[1])(right)(x, w, b, **options)

    return wrong


@mutant("conv2d_forward", "the border repeats the outermost pixels, where it should be 0", "y")
def _(right):
    def wrong(x, w, b, *, stride=(1, 1), padding=(0, 0, 0, 0), precision="fast"):
        y, cache = right(x, w, b, stride=stride, padding=padding)
        if x.size:
            top, bottom, left, right_ = padding
            xp = np.pad(x, ((0, 0), (top, bottom), (left, right_), (0, 0)), mode="edge")
            y, _ = right(xp, w, b, stride=stride)
        return y, cache

    return wrong


@mutant("conv2d_forward", "it is 1.0005 times what it should be", "y")
def _(right):
    def wrong(x, w, b, **options):
        y, cache = right(x, w, b, **options)
        return y * 1.0005, cache

    return wrong


@mutant("conv2d_forward", "the first row of x is set to 0 after use", "x")
def _(right):
    def wrong(x, w, b, **options):
        y, cache = right(x, w, b, **options)
        write(x[:, :1], 0)
        return y, cache

    return wrong
