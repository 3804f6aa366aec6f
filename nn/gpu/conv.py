"""Convolution on the GPU. The equations stand in ``nn/reference/conv.py``.

    conv.cu     the product gathers its patches itself: forward, input gradient, weight gradient, any shape
    im2col.cu   a matrix of patches and cuBLAS: the first version, and a second opinion

``modes`` says which, and how exactly. This file chooses tiles: large ones where there are enough of them to fill a
card, small ones otherwise.
"""

from typing import Any, NamedTuple

import numpy as np

from nn.gpu import device, im2col, modes
from nn.gpu.device import Array, on_card
from nn.gpu.ends import Finish, add_column_sums, add_parts
from nn.reference.conv import Conv2dCache, conv2d_out_size

BLOCKS = 264  # that fill a card: two for each of 132 processors; a constant, so that sums do not depend on the card
LEAST_SHARE = 256  # places that are worth a part of the weight gradient
MOST_PARTS = 64
MOST_PARTIAL = 64 * 2**20  # bytes of partial weight gradients


class Tile(NamedTuple):
    """Rows and columns of the product that a block makes, and its warps along each."""

    rows: int
    columns: int
    down: int
    across: int

    @property
    def threads(self) -> int:
        return 32 * self.down * self.across


LARGE, SMALL, TALL = Tile(128, 128, 2, 4), Tile(64, 64, 2, 2), Tile(128, 32, 4, 1)
WORDS, STAGES = 16, 3  # as in tile.cuh
MATHS = {"fp32": 0, "tf32": 1, "fp16": 2}


@on_card
def conv2d_forward(
    x: Array,
    w: Array,
    b: Array | None,
    *,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    precision: str = "fast",
) -> tuple[Array, Conv2dCache]:
    """x (N, H, W, C), w (KH, KW, C, K), b (K) or None -> y (N, OH, OW, K) and the cache.

    precision: "fast" multiplies as ``modes.precision()`` says, "exact" in float32.
    """
    x = device.contiguous(x)
    cache = Conv2dCache(x, w, stride, padding, precision)
    oh, ow = conv2d_out_size(x.shape, w.shape, stride, padding)
    y = device.empty((x.shape[0], oh, ow, w.shape[3]), x.dtype)
    run_forward(cache, Finish(b), y)
    return y, cache


@on_card
def conv2d_backward(
    dy: Array,
    cache: Conv2dCache,
    dw: Array,
    db: Array | None,
    *,
    need_dx: bool = True,
) -> Array | None:
    """Adds to dw (KH, KW, C, K) and db (K); returns dx (N, H, W, C), or None if it is not needed."""
    dy = device.contiguous(dy)
    if db is not None and dy.size:
        add_column_sums(dy.reshape(-1, dy.shape[3]), db)
    return run_backward(dy, cache, dw, need_dx)


