"""Saves that fail: training goes on, it is said, and tried again; at the end the process waits rather than lose it."""

import time
from collections.abc import Callable
from pathlib import Path

from nn.train import StopRequest
from swap.errors import UserError

PATIENCE, PAUSE = 600.0, 1.0  # seconds: how long the last save is tried again, and how often

Tell = Callable[[str], None]


class SaveError(UserError):
    """A save that the system refused; the save before it is whole."""

    def __init__(self, folder: Path, error: OSError) -> None:
        self.what = f"the run could not be saved to {folder}: {error.strerror or error}"
        super().__init__(
            f"{self.what}; make room or permissions there and run the same command again"
        )


def gently(do: Callable[[], None], tell: Tell) -> Callable[[], None]:
    """``do``, whose failure to read or write is told, once until it succeeds again, and ends nothing."""
    told: list[str] = []

    def chore() -> None:
        try:
            do()
            told.clear()
        except SaveError as error:  # told each time: what may be lost grows
            tell(f"{error.what}; training goes on, and the next save is tried as usual")
        except (OSError, UserError) as error:
            if str(error) not in told:
                told.append(str(error))
                tell(f"{error}; training goes on")

    return chore


def save_at_last(save: Callable[[], None], steps: int, stop: StopRequest, tell: Tell) -> None:
    """Saves what was trained; where that fails, tries again until it succeeds, PATIENCE is over or Ctrl-C gives up.

    SaveError where it did not succeed.
    """
    already, began, told = stop.requested, time.monotonic(), False
    while True:
        try:
            save()
            if told:
                tell(f"saved at step {steps:,} after all")
            return
        except SaveError as error:
            if time.monotonic() - began >= PATIENCE or (stop.requested and not already):
                raise
            if not told:
                tell(
                    f"{error.what}; make room or permissions there: it is tried again for {PATIENCE / 60:.0f} "
                    "minutes, and Ctrl-C gives up what was trained since the last save"
                )
                told = True
            try:
                time.sleep(PAUSE)
            except KeyboardInterrupt:
                raise error from None
