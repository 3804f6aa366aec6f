"""Room for pictures: in memory, or in a file that the system keeps in memory as far as there is some.

A set of 100,000 faces has 3.8 GB. Beyond a share of the memory that there is, pictures lie in a file without a name
(it is gone with the process, however that ends) that is mapped into memory: the system reads what a batch asks for and
gives up what nobody asked for lately. Which faces a step shows is known long before (``batches.py``), so the system is
asked for them some steps ahead, many at once: a disk that answers in a millisecond would otherwise be waited for at
every face.
"""

import mmap
import os
import tempfile
from pathlib import Path

import numpy as np

from swap.errors import UserError
from swap.memory import available_memory

SHARE = 4  # a set may have a fourth of the memory that there is


def room_for(
    shape: tuple[int, ...], spill: Path | None, most: int | None = None
) -> tuple[np.ndarray, bool]:
    """An uint8 array of ``shape``, and whether it lies in a file in the folder ``spill``: where it has more than
    ``most`` bytes (None: a share of what there is). UserError where that folder has no room for it."""
    size = int(np.prod(shape))
    if most is None:
        there = available_memory()
        most = size if there is None else there // SHARE
    if spill is None or size <= most:
        return np.empty(shape, np.uint8), False
    try:
        spill.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=spill) as f:
            _reserve(f.fileno(), size)
            return np.asarray(np.memmap(f, np.uint8, "r+", shape=shape)), True
    except OSError as error:
        raise UserError(
            f"{size / 2**30:.1f} GiB of faces are more than memory should hold, and {spill} has no room for them "
            f"({error.strerror or error}); name a run folder on another disk, or fewer with --most-faces"
        ) from error


def read_ahead(pictures: np.ndarray, chosen: np.ndarray) -> None:
    """Asks the system to read some pictures (n,) of a mapped array (F, ...) into memory; does not wait for it.

    Where the system cannot be asked, or the array is not mapped, nothing happens: they are read when they are needed.
    """
    mapped = pictures
    while mapped is not None and not isinstance(mapped, np.memmap):
        mapped = mapped.base
    if mapped is None or not hasattr(mmap, "MADV_WILLNEED"):
        return
    begin = pictures.__array_interface__["data"][0] - mapped.__array_interface__["data"][0]
    size = pictures[0].nbytes
    for i in chosen.tolist():
        start = begin + i * size
        within = start % mmap.PAGESIZE
        mapped._mmap.madvise(mmap.MADV_WILLNEED, start - within, size + within)


def _reserve(file: int, size: int) -> None:
    """Makes a file ``size`` long, every block of it there: a mapped file that runs out of disk ends the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
        return
    zeros = bytes(2**20)
    for start in range(0, size, len(zeros)):
        os.pwrite(file, zeros[: size - start], start)
