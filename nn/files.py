"""A file that appears whole or not at all."""

import contextlib
import os
import shutil
from pathlib import Path


def why_not(path: Path) -> str:
    """Why no file can appear at ``path``, half a sentence; "" where nothing is known against it."""
    if path.is_dir():
        return "it is a folder"
    parent = path.resolve().parent
    return "" if parent.is_dir() else f"the folder {parent} does not exist"


def write_atomic(path: Path, data: bytes) -> None:
    """Writes ``data`` beside ``path`` and moves it there when it is complete; OSError leaves an older file whole."""
    temporary = path.with_name(f".{os.getpid()}.part")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Forces to disk which names a folder holds, where the system lets a folder be opened for that."""
    with contextlib.suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def give_name(path: Path, name: Path) -> None:
    """The file ``path`` gets ``name`` besides, atomically; what had that name loses it. Where one file cannot have two
    names, it is copied and forced to disk. OSError leaves both as they were."""
    temporary = name.with_name(name.name + ".tmp")
    temporary.unlink(missing_ok=True)
    try:
        try:
            temporary.hardlink_to(path)
        except (OSError, NotImplementedError):  # a file system, or a Python, without hard links
            shutil.copyfile(path, temporary)
            with temporary.open("rb+") as f:
                os.fsync(f.fileno())
        if name.exists() and name.samefile(path):
            return  # two names of one file already: moving one over the other would do nothing
        temporary.replace(name)
    finally:
        temporary.unlink(missing_ok=True)
