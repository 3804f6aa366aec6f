"""Items made ahead and calls carried out behind: the order, the bounds, and what becomes of exceptions."""

import threading
import time

import pytest

from swap.threads import Behind, ahead


def counting(to, log, error=None):
    """0 ... to - 1, then ``error``; says which thread made them, and that it was closed."""
    try:
        for number in range(to):
            log.append(threading.current_thread())
            yield number
        if error is not None:
            raise error
    finally:
        log.append("closed")


def test_ahead_gives_the_same_items_from_another_thread():
    log = []
    assert list(ahead(counting(50, log), 3)) == list(range(50))
    assert log[-1] == "closed"
    assert threading.current_thread() not in log[:-1]
    assert list(ahead(counting(0, []), 3)) == []


def test_ahead_makes_no_more_than_its_depth():
    log = []
    items = ahead(counting(50, log), 3)
    assert next(items) == 0
    time.sleep(0.2)
    assert len(log) == 4  # one was taken, three wait
    items.close()
    assert log[-1] == "closed"
    assert not any(thread.is_alive() for thread in log[:-1])


def test_ahead_raises_in_its_turn_what_the_items_raise():
    log = []
    items = ahead(counting(4, log, OSError("no more")), 8)
    assert [next(items) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(OSError, match="no more"):
        next(items)
    assert log[-1] == "closed"


def test_behind_keeps_the_order_on_one_other_thread():
    done = []
    with Behind(2) as behind:
        for number in range(40):
            behind.call(lambda n: done.append((n, threading.current_thread())), number)
    assert [n for n, _ in done] == list(range(40))
    assert len({thread for _, thread in done}) == 1
    assert done[0][1] is not threading.current_thread()


def test_behind_lets_few_wait():
    gate, called = threading.Event(), []
    with Behind(2) as behind:

        def calls():
            for number in range(9):
                behind.call(lambda n: (called.append(n), gate.wait()), number)

        caller = threading.Thread(target=calls)
        caller.start()
        caller.join(0.2)
        assert caller.is_alive()
        assert called == [0]
        gate.set()
        caller.join()
    assert called == list(range(9))


@pytest.mark.parametrize("after", [0, 30])
def test_behind_raises_what_a_call_raises_and_leaves_out_the_rest(after):
    done = []

    def call(number):
        if number == 3:
            raise OSError("disk full")
        done.append(number)

    def work():
        with Behind(50) as behind:
            for number in range(4 + after):
                behind.call(call, number)
            time.sleep(0.2)  # the other thread has all the time to go on

    with pytest.raises(OSError, match="disk full"):
        work()
    assert done == [0, 1, 2]


def test_behind_raises_in_a_later_call():
    def fail():
        raise OSError("disk full")

    def work():
        with Behind(1) as behind:
            while True:
                behind.call(fail)

    with pytest.raises(OSError, match="disk full"):
        work()


def test_behind_carries_out_what_waits_when_the_block_ends_with_an_exception():
    gate, done = threading.Event(), []

    def work():
        with Behind(20) as behind:
            behind.call(gate.wait)
            for number in range(10):
                behind.call(done.append, number)
            threading.Timer(0.1, gate.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == list(range(10))
