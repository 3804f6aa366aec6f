"""Small arrays to the card and back while it computes: neither the host waits for the card, nor the card for the host.

What is sent goes by way of two places, in turn, in memory of the host that cannot be paged out, and two on the card:

    host --at once--> place of the host --copying stream--> place of the card --the card's own stream--> array

The first copy waits only until the place was last read, two sends before; the second runs beside what the card does;
the third takes a few microseconds and comes after everything that was launched before. What is received is copied
after everything that was launched before, and waited for when it is asked for.

This file is told CuPy's module by ``device``, which is the one that imports it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

PLACES = 2


class Transfers:
    """All sends and receives of one card."""

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        self._stream: Any = None  # where the copies of sends run, made with the first
        self._sends: dict[int, Ring] = {}
        self._receives: dict[int, Ring] = {}

    def send(self, array: Any, host: np.ndarray) -> None:
        """array[...] = host, after everything that was launched so far."""
        cupy, runtime = self._cupy, self._cupy.cuda.runtime
        if self._stream is None:
            self._stream = cupy.cuda.Stream(non_blocking=True)
        place = self._place(self._sends, array, on_card=True)
        place.done.synchronize()
        place.host[...] = np.asarray(host, array.dtype).reshape(-1)
        to_card, on_card = runtime.memcpyHostToDevice, runtime.memcpyDeviceToDevice
        size, here = array.nbytes, place.host.ctypes.data
        runtime.memcpyAsync(place.card.data.ptr, here, size, to_card, self._stream.ptr)
        current = cupy.cuda.get_current_stream()
        current.wait_event(self._stream.record())
        runtime.memcpyAsync(array.data.ptr, place.card.data.ptr, size, on_card, current.ptr)
        place.done = current.record()

    def receive(self, array: Any) -> Callable[[], np.ndarray]:
        """What the array holds after everything that was launched so far; the result waits for it. Of the same array,
        no more than PLACES may be waited for at a time."""
        cupy, runtime = self._cupy, self._cupy.cuda.runtime
        place = self._place(self._receives, array, on_card=False)
        current = cupy.cuda.get_current_stream()
        there, to_host = array.data.ptr, runtime.memcpyDeviceToHost
        runtime.memcpyAsync(place.host.ctypes.data, there, array.nbytes, to_host, current.ptr)
        arrived = place.done = current.record()

        def wait() -> np.ndarray:
            arrived.synchronize()
            return place.host.reshape(array.shape).copy()

        return wait

    def _place(self, rings: dict[int, "Ring"], array: Any, *, on_card: bool) -> "Place":
        """The next place for an array; a ring is kept as long as arrays of that address have its size."""
        ring = rings.get(array.data.ptr)
        if ring is None or ring.size != array.nbytes:
            if ring is not None:
                ring.settle()
            ring = rings[array.data.ptr] = Ring(self._cupy, array, on_card=on_card)
        return ring.next()


class Place:
    """Room for one copy of an array: on the host, on the card where it goes there, and when it was last used."""

    def __init__(self, cupy: Any, array: Any, *, on_card: bool) -> None:
        self._pinned = cupy.cuda.alloc_pinned_memory(array.nbytes)
        self.host = np.frombuffer(self._pinned, array.dtype, array.size)
        self.card = cupy.empty(array.shape, array.dtype) if on_card else None
        self.done = cupy.cuda.get_current_stream().record()


class Ring:
    """PLACES places, taken in turn."""

    def __init__(self, cupy: Any, array: Any, *, on_card: bool) -> None:
        self.size = array.nbytes
        self._places = [Place(cupy, array, on_card=on_card) for _ in range(PLACES)]
        self._next = 0

    def settle(self) -> None:
        """Waits until no copy is under way: their memory is given back."""
        for place in self._places:
            place.done.synchronize()

    def next(self) -> Place:
        self._next = (self._next + 1) % PLACES
        return self._places[self._next]
