"""Convolution by a matrix of patches and one product, in blocks of pictures. Kernels: im2col.cu.

    forward   z = columns(x) w          dw += columns(x)ᵀ dy          dx = the pixels' sums over dy wᵀ

All three are two-dimensional products of row-major arrays: NHWC and (KH KW C, K) need no rearranging. A block of
pictures has at most BYTES of columns.
"""

from collections.abc import Iterator

from nn.gpu import device
from nn.gpu.device import Array
from nn.gpu.ends import Finish, after_product, fill_with_bias

BYTES = 256 * 2**20

Pair = tuple[int, int]
Borders = tuple[int, int, int, int]


def forward(
    x: Array, w: Array, finish: Finish, y: Array, stride: Pair, padding: Borders, precision: str
) -> None:
    """y (N, OH R, OW R, K / R²): the convolution, finished."""
    n, height, width, _ = y.shape
    shape = (n, height // finish.factor, width // finish.factor, w.shape[3])
    plain = finish.slope == 1 and finish.factor == 1
    z = y if plain else device.empty(shape, y.dtype)
    add = fill_with_bias(finish.bias, z)
    flat = w.reshape(-1, w.shape[3])
    for part, columns in _blocks(x, w.shape, shape, stride, padding):
        target = z[part].reshape(-1, w.shape[3])
        device.product(columns, flat, target, add=add, precision=precision)
    if not plain:
        after_product(z, finish.slope, finish.factor, y)


def weights(x: Array, dy: Array, dw: Array, stride: Pair, padding: Borders, precision: str) -> None:
    """Adds to dw (KH, KW, C, K)."""
    k = dw.shape[3]
    for part, columns in _blocks(x, dw.shape, dy.shape, stride, padding):
        upstream, target = dy[part].reshape(-1, k), dw.reshape(-1, k)
        device.product(columns, upstream, target, a_turned=True, add=True, precision=precision)


def back(dy: Array, w: Array, dx: Array, stride: Pair, padding: Borders, precision: str) -> None:
    """dx (N, H, W, C)."""
    k = w.shape[3]
    flat = w.reshape(-1, k)
    for part in _parts(dy.shape, w.shape, dy.dtype.itemsize):
        upstream = dy[part].reshape(-1, k)
        columns = device.empty((len(upstream), len(flat)), dy.dtype)
        device.product(upstream, flat, columns, b_turned=True, precision=precision)
        _move("scatter", columns, dx[part], dx.shape, w.shape, dy.shape, stride, padding)


def _blocks(
    x: Array, w_shape: tuple[int, ...], y_shape: tuple[int, ...], stride: Pair, padding: Borders
) -> Iterator[tuple[slice, Array]]:
    """Pictures, and their columns (pictures OH OW, KH KW C)."""
    kh, kw, c, _ = w_shape
    for part in _parts(y_shape, w_shape, x.dtype.itemsize):
        pictures = part.stop - part.start
        columns = device.empty((pictures * y_shape[1] * y_shape[2], kh * kw * c), x.dtype)
        _move("gather", x[part], columns, x.shape, w_shape, y_shape, stride, padding)
        yield part, columns


def _parts(y_shape: tuple[int, ...], w_shape: tuple[int, ...], itemsize: int) -> Iterator[slice]:
    n, oh, ow, _ = y_shape
    kh, kw, c, _ = w_shape
    pictures = max(1, BYTES // (oh * ow * kh * kw * c * itemsize))
    for start in range(0, n, pictures):
        yield slice(start, min(start + pictures, n))


def _move(
    kernel: str,
    source: Array,
    target: Array,
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    y_shape: tuple[int, ...],
    stride: Pair,
    padding: Borders,
) -> None:
    sizes = (*x_shape[1:], *y_shape[1:3], *w_shape[:2], *stride, padding[0], padding[2])
    real = device.real(target.dtype)
    device.each("im2col.cu", kernel, target.size, (source, target, *sizes), real=real)
