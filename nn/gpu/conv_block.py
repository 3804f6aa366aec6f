"""Convolution, activation and pixel shuffle in one pass. The equations stand in ``nn/reference/conv_block.py``.

Forward, the convolution's own kernel adds the bias, bends and shuffles as it stores. Backward, one kernel turns dy into
the gradient before all three and sums the bias gradient (ends.cu); both gradients of the convolution then read that.
"""

from nn.gpu import device
from nn.gpu.conv import run_backward, run_forward, upstream_kind
from nn.gpu.device import Array, on_card
from nn.gpu.ends import Finish, add_column_sums, before_ends
from nn.reference.conv import Conv2dCache, conv2d_out_size
from nn.reference.conv_block import ConvBlockCache


@on_card
def conv_block_forward(
    x: Array,
    w: Array,
    b: Array | None,
    *,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    precision: str = "fast",
    negative_slope: float = 1.0,
    factor: int = 1,
) -> tuple[Array, ConvBlockCache]:
    """x (N, H, W, C), w (KH, KW, C, K), b (K) or None -> y (N, OH R, OW R, K / R²) and the cache."""
    x = device.contiguous(x)
    oh, ow = conv2d_out_size(x.shape, w.shape, stride, padding)
    y = device.empty((x.shape[0], oh * factor, ow * factor, w.shape[3] // factor**2), x.dtype)
    cache = Conv2dCache(x, w, stride, padding, precision)
    run_forward(cache, Finish(b, negative_slope, factor), y)
    return y, ConvBlockCache(*cache, y, negative_slope, factor)


@on_card
def conv_block_backward(
    dy: Array,
    cache: ConvBlockCache,
    dw: Array,
    db: Array | None,
    *,
    need_dx: bool = True,
) -> Array | None:
    """Adds to dw (KH, KW, C, K) and db (K); returns dx (N, H, W, C), or None if it is not needed."""
    dy = device.contiguous(dy)
    if dy.size == 0:
        return run_backward(dy, cache.conv, dw, need_dx)
    if cache.negative_slope == 1 and cache.factor == 1:
        if db is not None:
            add_column_sums(dy.reshape(-1, dy.shape[3]), db)
        return run_backward(dy, cache.conv, dw, need_dx)
    kind = upstream_kind(cache.conv)
    dz = before_ends(dy, cache.y, cache.negative_slope, cache.factor, db, kind)
    return run_backward(dz, cache.conv, dw, need_dx, kind)
