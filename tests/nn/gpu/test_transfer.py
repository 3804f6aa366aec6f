"""What is sent and received while a card computes, told by a card that does nothing before it must."""

import ctypes
from types import SimpleNamespace

import numpy as np
import pytest

from nn.gpu.transfer import Transfers


class Stream:
    """Runs what it was given only when an event after it is waited for: as late as it may."""

    def __init__(self, non_blocking=True):
        self.ptr, self.queue = id(self), []
        STREAMS[self.ptr] = self

    def record(self):
        return Event(self, len(self.queue))

    def wait_event(self, event):
        self.queue.append(event.synchronize)

    def run(self, count):
        for place in range(count):
            step, self.queue[place] = self.queue[place], lambda: None
            step()


class Event:
    def __init__(self, stream, count):
        self.stream, self.count = stream, count

    def synchronize(self):
        self.stream.run(self.count)


STREAMS: dict[int, Stream] = {}


class Array(np.ndarray):
    @property
    def data(self):
        return SimpleNamespace(ptr=self.__array_interface__["data"][0])


def empty(shape, dtype):
    return np.full(shape, 99, dtype).view(Array)


@pytest.fixture
def cupy():
    current = Stream()

    def memcpy_async(to, source, size, kind, stream):
        STREAMS[stream].queue.append(lambda: ctypes.memmove(to, source, size))

    runtime = SimpleNamespace(
        memcpyAsync=memcpy_async, memcpyHostToDevice=1, memcpyDeviceToHost=2, memcpyDeviceToDevice=3
    )
    cuda = SimpleNamespace(
        runtime=runtime,
        Stream=Stream,
        get_current_stream=lambda: current,
        alloc_pinned_memory=lambda size: (ctypes.c_char * (size + 100))(),
    )
    return SimpleNamespace(cuda=cuda, empty=empty)


def test_what_is_sent_arrives_between_the_launches_around_it(cupy):
    """Though the host goes on at once, and uses its own array again."""
    transfers, stream = Transfers(cupy), cupy.cuda.get_current_stream()
    array, host, seen = empty(4, np.float32), np.zeros(4, np.float32), []
    for number in range(6):
        host[:] = number
        transfers.send(array, host)
        stream.queue.append(lambda: seen.append(array.tolist()))  # a launch that reads it
    assert len(seen) < 6  # or this shows nothing
    stream.record().synchronize()
    assert seen == [[n] * 4 for n in range(6)]


def test_what_is_received_is_what_lay_there_then(cupy):
    transfers, stream = Transfers(cupy), cupy.cuda.get_current_stream()
    array, waiting, found = empty((2, 2), np.float32), [], []
    for number in range(5):
        stream.queue.append(lambda n=number: array.fill(n))
        waiting.append(transfers.receive(array))
        if len(waiting) == 2:
            found.append(waiting.pop(0)())
    found.append(waiting.pop(0)())
    np.testing.assert_array_equal(found, [np.full((2, 2), n) for n in range(5)])


def test_an_array_of_another_size_in_the_same_place_gets_a_place_of_its_own(cupy):
    transfers, stream = Transfers(cupy), cupy.cuda.get_current_stream()
    whole = empty(8, np.float32)
    for size in (2, 8, 4):
        part = whole[:size]
        transfers.send(part, np.arange(size))
        stream.record().synchronize()
        np.testing.assert_array_equal(part, np.arange(size))
