"""Convolution on the CPU. The equations stand in ``nn/reference/conv.py``.

There is a general way, and there are faster ones for what they fit:

    im2col.py     any shape: matrix products with patches of the input, gathered block by block into the cache
    winograd.py   3x3 kernels of stride 1 in float32: fewer multiplications
    phases.py     5x5 kernels of stride 2 in float32: the same, on four times the channels
    lines.py      other kernels, and few inputs, in float32: fewer multiplications along the rows alone
    direct.py     long rows, and not too many weights: nothing gathered at all
    dots.py       few outputs: vectors along the sum
    pointwise.py  1x1 kernels of stride 1, and few weights: all that is done with a block of places while it is near

With stride 1 there are two ways to y and to dx, because dx is itself a convolution (of dy, with the kernel turned by
180 degrees), and y itself a scattering. The way with the fewer numbers to gather or scatter is taken: patches of the
side with the fewer channels.

What stands behind the convolution, its bias, activation and shuffle, is done by the same kernels: ``ends.py``.
"""

import functools
import math
from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import numpy as np

from nn import memory
from nn.cpu import direct, dots, im2col, lines, phases, pointwise, winograd
from nn.cpu.ends import Finish, Upstream
from nn.cpu.pixel_shuffle import shuffle
from nn.cpu.points import TILE
from nn.cpu.rows import add_column_sums
from nn.record import call, contiguous
from nn.reference.conv import Conv2dCache, conv2d_out_size

WINOGRAD_TILES = 16  # from so many tiles on
SCATTER_GAIN = 2  # scattering takes over where it moves so many times fewer numbers than gathering
SHUFFLING = (winograd.convolve, phases.convolve)  # ways that can store to where a shuffle puts it
KEPT = 4096  # choices of a way that are remembered: they follow from the shapes alone

Way = Callable[..., None]


class Kind(NamedTuple):
    """Of a convolution, what its way depends on, but for the size of the picture."""

    w_shape: tuple[int, ...]  # (KH, KW, C, K)
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    precision: str
    dtype: np.dtype

    @classmethod
    def of(cls, cache: Conv2dCache) -> "Kind":
        return cls(cache.w.shape, cache.stride, cache.padding, cache.precision, cache.w.dtype)


def conv2d_forward(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    *,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    precision: str = "fast",
) -> tuple[np.ndarray, Conv2dCache]:
    """x (N, H, W, C), w (KH, KW, C, K), b (K) or None -> y (N, OH, OW, K) and the cache.

    precision: "fast" may use Winograd's way in float32 (``nn/cpu/winograd.py`` states its error), "exact" does not.
    """
    x = contiguous(x)
    oh, ow = conv2d_out_size(x.shape, w.shape, stride, padding)
    y = memory.empty((x.shape[0], oh, ow, w.shape[3]), x.dtype)
    cache = Conv2dCache(x, w, stride, padding, precision)
    run_forward(cache, Finish.make(b, w.shape[3], x.dtype), y)
    return y, cache


def conv2d_backward(
    dy: np.ndarray,
    cache: Conv2dCache,
    dw: np.ndarray,
    db: np.ndarray | None,
    *,
    need_dx: bool = True,
) -> np.ndarray | None:
    """Adds to dw (KH, KW, C, K) and db (K); returns dx (N, H, W, C), or None if it is not needed."""
    dy = contiguous(dy)
    return run_backward(Upstream(dy, dy, dy.dtype.type(1), 1, db), cache, dw, need_dx)


