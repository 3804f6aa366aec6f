"""What the next batches are made of, drawn on a background thread while the current one is trained on.

It is a pure function of the step, so the thread changes when it is drawn and nothing else. What takes all threads,
``Batches.made``, is for the consumer: two of them at once would wait for each other's cores.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Prefetcher(Generic[T]):
    """Iterates (step, make(step)) for step = start, start + 1, ... to stop (exclusive) or for ever.

        with Prefetcher(batches.drawn, start=step) as prefetcher:
            for step, drawn in prefetcher: ...

    depth: how many batches may wait; a further one is in the making. An exception in make(step)
    is raised in the consumer when it comes to that step, after which the iteration is over.
    Leaving the `with` block (or close()) stops the thread; one consumer thread only.
    """

    def __init__(
        self, make: Callable[[int], T], *, start: int = 0, stop: int | None = None, depth: int = 2
    ) -> None:
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth}")
        self._make, self._stop = make, stop
        self._ready: queue.Queue[tuple[int, T | None, BaseException | None]] = queue.Queue(depth)
        self._closing = threading.Event()
        self._next = start
        self._over = False
        # A daemon, so that a consumer that dies without closing does not keep the process alive.
        self._thread = threading.Thread(
            target=self._work, args=(start,), name="prefetch", daemon=True
        )
        self._thread.start()

    def _work(self, step: int) -> None:
        while not self._closing.is_set() and (self._stop is None or step < self._stop):
            try:
                made, error = self._make(step), None
            except BaseException as caught:  # handed over, not handled: the consumer raises it
                made, error = None, caught
            self._ready.put((step, made, error))
            if error is not None:
                return
            step += 1

    def __iter__(self) -> Iterator[tuple[int, T]]:
        return self

    def __next__(self) -> tuple[int, T]:
        if self._over or (self._stop is not None and self._next >= self._stop):
            raise StopIteration
        step, made, error = self._ready.get()
        if error is not None:
            self.close()
            raise error
        self._next = step + 1
        return step, made

    def close(self) -> None:
        """Stop the thread and drop what it had made; may be called more than once."""
        self._over = True
        self._closing.set()
        while self._thread.is_alive():
            # The thread may be waiting for room in the queue: make some.
            while not self._ready.empty():
                self._ready.get_nowait()
            self._thread.join(timeout=0.01)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
