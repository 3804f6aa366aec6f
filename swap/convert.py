"""Conversion: every face of a video is encoded, decoded as somebody else, and put back where it was.

    1. where is the face?    landmarks of every frame, from the records of an extraction or by detection,
                             then smoothed over time, so that the face does not tremble in the head
    2. what is it doing?     the frame's face square, cut as for training -> encoder -> code
    3. who shall it be?      code -> the other's decoder -> face square
    4. back into the frame   its colours matched to the face it replaces, through a soft mask, with the
                             inverse of the alignment

Frames without a face pass unchanged. Size, frame rate, timestamps and sound are the source's.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from swap.data import FaceSet
from swap.data.faces import OVERSAMPLE
from swap.errors import UserError
from swap.faces.align import crop_matrix, paste, smooth_landmarks, warp_crop
from swap.faces.detect import Detector
from swap.faces.records import read_alignments
from swap.model import FACE_SIZE
from swap.provenance import Mark, SourceType
from swap.run import TrainedRun
from swap.video import Frame, VideoWriter, probe, read_frames

TOOL = "latentface swap convert"
BATCH = 16
CROP = 256  # the stored crop's size: frames go the way that training faces went

# The mask, in units of the face square's side: a rounded shape from above the brows to the chin and from
# cheek to cheek, which fades out over FADE.
MASK_HALF_WIDTH, MASK_HALF_HEIGHT, MASK_BELOW, FADE = 0.36, 0.44, 0.0, 0.11

# Colour is matched by gain and offset for each channel. Larger gains would only amplify noise.
GAIN_LIMITS = (0.7, 1.4)
COLOUR_MEMORY = (
    0.9  # of the match of one frame kept for the next: light changes slowly, noise does not
)


@dataclass(frozen=True)
class ConvertReport:
    """frames written; swapped: those with a face; passed: numbers of the frames left as they were;
    several: frames with more than one face, of which the largest was swapped; skipped: what could not be decoded."""

    frames: int
    swapped: int
    passed: list[int]
    several: int
    skipped: list[tuple[str, str]]


def face_mask(size: int) -> np.ndarray:
    """The soft mask (size, size) float32 in [0, 1] of the face square: 1 on the face, 0 at its border."""
    along = (np.arange(size) + 0.5) / size - 0.5
    x, y = along[None, :] / MASK_HALF_WIDTH, (along[:, None] - MASK_BELOW) / MASK_HALF_HEIGHT
    radius = (np.abs(x) ** 2.5 + np.abs(y) ** 2.5) ** (1 / 2.5)  # between an ellipse and a box
    inside = np.clip((1 - radius) * MASK_HALF_WIDTH / FADE, 0, 1)
    return (inside * inside * (3 - 2 * inside)).astype(np.float32)


class ColourFollower:
    """Matches the colours of new faces to those of the faces they replace, smoothly over time.

    y = gain x + offset for each channel, so that mean and deviation under the mask are those of the face replaced;
    both are averaged over time with weight COLOUR_MEMORY, so that single frames do not flicker.
    """

    def __init__(self, mask: np.ndarray) -> None:
        self._weight = (mask / mask.sum())[..., None]
        self._gain: np.ndarray | None = None
        self._offset: np.ndarray | None = None

    def forget(self) -> None:
        """The next face has nothing to do with the last (a cut, or a gap)."""
        self._gain = None

    def __call__(self, new: np.ndarray, replaced: np.ndarray) -> np.ndarray:
        """``new`` (S, S, 3) in [0, 1] with the colours of ``replaced`` (S, S, 3)."""
        (mean_new, std_new), (mean, std) = self._statistics(new), self._statistics(replaced)
        gain = np.clip(std / np.maximum(std_new, 1e-3), *GAIN_LIMITS)
        offset = mean - gain * mean_new
        if self._gain is not None:
            gain = COLOUR_MEMORY * self._gain + (1 - COLOUR_MEMORY) * gain
            offset = COLOUR_MEMORY * self._offset + (1 - COLOUR_MEMORY) * offset
        self._gain, self._offset = gain, offset
        return np.clip(new * gain + offset, 0, 1, dtype=np.float32)

    def _statistics(self, face: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = (face * self._weight).sum((0, 1))
        variance = (((face - mean) ** 2) * self._weight).sum((0, 1))
        return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)


def convert(
    source: Path,
    out: Path,
    run: TrainedRun,
    *,
    to: str,
    faces: Path | None = None,
    side_by_side: bool = False,
    detector: Detector | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> ConvertReport:
    """Writes ``source`` with every face swapped to ``to`` ("a" or "b") as the video ``out``.

    faces: an extraction folder of the same video, whose landmarks are used in place of detection. side_by_side
    puts the original on the left. progress(what, done, total). Raises UserError where the source
    cannot be read, has no face, or ``faces`` belongs to another video; ``out`` is then not written.
    """
    progress = progress or (lambda what, done, total: None)
    info = probe(source)
    landmarks, several = (
        _recorded(source, faces, run)
        if faces
        else _detect(source, detector or Detector(), progress)
    )
    if not landmarks:
        raise UserError(f"no face was found in any frame of {source}, so there is nothing to swap")
    frames = np.array(sorted(landmarks))
    smooth = smooth_landmarks(np.array([landmarks[f] for f in frames]), frames)
    where = dict(zip(frames.tolist(), smooth, strict=True))

    skipped: list[tuple[str, str]] = []
    passed: list[int] = []
    swapped = done = 0
    mask = face_mask(FACE_SIZE)
    follower = ColourFollower(mask)
    mark = Mark(
        SourceType.SWAPPED,
        TOOL,
        f"The face in this video was replaced by a trained model (to {to.upper()}).",
        {"Preset": run.model.preset.name, "Model_sha256": run.fingerprint, "To": to},
    )
    with VideoWriter(
        out,
        fps=info.fps,
        width=info.width * (2 if side_by_side else 1),
        height=info.height,
        audio_from=source if info.has_audio else None,
        sample_aspect_ratio=info.sample_aspect_ratio,
        mark=mark,
    ) as writer:
        stream = read_frames(source, on_skip=lambda name, why: skipped.append((name, why)))
        while batch := list(islice(stream, BATCH)):
            made = _swap_batch(batch, where, run, to, mask, follower)
            for frame, image in zip(batch, made, strict=True):
                if frame.index in where:
                    swapped += 1
                else:
                    passed.append(frame.index)
                if side_by_side:
                    image = np.concatenate([frame.image, image], axis=1)
                writer.write(image, frame.pts, frame.time_base)
            done += len(batch)
            progress("converting", done, max(done, info.frames))
    return ConvertReport(done, swapped, passed, several, skipped)


def _swap_batch(
    batch: list[Frame],
    where: dict[int, np.ndarray],
    run: TrainedRun,
    to: str,
    mask: np.ndarray,
    follower: ColourFollower,
) -> Iterator[np.ndarray]:
    """The images of ``batch``, with the face of each that has one replaced."""
    with_face = [frame for frame in batch if frame.index in where]
    side = "a" if to == "b" else "b"
    if with_face:
        squares = face_squares_of(with_face, where, run)
        new = run.model.swap(squares, side, to)
    at = 0
    for frame in batch:
        if frame.index not in where:
            follower.forget()
            yield frame.image
            continue
        face = follower(new[at], squares[at])
        matrix = crop_matrix(where[frame.index], FACE_SIZE, run.crop, margin=False)
        yield paste(frame.image, face, matrix, mask)
        at += 1


def face_squares_of(
    frames: list[Frame], where: dict[int, np.ndarray], run: TrainedRun
) -> np.ndarray:
    """The face squares (N, 64, 64, 3) float32 in [0, 1] of frames, cut as training faces were."""
    side = round(FACE_SIZE * run.crop.margin * OVERSAMPLE)
    crops = np.empty((len(frames), side, side, 3), np.uint8)
    for crop, frame in zip(crops, frames, strict=True):
        matrix = crop_matrix(where[frame.index], CROP, run.crop)
        cv2.resize(
            warp_crop(frame.image, matrix, CROP), (side, side), crop, interpolation=cv2.INTER_AREA
        )
    return FaceSet(crops, run.crop.margin).squares(np.arange(len(frames)), FACE_SIZE)


def _detect(
    source: Path, detector: Detector, progress: Callable[[str, int, int], None]
) -> tuple[dict[int, np.ndarray], int]:
    """Landmarks (5, 2) of the largest face by frame, and how many frames had several."""
    landmarks, several = {}, 0
    total = probe(source).frames
    for done, frame in enumerate(read_frames(source), start=1):
        found = detector.detect(frame.image)
        if found:
            landmarks[frame.index] = found[0].landmarks
            several += len(found) > 1
        progress("looking for faces", done, max(done, total))
    return landmarks, several


def _recorded(source: Path, faces: Path, run: TrainedRun) -> tuple[dict[int, np.ndarray], int]:
    """The same from the records of an extraction of ``source``."""
    header, alignments = read_alignments(faces)
    if header["source"] != source.name or header.get("every", 1) != 1:
        raise UserError(
            f"the faces in {faces} are those of {header['source']}"
            + ("" if header.get("every", 1) == 1 else f", every {header['every']}th frame")
            + f"; to convert {source} it needs the faces of all of its frames: leave --faces out"
        )
    return {a.frame: a.landmarks for a in alignments}, len(header.get("several", []))
