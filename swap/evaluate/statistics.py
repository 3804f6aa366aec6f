"""What can be said of each face of a set without knowing the truth: where it looks, what it does, how it is lit.

    yaw, pitch   degrees, from the five landmarks: how far the tip of the nose lies beside, and above or below, the line
                 from the eyes to the mouth. Yaw is above 0 where the nose points to the picture's left, pitch
                 above 0 where it points down, from the median of the set
    mouth        contrast under a window over the mouth over the face's brightness, above its 10th percentile: an open
                 mouth is dark, its teeth are bright
    eyes         vertical gradient under a window over each eye over the face's brightness, over its 90th percentile:
                 1 is open, a closed eye has less
    brightness   of the face, in stops (factors of two) from the median of the set
    light        brightness of the face's right half in the picture less its left, over both
    sharpness    log2 of the deviation of the Laplacian over that of the same picture blurred by one pixel. Of rendered
                 heads, as they are: 1.7 and 1.9; blurred by 0.6 pixels before: 1.2 and 1.3

Of rendered heads, whose parameters are known, mouth goes with the opening of the jaw (correlation 0.90 and 0.87),
eyes with a blink (-0.67 and -0.89). Noses differ in length, so the degrees are
good to a third. Roll is not among them: alignment takes it out.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from swap.convert import face_mask
from swap.data import FaceSet
from swap.data.unusual import TIGHT_EYE, eye_distances, eye_window, mouth_window
from swap.faces.align import TEMPLATE, umeyama

SIZE = 64
# How far the tip of the nose moves for the sine of a turn, in eye distances: the mean of four rendered heads.
NOSE = 0.57
BLOCK = 256


@dataclass(frozen=True)
class Statistic:
    """step: a difference that matters, in unit; what lies nearer than that counts as the same."""

    part: str
    unit: str
    step: float


STATISTICS = {
    "yaw": Statistic("pose", "degrees", 8.0),
    "pitch": Statistic("pose", "degrees", 8.0),
    "mouth": Statistic("expression", "of the face's brightness", 0.06),
    "eyes": Statistic("expression", "of an open eye", 0.15),
    "brightness": Statistic("brightness", "stops", 0.25),
    "light": Statistic("brightness", "right half less left, over both", 0.08),
    "sharpness": Statistic("sharpness", "log2", 0.25),
}


def face_statistics(
    faces: FaceSet, chosen: np.ndarray, points: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """The statistics of some faces of a set by name, (n,) float64 each.

    points: landmarks (n, 5, 2) of the chosen faces, in the order of `swap.faces.align.TEMPLATE`; without them there
    is no yaw and no pitch.
    """
    x, y = eye_distances(SIZE)
    mask = face_mask(SIZE).astype(np.float64)
    windows = {"mouth": mouth_window(x, y), "eyes": eye_window(x, y, TIGHT_EYE)}
    columns: dict[str, list[np.ndarray]] = {
        name: [] for name in ("mouth", "eyes", "brightness", "light", "sharpness")
    }
    for start in range(0, len(chosen), BLOCK):
        grey = faces.squares(chosen[start : start + BLOCK], SIZE).mean(-1, dtype=np.float64)
        bright = _mean(grey, mask) + 1e-3
        spread = _deviation(grey, windows["mouth"])
        steep = np.abs(np.diff(grey, axis=1, append=grey[:, -1:]))
        right, left = (_mean(grey, mask * side) for side in (x > 0, x < 0))
        fine = _deviation(_edges(grey), mask)
        coarse = _deviation(_edges(np.stack([cv2.GaussianBlur(g, (0, 0), 1) for g in grey])), mask)
        columns["mouth"].append(spread / bright)
        columns["eyes"].append(_mean(steep, windows["eyes"]) / bright)
        columns["brightness"].append(np.log2(bright))
        columns["light"].append((right - left) / (right + left + 1e-3))
        columns["sharpness"].append(np.log2((fine + 1e-4) / (coarse + 1e-4)))
    found = {name: np.concatenate(parts) for name, parts in columns.items()}
    found["mouth"] -= np.percentile(found["mouth"], 10)
    found["eyes"] /= np.percentile(found["eyes"], 90) + 1e-6
    found["brightness"] -= np.median(found["brightness"])
    if points is not None:
        found["yaw"], found["pitch"] = head_turn(points)
    return {name: found[name] for name in STATISTICS if name in found}


def head_turn(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Yaw and pitch (n,) in degrees of landmarks (n, 5, 2), as the top of this file describes them."""
    aside = np.empty((len(points), 2))
    for row, landmarks in zip(aside, points, strict=True):
        matrix = umeyama(landmarks, TEMPLATE)
        p = landmarks @ matrix[:, :2].T + matrix[:, 2]
        # The line from the eyes to the mouth, at a level where it is nearest to the nose's root (see mask_widths).
        row[...] = p[2] - (0.6 * (p[0] + p[1]) / 2 + 0.4 * (p[3] + p[4]) / 2)
    aside[:, 1] -= np.median(aside[:, 1])
    degrees = np.degrees(np.arcsin(np.clip(aside / NOSE, -1, 1)))
    return -degrees[:, 0], degrees[:, 1]


def summary(values: np.ndarray) -> dict[str, Any]:
    """What a report says of a statistic: its median and the range of its middle 98 %."""
    low, middle, high = np.percentile(values, (1, 50, 99))
    return {"p1": float(low), "median": float(middle), "p99": float(high)}


def _edges(pictures: np.ndarray) -> np.ndarray:
    return np.stack([cv2.Laplacian(picture, cv2.CV_64F) for picture in pictures])


def _mean(pictures: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return (pictures * weight).sum((1, 2)) / weight.sum()


def _deviation(pictures: np.ndarray, weight: np.ndarray) -> np.ndarray:
    mean = _mean(pictures, weight)
    return np.sqrt(_mean((pictures - mean[:, None, None]) ** 2, weight))
