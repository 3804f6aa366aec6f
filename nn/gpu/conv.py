"""Convolution on the GPU. The equations stand in ``nn/reference/conv.py``.

    conv.cu     the product gathers its patches itself: forward, input gradient, weight gradient, any shape
    narrow.cu   few channels on one side
    im2col.cu   a matrix of patches and cuBLAS: the first version, and a second opinion

``modes`` says which, and how exactly; ``plan`` how a product is shared among the card's processors.
"""

from typing import Any, NamedTuple

from nn.gpu import device, im2col, modes, narrow
from nn.gpu.device import Array, on_card
from nn.gpu.ends import Finish, add_column_sums, add_parts, add_up, finish_parts
from nn.gpu.factors import Factors, turned
from nn.gpu.plan import WIDE, Tile, arrange
from nn.reference.conv import Conv2dCache, conv2d_out_size

MATHS = {"fp32": 0, "tf32": 1, "fp16": 2}
PASSES = {"conv_forward": 1, "conv_dx": 2, "conv_dw": 3}
WORDS, STAGES, LINE = 16, 3, 32  # as in tile.cuh and warpgroup.cuh
BLOCK = 32  # channels, where there are that many: a step of the sum in most precisions


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
        return
    if narrow.few_out(cache, finish.factor):
        narrow.forward(cache, finish, y, _precision(cache))
        return
    if narrow.few_in(cache):
        run_forward(narrow.patches(cache, narrow.padded(w)), finish, y)
        return
    product = _product(cache, sizes.places, sizes.k, sizes.taps * sizes.c, (x, w))
    factors, kind = Factors(), product.by.kind
    w = turned(w, kind) if product.by.copied else factors.read(w, kind)
    x = factors.read(x, kind)
    to, ends = y, finish
    if product.parts > 1:
        to, ends = device.empty((product.parts, *y.shape), y.dtype), Finish(None)
    last = (product.share, y.dtype.type(ends.slope), ends.factor)
    args = (x, w, ends.bias, to, *sizes, *stride, padding[0], padding[2], *last)
    run = sizes.k // ends.factor
    how = {"parted": product.parts > 1, "block": _block(sizes.c)}
    _launch("conv_forward", product, product.grid, args, to, run, **how)
    if product.parts > 1:
        finish_parts(to, finish, sizes.ow, y)


def upstream_kind(cache: Conv2dCache) -> str:
    """As what both gradients read dy, where it is aligned (factors.py)."""
    if modes.way() == "im2col" or narrow.few_out(cache) or narrow.few_in(cache):
        return ""
    return _multiplies(cache, (cache.x, cache.w)).kind


def run_backward(
    dy: Array, cache: Conv2dCache, dw: Array, need_dx: bool, kind: str = ""
) -> Array | None:
    """Adds to dw (KH, KW, C, K); returns dx (N, H, W, C), or None if it is not needed. kind: as what dy was written."""
    if dy.size == 0:
        return device.zeros(cache.x.shape, cache.x.dtype) if need_dx else None
    if modes.way() != "im2col" and narrow.few_out(cache):
        g, precision = narrow.spread(dy, cache), _precision(cache)
        narrow.weight_gradient(g, cache, dw, precision)
        return narrow.input_gradient(g, cache, precision) if need_dx else None
    factors = Factors()
    if kind:
        factors.are(dy, kind)
    weight_gradient(dy, cache, dw, factors)
    return input_gradient(dy, cache, factors) if need_dx else None


