"""From a video or a folder of pictures to a folder of aligned faces.

    out/000123_0.png        the crop of frame 123, marked as an aligned crop of its source
    out/alignments.jsonl    where each of them was (records.py)

Frames are decoded in order here; a few threads find the face, cut it out and write it, and the
record is kept in the order of the frames. At most 2 frames a thread are in memory, fewer where they
are large.
"""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swap.errors import UserError
from swap.faces.align import CropDefinition, crop_matrix, warp_crop
from swap.faces.detect import Detector
from swap.faces.journal import Journal
from swap.faces.records import FILE_NAME, PART_NAME, Alignment, fps_text, read_alignments
from swap.files import TEMPORARY, make_folder, sole_user
from swap.pictures import list_pictures
from swap.provenance import Mark, read_mark, write_png
from swap.video import Frame, probe, read_frames

COMPRESS_LEVEL = 1  # 0.7 times the time of level 3 for 4 % more bytes
SMALLEST_CROP, LARGEST_CROP = 32, 2048
HELD_PIXELS = 1 << 27  # of the frames in memory at once: 400 MB


@dataclass(frozen=True)
class ExtractReport:
    """What an extraction found.

    frames: frames looked at; with_face: those with at least one. without_face, several: numbers of
    the frames with none, and with more than one, of which the largest was kept. skipped: (name,
    reason) of what could not be decoded. written: crops in the folder. reused: whether an earlier
    extraction was already complete.
    """

    frames: int
    with_face: int
    without_face: list[int]
    several: list[int]
    skipped: list[tuple[str, str]]
    written: int
    reused: bool = False


