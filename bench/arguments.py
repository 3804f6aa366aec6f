"""Kinds of arguments, for argparse: what cannot work is refused before anything is measured."""

import argparse
from pathlib import Path

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
