"""How much memory training takes, said before the first step.

    weights, gradients and Adam's two moments    4 arrays of P parameters
    activations   every layer keeps its output for the way back; the gradients that run back are as large
                  as the layers they pass, and live for two layers at a time
    workspace     the largest weight matrix twice, rearranged for the product (forward or backward), and
                  the blocks of each thread
    faces         both sets, uint8
    program       the libraries with their compiled code

``tests/swap/test_memory.py`` compares the estimate with what a process really takes. What there is, is what the system
says that it can give without swapping, or what is left of the limit that a container has, whichever is less.
"""

import contextlib
import ctypes
import gc
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nn
from swap.errors import UserError
from swap.model import FACE_SIZE, SwapModel

MIB = 2**20
PROGRAM = 370 * MIB  # Python, NumPy, Numba's compiler, OpenCV, PyAV, Matplotlib
LIBRARIES = 512 * MIB  # what CUDA takes of a card for itself, about
KEPT_IDLE = 96 * MIB  # memory of arrays between two uses, beyond the largest layer


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes by use."""

    state: int
    activations: int
    workspace: int
    faces: int
    program: int

    @property
    def total(self) -> int:
        return self.state + self.activations + self.workspace + self.faces + self.program

    @property
    def on_card(self) -> int:
        """What of it lies in the memory of a GPU that trains, its libraries' own included, about."""
        return self.state + self.activations + self.workspace + self.faces + LIBRARIES

    def __str__(self) -> str:
        parts = (
            ("weights and optimizer", self.state),
            ("activations", self.activations),
            ("workspace", self.workspace),
            ("faces", self.faces),
            ("program", self.program),
        )
        listed = ", ".join(f"{name} {size / MIB:,.0f}" for name, size in parts)
        return f"about {self.total / 2**30:.2f} GiB of memory (MiB: {listed})"


def estimate_memory(
    model: SwapModel, batch_size: int, faces_bytes: int = 0, returns: int = 0
) -> MemoryEstimate:
    """What training ``model`` with ``batch_size`` faces a side and so many bytes of faces takes; returns: faces a side
    that make a round trip beside them."""
    sides = len(model.decoders)
    c = model.preset.width
    encoder = nn.summary(model.encoder, (sides * (batch_size + returns), FACE_SIZE, FACE_SIZE, 3))
    decoders = [nn.summary(d, (batch_size + returns, 8, 8, 4 * c)) for d in model.decoders.values()]
    rows = [*encoder.rows, *decoders[0].rows]
    parameters = encoder.parameters + sum(d.parameters for d in decoders)
    # One decoder's activations are freed before the next one runs.
    kept = encoder.activation_bytes + decoders[0].activation_bytes
    largest_layer = max(row.activation_bytes for row in rows)
    largest_weight = max(row.parameters for row in rows) * 4
    return MemoryEstimate(
        state=4 * parameters * 4,
        activations=kept + 3 * largest_layer,
        workspace=2 * largest_weight + KEPT_IDLE,
        faces=faces_bytes,
        program=PROGRAM,
    )


def check_memory(estimate: Callable[[int], MemoryEstimate], batch_size: int) -> None:
    """UserError with the largest batch that fits where ``estimate(batch_size)`` is more than there is."""
    there = available_memory()
    if there is None:
        return
    there += resident_memory()  # what this process has already is part of the estimate
    needed = estimate(batch_size).total
    if needed <= there:
        return
    fits, above = 0, batch_size
    while above - fits > 1:
        middle = (fits + above) // 2
        fits, above = (middle, above) if estimate(middle).total <= there else (fits, middle)
    helps = (
        f"--batch-size {fits} fits"
        if fits
        else "not even --batch-size 1 fits, a smaller --preset may"
    )
    raise UserError(
        f"training with {batch_size} faces a side takes about {needed / 2**30:.2f} GiB of memory, and "
        f"{there / 2**30:.2f} GiB are there: {helps}, or end other programs"
    )


def available_memory() -> int | None:
    """Bytes that this process can still take; None where the system does not say."""
    known = [size for size in (_system(), _container()) if size is not None]
    return min(known) if known else None


def resident_memory() -> int:
    """Bytes that this process has; 0 where the system does not say."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0


def _system() -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(OSError, ValueError, AttributeError):  # all that is built in
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _container() -> int | None:
    """What is left below the limits of the control groups that this process is in, versions 2 and 1."""
    left = []
    root = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, kinds, name = line.split(":", 2)
            if not kinds:
                base, limit, used = root, "memory.max", "memory.current"
            elif "memory" in kinds.split(","):
                base, limit, used = (
                    root / "memory",
                    "memory.limit_in_bytes",
                    "memory.usage_in_bytes",
                )
            else:
                continue
            place = base / name.lstrip("/")
            for folder in (place, *place.parents):  # a limit of any group above counts, too
                if folder == root.parent:
                    break
                with contextlib.suppress(OSError, ValueError):
                    most = int((folder / limit).read_text())  # "max" is no number, and no limit
                    if most < 2**60:
                        taken = int((folder / used).read_text()) - _reclaimable(folder)
                        left.append(max(most - taken, 0))
    return min(left) if left else None


def _reclaimable(folder: Path) -> int:
    """Bytes of files that the system keeps there and would give up."""
    with contextlib.suppress(OSError, ValueError):
        for line in (folder / "memory.stat").read_text().splitlines():
            name, _, size = line.partition(" ")
            if name in ("inactive_file", "total_inactive_file"):
                return int(size)
    return 0


def give_back() -> None:
    """Gives the system back what a preview or a report has left behind.

    The parts of a figure refer to each other, so that Python frees them only when its collector comes by, which takes
    thousands of steps; and the C library keeps what is freed in pieces. Together they grew by hundreds of MiB over
    ten thousands of steps (``python -m bench flat --steps 100000``).
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # musl, macOS and Windows have no such call
        ctypes.CDLL("libc.so.6").malloc_trim(0)
