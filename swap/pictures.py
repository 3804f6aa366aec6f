"""Folders of pictures: which files there are, in which order, and one of them as RGB."""

import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from swap.errors import UserError

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})


def list_pictures(path: Path) -> list[Path] | None:
    """The pictures that `path` stands for in natural order (2 before 10), or None for a video."""
    if path.is_dir():
        found = [
            p
            for p in path.iterdir()
            if p.suffix.lower() in PICTURE_SUFFIXES and p.is_file() and not p.name.startswith(".")
        ]
        if not found:
            raise UserError(
                f"the folder {path} holds no picture; expected files ending in "
                f"{', '.join(sorted(PICTURE_SUFFIXES))}."
            )
        return sorted(found, key=_natural)
    if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file():
        return [path]
    return None


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    parts = re.split(r"([0-9]+)", path.name.lower())
    return [(int(p), "") if i % 2 else (-1, p) for i, p in enumerate(parts)], path.name


def read_picture(path: Path) -> np.ndarray:
    """One picture, upright, as uint8 (H, W, 3). Raises UserError when it cannot be decoded."""
    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened)
            if picture.mode.startswith("I;16"):
                # Pillow would clip 16-bit grey at 255 instead of scaling it.
                grey = (np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8)
                picture = Image.fromarray(grey)
            return np.array(picture.convert("RGB"))
    # Pillow's decoders raise many types on damaged data: SyntaxError, struct.error, IndexError ...
    except Exception as error:
        raise UserError(f"{path} cannot be read as a picture: {error}.") from error
