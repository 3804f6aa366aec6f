"""What stands at the ends of matrix products: biases, slopes, shuffles and their gradients. Kernels: ends.cu."""

from typing import Any, NamedTuple

from nn.gpu import device
from nn.gpu.device import Array
from nn.gpu.factors import KINDS  # as OUT numbers them

SHARE = 64  # rows that are worth a block
PARTS = 1024  # of the rows, at most
THREADS = 256
LANES = 32  # threads along a row, at most


class Finish(NamedTuple):
    """y = shuffle(leaky(z + bias), factor) for z (N, OH, OW, K): bias (K) or None, slope, factor."""

    bias: Array | None
    slope: float = 1.0
    factor: int = 1


def fill_with_bias(bias: Array | None, out: Array) -> bool:
    """out[..., k] = bias[k], for a product to be added to; False, and nothing written, where there is no bias."""
    if bias is None:
        return False
    columns = out.shape[-1]
    _by_rows(
        "fill", (bias, out), columns, out.size // max(columns, 1), vec=_vec(columns, bias, out)
    )
    return True


def add_column_sums(dy: Array, db: Array) -> None:
    """db (K) += the sums of the columns of dy (M, K)."""
    rows, columns = dy.shape
    parts, _ = _parts(rows)
    partial = device.empty((parts, columns), dy.dtype)
    _by_rows("sums", (dy, partial), columns, rows, (0,), vec=_vec(columns, dy))
    _add_rows(partial, db)


def before_ends(
    dy: Array, y: Array, slope: float, factor: int, db: Array | None, kind: str = ""
) -> Array:
    """dz (N, OH, OW, K), the gradient before activation and shuffle, for dy and y (N, OH R, OW R, K / R²).

    Its sums over all places are added to db (K). kind: as what dz is written (factors.py); where it is not as it is, K
    is a multiple of 4 R².
    """
    n, height, width, last = dy.shape
    oh, ow, k = height // factor, width // factor, last * factor**2
    dz = device.empty((n, oh, ow, k), "float16" if kind == "half" else dy.dtype)
    rows = n * oh * ow
    partial = device.empty((_parts(rows)[0], k), dy.dtype)
    args = (dy, y, dy.dtype.type(slope), dz, partial)
    vec = _vec(k // factor, dy, y, dz)
    _by_rows("upstream", args, k, rows, (ow, factor), vec=vec, out=KINDS.index(kind))
    if db is not None:
        _add_rows(partial, db)
    return dz


def after_product(z: Array, slope: float, factor: int, y: Array) -> None:
    """y (N, OH R, OW R, K / R²) = shuffle(leaky(z), R) for z (N, OH, OW, K)."""
    finish_parts(z.reshape(1, *z.shape), Finish(None, slope, factor), z.shape[2], y)


def finish_parts(parts: Array, finish: Finish, ow: int, y: Array) -> None:
    """y (N, OH R, OW R, K / R²): the sum of parts (parts, ...), each as many numbers as y, finished; OW = ``ow``."""
    bias, slope, factor = finish
    k = y.shape[3] * factor**2
    read = (parts, y) if bias is None else (parts, y, bias)
    args = (parts, parts.shape[0], bias, y.dtype.type(slope), y)
    _by_rows("finish", args, k, y.size // k, (ow, factor), vec=_vec(k // factor, *read))


def add_up(parts: Array, total: Array) -> None:
    """total = parts[0] + parts[1] + ..., in this order; total is contiguous."""
    _add_parts(parts, total, add=False)


def add_parts(parts: Array, total: Array) -> None:
    """total += parts[0] + parts[1] + ..., in this order; total is contiguous."""
    _add_parts(parts, total, add=True)


def _add_parts(parts: Array, total: Array, *, add: bool) -> None:
    vec = 4 if total.size % 4 == 0 and device.aligned(parts) else 1
    args = (parts, parts.shape[0], total, int(add))
    defines = {"real": device.real(total.dtype), "VEC": vec, "LANES": LANES, "OUT": 0}
    device.each("ends.cu", "add_parts", total.size // vec, args, **defines)


def _add_rows(partial: Array, total: Array) -> None:
    """total (K) += the sum of the rows of partial (M, K), by one block for each of its parts."""
    rows, columns = partial.shape
    _by_rows("sums", (partial, total), columns, rows, (1,), vec=_vec(columns, partial), parts=1)


def _by_rows(
    kernel: str,
    args: tuple[Any, ...],
    columns: int,
    rows: int,
    more: tuple[int, ...] = (),
    *,
    vec: int,
    parts: int | None = None,
    out: int = 0,
) -> None:
    """A kernel of ends.cu that goes through rows (rows, columns); ``more``: its arguments after ``share``."""
    parts, share = _parts(rows) if parts is None else (1, rows)
    lanes = 1
    while lanes < LANES and lanes * vec < columns:
        lanes *= 2
    grid = (-(-columns // (lanes * vec)), parts)
    real = next(device.real(a.dtype) for a in args if hasattr(a, "shape") and a.shape)
    full = (*args, columns, rows, share, *more)
    defines = {"real": real, "VEC": vec, "LANES": lanes, "OUT": out}
    device.launch("ends.cu", kernel, grid, THREADS, full, **defines)


def _vec(run: int, *arrays: Array) -> int:
    """How many of ``run`` numbers that lie side by side in these arrays are one load."""
    return 4 if run % 4 == 0 and device.aligned(*arrays) else 1


def _parts(rows: int) -> tuple[int, int]:
    """Into how many parts rows are cut, and how many rows each has."""
    parts = max(1, min(PARTS, -(-rows // SHARE)))
    return parts, max(1, -(-rows // parts))
