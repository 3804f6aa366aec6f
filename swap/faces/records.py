"""alignments.jsonl: where each face of an extraction was, one JSON object a line.

The first line is the header, the others one `Alignment` each, in the order of the frames:

    {"format": "latentface-alignments", "version": 1, "source": "a.mp4", "source_sha256": ...,
     "crop": {...}, "size": 256, "every": 1, "stop": null, "detector": ..., "fps": "24/1", "width": 360,
     "height": 288, "frames": 4800, "faces": 4799, "without_face": [17], "several": [], "skipped":
     [["frame.png", "reason"]]}
    {"frame": 0, "face": 0, "file": "000000_0.png", "box": [...], "landmarks": [[...] * 5],
     "matrix": [[...], [...]], "score": 0.95, "time": 0.0}

frames: how many were looked at; without_face, several: the numbers of those with no face and with
more than one. alignments.jsonl is written whole at the end of an extraction (see journal.py), so
that it is always complete.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from fractions import Fraction
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Any, Self

import numpy as np

from swap.errors import UserError
from swap.faces.align import CropDefinition

FORMAT, VERSION = "latentface-alignments", 1
FILE_NAME = "alignments.jsonl"
PART_NAME = FILE_NAME + ".part"
CROP_NAME = re.compile(r"[0-9]{6,}_[0-9]+\.png")


@dataclass(frozen=True, eq=False)
class Alignment:
    """One face of one frame.

    file: name of its crop in the folder, or None where no crop was written. box: x, y, w, h;
    landmarks: float64 (5, 2); matrix: float64 (2, 3) from frame pixels to crop pixels; score: 0..1;
    time: seconds from the start of the source.
    """

    frame: int
    face: int
    file: str | None
    box: tuple[float, float, float, float]
    landmarks: np.ndarray
    matrix: np.ndarray
    score: float
    time: float

    def to_dict(self) -> dict[str, Any]:
        """As stored. Landmarks keep 1e-4 pixels; the matrix, which puts a face back, every bit."""
        return {
            "frame": self.frame,
            "face": self.face,
            "file": self.file,
            "box": [round(float(v), 2) for v in self.box],
            "landmarks": np.round(np.asarray(self.landmarks, np.float64), 4).tolist(),
            "matrix": np.asarray(self.matrix, np.float64).tolist(),
            "score": round(float(self.score), 4),
            "time": round(float(self.time), 6),
        }

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """The inverse of `to_dict`. Raises ValueError, saying what was expected, for all else."""
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or set(values) != names:
            raise ValueError(f"expected an object with {', '.join(sorted(names))}")
        for name in ("frame", "face"):
            _need(_is_count(values[name]), name, "a whole number, at least 0")
        file = values["file"]
        _need(
            file is None or (isinstance(file, str) and CROP_NAME.fullmatch(file) is not None),
            "file",
            'null or a name such as "000123_0.png"',
        )
        box = _array(values["box"], (4,), "box")
        landmarks = _array(values["landmarks"], (5, 2), "landmarks")
        matrix = _array(values["matrix"], (2, 3), "matrix")
        _need(np.linalg.det(matrix[:, :2]) > 0, "matrix", "a similarity that can be inverted")
        _need(_is_number(values["score"]), "score", "a finite number")
        _need(_is_number(values["time"]), "time", "a finite number")
        return cls(
            values["frame"],
            values["face"],
            file,
            tuple(box.tolist()),
            landmarks,
            matrix,
            float(values["score"]),
            float(values["time"]),
        )


def read_alignments(folder: Path | str) -> tuple[dict[str, Any], list[Alignment]]:
    """The header and the faces, by frame, of an extraction's folder (or of its alignments.jsonl).

    The header is the first line's object, checked; `CropDefinition.from_dict(header["crop"])` and
    `Fraction(header["fps"])` are sure to work. Crops that its owner deleted are still listed.
    Raises UserError where the file is missing, unfinished, damaged or of another kind or version.
    """
    path = Path(folder)
    if path.is_dir() or path.name != FILE_NAME:
        path = path / FILE_NAME
    if not path.exists():
        if path.with_name(PART_NAME).exists():
            raise UserError(
                f"the extraction in {path.parent} was interrupted; run the same `swap extract` "
                "again to finish it."
            )
        raise UserError(
            f"{path.parent} is no folder of extracted faces: it has no {FILE_NAME}; make one with "
            "`swap extract`."
        )
    lines = _lines(path)
    header = _checked(path, 1, lines[0], _check_header)
    alignments = [
        _checked(path, number, line, Alignment.from_dict)
        for number, line in enumerate(lines[1:], start=2)
    ]
    if len(alignments) != header["faces"]:
        raise UserError(
            f"{path} is damaged: its header promises {header['faces']} faces, it lists "
            f"{len(alignments)}; extract again into a new folder."
        )
    keys = [(a.frame, a.face) for a in alignments]
    if any(a >= b for a, b in pairwise(keys)):
        raise UserError(
            f"{path} is damaged: its frames are not in order; extract again into a new folder."
        )
    return header, alignments


def _lines(path: Path) -> list[str]:
    try:
        if not path.is_file():
            raise OSError("it is no regular file")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from error
    if not lines:
        raise UserError(f"{path} is empty; extract again into a new folder.")
    return lines


def _checked(path: Path, number: int, line: str, check: Callable[[object], Any]) -> Any:
    try:
        return check(json.loads(line))
    # RecursionError: a line of a hundred thousand brackets
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path}, line {number}: {error}; the file is damaged or not from `swap extract`: "
            "extract again into a new folder."
        ) from error


def _check_header(values: object) -> dict[str, Any]:
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ValueError(f'expected a header with "format": "{FORMAT}"')
    if values.get("version") != VERSION:
        raise ValueError(f"this program reads version {VERSION}, not {values.get('version')!r}")
    for name in ("size", "every", "width", "height", "frames", "faces"):
        _need(_is_count(values.get(name)), name, "a whole number, at least 0")
    _need(values["size"] > 0 and values["every"] > 0, "size and every", "at least 1")
    _need(values.get("stop") is None or _is_count(values["stop"]), "stop", "null or a whole number")
    for name in ("source", "source_sha256", "detector", "fps"):
        _need(isinstance(values.get(name), str), name, "text")
    _need(re.fullmatch(r"[1-9][0-9]*/[1-9][0-9]*", values["fps"]), "fps", 'text such as "24/1"')
    for name in ("without_face", "several"):
        numbers = values.get(name)
        good = isinstance(numbers, list) and all(map(_is_count, numbers))
        _need(good, name, "a list of frame numbers")
    skipped = values.get("skipped")
    good = isinstance(skipped, list) and all(
        isinstance(s, list) and len(s) == 2 and all(isinstance(t, str) for t in s) for s in skipped
    )
    _need(good, "skipped", "a list of [name, reason]")
    CropDefinition.from_dict(values.get("crop"))
    return values


def fps_text(fps: Fraction) -> str:
    """A frame rate as the header keeps it: "24/1"."""
    return f"{fps.numerator}/{fps.denominator}"


def _need(good: object, name: str, expected: str) -> None:
    if not good:
        raise ValueError(f'"{name}" must be {expected}')


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _array(value: object, shape: tuple[int, ...], name: str) -> np.ndarray:
    try:
        array = np.array(value)
    except ValueError:
        array = np.empty(0)
    good = array.shape == shape and array.dtype.kind in "if" and np.isfinite(array).all()
    _need(good, name, f"finite numbers in the shape {shape}")
    return array.astype(np.float64)
