"""A training step as one CUDA graph, and the scale of the loss that float16 needs.

    step = Recorded(body)     step() runs body the first time, records it, and from then on launches what was recorded

A step is some hundred kernels; launched one by one, each costs the host more time than a small one takes on the card. A
graph is launched as a whole. What is recorded is the launches with their addresses and numbers, not the Python around
them. So ``body`` takes what changes from arrays of the card that were written before, gives its results in such arrays,
waits for nothing and copies nothing to or from the host.

LossScale: in float16 numbers below 6e-8 are 0, and gradients are often smaller. All of them are multiplied by a power
of 2, by starting backward with it in place of 1, and the optimizer divides. Where that makes one infinite, the step is
left out and the scale halved; after ``patience`` good steps it is doubled.
"""

from collections.abc import Callable

from nn.gpu import device


class Recorded:
    """``body``, recorded at its first call. ``forget()``: what it does has changed, and it is recorded anew."""

    def __init__(self, body: Callable[[], None]) -> None:
        self.body = body
        self._run: Callable[[], None] | None = None

    def __call__(self) -> None:
        if self._run is None:
            self._run = device.machine().record(self.body)
        else:
            self._run()

    @property
    def ready(self) -> bool:
        """Whether the next call launches what was recorded."""
        return self._run is not None

    def forget(self) -> None:
        """The next call records again. Waits for what was launched: its memory is given back."""
        if self._run is not None:
            device.machine().synchronize()
        self._run = None


class LossScale:
    """What the loss is multiplied by: a power of 2 from 1 to ``most``; always 1 where ``used`` is False.

    ``after(good)`` is told whether the gradients of a step were finite, and says whether the scale has changed.
    """

    def __init__(
        self, *, used: bool, first: float = 2.0**12, most: float = 2.0**20, patience: int = 1000
    ) -> None:
        self.used, self.most, self.patience = used, most, patience
        self.value = first if used else 1.0
        self._good = 0

    def after(self, good: bool) -> bool:
        """Takes note of a step; True where ``value`` has changed."""
        before = self.value
        if not self.used:
            return False
        if not good:
            self.value, self._good = max(1.0, self.value / 2), 0
        else:
            self._good += 1
            if self._good >= self.patience:
                self.value, self._good = min(self.most, self.value * 2), 0
        return self.value != before
