"""Kinds of arguments, for argparse: what cannot work is refused before anything is measured."""

import argparse
import json
from pathlib import Path
from typing import Any

from nn.files import why_not
from swap.errors import UserError


def count(text: str) -> int:
    """How many: 1, 2, 3 ..."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1 was expected, not {text!r}")
    return int(text)


def file_to_write(text: str) -> Path:
    """A file that results can be written to."""
    if reason := why_not(Path(text)):
        raise argparse.ArgumentTypeError(f"{text} cannot be written: {reason}")
    return Path(text)


def preset_name(text: str) -> str:
    """The name of a size."""
    from bench.rivals import size_of

    try:
        size_of(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def read_results(path: Path) -> dict[str, Any]:
    """What a measurement wrote with --json; UserError where the file holds no such thing."""
    try:
        found = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is not JSON, or only a part of it: {error}") from error
    if not isinstance(found, dict) or not found:
        raise UserError(f"{path} holds no results")
    return found
