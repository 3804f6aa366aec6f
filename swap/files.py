"""Files that appear whole or not at all, and folders that one process at a time writes into.

Everything is written to a temporary file in the folder of its destination (so that the last step is
a rename on one file system) and moved into place when it is complete. A crash, a full disk or
Ctrl-C leaves no half-written file, and an older file of the same name stays as it was.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from swap.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


TEMPORARY = ".latentface-"  # what the names of temporary files begin with


@contextmanager
def atomic_path(
    path: Path | str, *, within: Path | None = None, durable: bool = False
) -> Iterator[Path]:
    """Yield the path of a temporary file that becomes `path` when the block ends without error.

    The temporary file lies beside `path`, or in `within`, a folder of the same file system; it is
    removed when the block raises anything, KeyboardInterrupt included. The block may leave it
    unwritten only by raising. durable: the file is forced to the disk before it gets its name, and
    its name before this ends, so that a power cut leaves the old file or the new one.

    Raises UserError when the folder of `path` does not exist, `path` is a folder, or the finished
    file cannot be moved into place.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise UserError(f"{path} cannot be written: the folder {path.parent} does not exist.")
    if path.is_dir():
        raise UserError(f"{path} cannot be written: it is a folder; give the name of a file.")
    # The name does not contain the final one: that may already be as long as names can be.
    name = f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}.part"
    temporary = (within or path.parent) / name
    try:
        yield temporary
        try:
            if durable:
                sync(temporary)
            temporary.replace(path)
        except OSError as error:
            raise UserError(f"{path} could not be written: {error.strerror}.") from error
        if durable:
            with suppress(OSError):  # not every system lets a folder be opened
                sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes_atomic(path: Path | str, data: bytes, *, durable: bool = False) -> None:
    """Write `data` to `path`, whole or not at all. Raises UserError where it cannot be written."""
    with atomic_path(path, durable=durable) as temporary:
        try:
            temporary.write_bytes(data)
        except OSError as error:
            raise UserError(f"{path} could not be written: {error.strerror}.") from error


def sync(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(path: Path) -> None:
    """Make `path` and what it lies in, and force its name to the disk. Raises UserError where that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the folder {path} cannot be made: {error.strerror}.") from error
    with suppress(OSError):  # not every system lets a folder be opened
        sync(path.parent)


@contextmanager
def sole_user(folder: Path) -> Iterator[None]:
    """Keep other processes out of `folder` while the block runs.

    The lock is the system's and ends with the process, however that ends: none is ever stale.
    Where the file system knows no locks there is none. Temporary files that a killed process has left
    there are removed. Raises UserError where another process has it.
    """
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"another process is writing into {folder}; wait until it ends, or stop it."
                ) from None
            for left in folder.glob(f"{TEMPORARY}*.part"):
                left.unlink(missing_ok=True)
        yield
    finally:
        os.close(handle)