def input_gradient(dy: Array, cache: Conv2dCache, factors: Factors | None = None) -> Array:
    """dx (N, H, W, C)."""
    x, w, stride, padding, _ = cache
    sizes, dx = _sizes(cache), device.empty(x.shape, x.dtype)
    if modes.way() == "im2col":
        im2col.back(dy, w, dx, stride, padding, _precision(cache))
        return dx
    if narrow.few_out(cache):
        return narrow.input_gradient(narrow.spread(dy, cache), cache, _precision(cache))
    phases = stride[0] * stride[1]
    places = sizes.n * -(-sizes.h // stride[0]) * -(-sizes.w // stride[1])
    depth = -(-sizes.kh // stride[0]) * -(-sizes.kw // stride[1]) * sizes.k  # of the deepest phase
    product = _product(cache, places, sizes.c, depth, (dy, w), times=phases)
    factors = factors or Factors()
    dy, w = (factors.read(array, product.by.kind) for array in (dy, w))
    to = dx if product.parts == 1 else device.empty((product.parts, *dx.shape), dx.dtype)
    args = (dy, w, to, *sizes, *stride, padding[0], padding[2], product.share)
    grid = (*product.grid[:2], phases * product.parts)
    _launch("conv_dx", product, grid, args, to, sizes.c, block=_block(sizes.k))
    if product.parts > 1:
        add_up(to, dx)
    return dx


def weight_gradient(
    dy: Array, cache: Conv2dCache, dw: Array, factors: Factors | None = None
) -> None:
    """Adds to dw (KH, KW, C, K)."""
    x, _, stride, padding, _ = cache
    if modes.way() == "im2col":
        im2col.weights(x, dy, dw, stride, padding, _precision(cache))
        return
    if narrow.few_out(cache):
        narrow.weight_gradient(narrow.spread(dy, cache), cache, dw, _precision(cache))
        return
    if narrow.few_in(cache):
        dweights = narrow.zeros_below(dw)
        weight_gradient(dy, narrow.patches(cache, dweights), dweights)
        narrow.add_to_weights(dweights, dw)
        return
    sizes = _sizes(cache)
    rows = sizes.taps * sizes.c
    product = _product(cache, rows, sizes.k, sizes.places, (x, dy), turns=True)
    factors = factors or Factors()
    x, dy = (factors.read(array, product.by.kind) for array in (x, dy))
    to = dw if product.parts == 1 else device.empty((product.parts, rows, sizes.k), dw.dtype)
    args = (x, dy, to, *sizes, *stride, padding[0], padding[2], product.share)
    one_line = sizes.ow % (4 * product.by.pack) == 0
    _launch("conv_dw", product, product.grid, args, to, sizes.k, one_line=one_line)
    if product.parts > 1:
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

    @property
    def taps(self) -> int:
        """KH KW."""
        return self.kh * self.kw


def _sizes(cache: Conv2dCache) -> Sizes:
    x, w, stride, padding, _ = cache
    oh, ow = conv2d_out_size(x.shape, w.shape, stride, padding)
    kh, kw, _, k = w.shape
    return Sizes(*x.shape, oh, ow, k, kh, kw)


class Arithmetic(NamedTuple):
    """How a convolution multiplies: MATH of the kernels, and from what."""

    math: int
    whole: tuple[bool, bool]  # whether four channels of x, and of y, are one load
    pipelined: bool
    warpgroup: bool
    copied: bool
    kind: str  # of the factors (factors.py)

    @property
    def pack(self) -> int:
        """Numbers in a word of shared memory."""
        return 2 if self.math == MATHS["fp16"] else 1


def _multiplies(cache: Conv2dCache, read: tuple[Array, ...]) -> Arithmetic:
    """The arithmetic of passes that read these arrays."""
    (c, k), aligned, way = cache.w.shape[2:], device.aligned(*read), modes.way()
    whole = (c % 4 == 0 and aligned, k % 4 == 0 and aligned)
    math = MATHS[_precision(cache)]
    half = math == MATHS["fp16"]
    cores = math != MATHS["fp32"] and all(whole)
    eights = c % 8 == k % 8 == 0 or not half  # 16 bytes of float16
    warpgroup = way in ("warpgroup", "copied") and cores and eights and device.has_warpgroups()
    copied = way == "copied" and warpgroup
    pipelined = way == "pipelined" and cores and not half
    kind = "half" if warpgroup and half else "tf32" if copied else ""
    return Arithmetic(math, whole, pipelined, warpgroup, copied, kind)


class Product(NamedTuple):
    """How one product is made: in which tiles and parts, of ``share`` of the sum each, and by which arithmetic."""

    tile: Tile
    grid: tuple[int, int, int]
    share: int
    real: str
    by: Arithmetic

    @property
    def parts(self) -> int:
        return self.grid[2]


def _product(
    cache: Conv2dCache,
    rows: int,
    columns: int,
    depth: int,
    read: tuple[Array, Array],
    *,
    times: int = 1,
    turns: bool = False,
) -> Product:
    """The product (rows, depth) (depth, columns) of a pass that reads these arrays; times: how many of it there are.

    turns: neighbours in memory are neighbours along rows or columns, not along the sum, as in the weight gradient; then
    factors pass registers, where they are turned, and TF32 is rounded there.
    """
    by = _multiplies(cache, (cache.x, cache.w, *read))
    if turns:
        by = by._replace(copied=False, kind=by.kind.replace("tf32", ""))
    step = (LINE if by.warpgroup else WORDS) * by.pack
    dtype = cache.x.dtype
    how = {"step": step, "dtype": dtype, "times": times, "warpgroup": by.warpgroup}
    tile, parts, share = arrange(rows, columns, depth, **how)
    return Product(tile, (*tile.grid(rows, columns), parts), share, device.real(dtype), by)


def _precision(cache: Conv2dCache) -> str:
    exact = cache.precision == "exact" or cache.x.dtype != "float32"
    return "fp32" if exact else modes.precision()


def _launch(
    kernel: str,
    product: Product,
    grid: tuple[int, int, int],
    args: tuple[Any, ...],
    to: Array,
    run: int,
    *,
    parted: bool = False,
    block: int = 0,
    one_line: bool = False,
) -> None:
    """run: how many numbers of a row of the result lie side by side."""
    tile = product.tile
    device.launch(
        "conv.cu",
        kernel,
        grid,
        tile.threads,
        args,
        shared=_room(kernel, product),
        real=product.real,
        BM=tile.rows,
        BN=tile.columns,
        WARPS_M=tile.down,
        WARPS_N=tile.across,
        MATH=product.by.math,
        VEC_C=int(product.by.whole[0]),
        VEC_K=int(product.by.whole[1]),
        PAIRS=int(run % 2 == 0 and device.address(to) % (2 * to.itemsize) == 0),
        PASS=PASSES[kernel],
        PARTED=int(parted),
        BLOCK=block,
        ONE_LINE=int(one_line),
        PIPELINED=int(product.by.pipelined),
        WARPGROUP=int(product.by.warpgroup),
        COPIED=int(product.by.copied),
    )


def _block(channels: int) -> int:
    """How many channels a sum goes through at a time."""
    return BLOCK if channels % BLOCK == 0 else 0


def _room(kernel: str, product: Product) -> int:
    """Bytes of shared memory that the launch has to name: STAGES pieces of both factors, as they lie there."""
    tile = product.tile
    if product.by.warpgroup:
        more = product.by.copied and tile.rows * tile.columns > WIDE.rows * WIDE.columns
        return 4 * (STAGES + more) * LINE * (tile.rows + tile.columns)
    if not product.by.pipelined:
        return 0
    by_rows = {"conv_forward": (True, False), "conv_dx": (True, True), "conv_dw": (False, False)}
    words = (
        size * (WORDS + 4) if rows else WORDS * (size + 8)
        for size, rows in zip(tile[:2], by_rows[kernel], strict=True)
    )
    return 4 * STAGES * sum(words)
