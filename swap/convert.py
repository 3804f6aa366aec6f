"""Conversion: every face of a video is encoded, decoded as somebody else, and put back where it was.

    1. where is the face?    landmarks of every frame, from the records of an extraction or by detection,
                             then smoothed over time, so that the face does not tremble in the head
    2. what is it doing?     the frame's face square, cut as for training -> encoder -> code
    3. who shall it be?      code -> the other's decoder -> face square
    4. back into the frame   its colours matched to the faces it replaces, through a soft mask, with the
                             inverse of the alignment

Frames without a face pass unchanged. Size, frame rate, timestamps and sound are the source's.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from swap.data import FaceSet, even_spread
from swap.data.faces import stored_side
from swap.data.unusual import eye_distances
from swap.errors import UserError
from swap.faces.align import (
    TEMPLATE,
    CropDefinition,
    crop_matrix,
    paste,
    smooth_landmarks,
    umeyama,
    warp_crop,
)
from swap.faces.detect import Detector
from swap.faces.extract import source_digest
from swap.faces.records import read_alignments
from swap.model import FACE_SIZE
from swap.pieces import PieceWriter
from swap.provenance import Mark, SourceType
from swap.run import TrainedRun
from swap.threads import Behind, ahead
from swap.unfinished import Found, Unfinished, unfinished
from swap.video import Frame, VideoInfo, probe, read_frames

TOOL = "latentface swap convert"
BATCH, BATCH_PIXELS = 16, 1 << 25
CRF = 17  # without x264's macroblock tree (swap/pieces.py) no worse than 16 with it
CROP = 256  # the stored crop's size: frames go the way that training faces went

# The mask, in eye distances of the aligned face: an ellipse from above the brows to the chin and from cheek to
# cheek, which fades to 0 over the outer FADE of its radius and over EDGE before the border of the square.
MASK_HALF_WIDTH, MASK_HALF_HEIGHT, MASK_BELOW_EYES, FADE, EDGE = 1.05, 1.40, 0.60, 0.30, 0.24
EYE_CORNER = 0.16  # from the middle of an eye outwards: there the mask must not be below one half
EYE_LEVEL, CHEEK_LEVEL = (
    0.15,
    0.75,
)  # below the middle of the eyes: from the width there to that of the cheeks
FAR_SIDE, NARROWEST = (
    1.25,
    0.45,
)  # how much faster the far cheek goes than the near one comes, and where that ends

# Colour is matched over the middle of the face, where no background and no hair can reach.
COLOUR_RADIUS, GAIN_LIMITS = 0.7, (0.8, 1.25)
COLOUR_FRAMES = 64  # of the video, evenly spread, from which the match is made


@dataclass(frozen=True)
class ConvertReport:
    """frames written; swapped: those with a face; passed: numbers of the frames left as they were;
    several: frames with more than one face, of which the largest was swapped; skipped: what could not be decoded;
    kept: how many of the frames an interrupted conversion had written already."""

    frames: int
    swapped: int
    passed: list[int]
    several: int
    skipped: list[tuple[str, str]]
    kept: int = 0


def face_mask(size: int, widths: np.ndarray | None = None) -> np.ndarray:
    """The soft mask (size, size) float32 in [0, 1] of the face square: 1 on the face, 0 at its border.

    widths: as ``mask_widths`` gives them; None is a face seen from the front.
    """
    x, y = eye_distances(size)
    if widths is None:
        widths = np.full((2, 2), MASK_HALF_WIDTH)
    down = np.clip((y - EYE_LEVEL) / (CHEEK_LEVEL - EYE_LEVEL), 0, 1)
    left, right = (eyes + (cheek - eyes) * down for eyes, cheek in widths.T)
    radius = np.hypot(x / np.where(x < 0, left, right), (y - MASK_BELOW_EYES) / MASK_HALF_HEIGHT)
    crop = CropDefinition()
    border = crop.face_side / 2 - np.maximum(np.abs(x), np.abs(y - crop.centre_y))
    inside = np.clip(np.minimum((1 - radius) / FADE, border / EDGE), 0, 1)
    return (inside * inside * (3 - 2 * inside)).astype(np.float32)


def mask_widths(landmarks: np.ndarray) -> np.ndarray:
    """Half widths (2, 2) of the mask in eye distances: rows eyes and cheeks, columns left and right.

    landmarks: (5, 2) of a frame.

    A face that is turned shows more of one cheek and less of the other. By how much is read off the nose: how far it
    lies, once aligned, beside the line from the middle of the eyes to the middle of the mouth. At the eyes
    the far side still reaches over the outer corner; below, what lies beyond the cheek is not face.
    """
    matrix = umeyama(landmarks, TEMPLATE)
    left_eye, right_eye, nose, left_mouth, right_mouth = landmarks @ matrix[:, :2].T + matrix[:, 2]
    along = 0.6 * (left_eye + right_eye) / 2 + 0.4 * (left_mouth + right_mouth) / 2
    turn = float(along[0] - nose[0])  # above 0 where the nose points to the left of the picture
    half = 1 - FADE / 2
    widths = np.empty((2, 2))
    for column, (side, eye) in enumerate(((-1, left_eye), (1, right_eye))):
        width = MASK_HALF_WIDTH + side * turn * (1 if side * turn > 0 else FAR_SIDE)
        level = (eye[1] - MASK_BELOW_EYES) / MASK_HALF_HEIGHT
        reach = (side * eye[0] + EYE_CORNER) / np.sqrt(max(half**2 - level**2, 0.1))
        widths[:, column] = max(width, reach), max(width, NARROWEST)
    return widths


@dataclass(frozen=True, eq=False)
class ColourShift:
    """Brings the colours of new faces to those of the faces they replace.

    z = mean + gain (x - mean)            contrast, one gain for all channels
    y = z + shift min(1, grey(z) / grey(mean))

    mean, shift: (3,). The shift fades towards black: skin takes the other skin's colour, while pupils and the inside
    of a mouth stay dark, where a plain shift would tint them, and a gain a channel would tint all shadows.
    """

    mean: np.ndarray
    shift: np.ndarray
    gain: float

    @classmethod
    def fit(cls, new: np.ndarray, replaced: np.ndarray) -> "ColourShift":
        """From faces (N, S, S, 3) in [0, 1] and those that they replace. One for a whole video: made frame by frame,
        an open mouth or a closed eye would change the colour of the skin."""
        x, y = eye_distances(new.shape[1])
        radius = np.hypot(x / MASK_HALF_WIDTH, (y - MASK_BELOW_EYES) / MASK_HALF_HEIGHT)
        middle = radius < COLOUR_RADIUS
        ours, theirs = (f[:, middle].astype(np.float64) for f in (new, replaced))
        mean, wanted = ours.mean((0, 1)), theirs.mean((0, 1))
        spread, wanted_spread = (np.sqrt(f.var((0, 1)).mean()) for f in (ours, theirs))
        gain = float(np.clip(wanted_spread / max(spread, 1e-6), *GAIN_LIMITS))
        # What fades in the dark is missing from the mean, so a second round makes up for it.
        shift = wanted - mean
        for _ in range(3):
            reached = cls(mean, shift, gain).apply(ours).mean((0, 1))
            shift = shift + wanted - reached
        return cls(mean, shift, gain)

    def to_dict(self) -> dict[str, Any]:
        """As JSON keeps it, every bit."""
        return {"mean": self.mean.tolist(), "shift": self.shift.tolist(), "gain": self.gain}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ColourShift":
        """The inverse of `to_dict`."""
        return cls(np.array(values["mean"]), np.array(values["shift"]), values["gain"])

    def apply(self, faces: np.ndarray) -> np.ndarray:
        """Matched copy of faces (..., 3) in [0, 1], clipped to [0, 1], float32."""
        faces = self.mean + self.gain * (faces - self.mean)
        fade = np.clip(faces.mean(-1, keepdims=True) / max(self.mean.mean(), 1e-6), 0, 1)
        return np.clip(faces + self.shift * fade, 0, 1).astype(np.float32)


def conversion_mark(run: TrainedRun, to: str, stop: int | None) -> Mark:
    """The mark of a converted video: that it is synthetic, and which model made it how."""
    return Mark(
        SourceType.SWAPPED,
        TOOL,
        f"The face in this video was replaced by a trained model (to {to.upper()}).",
        {
            "Preset": run.model.preset.name,
            "Model_sha256": run.fingerprint,
            "To": to,
            "Frames": "all" if stop is None else str(stop),
        },
    )


def convert(
    source: Path,
    out: Path | None,
    run: TrainedRun,
    *,
    to: str,
    faces: Path | None = None,
    stop: int | None = None,
    beside: Path | None = None,
    detector: Detector | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    afresh: bool = False,
) -> ConvertReport:
    """Writes ``source`` with every face swapped to ``to`` ("a" or "b") as the video ``out``.

    faces: an extraction folder of the same video, whose landmarks are used in place of detection. stop: only
    the first ``stop`` frames. beside: a second video to write, with the original on the left. Either may be None.
    progress(what, done, total). Until it is complete, what is done is kept beside the output (swap/unfinished.py):
    after Ctrl-C, a crash or a power cut the same call goes on, and ends with the same file. afresh: what another
    conversion left there is thrown away; without it, it is refused.

    Raises UserError where the source cannot be read, has no face, or is the file to be written, ``faces`` belongs to
    another video, or the work left beside the output is that of another conversion; nothing is then written.
    """
    progress = progress or (lambda what, done, total: None)
    info = probe(source)
    for path in (out, beside):
        if path is not None and path.is_dir():
            raise UserError(f"{path} is a folder; give --out the name of a file, such as swap.mp4")
        if path is not None and path.exists() and path.samefile(source):
            raise UserError(f"{path} is the video to be converted; give --out another name")
    digest = source_digest(source)
    detector = None if faces else detector or Detector()
    landmarks, several = _recorded(source, digest, faces, stop) if faces else ({}, 0)
    settings = {
        "source": source.name,
        "source_sha256": digest,
        "model_sha256": run.fingerprint,
        "crop": run.crop.to_dict(),
        "to": to,
        "frames": stop,
        "faces": _digest(landmarks) if faces else detector.describe(),
        "made": [path is not None for path in (out, beside)],
        "libraries": {"av": av.__version__, "opencv": cv2.__version__},
    }
    with unfinished(out or beside, settings, afresh=afresh) as work:
        if detector is not None:
            landmarks, several = _detect(source, stop, detector, work, progress)
        if not landmarks:
            work.discard()
            raise UserError(
                f"no face was found in any frame of {source}, so there is nothing to swap"
            )
        frames = np.array(sorted(landmarks))
        smooth = smooth_landmarks(np.array([landmarks[f] for f in frames]), frames)
        where = dict(zip(frames.tolist(), smooth, strict=True))
        if (kept := work.colours()) is not None:
            colours = ColourShift.from_dict(kept)
        else:
            colours = _colours_of(source, where, run, to)
            work.keep_colours(colours.to_dict())
        with ExitStack() as stack:
            writers = [
                stack.enter_context(
                    PieceWriter(
                        path,
                        work.folder,
                        name,
                        fps=info.fps,
                        width=info.width * pictures,
                        height=info.height,
                        audio_from=source if info.has_audio else None,
                        sample_aspect_ratio=info.sample_aspect_ratio,
                        mark=conversion_mark(run, to, stop),
                        cut_sound=stop is not None,
                        crf=CRF,
                    )
                )
                if path is not None
                else None
                for path, name, pictures in ((out, "out", 1), (beside, "beside", 2))
            ]
            return _write(source, writers, info, where, several, run, to, colours, stop, progress)


def _write(
    source: Path,
    writers: list[PieceWriter | None],
    info: VideoInfo,
    where: dict[int, np.ndarray],
    several: int,
    run: TrainedRun,
    to: str,
    colours: ColourShift,
    stop: int | None,
    progress: Callable[[str, int, int], None],
) -> ConvertReport:
    """The last round over the video: swap, and write the frame alone and beside its original."""
    skipped: list[tuple[str, str]] = []
    passed: list[int] = []
    done = 0
    kept = min(writer.kept for writer in writers if writer is not None)
    total = min(info.frames, stop or info.frames)
    at_once = frames_at_once(info)
    frames = read_frames(source, stop=stop, on_skip=lambda name, why: skipped.append((name, why)))
    with closing(ahead(frames, at_once)) as stream, Behind(at_once * len(writers)) as behind:
        while batch := list(islice(stream, at_once)):
            done += len(batch)
            passed += [frame.index for frame in batch if frame.index not in where]
            # `kept` is a whole number of pieces, and a piece of batches.
            made = None if done <= kept else _swap_batch(batch, where, run, to, colours)
            for frame, image in zip(batch, made or batch, strict=True):
                for writer, pictures in zip(writers, (1, 2), strict=True):
                    if writer is None:
                        continue
                    if made is None:
                        behind.call(writer.pass_over, frame.pts, frame.time_base)
                        continue
                    pair = image if pictures == 1 else np.concatenate([frame.image, image], axis=1)
                    behind.call(writer.write, pair, frame.pts, frame.time_base)
            progress("converting", done, max(done, total))
    return ConvertReport(done, done - len(passed), passed, several, skipped, min(kept, done))


def frames_at_once(info: VideoInfo) -> int:
    """BATCH, or the power of 2 below it whose frames have at most BATCH_PIXELS: a piece is a multiple of it."""
    count = BATCH
    while count > 1 and count * info.width * info.height > BATCH_PIXELS:
        count //= 2
    return count


def _swap_batch(
    batch: list[Frame],
    where: dict[int, np.ndarray],
    run: TrainedRun,
    to: str,
    colours: ColourShift,
) -> Iterator[np.ndarray]:
    """The images of ``batch``, with the face of each that has one replaced."""
    with_face = [frame for frame in batch if frame.index in where]
    if with_face:
        new = run.model.swap(face_squares_of(with_face, where, run), other(to), to)
    at = 0
    for frame in batch:
        if frame.index not in where:
            yield frame.image
            continue
        landmarks = where[frame.index]
        face = colours.apply(new[at])
        matrix = crop_matrix(landmarks, FACE_SIZE, run.crop, margin=False)
        yield paste(frame.image, face, matrix, face_mask(FACE_SIZE, mask_widths(landmarks)))
        at += 1


def other(side: str) -> str:
    """The side that is not ``side``."""
    return "a" if side == "b" else "b"


def _colours_of(
    source: Path, where: dict[int, np.ndarray], run: TrainedRun, to: str
) -> ColourShift:
    """The colour match of a whole video, from COLOUR_FRAMES of the frames that have a face."""
    numbers = sorted(where)
    wanted = {numbers[i] for i in even_spread(len(numbers), COLOUR_FRAMES)}
    with closing(ahead(read_frames(source, stop=max(wanted) + 1, only=wanted), 2)) as frames:
        # one by one: frames may be large
        squares = np.concatenate([face_squares_of([frame], where, run) for frame in frames])
    return ColourShift.fit(run.model.swap(squares, other(to), to), squares)


def face_squares_of(
    frames: list[Frame], where: dict[int, np.ndarray], run: TrainedRun
) -> np.ndarray:
    """The face squares (N, 64, 64, 3) float32 in [0, 1] of frames, cut as training faces were."""
    side = stored_side(FACE_SIZE, run.crop.margin)
    crops = np.empty((len(frames), side, side, 3), np.uint8)
    for crop, frame in zip(crops, frames, strict=True):
        matrix = crop_matrix(where[frame.index], CROP, run.crop)
        cv2.resize(
            # four by four taps: an average follows, which hides what the eight by eight of extraction would add
            warp_crop(frame.image, matrix, CROP, cv2.INTER_CUBIC),
            (side, side),
            crop,
            interpolation=cv2.INTER_AREA,
        )
    return FaceSet(crops, run.crop.margin).squares(np.arange(len(frames)), FACE_SIZE)


def _detect(
    source: Path,
    stop: int | None,
    detector: Detector,
    work: Unfinished,
    progress: Callable[[str, int, int], None],
) -> tuple[dict[int, np.ndarray], int]:
    """Landmarks (5, 2) of the largest face by frame, and how many frames had several."""
    total = probe(source).frames
    total = min(total, stop or total)
    if work.colours() is None:  # else the search had come to its end
        with closing(ahead(read_frames(source, stop=stop), 2)) as frames:
            for done, frame in enumerate(frames, start=1):
                if frame.index not in work.found:
                    faces = detector.find(frame.image)
                    largest = detector.refine(frame.image, faces[0]).landmarks if faces else None
                    work.add_landmarks(frame.index, Found(len(faces), largest))
                progress("looking for faces", done, max(done, total))
    landmarks = {i: found.landmarks for i, found in work.found.items() if found.faces}
    return landmarks, sum(found.faces > 1 for found in work.found.values())


def _digest(landmarks: dict[int, np.ndarray]) -> str:
    """sha256 of recorded landmarks: deleting a crop changes what is swapped."""
    whole = hashlib.sha256()
    for frame, points in sorted(landmarks.items()):
        whole.update(f"{frame} {points.tolist()}\n".encode())
    return whole.hexdigest()


def _recorded(
    source: Path, digest: str, faces: Path, stop: int | None
) -> tuple[dict[int, np.ndarray], int]:
    """The same from the records of an extraction of ``source``."""
    header, alignments = read_alignments(faces)
    if header["source_sha256"] != digest:
        raise UserError(
            f"the faces in {faces} were extracted from {header['source']}, which is not {source}; "
            "leave --faces out, and they are looked for"
        )
    last = header.get("stop")
    if header["every"] != 1 or (last is not None and (stop is None or stop > last)):
        raise UserError(
            f"the faces in {faces} are those of only a part of the frames of {source}; leave --faces "
            "out, and they are looked for"
        )
    several = [frame for frame in header["several"] if stop is None or frame < stop]
    kept = [a for a in alignments if stop is None or a.frame < stop]
    # A crop that its owner deleted is not the right person, so that face is left as it is.
    folder = faces if faces.is_dir() else faces.parent
    kept = [a for a in kept if a.file is None or (folder / a.file).exists()]
    return {a.frame: a.landmarks for a in kept}, len(several)
