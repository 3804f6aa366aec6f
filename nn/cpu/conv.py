"""Convolution on the CPU. The equations stand in ``nn/reference/conv.py``.

There is a general way, and there are faster ones for what they fit:

    im2col.py     any shape: matrix products with patches of the input, gathered block by block into the cache
    winograd.py   3x3 kernels of stride 1 in float32: fewer multiplications
    phases.py     5x5 kernels of stride 2 in float32: the same, on four times the channels
    lines.py      other kernels, and few inputs, in float32: fewer multiplications along the rows alone
    direct.py     long rows, and not too many weights: nothing gathered at all
    dots.py       few outputs: vectors along the sum

With stride 1 there are two ways to each pass, because dx is itself a convolution (of dy, with the kernel turned by
180 degrees), y itself a scattering, and dw can take its patches from dy as well as from x. The way with the
fewer numbers to gather or scatter is taken: patches of the side with the fewer channels.

What stands behind the convolution, its bias, activation and shuffle, is done by the same kernels: ``ends.py``.
"""

from collections.abc import Callable
from types import ModuleType

import numpy as np

from nn import memory
from nn.cpu import direct, dots, im2col, lines, phases, winograd
from nn.cpu.ends import Finish, Upstream
from nn.cpu.pixel_shuffle import shuffle
from nn.cpu.rows import add_column_sums
from nn.reference.conv import Conv2dCache, conv2d_out_size

WINOGRAD_TILES = 16  # from so many tiles on
SCATTER_GAIN = 2  # scattering takes over where it moves so many times fewer numbers than gathering


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
    x = np.ascontiguousarray(x)
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
    dy = np.ascontiguousarray(dy)
    return run_backward(Upstream(dy, dy, dy.dtype.type(1), 1, db), cache, dw, need_dx)


