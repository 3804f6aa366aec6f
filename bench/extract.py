"""python -m bench extract: are the faces found, does an unmodified crop go back, is it steady?

First table, a row a clip: frames, frames with a face, PSNR inside the face between the frame and
the frame with its own crop put back (median and worst), frames extracted per second.

Second table: the jitter of the crop, as the root mean square of the second difference over frames
of its centre (in eye distances), its scale (in percent) and its roll (in degrees); for YuNet's
best answer as cv2.FaceDetectorYN gives it, for the landmarks stored here, and for those after
`smooth_landmarks`; and how far smoothing moves the centre (95th percentile, eye distances). A
second difference holds a head's real acceleration too, so it cannot and should not become 0.
"""

import argparse
import tempfile
import time
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from bench.arguments import count
from swap.errors import UserError
from swap.faces.align import CropDefinition, crop_matrix, paste, smooth_landmarks
from swap.faces.detect import MODEL, quiet
from swap.faces.extract import ExtractReport, extract
from swap.faces.records import Alignment, read_alignments
from swap.video import read_frames

_SIZE = 256


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two uint8 arrays: 10 log10(255^2 / mean (a - b)^2)."""
    error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def face_pixels(shape: tuple[int, ...], matrix: np.ndarray, crop: CropDefinition) -> np.ndarray:
    """Which pixels (H, W) of a frame lie in the face square of a stored crop's matrix."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    middle = (_SIZE - 1) / 2
    inside = np.ones(shape[:2], bool)
    for row in matrix:
        inside &= np.abs(row[0] * x + row[1] * y + row[2] - middle) < _SIZE / 2 / crop.margin
    return inside


def round_trip(
    clip: Path, folder: Path, alignments: list[Alignment], crop: CropDefinition, step: int
) -> list[float]:
    """PSNR inside the face of every `step`-th frame with its crop, as stored, put back."""
    by_frame = {a.frame: a for a in alignments if a.file}
    values = []
    whole = np.ones((_SIZE, _SIZE), np.float32)
    for frame in read_frames(clip, step=step):
        if (alignment := by_frame.get(frame.index)) is None:
            continue
        stored = cv2.cvtColor(cv2.imread(str(folder / alignment.file)), cv2.COLOR_BGR2RGB)
        again = paste(frame.image, stored, alignment.matrix, whole)
        inside = face_pixels(frame.image.shape, alignment.matrix, crop)
        values.append(psnr(again[inside], frame.image[inside]))
    return values


def crop_track(landmarks: np.ndarray, crop: CropDefinition) -> np.ndarray:
    """Centre x and y (pixels), log scale and roll (radians) of the crops of (n, 5, 2): (n, 4)."""
    rows = []
    for points in landmarks:
        matrix = crop_matrix(points, _SIZE, crop)
        centre = np.linalg.solve(matrix[:, :2], (_SIZE - 1) / 2 - matrix[:, 2])
        pixels = crop.side() / _SIZE * np.hypot(*matrix[:, 0])  # eye distances per frame pixel
        rows.append([*centre, -np.log(pixels), np.arctan2(matrix[0, 1], matrix[0, 0])])
    return np.array(rows)


def jitter(track: np.ndarray) -> tuple[float, float, float]:
    """RMS second difference of centre (eye distances), scale (%) and roll (degrees)."""
    second = np.sqrt(np.mean(np.diff(track, 2, axis=0) ** 2, axis=0))
    centre = np.hypot(second[0], second[1]) / np.exp(track[:, 2].mean())
    return float(centre), float(100 * second[2]), float(np.degrees(second[3]))


def best_answers(clip: Path, every: int, frames: int) -> np.ndarray:
    """The landmarks (n, 5, 2) of the largest face as cv2.FaceDetectorYN itself gives them."""
    with quiet():
        net = cv2.FaceDetectorYN.create(str(MODEL), "", (32, 32), 0.6, 0.3)
    rows = []
    for frame in islice(read_frames(clip, step=every), frames):
        net.setInputSize(frame.image.shape[1::-1])
        _, faces = net.detect(cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
        if faces is not None:
            rows.append(max(faces, key=lambda face: face[2] * face[3])[4:14].reshape(5, 2))
    return np.array(rows)


def main(argv: list[str]) -> int:
    """Run the benchmark; 1 where a clip misses 99.5 % of faces or 40 dB, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m bench extract", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--clips", type=Path, required=True, help="folder of videos")
    parser.add_argument("--every", type=count, default=1, help="extract every n-th frame")
    parser.add_argument("--psnr-every", type=count, default=5, help="put back every n-th frame")
    parser.add_argument("--jitter-frames", type=int, default=500, help="0 leaves that table out")
    options = parser.parse_args(argv)
    clips = sorted(p for p in options.clips.glob("*") if p.suffix.lower() in {".mp4", ".mov"})
    if not clips:
        print(f"{options.clips} holds no .mp4 or .mov; name a folder of videos with --clips.")
        return 2
    crop, good, steady = CropDefinition(), True, []
    print(f"{'clip':<20}{'frames':>8}{'found':>8}{'%':>8}{'PSNR median':>13}{'worst':>8}{'f/s':>7}")
    for clip in clips:
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            try:
                report: ExtractReport = extract(clip, folder, every=options.every, crop=crop)
            except UserError as error:
                print(f"{clip.name}: {error}")
                return 2
            rate = report.frames / (time.perf_counter() - started)
            _, alignments = read_alignments(folder)
            step = options.every * options.psnr_every
            values = round_trip(clip, Path(folder), alignments, crop, step)
        found = 100 * report.with_face / report.frames
        good &= found >= 99.5 and min(values) >= 40
        print(
            f"{clip.name:<20}{report.frames:>8}{report.with_face:>8}{found:>8.2f}"
            f"{np.median(values):>13.1f}{min(values):>8.1f}{rate:>7.0f}",
            flush=True,
        )
        steady.append((clip, alignments))
    if options.jitter_frames:
        _print_jitter(steady, crop, options.every, options.jitter_frames)
    return 0 if good else 1


def _print_jitter(
    clips: list[tuple[Path, list[Alignment]]], crop: CropDefinition, every: int, count: int
) -> None:
    print(f"\n{'clip':<20}{'landmarks':<14}{'centre':>9}{'scale %':>9}{'roll deg':>10}{'moved':>9}")
    for clip, alignments in clips:
        stored = np.array([a.landmarks for a in alignments[:count]])
        frames = np.array([a.frame for a in alignments[:count]])
        raw = crop_track(stored, crop)
        smooth = crop_track(smooth_landmarks(stored, frames), crop)
        away = np.hypot(*(smooth - raw)[:, :2].T) / np.exp(raw[:, 2])
        best = crop_track(best_answers(clip, every, int(frames[-1]) // every + 1), crop)
        for name, track in (("best answer", best), ("stored", raw), ("smoothed", smooth)):
            moved = f"{np.percentile(away, 95):>9.4f}" if name == "smoothed" else ""
            centre, scale, roll = jitter(track)
            print(f"{clip.name:<20}{name:<14}{centre:>9.4f}{scale:>9.2f}{roll:>10.3f}{moved}")
