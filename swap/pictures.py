"""Pictures: which files there are, in which order, and one of them as RGB.

Files may come from strangers. Only the formats in FORMATS are opened, by what the file says and not by
its name (Pillow would hand others, such as EPS, to another program); the size in the header is looked at
before anything is decoded; only regular files are read, so that no pipe is waited for.
"""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from swap.errors import UserError

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "TIFF", "GIF")
MOVING = ("PNG", "WEBP", "GIF")  # of these, several pictures in a file are a film
LARGEST_PICTURE = 64_000_000  # pixels: 192 MB as RGB
DEFAULT_MS = 40

# Pillow's own limit is near ours; what it would print to the terminal becomes an error.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\..*")  # of damaged EXIF


def is_regular(path: Path) -> bool:
    """Whether `path` is a file that can be read to its end: no folder, no pipe, no device, no broken link."""
    try:
        return path.is_file()
    except OSError:  # a link into a folder that may not be entered
        return False


def list_pictures(path: Path) -> list[Path] | None:
    """The pictures that `path` stands for in natural order (2 before 10), or None for a video.

    Raises UserError where it is a folder that cannot be read or holds no picture.
    """
    try:
        if path.is_dir():
            inside = list(path.iterdir())
        else:
            return [path] if path.suffix.lower() in PICTURE_SUFFIXES and is_regular(path) else None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    found = [
        p
        for p in inside
        if p.suffix.lower() in PICTURE_SUFFIXES and is_regular(p) and not p.name.startswith(".")
    ]
    if not found:
        raise UserError(
            f"the folder {path} holds no picture; expected files ending in "
            f"{', '.join(sorted(PICTURE_SUFFIXES))}."
        )
    return sorted(found, key=_natural)


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    parts = re.split(r"([0-9]+)", path.name.lower())
    return [(int(p), "") if i % 2 else (-1, p) for i, p in enumerate(parts)], path.name


def read_picture(path: Path) -> np.ndarray:
    """One picture, upright, as uint8 (H, W, 3); of several in a file the first.

    More than 8 bits are scaled to 8; of what is transparent, the colours are taken. Raises UserError
    when it cannot be decoded or has more than LARGEST_PICTURE pixels.
    """
    with _opened(path) as picture:
        return _rgb(picture)


def picture_size(path: Path) -> tuple[int, int]:
    """(width, height) as the header claims; UserError as `read_picture`, nothing is decoded."""
    with _opened(path) as picture:
        return picture.size


def film_length(path: Path) -> int:
    """How many pictures a file says that it shows one after the other; 1 for a picture, 0 for none."""
    try:
        with _opened(path) as picture:
            return getattr(picture, "n_frames", 1) if picture.format in MOVING else 1
    except UserError:
        return 0


def read_film(path: Path) -> Iterator[tuple[np.ndarray, int]]:
    """The pictures of an animated PNG, WebP or GIF with the ms at which each is shown.

    Raises UserError at the first that cannot be decoded.
    """
    with _opened(path) as film:
        at = 0
        for number in count():
            try:
                film.seek(number)
            except EOFError:
                return
            yield _rgb(film), at
            length = film.info.get("duration")
            at += max(1, round(length)) if isinstance(length, int | float) else DEFAULT_MS


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The picture with its header read; whatever goes wrong with it becomes a UserError."""
    try:
        if not is_regular(path):
            raise ValueError("it is no regular file")
        with Image.open(path, formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > LARGEST_PICTURE:
                raise ValueError(
                    f"it claims {width:,} x {height:,} pixels, and at most "
                    f"{LARGEST_PICTURE:,} are read"
                )
            yield picture
    # Pillow's decoders raise many types on damaged data: SyntaxError, struct.error, IndexError ...
    except Exception as error:
        if isinstance(error, Image.UnidentifiedImageError):
            reason = "it is none, or of a kind that is not read here"
        else:
            reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        raise UserError(f"{path} cannot be read as a picture: {reason}.") from error


def _rgb(picture: Image.Image) -> np.ndarray:
    upright = picture
    picture.load()
    with suppress(Exception):  # broken EXIF says nothing; the picture may be whole
        upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I") or upright.mode == "F":
        # Pillow would clip these at 255 instead of scaling them.
        return np.repeat(_eight_bits(np.asarray(upright))[..., None], 3, axis=2)
    return np.array(upright.convert("RGB"))


def _eight_bits(grey: np.ndarray) -> np.ndarray:
    """uint8 of grey values of more bits: 16 of them, or floating-point from 0 to 1."""
    if grey.dtype.kind == "f":
        values = np.nan_to_num(grey, nan=0.0)
        values = values * 255 if values.size and values.max() <= 1 else values
    elif grey.dtype.itemsize > 2 and grey.size and grey.max() < 256:
        values = grey
    else:
        values = grey.astype(np.int64) / 257
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
