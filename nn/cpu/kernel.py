"""How a kernel is compiled, and called from Python."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import config, njit

from nn import record

# Whether kernels are made without compiler instructions (plain.py). On the disk they are kept apart from the others.
PLAIN = os.environ.get("LATENTFACE_PLAIN", "0") not in ("", "0")
if PLAIN:
    config.CACHE_DIR = str(
        Path(config.CACHE_DIR or Path(__file__).with_name("__pycache__")) / "plain"
    )


class Kernel:
    """A compiled function that gives nothing back: all it does is in the arrays that it is called with.

    From Python it is called through this, so that a step can be recorded (``nn/record.py``); ``compiled`` is Numba's.
    """

    def __init__(self, compiled: Callable[..., None]) -> None:
        self.compiled = compiled

    def __call__(self, *args: Any) -> None:
        record.note(self.compiled, args)
        self.compiled(*args)


def kernel(function: Callable[..., None] | None = None, *, parallel: bool = True) -> Any:
    """Compiles a function for Python to call: once, then found on disk; ``prange`` runs on all threads.

    One loop of these a function, and no two: Numba would make one of them where it sees no harm, and it does not see
    what goes through an address. What kernels call in turn is plain ``njit``.
    """
    if function is None:
        return functools.partial(kernel, parallel=parallel)
    compiled = njit(parallel=parallel, cache=True, nogil=True, error_model="numpy")(function)
    return functools.wraps(function)(Kernel(compiled))
