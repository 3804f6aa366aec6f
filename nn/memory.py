"""Arrays that are used again: the memory of an array that nobody holds any more serves the next of its size.

A training step makes the same arrays every time. Fresh memory from the system costs a page fault for
every 4 KiB; measured in a training step of ``lite``, that is dearer than the arithmetic of its activations.
So a released block waits here for the next request of its size. What the caller gets is an ordinary
array, and it is released by being forgotten, as any array is.
"""

import math
import threading
from collections import OrderedDict, deque
from typing import Any

import numpy as np

ALIGNMENT = 64
KEPT_BYTES = 512 * 2**20  # of idle memory; the longest unused goes first

_lock = threading.Lock()
_idle: OrderedDict[int, list[np.ndarray]] = OrderedDict()  # by size, longest unused first
_idle_bytes = 0
# A block can end at any moment, even while the lock is held (the garbage collector runs when it likes), so its end
# only leaves the memory here, which needs no lock; whoever takes next puts it in its place.
_returned: deque[np.ndarray] = deque()


class _Block:
    """Owner of one piece of memory; arrays made from it keep it alive, and its end gives the memory back."""

    def __init__(self, size: int) -> None:
        self.raw = _take(size)
        address = self.raw.__array_interface__["data"][0]  # .ctypes.data is ten times slower
        self.__array_interface__: dict[str, Any] = {
            "shape": (size,),
            "typestr": "|u1",
            "data": (address + -address % ALIGNMENT, False),
            "version": 3,
        }

    def __del__(self) -> None:
        _returned.append(self.raw)


def _take(size: int) -> np.ndarray:
    global _idle_bytes
    with _lock:
        _sort_returned()
        waiting = _idle.get(size)
        if waiting:
            raw = waiting.pop()
            if not waiting:
                del _idle[size]
            _idle_bytes -= raw.nbytes
            return raw
    return np.empty(size + ALIGNMENT, np.uint8)


def _sort_returned() -> None:
    """Moves what came back to its size, and lets go of the longest unused beyond KEPT_BYTES; under the lock."""
    global _idle_bytes
    while _returned:
        raw = _returned.popleft()
        size = raw.nbytes - ALIGNMENT
        _idle.setdefault(size, []).append(raw)
        _idle.move_to_end(size)
        _idle_bytes += raw.nbytes
    while _idle_bytes > KEPT_BYTES:
        oldest = next(iter(_idle))
        _idle_bytes -= _idle[oldest].pop().nbytes
        if not _idle[oldest]:
            del _idle[oldest]


def empty(shape: int | tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """An array of ``shape`` with whatever numbers lie in it, aligned to 64 bytes."""
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < 4096:  # not worth the bookkeeping
        return np.empty(shape, dtype)
    return np.asarray(_Block(size)).view(dtype).reshape(shape)