@memory.framed
def run_forward(cache: Conv2dCache, finish: Finish, y: np.ndarray) -> None:
    """y (N, OH R, OW R, K / R²): what the cached convolution gives, finished."""
    x, w, stride, padding, precision = cache
    if y.size == 0:
        return
    n, height, width, _ = y.shape
    k, r = w.shape[3], finish.factor
    shape = (n, height // r, width // r, k)
    ways = (way for way in (winograd, phases) if _is_fast(shape, w, stride, precision, way))
    way = next(ways, None)
    shuffles = r == 1 or (
        way is not None and finish.in_runs()
    )  # whether the kernel does that itself
    z = y if shuffles else memory.scratch(shape, y.dtype)
    if way is not None:
        way.convolve(x, w, finish if shuffles else finish._replace(factor=1), z, padding)
    elif precision != "exact" and lines.fits(w.shape, shape, stride, y.dtype):
        lines.forward(x, w, finish, z, stride, padding)
    elif narrow := _narrow(w.shape, shape, stride, y.dtype):
        narrow(x, w, finish, z, stride, padding)
    elif _turns(w.shape, stride, padding) and k * SCATTER_GAIN <= w.shape[2]:
        im2col.spread(x, _turned(w), z, stride, _around(w.shape, padding))
        z += finish.bias
        finish.activate(z)
    else:
        im2col.convolve(x, w, finish, z, stride, padding)
    if not shuffles:
        shuffle(z, y, r)


@memory.framed
def run_backward(
    upstream: Upstream, cache: Conv2dCache, dw: np.ndarray, need_dx: bool
) -> np.ndarray | None:
    """Adds to dw (KH, KW, C, K) and to the bias gradient; returns dx (N, H, W, C), or None if it is not needed."""
    x, w, stride, padding, precision = cache
    c, k = w.shape[2:]
    if upstream.dy.size == 0:
        return np.zeros_like(x) if need_dx else None
    dx = memory.empty(x.shape, x.dtype) if need_dx else None
    turns = _turns(w.shape, stride, padding)
    if _is_fast(upstream.shape, w, stride, precision, phases):
        phases.backward(x, w, upstream, dw, dx, padding)
        return dx
    fast = _is_fast(upstream.shape, w, stride, precision, winograd)
    if fast and (turns or not need_dx):
        winograd.backward(x, w, upstream, dw, dx, padding)
        return dx
    lined = (
        not fast
        and precision != "exact"
        and lines.fits_weights(w.shape, upstream.shape, stride, w.dtype)
    )
    few = not fast and not lined and direct.fits_weights(w.shape, upstream.dy.dtype)
    summed = upstream.is_plain() and (
        lined or (few and direct.sums_bias(w.shape))
    )  # db along with dw
    dy = _before(upstream._replace(db=None) if summed else upstream)
    if fast:
        winograd.backward(x, w, Upstream(dy, dy, dy.dtype.type(1), 1, None), dw, None, padding)
    elif lined:
        lines.weights(x, dy, dw, stride, padding, upstream.db if summed else None)
    elif few:
        direct.weights(x, dy, dw, stride, padding, upstream.db if summed else None)
    elif dots.fits_weights(w.shape):
        dots.weights(x, dy, dw, stride, padding)
    elif turns and k < c:
        turned = np.zeros((*w.shape[:2], k, c), dy.dtype)
        im2col.correlate(dy, x, turned, stride, _around(w.shape, padding))
        dw += _turned(turned)
    else:
        im2col.correlate(x, dy, dw, stride, padding)
    if not need_dx:
        return None
    nothing = Finish.make(None, c, dy.dtype)
    if (
        turns
        and precision != "exact"
        and lines.fits((*w.shape[:2], k, c), x.shape, stride, dy.dtype)
    ):
        lines.forward(dy, _turned(w), nothing, dx, stride, _around(w.shape, padding))
    elif turns and (narrow := _narrow((*w.shape[:2], k, c), x.shape, stride, dy.dtype)):
        narrow(dy, _turned(w), nothing, dx, stride, _around(w.shape, padding))
    elif turns and k < c * SCATTER_GAIN:
        im2col.convolve(dy, _turned(w), nothing, dx, stride, _around(w.shape, padding))
    else:
        im2col.spread(dy, w, dx, stride, padding)
    return dx


def _before(upstream: Upstream) -> np.ndarray:
    """dz (N, OH, OW, K), the gradient before activation and shuffle; adds to the bias gradient."""
    if upstream.is_plain():
        if upstream.db is not None:
            add_column_sums(upstream.dy.reshape(-1, upstream.dy.shape[3]), upstream.db)
        return upstream.dy
    return upstream.plain()


def _narrow(
    w_shape: tuple[int, ...], y_shape: tuple[int, ...], stride: tuple[int, int], dtype: np.dtype
) -> Callable[..., None] | None:
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


def _is_fast(
    y_shape: tuple[int, ...],
    w: np.ndarray,
    stride: tuple[int, int],
    precision: str,
    way: ModuleType,
) -> bool:
    """Whether Winograd's way is taken: where it fits, is allowed, and has enough whole tiles to pay.

    way: the module for this kernel and stride.
    """
    n, oh, ow, _ = y_shape
    tiles = n * -(-oh // winograd.TILE) * -(-ow // winograd.TILE)
    pays = tiles >= WINOGRAD_TILES and n * oh * ow >= tiles * winograd.TILE**2 // 2
    return precision != "exact" and pays and way.fits(w.shape, stride, w.dtype)


def _turns(
    w_shape: tuple[int, ...], stride: tuple[int, int], padding: tuple[int, int, int, int]
) -> bool:
    """Whether the way back of this convolution is one, too: stride 1, and no more padding than kernel."""
    return stride == (1, 1) and max(padding[:2]) < w_shape[0] and max(padding[2:]) < w_shape[1]


def _turned(w: np.ndarray) -> np.ndarray:
    """The kernel (KH, KW, C, K) of the way back, (KH, KW, K, C): turned by 180 degrees, sides exchanged."""
    return np.ascontiguousarray(w[::-1, ::-1].transpose(0, 1, 3, 2))


def _around(
    w_shape: tuple[int, ...], padding: tuple[int, int, int, int]
) -> tuple[int, int, int, int]:
    """The padding of the way back."""
    kh, kw = w_shape[:2]
    top, bottom, left, right = padding
    return kh - 1 - top, kh - 1 - bottom, kw - 1 - left, kw - 1 - right
