"""Arrays that are used again: the memory of an array that nobody holds any more serves the next of its size.

A training step makes the same arrays every time. Fresh memory from the system costs a page fault for
every 4 KiB; measured in a training step of ``lite``, that is dearer than the arithmetic of its activations.
So a released block waits here for the next request of its size. What the caller gets is an ordinary
array, and it is released by being forgotten, as any array is.

A step asks some 250 times, so asking is short: taking from a list and putting back into it are single operations of
Python, which no other thread can come between, and there is no lock. A block can end at any moment (the garbage
collector runs when it likes), and its end does nothing else. Only where no memory waits is there time to look around.
"""

import itertools
import math
from typing import Any

import numpy as np

from nn.backend import empty_on_gpu, on_gpu

ALIGNMENT = 64
LEAST = 4096  # bytes: less is not worth the bookkeeping
KEPT_BYTES = 512 * 2**20  # of idle memory, about; the longest unused goes first

_idle: dict[int, list[np.ndarray]] = {}  # by size
_asked: dict[int, int] = {}  # when a size was last asked for
_clock = itertools.count()


class _Block:
    """Owner of one piece of memory; arrays made from it keep it alive, and its end gives the memory back."""

    __slots__ = ("__array_interface__", "raw", "waiting")

    def __init__(self, size: int) -> None:
        _asked[size] = next(_clock)
        try:
            self.raw = _idle[size].pop()
        except (KeyError, IndexError):
            self.raw = _fresh(size)
        self.waiting = _idle[size]
        address = self.raw.__array_interface__["data"][0]  # .ctypes.data is ten times slower
        self.__array_interface__: dict[str, Any] = {
            "shape": (size,),
            "typestr": "|u1",
            "data": (address + -address % ALIGNMENT, False),
            "version": 3,
        }

    def __del__(self) -> None:
        self.waiting.append(self.raw)


def _fresh(size: int) -> np.ndarray:
    """Memory from the system, after idle memory beyond KEPT_BYTES went back to it."""
    _idle.setdefault(size, [])
    excess = sum(size * len(waiting) for size, waiting in list(_idle.items())) - KEPT_BYTES
    for oldest in sorted(_asked, key=_asked.__getitem__):
        while excess > 0 and _idle.get(oldest):
            try:
                _idle[oldest].pop()
            except IndexError:  # another thread took it
                break
            excess -= oldest
    return np.empty(size + ALIGNMENT, np.uint8)


def empty(shape: int | tuple[int, ...], dtype: np.dtype | type, beside: Any = None) -> np.ndarray:
    """An array of ``shape`` with whatever numbers lie in it, aligned to 64 bytes; beside an array of the GPU, there."""
    if beside is not None and on_gpu(beside):
        return empty_on_gpu(shape, dtype)
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < LEAST:
        return np.empty(shape, dtype)
    return np.asarray(_Block(size)).view(dtype).reshape(shape)
