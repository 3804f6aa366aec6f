"""What stands at the ends of matrix products: biases, slopes, shuffles and their gradients. Kernels: ends.cu."""

from typing import Any, NamedTuple

import numpy as np

from nn.gpu import device
from nn.gpu.device import Array

SHARE = 64  # rows that are worth a block of the sums
PARTS = 512  # of the rows, at most: their sums are added one after the other


class Finish(NamedTuple):
    """y = shuffle(leaky(z + bias), factor) for z (N, OH, OW, K): bias (K) or None, slope, factor."""

    bias: Array | None
    slope: float = 1.0
    factor: int = 1


def fill_with_bias(bias: Array | None, out: Array) -> bool:
    """out[..., k] = bias[k], for a product to be added to; False, and nothing written, where there is no bias."""
    if bias is None:
        return False
    args = (bias, out, out.shape[-1])
    device.each("ends.cu", "fill", out.size, args, real=device.real(out.dtype))
    return True


def add_column_sums(dy: Array, db: Array) -> None:
    """db (K) += the sums of the columns of dy (M, K)."""
    rows, columns = dy.shape
    partial, grid, share = _parts(rows, columns, dy.dtype)
    real = device.real(dy.dtype)
    device.launch(
        "ends.cu", "sums", grid, 256, (dy, partial, columns, *map(_long, (rows, share))), real=real
    )
    add_parts(partial, db)


def before_ends(dy: Array, y: Array, slope: float, factor: int, db: Array | None) -> Array:
    """dz (N, OH, OW, K), the gradient before activation and shuffle, for dy and y (N, OH R, OW R, K / R²).

    Its sums over all places are added to db (K).
    """
    n, height, width, last = dy.shape
    oh, ow, k = height // factor, width // factor, last * factor**2
    dz = device.empty((n, oh, ow, k), dy.dtype)
    rows = n * oh * ow
    partial, grid, share = _parts(rows, k, dy.dtype)
    args = (dy, y, dy.dtype.type(slope), dz, partial, k, *map(_long, (rows, share)), ow, factor)
    device.launch("ends.cu", "upstream", grid, 256, args, real=device.real(dy.dtype))
    if db is not None:
        add_parts(partial, db)
    return dz


def after_product(z: Array, slope: float, factor: int, y: Array) -> None:
    """y (N, OH R, OW R, K / R²) = shuffle(leaky(z), R) for z (N, OH, OW, K)."""
    args = (z, z.dtype.type(slope), y, z.shape[3], z.shape[2], factor)
    device.each("ends.cu", "finish", z.size, args, real=device.real(z.dtype))


def add_parts(partial: Array, total: Array) -> None:
    """total += partial[0] + partial[1] + ..., in this order; total is contiguous."""
    args = (partial, partial.shape[0], total)
    device.each("ends.cu", "add_sums", total.size, args, real=device.real(total.dtype))


def _parts(rows: int, columns: int, dtype: Any) -> tuple[Array, tuple[int, int], int]:
    """Room for partial sums, the grid that makes them, and how many rows each part has."""
    parts = max(1, min(PARTS, -(-rows // SHARE)))
    return device.empty((parts, columns), dtype), (-(-columns // 32), parts), -(-rows // parts)


def _long(value: int) -> np.int64:
    return np.int64(value)
