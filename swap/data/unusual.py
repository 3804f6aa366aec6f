"""How unusual a face's eyes and mouth are: closed eyes and open mouths are a few frames in a hundred.

    eyes     the grey picture under a tight soft window over each eye, brought to mean 0 and deviation 1 (light does not
             count), against the median of the frames around it in time (where somebody looks changes
             slowly, a blink is over in a fifth of a second)
    mouth    the grey picture under a window over the mouth, its mean taken off, against the median of all faces

    distance d = root of the windowed sum of squares between patch and median, over the median distance
    weight   = eyes' clip(d, 1/2, 4)^3 + mouth's clip(d, 1/2, 4)^2, each brought to mean 1

Drawing faces in proportion to the weight shows the network closed eyes and open mouths more often than they
happen, and so makes them worth learning.
"""

import cv2
import numpy as np

from swap.data.faces import FaceSet
from swap.faces.align import TEMPLATE, CropDefinition

SIZE = 64  # pixels of the square on which patches are compared
LIMITS = (0.5, 4.0)
EYE_EXPONENT, MOUTH_EXPONENT = 3.0, 2.0
# Half widths and heights of the windows, in eye distances.
TIGHT_EYE, EYE, MOUTH = (0.25, 0.13), (0.28, 0.17), (0.50, 0.30)
AROUND, STRIDE = 20, 4  # faces before and after, of which every fourth is looked at
SEEN = 0.05  # of a window: where it is lower, its pixels are left out
BLOCK = 256  # faces at a time


def eye_distances(size: int, crop: CropDefinition | None = None) -> tuple[np.ndarray, np.ndarray]:
    """x, y (size, size) of the face square's pixel centres in eye distances, from the middle of the eyes."""
    crop = crop or CropDefinition()
    along = ((np.arange(size) + 0.5) / size - 0.5) * crop.face_side
    return np.meshgrid(along, along + crop.centre_y)


def eye_window(x: np.ndarray, y: np.ndarray, half: tuple[float, float] = EYE) -> np.ndarray:
    """1 on either eye of an aligned face, falling off like a Gaussian; x, y in eye distances."""
    return np.maximum(*(_bell(x, y, TEMPLATE[i], half) for i in (0, 1)))


def mouth_window(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """1 on the mouth of an aligned face, falling off like a Gaussian; x, y in eye distances."""
    return _bell(x, y, TEMPLATE[3:].mean(0), MOUTH)


def _bell(
    x: np.ndarray, y: np.ndarray, centre: np.ndarray, half: tuple[float, float]
) -> np.ndarray:
    return np.exp(-0.5 * (((x - centre[0]) / half[0]) ** 2 + ((y - centre[1]) / half[1]) ** 2))


def unusual(faces: FaceSet) -> np.ndarray:
    """The weight (F,) float64 of each face, mean 1. The faces stand in the order of their video."""
    grid = eye_distances(SIZE)
    eyes, mouth = eye_window(*grid, TIGHT_EYE), mouth_window(*grid)
    eye_patches = _patches(faces, eyes)
    level = eye_patches - _mean(eye_patches, eyes)
    level /= np.sqrt(_mean(level**2, eyes)) + 1e-6
    usual = np.empty_like(level)
    for i in range(len(level)):
        usual[i] = np.median(level[max(0, i - AROUND) : i + AROUND + 1 : STRIDE], axis=0)
    weight = _weight(level - usual, eyes, EYE_EXPONENT)
    mouth_patches = _patches(faces, mouth)
    level = mouth_patches - _mean(mouth_patches, mouth)
    return (weight + _weight(level - np.median(level, axis=0), mouth, MOUTH_EXPONENT)) / 2


def _patches(faces: FaceSet, window: np.ndarray) -> np.ndarray:
    """(F, P) float32: the grey pixels of each face, slightly smoothed, where the window is not small."""
    where = window > SEEN
    patches = np.empty((len(faces), np.count_nonzero(where)), np.float32)
    for start in range(0, len(faces), BLOCK):
        squares = faces.squares(np.arange(start, min(start + BLOCK, len(faces))), SIZE)
        for patch, square in zip(patches[start:], squares, strict=False):
            patch[...] = cv2.blur(square.mean(2), (3, 3))[where]
    return patches


def _mean(patches: np.ndarray, window: np.ndarray) -> np.ndarray:
    """(F, 1): the mean of each patch under the window."""
    seen = window[window > SEEN].astype(np.float32)
    return (patches @ seen / seen.sum())[:, None]


def _weight(apart: np.ndarray, window: np.ndarray, exponent: float) -> np.ndarray:
    """(F,) weights, mean 1, of patches that lie ``apart`` (F, P) from the usual."""
    distance = np.sqrt(_mean(apart**2, window)[:, 0]).astype(np.float64)
    distance /= max(float(np.median(distance)), 1e-9)
    weight = np.clip(distance, *LIMITS) ** exponent
    return weight / weight.mean()
