"""What a conversion has done so far, kept beside its output until that is complete.

    OUT.mp4.unfinished/
        settings.json       of what by what: another conversion is refused, nothing is ever mixed
        landmarks.jsonl     the faces found so far, {"frame": 12, "faces": 1, "landmarks": [[x, y] * 5]}
        colours.json        the colour match of the whole video
        out-000003.piece    encoded frames (swap/pieces.py)

A torn last line or a damaged piece, as a power cut leaves them, counts as not done.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from swap.errors import UserError
from swap.files import TEMPORARY, make_folder, sole_user, sync, write_bytes_atomic

SETTINGS, LANDMARKS, COLOURS = "settings.json", "landmarks.jsonl", "colours.json"
SUFFIX = ".unfinished"
LONGEST_NAME = 255  # bytes, on every common file system


@dataclass(frozen=True)
class Found:
    """What the detector saw in one frame: how many faces, and the largest one's landmarks (5, 2)."""

    faces: int
    landmarks: np.ndarray | None


class Unfinished:
    """The working folder of one conversion; made by `unfinished`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found: dict[int, Found] = {}

    def read_landmarks(self) -> None:
        """Take over what an interrupted search has found, up to the first line that is torn."""
        path = self.folder / LANDMARKS
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        whole = []
        for line in lines:
            try:
                values = json.loads(line)
                points = values["landmarks"]
                points = None if points is None else np.array(points, np.float32).reshape(5, 2)
                self.found[int(values["frame"])] = Found(int(values["faces"]), points)
            except (ValueError, KeyError, TypeError):
                break
            whole.append(line + b"\n")
        write_bytes_atomic(path, b"".join(whole))

    def add_landmarks(self, frame: int, found: Found) -> None:
        """Note what was seen in a frame, at once."""
        self.found[frame] = found
        points = None if found.landmarks is None else found.landmarks.tolist()
        line = json.dumps({"frame": frame, "faces": found.faces, "landmarks": points})
        try:
            with (self.folder / LANDMARKS).open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise UserError(
                f"{self.folder} cannot be written: {error.strerror}; is the disk full?"
            ) from error

    def colours(self) -> dict[str, Any] | None:
        """What `keep_colours` was given; None before, and where not all landmarks are there."""
        with suppress(OSError, ValueError, TypeError, KeyError):
            values = json.loads((self.folder / COLOURS).read_bytes())
            return values["match"] if values["frames"] == len(self.found) else None
        return None

    def keep_colours(self, match: dict[str, Any]) -> None:
        """Note the colour match, and with it that every frame was looked at."""
        sync(self.folder / LANDMARKS)
        text = json.dumps({"frames": len(self.found), "match": match})
        write_bytes_atomic(self.folder / COLOURS, text.encode(), durable=True)

    def discard(self) -> None:
        """Remove the folder: nothing in it is worth going on with."""
        shutil.rmtree(self.folder, ignore_errors=True)


def folder_beside(output: Path) -> Path:
    """Where the unfinished work for `output` is kept."""
    name = output.name + SUFFIX
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = hashlib.sha256(os.fsencode(output.name)).hexdigest()[:32] + SUFFIX
    return output.with_name(name)


@contextmanager
def unfinished(
    output: Path, settings: dict[str, Any], *, afresh: bool = False
) -> Iterator[Unfinished]:
    """The working folder of the conversion to `output`; it goes when the block ends without error.

    After an error or Ctrl-C it stays, and the next call with the same settings goes on with it.
    afresh: what is left of a conversion with other settings is thrown away in place of refused.
    Raises UserError where the folder holds a conversion with other settings or anything else,
    another process writes into it, or it cannot be made.
    """
    if not output.parent.is_dir():
        raise UserError(f"{output} cannot be written: the folder {output.parent} does not exist.")
    folder = folder_beside(output)
    make_folder(folder)
    with sole_user(folder):
        settings = json.loads(json.dumps(settings))
        different = _difference(folder, settings)
        if different and not afresh:
            raise UserError(
                f"{folder} holds an unfinished conversion of something else: {different}; give "
                "--out another name, or delete that folder."
            )
        if different is not None:
            for path in folder.iterdir():
                if path.is_file():
                    path.unlink()
            write_bytes_atomic(folder / SETTINGS, json.dumps(settings).encode(), durable=True)
        work = Unfinished(folder)
        work.read_landmarks()
        yield work
        work.discard()


def _difference(folder: Path, settings: dict[str, Any]) -> str | None:
    """None where the folder was made with these settings, "" where it is new, or what is different."""
    path = folder / SETTINGS
    if not path.exists():
        # Beginning, it has at most a temporary file of the settings.
        mine = all(entry.name.startswith(TEMPORARY) for entry in folder.iterdir())
        return "" if mine else f"it has no {SETTINGS}"
    try:
        before = json.loads(path.read_bytes())
        names = [name for name in {**before, **settings} if before.get(name) != settings.get(name)]
    except (OSError, ValueError, TypeError, AttributeError):
        return f"its {SETTINGS} is damaged"
    if not names:
        return None
    name = names[0]
    return f'"{name}" was {before.get(name)!r} and is now {settings.get(name)!r}'
