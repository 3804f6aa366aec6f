"""What waits for a decoder or an encoder, on threads of its own: they leave Python's lock to the others.

    ahead(items, depth)     the same items, made while the last ones are worked on
    Behind(depth)           calls that are carried out in their order, while the next ones are prepared

Neither changes what is computed or in which order, only when.
"""

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

from swap.data.prefetch import Prefetcher

T = TypeVar("T")


def ahead(items: Generator[T], depth: int) -> Generator[T]:
    """The items, of which up to ``depth`` wait.

    What ``items`` raises is raised here, when its turn comes. Closed, it stops the thread, then closes ``items``.
    """
    over = object()
    try:
        with Prefetcher(lambda _: next(items, over), depth=depth) as made:
            for _, item in made:
                if item is over:
                    return
                yield item
    finally:
        items.close()


class Behind:
    """Carries out calls one after the other on one thread; a context manager.

        with Behind(depth=16) as behind:
            for ...: behind.call(writer.write, image)

    At most ``depth`` calls wait. What one raises is raised in the thread that calls, by a later ``call`` or where
    the block ends; no call after it is carried out. Where the block ends with an exception of its own, Ctrl-C say,
    what waits is carried out first, and nothing that was handed over is lost.
    """

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._waiting: deque[Future[Any]] = deque()
        self._failed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="behind")

    def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        """``function(*arguments)``, soon."""
        while len(self._waiting) > self._depth:
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(self._carry_out, function, arguments))

    def _carry_out(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        if self._failed:
            return
        try:
            function(*arguments)
        except BaseException:
            self._failed = True
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            while error is None and self._waiting:
                self._waiting.popleft().result()
        finally:
            self._thread.shutdown(wait=True)