@memory.framed
def run_forward(cache: Conv2dCache, finish: Finish, y: np.ndarray) -> None:
    """y (N, OH R, OW R, K / R²): what the cached convolution gives, finished."""
    x, w, stride, padding, _ = cache
    if y.size == 0:
        return
    n, height, width, _ = y.shape
    r = finish.factor
    shape = (n, height // r, width // r, w.shape[3])
    way = _forward_way(shape, Kind.of(cache))
    shuffles = r == 1 or (way in SHUFFLING and finish.in_runs())
    z = y if shuffles else memory.scratch(shape, y.dtype)
    way(x, w, finish if shuffles else finish._replace(factor=1), z, stride, padding)
    if not shuffles:
        shuffle(z, y, r)


@memory.framed
def run_backward(
    upstream: Upstream, cache: Conv2dCache, dw: np.ndarray, need_dx: bool
) -> np.ndarray | None:
    """Adds to dw (KH, KW, C, K) and to the bias gradient; returns dx (N, H, W, C), or None if it is not needed."""
    x, w, stride, padding, _ = cache
    if upstream.dy.size == 0:
        return np.zeros_like(x) if need_dx else None
    dx = memory.empty(x.shape, x.dtype) if need_dx else None
    kind = Kind.of(cache)
    both = _way_of_both(upstream.shape, kind, need_dx)
    if both is not None:
        both(x, w, upstream, dw, dx, padding)
        return dx
    way, sums_bias = _weights_way(upstream.shape, kind)
    summed = sums_bias and upstream.is_plain()  # db along with dw
    dy = _before(upstream._replace(db=None) if summed else upstream)
    way(x, dy, dw, stride, padding, upstream.db if summed else None)
    if dx is not None:
        _input_way(x.shape, kind)(dy, w, dx, stride, padding)
    return dx


@functools.lru_cache(KEPT)
def _forward_way(y_shape: tuple[int, ...], kind: Kind) -> Way:
    """f(x, w, finish, y, stride, padding) for y (N, OH, OW, K)."""
    w_shape, stride, padding, precision, dtype = kind
    for way in (winograd, phases):
        if _is_fast(way, y_shape, kind):
            return way.convolve
    if pointwise.fits(w_shape, stride, padding, math.prod(y_shape[:3])):
        return pointwise.forward
    if precision != "exact" and lines.fits(w_shape, y_shape, stride, dtype):
        return lines.forward
    if narrow := _narrow(w_shape, y_shape, stride, dtype):
        return narrow
    if _turns(w_shape, stride, padding) and w_shape[3] * SCATTER_GAIN <= w_shape[2]:
        return _scatter
    return im2col.convolve


@functools.lru_cache(KEPT)
def _way_of_both(y_shape: tuple[int, ...], kind: Kind, need_dx: bool) -> Way | None:
    """f(x, w, upstream, dw, dx, padding), which takes dw and dx together; None where they are made one by one."""
    if _is_fast(phases, y_shape, kind):
        return phases.backward
    w_shape, stride, padding, _, dtype = kind
    if pointwise.fits(w_shape, stride, padding, math.prod(y_shape[:3])) and pointwise.fits_backward(
        w_shape[3], dtype
    ):
        return pointwise.backward
    turns = not need_dx or _turns(kind.w_shape, kind.stride, kind.padding)
    if turns and _is_fast(winograd, y_shape, kind):
        return winograd.backward
    return None


@functools.lru_cache(KEPT)
def _weights_way(y_shape: tuple[int, ...], kind: Kind) -> tuple[Way, bool]:
    """f(x, dy, dw, stride, padding, db), and whether it can take db along; if not, it is given None for it."""
    w_shape, stride, _, precision, dtype = kind
    if _is_fast(winograd, y_shape, kind):
        return _winograd_weights, False
    if precision != "exact" and lines.fits_weights(w_shape, y_shape, stride, dtype):
        return lines.weights, True
    if direct.fits_weights(w_shape, dtype):
        return direct.weights, direct.sums_bias(w_shape)
    if dots.fits_weights(w_shape):
        return dots.weights, False
    return im2col.correlate, False


@functools.lru_cache(KEPT)
def _input_way(x_shape: tuple[int, ...], kind: Kind) -> Way:
    """f(dy, w, dx, stride, padding) for dx (N, H, W, C)."""
    w_shape, stride, padding, precision, dtype = kind
    if not _turns(w_shape, stride, padding):
        return im2col.spread
    kh, kw, c, k = w_shape
    turned = (kh, kw, k, c)
    if precision != "exact" and lines.fits(turned, x_shape, stride, dtype):
        return functools.partial(_convolve_back, lines.forward)
    if narrow := _narrow(turned, x_shape, stride, dtype):
        return functools.partial(_convolve_back, narrow)
    if k < c * SCATTER_GAIN:
        return functools.partial(_convolve_back, im2col.convolve)
    return im2col.spread


def _scatter(
    x: np.ndarray,
    w: np.ndarray,
    finish: Finish,
    y: np.ndarray,
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
) -> None:
    """The forward pass of a convolution that turns: each number of x is spread over the places that see it."""
    im2col.spread(x, contiguous(_turned(w)), y, stride, _around(w.shape, padding))
    call(np.add, y, finish.bias, y)
    finish.activate(y)


def _winograd_weights(
    x: np.ndarray,
    dy: np.ndarray,
    dw: np.ndarray,
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
    db: None,
) -> None:
    """dw by Winograd's way, where dx has to be made by another."""
    winograd.backward(x, dw, Upstream(dy, dy, dy.dtype.type(1), 1, None), dw, None, padding)


def _convolve_back(
    way: Way,
    dy: np.ndarray,
    w: np.ndarray,
    dx: np.ndarray,
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
) -> None:
    """dx as the convolution that it is where the kernel turns."""
    nothing = Finish.make(None, w.shape[2], dy.dtype)
    way(dy, contiguous(_turned(w)), nothing, dx, stride, _around(w.shape, padding))


def _before(upstream: Upstream) -> np.ndarray:
    """dz (N, OH, OW, K), the gradient before activation and shuffle; adds to the bias gradient."""
    if upstream.is_plain():
        if upstream.db is not None:
            add_column_sums(upstream.dy.reshape(-1, upstream.dy.shape[3]), upstream.db)
        return upstream.dy
    return upstream.plain()


def _narrow(
    w_shape: tuple[int, ...], y_shape: tuple[int, ...], stride: tuple[int, int], dtype: np.dtype
) -> Way | None:
    """The way of convolving with a kernel (KH, KW, C, K) of few channels on one side; None where none fits."""
    c, k = w_shape[2:]
    band = direct.fits_few_outputs(w_shape, y_shape, stride, dtype)
    if band and c <= direct.FEW and k > dots.DOT_OUTPUTS:
        return direct.few_outputs
    if dots.fits_forward(w_shape, y_shape, dtype):
        return dots.forward
    if band:
        return direct.few_outputs
    return direct.forward if direct.fits_forward(w_shape, y_shape, dtype) else None


def _is_fast(way: ModuleType, y_shape: tuple[int, ...], kind: Kind) -> bool:
    """Whether Winograd's way is taken: where it fits, is allowed, and has enough whole tiles to pay.

    way: the module for this kernel and stride.
    """
    n, oh, ow, _ = y_shape
    tiles = n * -(-oh // TILE) * -(-ow // TILE)
    pays = tiles >= WINOGRAD_TILES and n * oh * ow >= tiles * TILE**2 // 2
    return kind.precision != "exact" and pays and way.fits(kind.w_shape, kind.stride, kind.dtype)


def _turns(
    w_shape: tuple[int, ...], stride: tuple[int, int], padding: tuple[int, int, int, int]
) -> bool:
    """Whether the way back of this convolution is one, too: stride 1, and no more padding than kernel."""
    return stride == (1, 1) and max(padding[:2]) < w_shape[0] and max(padding[2:]) < w_shape[1]


def _turned(w: np.ndarray) -> np.ndarray:
    """The kernel (KH, KW, C, K) of the way back, (KH, KW, K, C): turned by 180 degrees, sides exchanged."""
    return w[::-1, ::-1].transpose(0, 1, 3, 2)


def _around(
    w_shape: tuple[int, ...], padding: tuple[int, int, int, int]
) -> tuple[int, int, int, int]:
    """The padding of the way back."""
    kh, kw = w_shape[:2]
    top, bottom, left, right = padding
    return kh - 1 - top, kh - 1 - bottom, kw - 1 - left, kw - 1 - right
