"""How exactly the GPU multiplies, and by which way it convolves.

    fp32    products and sums in float32
    tf32    factors rounded to 10 bits of fraction (exponents stay), products summed in float32, on tensor cores
    fp16    factors rounded to float16 (10 bits of fraction, sizes from 6e-8 to 65504), products summed in float32, on
            tensor cores; small gradients need a loss that is scaled (nn.gpu.graph)

Arrays stay float32 in each; float64 arrays are multiplied in float64, whatever is set. A layer with
``precision="exact"`` is computed in fp32. The setting is the process's.

    implicit   patches are gathered inside the product (conv.cu)
    pipelined  the same; for TF32 with whole channels, copied into shared memory two steps ahead (tile.cuh)
    warpgroup  the same; for TF32 and float16 with whole channels, by Hopper's instructions (warpgroup.cuh)
    copied     that; y and dx from factors that were rounded beforehand, and pass no register on their way
    im2col     a matrix of patches is written, and cuBLAS multiplies it (im2col.cu)
"""

from collections.abc import Iterator
from contextlib import contextmanager

PRECISIONS = ("fp32", "tf32", "fp16")
WAYS = ("implicit", "pipelined", "warpgroup", "copied", "im2col")
_now = {"precision": "fp32", "way": "implicit"}


def precision() -> str:
    """The precision that is set."""
    return _now["precision"]


def way() -> str:
    """The way of convolving that is set."""
    return _now["way"]


def set_precision(name: str) -> None:
    """From now on; ValueError for an unknown name."""
    _set("precision", name, PRECISIONS)


def set_way(name: str) -> None:
    """From now on; ValueError for an unknown name."""
    _set("way", name, WAYS)


@contextmanager
def using(*, precision: str | None = None, way: str | None = None) -> Iterator[None]:
    """For a while."""
    before = dict(_now)
    try:
        if precision is not None:
            set_precision(precision)
        if way is not None:
            set_way(way)
        yield
    finally:
        _now.update(before)


def _set(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise ValueError(f"unknown {what} {name!r}; there are {', '.join(known)}")
    _now[what] = name
