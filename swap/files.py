"""Files that appear whole or not at all.

Everything is written to a temporary file in the folder of its destination (so that the last step is
a rename on one file system) and moved into place when it is complete. A crash, a full disk or
Ctrl-C leaves no half-written file, and an older file of the same name stays as it was.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swap.errors import UserError


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield the path of a temporary file that becomes `path` when the block ends without error.

    The temporary file lies beside `path`; it is removed when the block raises anything,
    KeyboardInterrupt included. The block may leave it unwritten only by raising.

    Raises UserError when the folder of `path` does not exist, `path` is a folder, or the finished
    file cannot be moved into place.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise UserError(f"{path} cannot be written: the folder {path.parent} does not exist.")
    if path.is_dir():
        raise UserError(f"{path} cannot be written: it is a folder; give the name of a file.")
    # The name does not contain the final one: that may already be as long as names can be.
    temporary = path.parent / f".latentface-{os.getpid()}-{secrets.token_hex(4)}.part"
    try:
        yield temporary
        try:
            temporary.replace(path)
        except OSError as error:
            raise UserError(f"{path} could not be written: {error.strerror}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes_atomic(path: Path | str, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all. Raises UserError where it cannot be written."""
    with atomic_path(path) as temporary:
        try:
            temporary.write_bytes(data)
        except OSError as error:
            raise UserError(f"{path} could not be written: {error.strerror}.") from error
