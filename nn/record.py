"""What a function does, taken down once and repeated: of a training step, its kernels and nothing of the Python around.

    step = Recorded(body)       step() runs body twice; the second time is taken down, and from the third on repeated

A step of a small network is some two hundred kernels, each of a tenth of a millisecond. Python finds the shapes, the
memory and the kernel for each, always the same, and in that time the processor waits: so long that its threads fall
asleep, and have to be woken. What is repeated is a list of functions and the arrays and numbers they were called with.

So ``body`` must do the same with the same arrays every time. What changes from one step to the next, it reads from
arrays that were written before; what it gives, it leaves in arrays. Of what it does, taken down are the kernels
(``nn/cpu/kernel.py``) and what is called by ``call``; all else happens twice and never again. Every layer, loss and
activation of the backend ``cpu`` keeps to that. The same on a card: ``nn/gpu/graph.py``.

The arrays that body makes lie in memory of their own, of which, as ever, one array gets what another has left.
"""

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np

from nn import memory

T = TypeVar("T")


class _Here(threading.local):
    """What this thread of Python takes down, and for whom; None where nothing is."""

    by: "Recorded[Any] | None" = None


_here = _Here()


def note(function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Takes down a call that is being made, if anything is taken down."""
    if _here.by is not None:
        _here.by.take_down(function, args)


def call(function: Callable[..., Any], *args: Any) -> None:
    """function(*args), now and whenever what is being recorded is repeated.

    For work with arrays outside of kernels: ``call(np.add, a, b, out)``. What comes of it must be in the arrays.
    function may also be one that never does the same twice; inside it nothing is taken down.
    """
    recording = _here.by
    if recording is None:
        function(*args)
        return
    recording.take_down(function, args)
    _here.by = None
    try:
        with memory.taken_from(None):
            function(*args)
    finally:
        _here.by = recording


def contiguous(x: np.ndarray) -> np.ndarray:
    """x, or where its numbers do not lie in their order, a copy in which they do."""
    if x.flags.c_contiguous:
        return x
    out = memory.empty(x.shape, x.dtype, x)
    call(np.copyto, out, x)
    return out


class Recorded(Generic[T]):
    """``body``, repeated from its third call on; every call gives what the last one that ran it gave.

    pool: the memory of its arrays; several may share one where none runs within another.
    ``forget()``: what it does has changed, and it is taken down anew.
    """

    def __init__(self, body: Callable[[], T], pool: memory.OwnPool | None = None) -> None:
        self.body = body
        self.pool = pool or memory.OwnPool()
        self.forget()

    def forget(self) -> None:
        """The next two calls run ``body`` again."""
        self.calls: list[tuple[Callable[..., Any], tuple[Any, ...]]] | None = None
        self._runs = 0

    def __call__(self) -> T:
        if self.calls is not None and self._thread == threading.get_ident():
            for function, args in self.calls:
                function(*args)
            return self._result
        return self._run()

    def _run(self) -> T:
        """The first time compiles what is not yet and finds how much memory it takes; the second is taken down."""
        if _here.by is not None:
            raise RuntimeError("what is being recorded cannot contain what is recorded")
        self.calls = None
        self._runs += 1
        if self._runs == 1:
            with memory.taken_from(
                memory.OwnPool()
            ):  # which ends with it: a part of it is never asked for again
                return self.body()
        with memory.taken_from(self.pool):
            self._calls, _here.by = [], self
            try:
                self._result = self.body()
            finally:
                _here.by = None
        # Memory for one call (memory.scratch) is a thread's own, so another thread takes down anew.
        self.calls, self._thread = self._calls, threading.get_ident()
        return self._result

    def take_down(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        """Adds a call to what is repeated."""
        kept = (
            memory.without_owner(a, self.pool) if isinstance(a, np.ndarray) else a for a in args
        )
        self._calls.append((function, tuple(kept)))
