"""The training loop: budgets, chores, stopping, and what it does with a loss that is no number."""

import math
import os
import signal
import threading
from itertools import count

import pytest

from nn.train import Budget, Chore, DivergenceError, Outcome, StopRequest, train


class Clock:
    """Stands in for the clocks of `time`: a second passes when the test says so."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    perf_counter = monotonic


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("nn.train.time", clock)
    return clock


def run(budget, clock=None, *, takes=0.0, **options):
    """Trains with a step that answers its own number; returns the outcome and what was told."""
    told, asked = [], []

    def step(number):
        asked.append(number)
        if clock:
            clock.now += takes
        return float(number), -float(number)

    outcome = train(
        step,
        budget,
        stop=options.pop("stop", StopRequest()),
        on_step=options.pop("on_step", lambda *what: told.append(what)),
        **options,
    )
    return outcome, told, asked


# ---------------------------------------------------------------- budgets


@pytest.mark.parametrize(
    ("budget", "steps", "seconds", "progress", "spent"),
    [
        (Budget(), 10**9, 1e9, 0, False),
        (Budget(steps=10), 0, 0, 0, False),
        (Budget(steps=10), 9, 1e9, 0.9, False),
        (Budget(steps=10), 10, 0, 1, True),
        (Budget(steps=10), 25, 0, 1, True),
        (Budget(seconds=60), 10**9, 15, 0.25, False),
        (Budget(seconds=60), 0, 60, 1, True),
        (Budget(steps=100, seconds=60), 50, 15, 0.5, False),  # whichever is nearer
        (Budget(steps=100, seconds=60), 5, 45, 0.75, False),
        (Budget(steps=100, seconds=60), 5, 61, 1, True),
        (Budget(steps=100, seconds=60), 100, 0, 1, True),
        (Budget(steps=0), 0, 0, 0, True),
        (Budget(seconds=math.inf), 5, 1e9, 0, False),
    ],
)
def test_budget(budget, steps, seconds, progress, spent):
    assert budget.progress(steps, seconds) == progress
    assert budget.spent(steps, seconds) is spent


def test_steps_are_counted_from_where_a_run_was(clock):
    outcome, told, asked = run(Budget(steps=7), clock, takes=0.5, steps=4, seconds=10.0)
    assert outcome == Outcome(7, 11.5, False)
    assert asked == [4, 5, 6]
    assert told == [(5, 10.5, (4.0, -4.0)), (6, 11.0, (5.0, -5.0)), (7, 11.5, (6.0, -6.0))]


def test_seconds_are_counted_from_where_a_run_was(clock):
    outcome, _, asked = run(Budget(seconds=12), clock, takes=0.5, steps=4, seconds=10.0)
    assert outcome == Outcome(8, 12.0, False)
    assert len(asked) == 4


def test_a_spent_budget_takes_no_step():
    assert run(Budget(steps=3), steps=3, seconds=1.0) == (Outcome(3, 1.0, False), [], [])


def test_only_time_inside_steps_counts(clock):
    def slow():
        clock.now += 100

    outcome, told, _ = run(Budget(seconds=3), clock, takes=1, chores=[Chore(slow, 0.0)])
    assert outcome == Outcome(3, 3.0, False)
    assert [seconds for _, seconds, _ in told] == [1, 2, 3]


# ---------------------------------------------------------------- chores


def test_chores_are_done_every_interval_and_first_when_asked(clock):
    done = {"every": [], "early": []}
    begin = clock.now
    chores = [
        Chore(lambda: done["every"].append(clock.now - begin), 10),
        Chore(lambda: done["early"].append(clock.now - begin), 10, first=3),
    ]
    run(Budget(steps=40), clock, takes=1, chores=chores)
    assert done == {"every": [10, 20, 30, 40], "early": [3, 13, 23, 33]}


def test_the_interval_starts_when_a_chore_ends(clock):
    done = []
    begin = clock.now

    def slow():
        done.append(clock.now - begin)
        clock.now += 7

    run(Budget(steps=30), clock, takes=1, chores=[Chore(slow, 10)])
    assert done == [10, 27, 44]


def test_a_chore_comes_after_its_step_was_told(clock):
    order = []
    run(
        Budget(steps=2),
        clock,
        takes=1,
        on_step=lambda steps, *_: order.append(f"told {steps}"),
        chores=[Chore(lambda: order.append("chore"), 0.0)],
    )
    assert order == ["told 1", "chore", "told 2", "chore"]


# ---------------------------------------------------------------- stopping


def test_a_stop_lets_the_step_end_and_is_in_the_outcome():
    stop = StopRequest()

    def on_step(steps, seconds, losses):
        stop.requested = steps == 3

    outcome, _, asked = run(Budget(steps=10), stop=stop, on_step=on_step)
    assert (outcome.steps, outcome.stopped) == (3, True)
    assert asked == [0, 1, 2]


def test_a_stop_at_the_very_end_is_no_stop():
    stop = StopRequest()

    def on_step(steps, seconds, losses):
        stop.requested = steps == 10

    assert run(Budget(steps=10), stop=stop, on_step=on_step)[0].stopped is False


def test_a_stop_before_the_first_step():
    stop = StopRequest()
    stop.requested = True
    assert run(Budget(steps=10), stop=stop) == (Outcome(0, 0.0, True), [], [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_asks_and_the_second_interrupts(number, request):
    started_with = signal.signal(number, signal.default_int_handler)  # nohup ignores one of them
    request.addfinalizer(lambda: signal.signal(number, started_with))
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.requested
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_old_handlers_come_back_after_an_error():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(RuntimeError), StopRequest():
        raise RuntimeError
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_request_outside_the_main_thread_touches_no_handler():
    before, inside = signal.getsignal(signal.SIGINT), []

    def work():
        with StopRequest() as stop:
            inside.append(signal.getsignal(signal.SIGINT))
            stop.requested = True
            inside.append(run(Budget(), stop=stop)[0].stopped)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert inside == [before, True]


# ---------------------------------------------------------------- a loss that is no number


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 1])
def test_a_loss_that_is_no_number_ends_it_before_anyone_is_told(bad, place):
    numbers, told, chores = count(), [], []

    def step(number):
        losses = [0.5, 0.25]
        if next(numbers) == 2:
            losses[place] = bad
        return losses

    with pytest.raises(DivergenceError, match="at step 3"):
        train(
            step,
            Budget(steps=10),
            stop=StopRequest(),
            on_step=lambda *what: told.append(what[0]),
            chores=[Chore(lambda: chores.append(None), 0.0)],
        )
    assert told == [1, 2]
    assert len(chores) == 2


# ---------------------------------------------------------------- steps that are begun ahead


class Device:
    """Steps that are begun and finished; what happened, in order."""

    def __init__(self, stop=None, fails=None):
        self.said, self.stop, self.fails = [], stop or StopRequest(), fails

    def begin(self, number):
        if number == self.fails:
            raise MemoryError("full")
        self.said.append(f"begin {number}")

    def step(self, number):
        self.said.append(f"finish {number}")
        return (float(number),)

    def on_step(self, steps, seconds, losses):
        self.said.append(f"done {steps}")

    def train(self, budget, **options):
        given = {"stop": self.stop, "on_step": self.on_step, "begin": self.begin} | options
        return train(self.step, budget, **given)


def test_a_step_is_begun_before_the_one_before_it_is_waited_for():
    device = Device()
    assert device.train(Budget(steps=5), steps=2).steps == 5
    assert device.said == [
        "begin 2", "begin 3", "finish 2", "done 3", "begin 4", "finish 3", "done 4", "finish 4", "done 5",
    ]  # fmt: skip


def test_a_step_that_may_not_be_begun_ahead_is_not():
    device = Device()
    device.train(Budget(steps=4), may_begin=lambda number: number != 2)
    assert device.said == [
        "begin 0", "begin 1", "finish 0", "done 1", "finish 1", "done 2",
        "begin 2", "begin 3", "finish 2", "done 3", "finish 3", "done 4",
    ]  # fmt: skip


def test_chores_find_no_step_under_way(clock):
    device = Device()

    def step(number):
        clock.now += 1
        return device.step(number)

    chore = Chore(lambda: device.said.append("chore"), 3)
    train(
        step,
        Budget(steps=6),
        stop=device.stop,
        on_step=device.on_step,
        begin=device.begin,
        chores=[chore],
    )
    assert device.said.count("chore") >= 1
    under_way = 0
    for what in device.said:
        under_way += {"begin": 1, "finish": -1}.get(what.split()[0], 0)
        assert what != "chore" or under_way == 0


def test_what_was_begun_is_finished_and_counted_where_a_stop_is_asked_for():
    device = Device()

    def on_step(steps, seconds, losses):
        device.stop.requested = steps >= 2

    outcome = device.train(Budget(steps=100), on_step=on_step)
    assert outcome == Outcome(3, outcome.seconds, True)
    assert device.said == [
        "begin 0", "begin 1", "finish 0", "begin 2", "finish 1", "finish 2",
    ]  # fmt: skip


def test_where_a_step_cannot_be_begun_the_one_under_way_is_finished_first():
    device = Device(fails=2)
    with pytest.raises(MemoryError):
        device.train(Budget(steps=9))
    assert device.said == ["begin 0", "begin 1", "finish 0", "done 1", "finish 1", "done 2"]
    device = Device(fails=0)
    with pytest.raises(MemoryError):
        device.train(Budget(steps=9))
    assert device.said == []
