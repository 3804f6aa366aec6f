"""Convolutions with few channels on one side: pictures that come in, and pictures that go out. Kernels: narrow.cu.

A tile of the general product has 32 columns at least, and reads four channels at once: with three, a tenth of it is of
use, and numbers come one at a time. But with few channels a matrix of patches is small, and turns the layer into one
product of two plain matrices:

    few in    p (N OH OW, KH KW C)   what each place sees         y = p w, finished as it is stored      dw += pᵀ dy
    few out   z (KH KW K, N H W)     what each pixel has for      z = wᵀ xᵀ, then y = collected z
              g                      each tap of each place       g = spread dy, then dx = gᵀ wᵀ,        dwᵀ = g x

"few out" multiplies each pixel once, where the general way meets it KH KW times.
"""

import numpy as np

from nn.gpu import device
from nn.gpu.device import Array
from nn.gpu.ends import Finish, add_parts
from nn.reference.conv import Conv2dCache, conv2d_out_size

FEW, MANY = 4, 16  # channels
SHARE, MOST_BLOCKS = 64, 4096  # of places
ROUND = 8  # numbers of a place in p: a multiple, so that they are whole loads


def few_in(cache: Conv2dCache) -> bool:
    """Whether few channels come in and many go out."""
    kh, kw, c, k = cache.w.shape
    return c <= FEW and k >= MANY and kh * kw > 1


def few_out(cache: Conv2dCache, factor: int = 1) -> bool:
    """Whether many channels come in and few go out, as they are."""
    kh, kw, c, k = cache.w.shape
    return k <= FEW and c >= MANY and kh * kw > 1 and factor == 1


def zeros_below(w: Array) -> Array:
    """(1, 1, width, K) of zeros: a row for each number of a place of p, of which there are KH KW C and a few."""
    rows = w.size // w.shape[3]
    return device.zeros((1, 1, -(-rows // ROUND) * ROUND, w.shape[3]), w.dtype)


def padded(w: Array) -> Array:
    """w (KH, KW, C, K) as (1, 1, width, K), zeros below it."""
    to = zeros_below(w)
    rows = w.reshape(-1, w.shape[3])
    to[0, 0, : len(rows)] = rows
    return to


def patches(cache: Conv2dCache, w: Array) -> Conv2dCache:
    """The convolution as one of kernels of 1 x 1, w (1, 1, width, K), which reads p."""
    x, _, stride, padding, precision = cache
    n, (oh, ow), width = (
        len(x),
        conv2d_out_size(x.shape, cache.w.shape, stride, padding),
        w.shape[2],
    )
    p, rows = device.empty((n, oh, ow, width), x.dtype), n * oh * ow
    parts = min(MOST_BLOCKS, -(-rows // SHARE))
    args = (x, p, *_shape(cache), width, rows, -(-rows // parts))
    device.launch("narrow.cu", "patches", (-(-width // 32), parts), 256, args, **_defines(x))
    return Conv2dCache(p, w, (1, 1), (0, 0, 0, 0), precision)


def add_to_weights(dweights: Array, dw: Array) -> None:
    """dw (KH, KW, C, K) += the rows of ``dweights`` (1, 1, width, K) that are not below it."""
    add_parts(dweights.reshape(1, -1), dw)


def forward(cache: Conv2dCache, finish: Finish, y: Array, precision: str) -> None:
    """y (N, OH, OW, K) of few channels."""
    x, w = cache.x, cache.w
    z = device.empty((w.size // w.shape[2], x.size // x.shape[3]), x.dtype)
    flat = x.reshape(-1, x.shape[3])
    device.product(_turned(w), flat, z, b_turned=True, precision=precision)
    pixels, places = z.shape[1], y.size // y.shape[3]
    ends = (finish.bias, y.dtype.type(finish.slope), y)
    args = (z, *ends, *_shape(cache), np.int64(pixels))
    device.each("narrow.cu", "collect", places, args, **_defines(x))


def spread(dy: Array, cache: Conv2dCache) -> Array:
    """g (KH KW K, N H W)."""
    x, w = cache.x, cache.w
    g = device.empty((w.size // w.shape[2], x.size // x.shape[3]), x.dtype)
    device.each("narrow.cu", "spread", g.shape[1], (dy, g, *_shape(cache)), **_defines(x))
    return g


def input_gradient(g: Array, cache: Conv2dCache, precision: str) -> Array:
    """dx (N, H, W, C)."""
    dx = device.empty(cache.x.shape, cache.x.dtype)
    flat = dx.reshape(-1, dx.shape[3])
    device.product(g, _turned(cache.w), flat, a_turned=True, precision=precision)
    return dx


def weight_gradient(g: Array, cache: Conv2dCache, dw: Array, precision: str) -> None:
    """Adds to dw (KH, KW, C, K)."""
    x, (_, _, c, k) = cache.x, dw.shape
    dwt = device.empty((g.shape[0], c), x.dtype)
    device.product(g, x.reshape(-1, c), dwt, precision=precision)
    device.each("narrow.cu", "add_turned", dw.size, (dwt, dw, c, k), **_defines(x))


def _turned(w: Array) -> Array:
    """wᵀ (KH KW K, C)."""
    _, _, c, k = w.shape
    turned = device.empty((w.size // c, c), w.dtype)
    device.each("narrow.cu", "turn", w.size, (w, turned, c, k), **_defines(w))
    return turned


def _shape(cache: Conv2dCache) -> tuple[int, ...]:
    x, w, stride, padding, _ = cache
    oh, ow = conv2d_out_size(x.shape, w.shape, stride, padding)
    return (*x.shape[1:], oh, ow, w.shape[3], *w.shape[:2], *stride, padding[0], padding[2])


def _defines(array: Array) -> dict[str, object]:
    return {"real": device.real(array.dtype), "MOST_K": FEW}
