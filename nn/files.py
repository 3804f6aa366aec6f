"""A file that appears whole or not at all."""

import os
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