def run_forward(cache: Conv2dCache, finish: Finish, y: Array) -> None:
    """y (N, OH R, OW R, K / R²): what the cached convolution gives, finished."""
    x, w, stride, padding, _ = cache
    if y.size == 0:
        return
    sizes = _sizes(cache)
    if modes.way() == "im2col":
        im2col.forward(x, w, finish, y, stride, padding, _precision(cache))
    else:
        tile = choose(sizes.places, sizes.k, x.dtype)
        grid = (-(-sizes.places // tile.rows), -(-sizes.k // tile.columns))
        ends = (x.dtype.type(finish.slope), finish.factor)
        args = (x, w, finish.bias, y, *sizes, *stride, padding[0], padding[2], *ends)
        _launch("conv_forward", grid, tile, args, cache, (x, w))


def run_backward(dy: Array, cache: Conv2dCache, dw: Array, need_dx: bool) -> Array | None:
    """Adds to dw (KH, KW, C, K); returns dx (N, H, W, C), or None if it is not needed."""
    if dy.size == 0:
        return device.zeros(cache.x.shape, dy.dtype) if need_dx else None
    weight_gradient(dy, cache, dw)
    return input_gradient(dy, cache) if need_dx else None


def input_gradient(dy: Array, cache: Conv2dCache) -> Array:
    """dx (N, H, W, C)."""
    x, w, stride, padding, _ = cache
    sizes, dx = _sizes(cache), device.empty(x.shape, x.dtype)
    if modes.way() == "im2col":
        im2col.back(dy, w, dx, stride, padding, _precision(cache))
        return dx
    phases = stride[0] * stride[1]
    places = sizes.n * -(-sizes.h // stride[0]) * -(-sizes.w // stride[1])
    tile = choose(places * phases, sizes.c, x.dtype)
    grid = (-(-places // tile.rows), -(-sizes.c // tile.columns), phases)
    args = (dy, w, dx, *sizes, *stride, padding[0], padding[2])
    _launch("conv_dx", grid, tile, args, cache, (dy, w))
    return dx


def weight_gradient(dy: Array, cache: Conv2dCache, dw: Array) -> None:
    """Adds to dw (KH, KW, C, K)."""
    x, _, stride, padding, _ = cache
    if modes.way() == "im2col":
        im2col.weights(x, dy, dw, stride, padding, _precision(cache))
        return
    sizes = _sizes(cache)
    rows = sizes.kh * sizes.kw * sizes.c
    tile = choose(rows, sizes.k, x.dtype)
    grid = (-(-rows // tile.rows), -(-sizes.k // tile.columns))
    parts, share = cut(sizes.places, grid[0] * grid[1], rows * sizes.k * x.dtype.itemsize)
    to = dw if parts == 1 else device.empty((parts, rows, sizes.k), x.dtype)
    args = (x, dy, to, *sizes, *stride, padding[0], padding[2], parts, share)
    _launch("conv_dw", (*grid, parts), tile, args, cache, (x, dy))
    if parts > 1:
        add_parts(to, dw)


class Sizes(NamedTuple):
    """The size alphabet of one convolution, in the order in which kernels take it."""

    n: int
    h: int
    w: int
    c: int
    oh: int
    ow: int
    k: int
    kh: int
    kw: int

    @property
    def places(self) -> int:
        """N OH OW."""
        return self.n * self.oh * self.ow


def _sizes(cache: Conv2dCache) -> Sizes:
    x, w, stride, padding, _ = cache
    oh, ow = conv2d_out_size(x.shape, w.shape, stride, padding)
    kh, kw, _, k = w.shape
    return Sizes(*x.shape, oh, ow, k, kh, kw)


def choose(rows: int, columns: int, dtype: Any) -> Tile:
    """The tile of a product (rows, columns): the largest of which there are enough; float64 keeps to small ones."""
    if np.dtype(dtype) == np.float64:
        return SMALL
    if columns <= TALL.columns and rows >= TALL.rows:
        return TALL
    tiles = -(-rows // LARGE.rows) * -(-columns // LARGE.columns)
    return LARGE if columns >= LARGE.columns and tiles >= BLOCKS // 2 else SMALL


def cut(places: int, tiles: int, size: int) -> tuple[int, int]:
    """Into how many parts the sum over places is cut, and how many places each has: a function of the shapes alone.

    tiles: of the product; size: bytes of one partial result.
    """
    parts = min(
        -(-BLOCKS // tiles), -(-places // LEAST_SHARE), MOST_PARTS, max(1, MOST_PARTIAL // size)
    )
    share = -(-places // max(parts, 1))
    share = -(-share // 32) * 32  # whole steps of the product
    return -(-places // share), share


def _precision(cache: Conv2dCache) -> str:
    exact = cache.precision == "exact" or cache.x.dtype != np.float32
    return "fp32" if exact else modes.precision()


def _launch(
    kernel: str,
    grid: tuple[int, ...],
    tile: Tile,
    args: tuple[Any, ...],
    cache: Conv2dCache,
    read: tuple[Array, ...],
) -> None:
    c, k = cache.w.shape[2:]
    whole, math = device.aligned(*read), MATHS[_precision(cache)]
    vec_c, vec_k = c % 4 == 0 and whole, k % 4 == 0 and whole
    ahead = modes.way() == "pipelined" and math == MATHS["tf32"] and vec_c and vec_k
    device.launch(
        "conv.cu",
        kernel,
        grid,
        tile.threads,
        args,
        shared=_room(kernel, tile) if ahead else 0,
        real=device.real(cache.x.dtype),
        BM=tile.rows,
        BN=tile.columns,
        WARPS_M=tile.down,
        WARPS_N=tile.across,
        MATH=math,
        VEC_C=int(vec_c),
        VEC_K=int(vec_k),
        PIPELINED=int(ahead),
    )


def _room(kernel: str, tile: Tile) -> int:
    """Bytes of shared memory of a pipelined product: STAGES pieces of both factors, laid out as tile.cuh says."""
    by_rows = {"conv_forward": (True, False), "conv_dx": (True, True), "conv_dw": (False, False)}
    words = (
        size * (WORDS + 4) if rows else WORDS * (size + 8)
        for size, rows in zip(tile[:2], by_rows[kernel], strict=True)
    )
    return 4 * STAGES * sum(words)
