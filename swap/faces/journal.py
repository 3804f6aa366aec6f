"""What an extraction has done so far, so that an interrupted one goes on where it stopped.

    with Journal(folder, settings) as journal:
        journal.add(frame, faces, alignment)    one line in alignments.jsonl.part, at once
        journal.finish(skipped)                 alignments.jsonl, whole; the .part goes

The first line of the .part is the settings; the others are {"frame": 12, "faces": 1, "alignment":
{...}}, with no alignment where the frame had no face. Lines and crops reach the disk when the system
likes; after a power cut, frames whose crop is not whole are done again.
"""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from swap.errors import UserError
from swap.faces.records import FILE_NAME, FORMAT, PART_NAME, VERSION, Alignment
from swap.files import sync, write_bytes_atomic

PNG_END = bytes.fromhex("0000000049454e44ae426082")  # the chunk IEND


class Journal:
    """Keeps the record of an extraction while it runs; a context manager, entered once.

    folder: must exist. settings: the header's entries that are known at the start; an unfinished
    journal with the same settings is continued, `done` then holds the frames that it has, as
    {frame: number of faces}. `matches` tells beforehand whether it would be.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self.settings = {"format": FORMAT, "version": VERSION, **settings}
        self.done: dict[int, int] = {}
        self.alignments: list[Alignment] = []
        self._part = folder / PART_NAME

    def __enter__(self) -> Self:
        lines = self._whole_lines()
        text = "".join(json.dumps(line) + "\n" for line in lines or [self.settings])
        # What a crash left is written anew without its torn last line.
        write_bytes_atomic(self._part, text.encode())
        self._file = self._part.open("a", encoding="utf-8")
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def matches(self) -> bool:
        """Whether the folder has an unfinished journal with these very settings."""
        first = _objects(self._part)[:1]
        return first == [json.loads(json.dumps(self.settings))]

    def add(self, frame: int, faces: int, alignment: Alignment | None) -> None:
        """Note that a frame is done: how many faces it had and the one that was kept, if any."""
        self.done[frame] = faces
        line: dict[str, Any] = {"frame": frame, "faces": faces}
        if alignment is not None:
            self.alignments.append(alignment)
            line["alignment"] = alignment.to_dict()
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def finish(self, skipped: list[tuple[str, str]]) -> dict[str, Any]:
        """Write alignments.jsonl, whole, remove the journal, and return the header."""
        header = {
            **self.settings,
            "frames": len(self.done),
            "faces": len(self.alignments),
            "without_face": sorted(f for f, faces in self.done.items() if faces == 0),
            "several": sorted(f for f, faces in self.done.items() if faces > 1),
            "skipped": [list(item) for item in skipped],
        }
        # A frame whose crop a power cut had torn was done again, after later ones.
        self.alignments.sort(key=lambda a: (a.frame, a.face))
        lines = [header, *(a.to_dict() for a in self.alignments)]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        self._sync_crops()
        write_bytes_atomic(self.folder / FILE_NAME, text.encode(), durable=True)
        self.discard()
        return header

    def _sync_crops(self) -> None:
        """What the record names is on the disk before the record is."""
        for alignment in self.alignments:
            with suppress(OSError):  # its owner may have deleted it meanwhile
                if alignment.file is not None:
                    sync(self.folder / alignment.file)

    def _torn(self, alignment: Alignment) -> bool:
        """Whether a power cut left the crop cut or empty; one that is gone was deleted by its owner."""
        try:
            with (self.folder / (alignment.file or "")).open("rb") as file:
                file.seek(-len(PNG_END), os.SEEK_END)
                return file.read() != PNG_END
        except (FileNotFoundError, IsADirectoryError):
            return False
        except OSError:  # shorter than the end of a PNG
            return True

    def discard(self) -> None:
        """Remove the journal."""
        self._file.close()
        self._part.unlink(missing_ok=True)

    def _whole_lines(self) -> list[dict[str, Any]]:
        """The lines of an earlier journal with the same settings, up to the first bad one."""
        if not self.matches():
            return []
        whole = []
        for line in _objects(self._part):
            if whole:
                try:
                    frame, faces = line["frame"], line["faces"]
                    kept = line.get("alignment")
                    alignment = None if kept is None else Alignment.from_dict(kept)
                except (KeyError, ValueError):
                    break
                if alignment is not None and self._torn(alignment):
                    continue
                self.done[frame] = faces
                if alignment is not None:
                    self.alignments.append(alignment)
            whole.append(line)
        return whole


def _objects(part: Path) -> list[dict[str, Any]]:
    """The objects of an unfinished journal, up to the first line that is torn."""
    objects = []
    try:
        content = part.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{part} cannot be read: {error.strerror}.") from error
    for line in content.split(b"\n")[:-1]:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not isinstance(value, dict):
            break
        objects.append(value)
    return objects
