"""Memory that is used again is nobody's while it waits, and does not pile up."""

import threading

import numpy as np
import pytest

from nn import memory


@pytest.fixture(autouse=True)
def _fresh_pool(monkeypatch):
    monkeypatch.setattr(memory, "_here", type("Here", (memory._Here,), {"shared": memory.Pool()})())


def address(array):
    return array.__array_interface__["data"][0]


def idle_bytes():
    return sum(size * len(waiting) for size, waiting in memory._here.pool.idle.items())


def test_released_memory_serves_the_next_array_of_its_size():
    first = memory.empty((30, 100), np.float32)
    where = address(first)
    other = memory.empty((30, 100), np.float32)
    assert address(other) != where
    del first
    assert address(memory.empty((100, 30), np.float32)) == where


def test_a_view_keeps_its_memory():
    array = memory.empty((64, 64), np.float64)
    part = array[3:5, ::2].T
    part[...] = 7
    del array
    taken = [memory.empty((64, 64), np.float64) for _ in range(3)]
    for other in taken:
        other[...] = 0
    assert (part == 7).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.complex128])
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (17, 1031)])
def test_any_shape_and_type_aligned(shape, dtype):
    array = memory.empty(shape, dtype)
    assert (array.shape, array.dtype) == (shape, dtype)
    assert array.flags.c_contiguous
    if array.nbytes >= memory.LEAST:
        assert address(array) % memory.ALIGNMENT == 0


def test_idle_memory_does_not_pile_up(monkeypatch):
    monkeypatch.setattr(memory, "KEPT_BYTES", 1_000_000)
    for size in range(10_000, 400_000, 1_000):
        memory.empty(size, np.uint8)
        assert idle_bytes() <= 1_000_000 + size


def test_the_longest_unused_goes_first(monkeypatch):
    monkeypatch.setattr(memory, "KEPT_BYTES", 250_000)
    for size in (100_000, 110_000, 100_000, 120_000, 130_000):
        memory.empty(size, np.uint8)
    assert [len(memory._here.pool.idle[size]) for size in (100_000, 110_000, 120_000)] == [1, 0, 1]


def test_threads_never_share_an_array():
    wrong = []

    def work(mark):
        for i in range(2000):
            array = memory.empty(8192 + i % 3, np.uint8)
            array[...] = mark
            if not (array == mark).all():
                wrong.append(mark)

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.fixture
def slab(monkeypatch):
    """A scratch memory of its own, empty."""
    mine = memory._Slab()
    monkeypatch.setattr(memory, "_slab", mine)
    return mine


def test_scratch_needs_a_frame(slab):
    with pytest.raises(RuntimeError, match="outside"):
        memory.scratch(10, np.float32)


def test_one_layer_after_another_gets_the_same_place(slab):
    def layer(*sizes):
        with memory.frame():
            return [address(memory.scratch(size, np.float32)) for size in sizes]

    layer(1000, 3000)  # the memory grows when the last frame ends
    first, second = layer(1000, 500)
    assert layer(200)[0] == first
    assert layer(1000, 700) == [first, second]
    assert second - first == 4000 + -4000 % memory.ALIGNMENT


def test_what_an_inner_frame_took_is_free_again_and_no_more(slab):
    with memory.frame():
        memory.scratch(20_000, np.uint8)
    with memory.frame():
        kept = memory.scratch((10, 100), np.float32)
        kept[...] = 1
        with memory.frame():
            inner = memory.scratch(1000, np.float32)
            where = address(inner)
            inner[...] = 2
        after = memory.scratch(1000, np.float32)
        after[...] = 3
        assert address(after) == where
        assert (kept == 1).all()


def test_scratch_is_given_back_when_a_layer_fails(slab):
    @memory.framed
    def fails():
        memory.scratch(1000, np.float32)
        raise ValueError("too large")

    with pytest.raises(ValueError, match="too large"):
        fails()
    assert slab.frames == slab.taken == 0


def test_scratch_that_does_not_fit_yet_is_as_good(slab):
    with memory.frame():
        arrays = [memory.scratch((7, 11), dtype) for dtype in (np.uint8, np.float64, np.complex128)]
        for number, array in enumerate(arrays):
            assert array.flags.c_contiguous
            assert address(array) % 8 == 0
            array[...] = number
        for number, array in enumerate(arrays):
            assert (array == number).all()


def test_threads_do_not_share_scratch(slab):
    taken, written = threading.Event(), threading.Event()
    kept = []

    def other():
        for _ in range(2):  # the second time from memory that is large enough
            with memory.frame():
                array = memory.scratch(1000, np.uint8)
        with memory.frame():
            array = memory.scratch(1000, np.uint8)
            array[...] = 1
            taken.set()
            written.wait()
            kept.append(array.copy())

    with memory.frame():
        memory.scratch(5000, np.uint8)
    with memory.frame():
        memory.scratch(100, np.uint8)
        thread = threading.Thread(target=other)
        thread.start()
        taken.wait()
    with memory.frame():
        memory.scratch(5000, np.uint8)[...] = 2
    written.set()
    thread.join()
    assert (kept[0] == 1).all()
