"""What the next batches are made of, drawn on a background thread while the current one is trained on.

It is a pure function of the step, so the thread changes when it is drawn and nothing else. What takes all threads,
``Batches.made``, is for the consumer: two of them at once would wait for each other's cores.

A thread that wakes takes a core from a step, whose other threads then wait for that one; so it had better wake rarely
and make several then: ``refill``.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

WAITING = {"depth": 8, "refill": 2}  # of batches, while training

T = TypeVar("T")


class Prefetcher(Generic[T]):
    """Iterates (step, make(step)) for step = start, start + 1, ... to stop (exclusive) or for ever.

        with Prefetcher(batches.drawn, start=step) as prefetcher:
            for step, drawn in prefetcher: ...

    depth: how many may wait. refill: more are made, one after the other until so many wait, only once no more than
    that are left; None: at once. An exception in make(step) is raised in the consumer when it comes to that step,
    after which the iteration is over. Leaving the `with` block (or close()) stops the thread; one consumer thread only.
    """

    def __init__(
        self,
        make: Callable[[int], T],
        *,
        start: int = 0,
        stop: int | None = None,
        depth: int = 2,
        refill: int | None = None,
    ) -> None:
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth}")
        refill = depth - 1 if refill is None else refill
        if not 0 <= refill < depth:
            raise ValueError(f"refill must be at least 0 and less than depth, not {refill}")
        self._make, self._stop = make, stop
        self._depth, self._refill = depth, refill
        self._ready: deque[tuple[int, T | None, BaseException | None]] = deque()
        self._changed = threading.Condition()  # of what is ready, and of closing
        self._closing = False
        self._next = start
        self._over = False
        # A daemon, so that a consumer that dies without closing does not keep the process alive.
        self._thread = threading.Thread(
            target=self._work, args=(start,), name="prefetch", daemon=True
        )
        self._thread.start()

    def _work(self, step: int) -> None:
        while self._stop is None or step < self._stop:
            with self._changed:
                if len(self._ready) == self._depth:
                    self._changed.wait_for(
                        lambda: self._closing or len(self._ready) <= self._refill
                    )
                if self._closing:
                    return
            try:
                made, error = self._make(step), None
            except BaseException as caught:  # handed over, not handled: the consumer raises it
                made, error = None, caught
            with self._changed:
                self._ready.append((step, made, error))
                self._changed.notify_all()
            if error is not None:
                return
            step += 1

    def __iter__(self) -> Iterator[tuple[int, T]]:
        return self

    def __next__(self) -> tuple[int, T]:
        if self._over or (self._stop is not None and self._next >= self._stop):
            raise StopIteration
        with self._changed:
            self._changed.wait_for(lambda: self._ready)
            step, made, error = self._ready.popleft()
            if len(self._ready) <= self._refill:
                self._changed.notify_all()
        if error is not None:
            self.close()
            raise error
        self._next = step + 1
        return step, made

    def close(self) -> None:
        """Stop the thread and drop what it had made; may be called more than once."""
        self._over = True
        with self._changed:
            self._closing = True
            self._ready.clear()
            self._changed.notify_all()
        self._thread.join()
        self._ready.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
