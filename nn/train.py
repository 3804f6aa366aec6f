"""The training loop: steps until a budget is spent, chores now and then, a clean stop at any time.

It knows nothing of models. ``step(number)`` trains on batch ``number`` and returns the losses; a chore is
something done every so many seconds (save, preview). Ctrl-C lets the running step end, so that what
is then saved is a whole number of steps.
"""

import math
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType, TracebackType


class DivergenceError(ArithmeticError):
    """A loss that is not a finite number; the message names the step."""


@dataclass(frozen=True)
class Budget:
    """When a run is over: after ``steps`` in all, or ``seconds`` of training in all; None is no limit."""

    steps: int | None = None
    seconds: float | None = None

    def progress(self, steps: int, seconds: float) -> float:
        """How much of the run is behind it, from 0 to 1; 0 throughout where there is no limit."""
        parts = [0.0]
        if self.steps is not None:
            parts.append(steps / max(self.steps, 1))
        if self.seconds is not None:
            parts.append(seconds / max(self.seconds, 1e-9))
        return min(1.0, max(parts))

    def spent(self, steps: int, seconds: float) -> bool:
        """Whether the run is over."""
        over_steps = self.steps is not None and steps >= self.steps
        return over_steps or (self.seconds is not None and seconds >= self.seconds)


@dataclass
class Chore:
    """Something to do every ``interval`` seconds, the first time after ``first``."""

    do: Callable[[], None]
    interval: float
    first: float | None = None

    def __post_init__(self) -> None:
        self._due = time.monotonic() + (self.interval if self.first is None else self.first)

    @property
    def due(self) -> bool:
        return time.monotonic() >= self._due

    def maybe(self) -> None:
        if self.due:
            self.do()
            self._due = time.monotonic() + self.interval


class StopRequest:
    """Turns the first Ctrl-C (or SIGTERM, or the end of the terminal) into a request; the second interrupts as usual.
    After nohup, the end of the terminal is none.

    with StopRequest() as stop: ... if stop.requested: ...
    """

    def __init__(self) -> None:
        self.requested = False
        self._old: dict[int, object] = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # not every system has the last
                number = getattr(signal, name, None)
                if number is None:
                    continue
                if name != "SIGHUP" or signal.getsignal(number) is not signal.SIG_IGN:
                    self._old[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class Outcome:
    """Where a loop ended: steps and seconds of training in all, and whether it was asked to stop."""

    steps: int
    seconds: float
    stopped: bool


def train(
    step: Callable[[int], Sequence[float]],
    budget: Budget,
    *,
    steps: int = 0,
    seconds: float = 0.0,
    stop: StopRequest,
    on_step: Callable[[int, float, Sequence[float]], None],
    chores: Sequence[Chore] = (),
    begin: Callable[[int], None] | None = None,
    may_begin: Callable[[int], bool] = lambda number: True,
) -> Outcome:
    """Calls ``step(n)`` for n = steps, steps + 1, ... until the budget is spent or a stop is asked for.

    ``seconds`` counts the time inside steps only, so previews and saves take nothing off a budget of
    minutes. ``on_step(steps done, seconds, losses)`` is called after each. Raises DivergenceError, without calling
    ``on_step``, where a loss is not finite.

    Where steps run on a device of their own, ``begin(n)`` starts one there, and ``step(n)`` waits for it. Step n is
    then begun before n - 1 is waited for, if ``may_begin(n)``, which says no where ``on_step(n, ...)`` needs the model
    as it is after exactly n steps. Chores are done, and the loop ends, only where no step is under way.
    """
    begun = steps  # those below it were begun
    while True:
        over = stop.requested or budget.spent(steps, seconds)
        if over and begun <= steps:
            return Outcome(steps, seconds, stop.requested and not budget.spent(steps, seconds))
        start = time.perf_counter()
        if begin is not None and begun == steps:
            begin(steps)
            begun += 1
        ahead = begin is not None and not over and not budget.spent(steps + 1, seconds)
        failure = None
        if ahead and not any(chore.due for chore in chores) and may_begin(begun):
            try:
                begin(begun)
                begun += 1
            except Exception as error:
                failure = error  # the step that is under way comes to its end first
        losses = step(steps)
        seconds += time.perf_counter() - start
        if not all(math.isfinite(loss) for loss in losses):
            raise DivergenceError(f"the loss is {losses} at step {steps + 1}")
        steps += 1
        on_step(steps, seconds, losses)
        if failure is not None:
            raise failure
        if begun <= steps:
            for chore in chores:
                chore.maybe()
