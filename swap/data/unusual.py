"""How unusual a face's eyes and mouth are: closed eyes and open mouths are a few frames in a hundred.

    patch        the grey picture under a soft window (both eyes, or the mouth), its mean taken off, so that light
                 does not count
    distance     root of the windowed sum of squares between a face's patch and the median patch
    weight       sum over the windows of clip(distance / median distance, 1/2, 4)^exponent

Drawing faces in proportion to the weight shows the network all expressions about as often as each other.
"""

import cv2
import numpy as np

from swap.data.faces import FaceSet
from swap.faces.align import TEMPLATE, CropDefinition

SIZE = 64  # pixels of the square on which patches are compared
LIMITS = (0.5, 4.0)
# Half widths and heights of the windows, in eye distances.
EYE, MOUTH = (0.32, 0.20), (0.50, 0.35)
BLOCK = 256  # faces at a time


def eye_distances(size: int, crop: CropDefinition | None = None) -> tuple[np.ndarray, np.ndarray]:
    """x, y (size, size) of the face square's pixel centres in eye distances, from the middle of the eyes."""
    crop = crop or CropDefinition()
    along = ((np.arange(size) + 0.5) / size - 0.5) * crop.face_side
    return np.meshgrid(along, along + crop.centre_y)


def features(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(3, *x.shape): soft windows over the right eye, the left eye and the mouth of an aligned face."""
    mouth = TEMPLATE[3:].mean(0)
    places = ((TEMPLATE[0], EYE), (TEMPLATE[1], EYE), (mouth, MOUTH))
    return np.array(
        [
            np.exp(-0.5 * (((x - cx) / half_x) ** 2 + ((y - cy) / half_y) ** 2))
            for (cx, cy), (half_x, half_y) in places
        ]
    )


def unusual(faces: FaceSet, exponent: float) -> np.ndarray:
    """The weight (F,) float64 of each face, mean 1; exponent 0 makes all alike."""
    patches = np.empty((len(faces), SIZE, SIZE), np.float32)
    for start in range(0, len(faces), BLOCK):
        squares = faces.squares(np.arange(start, min(start + BLOCK, len(faces))), SIZE)
        for patch, square in zip(patches[start:], squares, strict=False):
            patch[...] = cv2.blur(square.mean(2), (3, 3))
    right, left, mouth = features(*eye_distances(SIZE)).astype(np.float32)
    weight = np.zeros(len(faces))
    for window in (np.maximum(right, left), mouth):
        means = np.tensordot(patches, window, 2) / window.sum()
        level = patches - means[:, None, None]
        apart = level - np.median(level, axis=0)
        distance = np.sqrt(np.einsum("fyx,fyx,yx->f", apart, apart, window, optimize=True))
        distance /= max(float(np.median(distance)), 1e-9)
        weight += np.clip(distance, *LIMITS) ** exponent
    return weight / weight.mean()