def extract(
    source: Path | str,
    out: Path | str,
    *,
    size: int = 256,
    every: int = 1,
    stop: int | None = None,
    crop: CropDefinition | None = None,
    detector: Detector | None = None,
    progress: Callable[[int, int], None] | None = None,
    threads: int | None = None,
) -> ExtractReport:
    """Write the largest face of every `every`-th frame of `source` into the folder `out`.

    size: side of the crops in pixels. stop: look at the first `stop` frames only.
    progress(done, total) is called after each frame; total is the container's estimate until the
    end. threads: the machine's cores unless given. A complete earlier extraction of the same source
    with the same settings is reused, crops that its owner deleted stay deleted, and an interrupted
    one goes on where it stopped.

    Raises UserError where the source cannot be read, no frame has a face, or `out` holds anything
    else; nothing is then written, and no file of `out` is changed.
    """
    if not SMALLEST_CROP <= size <= LARGEST_CROP:
        raise UserError(
            f"the size of the crops must be from {SMALLEST_CROP} to {LARGEST_CROP} pixels, not "
            f"{size}."
        )
    if every < 1:
        raise UserError(f"every must be at least 1 (1 takes every frame), not {every}.")
    if stop is not None and stop < 1:
        raise UserError(f"at least 1 frame must be looked at, not {stop}.")
    source, out = Path(source), Path(out)
    crop = crop or CropDefinition()
    detector = detector or Detector()
    info = probe(source)
    settings = {
        "source": source.name or str(source),
        "source_sha256": source_digest(source),
        "crop": crop.to_dict(),
        "size": size,
        "every": every,
        "stop": stop,
        "detector": detector.describe(),
        "fps": fps_text(info.fps),
        "width": info.width,
        "height": info.height,
    }
    journal = Journal(out, settings)
    earlier = _earlier(out, journal)
    if earlier is not None:
        if progress:
            progress(earlier.frames, earlier.frames)
        return earlier
    created = not out.exists()
    make_folder(out)
    cutter = _Cutter(out, crop, size, detector, settings["source"], _source_mark(source))
    skipped: list[tuple[str, str]] = []
    with sole_user(out), journal:
        frames = read_frames(
            source,
            stop=stop,
            step=every,
            on_skip=lambda name, reason: skipped.append((name, reason)),
        )
        total = -(-min(info.frames, stop or info.frames) // every)
        todo = (frame for frame in frames if frame.index not in journal.done)
        for index, faces, alignment in _in_order(cutter, todo, threads or os.cpu_count() or 1):
            journal.add(index, faces, alignment)
            if progress:
                progress(len(journal.done), max(total, len(journal.done)))
        if not journal.alignments:
            journal.discard()
            if created:
                out.rmdir()
            raise UserError(
                f"no face was found in any of the {len(journal.done)} frames of {source}; faces "
                "need to be at least 20 pixels wide, upright, and to show both eyes."
            )
        header = journal.finish(skipped)
    if progress:
        progress(header["frames"], header["frames"])
    return _report(header, header["faces"], reused=False)


@dataclass(frozen=True)
class _Cutter:
    """Finds, cuts and writes the face of one frame; called from several threads."""

    folder: Path
    crop: CropDefinition
    size: int
    detector: Detector
    source: str
    source_mark: Mark | None

    def __call__(self, frame: Frame) -> tuple[int, int, Alignment | None]:
        found = self.detector.find(frame.image)
        for face in found:
            largest = self.detector.refine(frame.image, face)
            try:
                matrix = crop_matrix(largest.landmarks, self.size, self.crop)
            except ValueError:
                continue  # landmarks in one point: no face after all
            name = f"{frame.index:06d}_0.png"
            image = warp_crop(frame.image, matrix, self.size)
            write_png(self.folder / name, image, self._mark(frame), compress_level=COMPRESS_LEVEL)
            time = float(frame.pts * frame.time_base)
            alignment = Alignment(
                frame.index, 0, name, largest.box, largest.landmarks, matrix, largest.score, time
            )
            return frame.index, len(found), alignment
        return frame.index, 0, None

    def _mark(self, frame: Frame) -> Mark:
        """The crop of a recording is a recording; the crop of a marked file is what that is."""
        details = {"source": self.source, "frame": str(frame.index)}
        inherited = self.source_mark
        if inherited is None:
            description = "aligned crop, no synthetic content added"
            return Mark(None, "latentface swap extract", description, details)
        description = f"aligned crop of a marked file: {inherited.description}"
        return Mark(inherited.source_type, "latentface swap extract", description, details)


def _in_order(
    cut: _Cutter, frames: Iterator[Frame], threads: int
) -> Iterator[tuple[int, int, Alignment | None]]:
    """map(cut, frames) in `threads` threads, in order, with few frames in memory."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="extract")
    waiting: deque[Future[tuple[int, int, Alignment | None]]] = deque()
    try:
        for frame in frames:
            waiting.append(pool.submit(cut, frame))
            most = HELD_PIXELS * 3 // frame.image.size
            while len(waiting) >= max(1, min(2 * threads, most)):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # after an error or Ctrl-C the threads end with the frames that they have in hand
        pool.shutdown(wait=True, cancel_futures=True)


def _earlier(out: Path, journal: Journal) -> ExtractReport | None:
    """The report of a complete extraction with the same settings in `out`; None to go ahead.

    Raises UserError where `out` holds anything that must not be mixed with this extraction.
    """
    if not out.exists():
        return None
    if not out.is_dir():
        raise UserError(f"{out} is a file; name a folder for the faces.")
    if (out / FILE_NAME).exists():
        header, alignments = read_alignments(out)
        for name, value in journal.settings.items():
            if header.get(name) != value:
                raise UserError(
                    f'{out} holds faces of another extraction: "{name}" was {header.get(name)!r} '
                    f"and is now {value!r}; name another folder, or delete this one."
                )
        (out / PART_NAME).unlink(missing_ok=True)
        left = sum((out / a.file).exists() for a in alignments if a.file)
        return _report(header, left, reused=True)
    if (out / PART_NAME).exists() and not journal.matches():
        raise UserError(
            f"{out} holds an interrupted extraction of another source or with other settings; "
            "name another folder, or delete this one."
        )
    # What a process that was killed as it began has left is no one's.
    others = [path for path in out.iterdir() if not path.name.startswith(TEMPORARY)]
    if not (out / PART_NAME).exists() and others:
        raise UserError(
            f"{out} is not empty and holds no extraction; name a new or an empty folder for the "
            "faces."
        )
    return None


def _report(header: dict[str, Any], written: int, *, reused: bool) -> ExtractReport:
    return ExtractReport(
        frames=header["frames"],
        with_face=header["frames"] - len(header["without_face"]),
        without_face=header["without_face"],
        several=header["several"],
        skipped=[(name, reason) for name, reason in header["skipped"]],
        written=written,
        reused=reused,
    )


def _source_mark(source: Path) -> Mark | None:
    """The mark of the source, where it is of a kind that carries marks.

    Of a folder, the first synthetic picture speaks for all: one makes the lot so.
    """
    for file in list_pictures(source) or [source]:
        try:
            mark = read_mark(file)
        except UserError:
            continue  # a kind of file that carries no marks, or a damaged picture: skipped later
        if mark is not None and mark.source_type is not None:
            return mark
    return None


def source_digest(source: Path) -> str:
    """sha256 of a file, or of the names and contents of a folder's pictures."""
    if source.is_file():
        return _file_sha256(source)
    whole = hashlib.sha256()
    for picture in list_pictures(source) or []:
        try:
            content = _file_sha256(picture)
        except UserError:  # skipped later, and told
            content = "unreadable"
        whole.update(f"{picture.name}\0{content}\n".encode(errors="surrogateescape"))
    return whole.hexdigest()


def _file_sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
