"""Arrays that are used again: the memory of an array that nobody holds any more serves the next of its size.

``empty`` is for what a caller gets, ``scratch`` for what is thrown away at the end of a call.

A training step makes the same arrays every time. Fresh memory from the system costs a page fault for
every 4 KiB; measured in a training step of ``lite``, that is dearer than the arithmetic of its activations.
So a released block waits here for the next request of its size. What the caller gets is an ordinary
array, and it is released by being forgotten, as any array is.

A step asks some 250 times, so asking is short: taking from a list and putting back into it are single operations of
Python, which no other thread can come between, and there is no lock. A block can end at any moment (the garbage
collector runs when it likes), and its end does nothing else. Only where no memory waits is there time to look around.
"""

import contextlib
import functools
import itertools
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import numpy as np

from nn.backend import empty_on_gpu, on_gpu

P, R = ParamSpec("P"), TypeVar("R")

ALIGNMENT = 64
LEAST = 4096  # bytes: less is not worth the bookkeeping
KEPT_BYTES = 512 * 2**20  # of idle memory, about; the longest unused goes first

_clock = itertools.count()


class Pool:
    """Memory that waits for the next array of its size, by size in bytes."""

    def __init__(self) -> None:
        self.idle: dict[int, list[np.ndarray]] = {}
        self.asked: dict[int, int] = {}  # when a size was last asked for

    def fresh(self, size: int) -> np.ndarray:
        """Memory from the system, after idle memory beyond KEPT_BYTES went back to it."""
        self.idle.setdefault(size, [])
        excess = sum(size * len(waiting) for size, waiting in list(self.idle.items())) - KEPT_BYTES
        for oldest in sorted(self.asked, key=self.asked.__getitem__):
            while excess > 0 and self.idle.get(oldest):
                try:
                    self.idle[oldest].pop()
                except IndexError:  # another thread took it
                    break
                excess -= oldest
        return np.empty(size + ALIGNMENT, np.uint8)


class OwnPool(Pool):
    """Memory that nothing else gets and that stays where it is, for what repeats itself with the same addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[np.ndarray] = []

    def fresh(self, size: int) -> np.ndarray:
        """Memory from the system, kept as long as the pool."""
        self.idle.setdefault(size, [])
        self.all.append(np.empty(size + ALIGNMENT, np.uint8))
        return self.all[-1]


class _Here(threading.local):
    """The pool that this thread of Python takes from."""

    shared = Pool()

    def __init__(self) -> None:
        self.pool = self.shared


_here = _Here()


@contextlib.contextmanager
def taken_from(pool: Pool | None) -> Iterator[None]:
    """Inside, ``empty`` takes from ``pool``, None: from the one that all share; on this thread."""
    before = _here.pool
    _here.pool = _here.shared if pool is None else pool
    try:
        yield
    finally:
        _here.pool = before


class _Block:
    """Owner of one piece of memory; arrays made from it keep it alive, and its end gives the memory back."""

    __slots__ = ("__array_interface__", "pool", "raw", "waiting")

    def __init__(self, size: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.pool = pool = _here.pool
        pool.asked[size] = next(_clock)
        try:
            self.raw = pool.idle[size].pop()
        except (KeyError, IndexError):
            self.raw = pool.fresh(size)
        self.waiting = pool.idle[size]
        address = self.raw.__array_interface__["data"][0]  # .ctypes.data is ten times slower
        self.__array_interface__: dict[str, Any] = {
            "shape": shape,
            "typestr": dtype.str,
            "data": (address + -address % ALIGNMENT, False),
            "version": 3,
        }

    def __del__(self) -> None:
        self.waiting.append(self.raw)


class _Place:
    """Where an array lies, and nothing that keeps the memory there from being used again."""

    def __init__(self, array: np.ndarray) -> None:
        self.__array_interface__ = array.__array_interface__


def without_owner(array: np.ndarray, pool: OwnPool) -> np.ndarray:
    """``array`` again, or, where its memory is of ``pool``, one in the same place that does not keep it from others."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    return np.asarray(_Place(array)) if isinstance(owner, _Block) and owner.pool is pool else array


def empty(shape: int | tuple[int, ...], dtype: np.dtype | type, beside: Any = None) -> np.ndarray:
    """An array of ``shape`` with whatever numbers lie in it, aligned to 64 bytes; beside an array of the GPU, there."""
    if beside is not None and on_gpu(beside):
        return empty_on_gpu(shape, dtype)
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < LEAST:
        return np.empty(shape, dtype)
    return np.asarray(_Block(size, shape, dtype))


class _Slab(threading.local):
    """One piece of memory for each thread of Python, taken from its beginning and given back from its end."""

    def __init__(self) -> None:
        self.memory = np.empty(0, np.uint8)
        self.frames = 0  # open
        self.taken = 0  # bytes, by all open frames
        self.most = 0  # that were ever taken


_slab = _Slab()


class frame:
    """with frame(): all that ``scratch`` gives inside is given back at its end.

    Every layer's passing arrays so lie in the same place, one layer after another, and that place is still in the
    cache from the last one. Memory of their own, though used again step after step, would have left it since. Frames
    may stand inside each other; an array of one must not be used after it.
    """

    __slots__ = ("begin",)

    def __enter__(self) -> None:
        self.begin = _slab.taken
        _slab.frames += 1

    def __exit__(self, *_: object) -> None:
        _slab.taken = self.begin
        _slab.frames -= 1
        if not _slab.frames and _slab.most > _slab.memory.size:
            raw = np.empty(_slab.most + ALIGNMENT, np.uint8)
            shift = -raw.__array_interface__["data"][0] % ALIGNMENT
            _slab.memory = raw[shift : shift + _slab.most]


def framed(function: Callable[P, R]) -> Callable[P, R]:
    """``function`` with a frame around each call."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with frame():
            return function(*args, **kwargs)

    return call


def scratch(shape: int | tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """As ``empty``, until the end of the innermost frame; RuntimeError where none is open.

    Where the memory is too small yet, the array gets some of its own, and it is enlarged when the last frame ends.
    """
    slab = _slab
    if not slab.frames:
        raise RuntimeError("scratch memory was asked for outside of memory.frame()")
    dtype = np.dtype(dtype)
    size = (shape if isinstance(shape, int) else math.prod(shape)) * dtype.itemsize
    begin = slab.taken
    slab.taken = end = begin + size + -size % ALIGNMENT
    if end > slab.most:
        slab.most = end
    if end > slab.memory.size:
        return empty(shape, dtype)
    return np.ndarray(shape, dtype, slab.memory, begin)
