"""From five landmarks to an aligned crop and back into the frame.

    T = argmin sum_i |s R p_i + t - q_i|^2    similarity from the landmarks p to the template q
    crop(u) = frame(T^-1 u)                   `warp_crop`
    frame(p) <- m(Tp) crop(Tp) + (1 - m(Tp)) frame(p)     `paste`

A matrix here is always (2, 3) float64 and takes a point of the frame to a point of the crop, both
in pixels with pixel centres at integers: the pixel in the corner covers [-0.5, 0.5], a crop of S
pixels covers [-0.5, S - 0.5]. Images are (H, W, 3), uint8 or float32 in [0, 1].
"""

from dataclasses import asdict, dataclass
from functools import lru_cache
from math import isfinite

import cv2
import numpy as np

# Mean position of the five landmarks of a frontal face, in eye distances, origin midway between
# the eyes, y downwards: right eye (it is on the left of the picture), left eye, nose, right mouth
# corner, left mouth corner.
TEMPLATE = np.array(
    [[-0.5, 0.0], [0.5, 0.0], [0.0, 0.571], [-0.414, 1.154], [0.414, 1.154]], dtype=np.float64
)
TEMPLATE.setflags(write=False)

# Eight taps: a crop put back unchanged is 3 to 5 dB nearer to its frame than with the cubic kernel.
_INTERPOLATION = cv2.INTER_LANCZOS4
_LARGEST = 4096  # side in pixels of what `warp_crop` averages: landmarks gone mad cost no gigabytes


@dataclass(frozen=True)
class CropDefinition:
    """Which square of the aligned face is cut out; lengths in eye distances of `TEMPLATE`.

    face_side: side of the face square, which the network sees.
    centre_y: how far its centre lies below the point midway between the eyes.
    margin: a stored crop's side is `margin` times `face_side`, which leaves the random warp and
        the rotation of training some real picture to draw on.
    """

    face_side: float = 3.2
    centre_y: float = 0.55
    margin: float = 4 / 3

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not isfinite(value):
                raise ValueError(f"crop definition: {name} must be a finite number, not {value!r}")
        if self.face_side <= 0:
            raise ValueError(f"crop definition: face_side must be positive, not {self.face_side}")
        if self.margin < 1:
            raise ValueError(f"crop definition: margin must be at least 1, not {self.margin}")

    def side(self, margin: bool = True) -> float:
        """Side of the square in eye distances, with the margin or without."""
        return self.face_side * self.margin if margin else self.face_side

    def to_dict(self) -> dict[str, float]:
        """The three numbers, as stored in alignment files and checkpoints."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: object) -> "CropDefinition":
        """The inverse of `to_dict`. Raises ValueError for anything else than its three numbers."""
        names = {"face_side", "centre_y", "margin"}
        if not isinstance(values, dict) or set(values) != names:
            raise ValueError(f"crop definition: expected {sorted(names)}, found {values!r}")
        return cls(**values)


def umeyama(src: np.ndarray, dst: np.ndarray) -> np.ndarray:
    """Least-squares similarity (rotation, one scale, shift; no reflection) from src to dst.

    src, dst: (n, 2) points. Returns (2, 3) float64 [sR | t]. Raises ValueError where the shapes
    are wrong, a number is not finite, or all points of src or of dst coincide.
    S. Umeyama, Least-squares estimation of transformation parameters between two point patterns,
    IEEE TPAMI 13(4), 1991, equations 40 to 42.
    """
    src, dst = np.asarray(src, np.float64), np.asarray(dst, np.float64)
    if src.ndim != 2 or src.shape[1] != 2 or src.shape != dst.shape or len(src) < 2:
        raise ValueError(f"umeyama: expected two (n, 2) arrays, found {src.shape} and {dst.shape}")
    if not (np.isfinite(src).all() and np.isfinite(dst).all()):
        raise ValueError("umeyama: the points must be finite numbers")
    mean_src, mean_dst = src.mean(0), dst.mean(0)
    covariance = (dst - mean_dst).T @ (src - mean_src) / len(src)
    variance = ((src - mean_src) ** 2).sum() / len(src)
    u, d, vt = np.linalg.svd(covariance)
    # the sign keeps the best rotation a rotation where the best orthogonal matrix is a reflection
    sign = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    scale = (d * sign).sum() / variance if variance > 0 else 0.0
    if not scale > 0 or not isfinite(scale):
        raise ValueError("umeyama: the points coincide, so they define no scale and no rotation")
    linear = scale * (u * sign) @ vt
    return np.column_stack([linear, mean_dst - linear @ mean_src])


def crop_matrix(
    landmarks: np.ndarray, size: int, definition: CropDefinition, margin: bool = True
) -> np.ndarray:
    """Matrix (2, 3) from frame pixels to the pixels of a crop of `size` x `size`.

    landmarks: (5, 2) in the order of `TEMPLATE`. margin=True gives the stored crop, False the face
    square alone. Raises ValueError where the landmarks define no similarity.
    """
    matrix = umeyama(landmarks, TEMPLATE)
    matrix[1, 2] -= definition.centre_y
    matrix *= size / definition.side(margin)
    matrix[:, 2] += (size - 1) / 2
    return matrix


def warp_crop(
    image: np.ndarray, matrix: np.ndarray, size: int, interpolation: int = _INTERPOLATION
) -> np.ndarray:
    """The crop (size, size, C) of the image (H, W, C), same dtype; edges are replicated.

    interpolation: one of OpenCV's flags. Where the crop is much smaller than what it shows, it is
    sampled several times finer and averaged, so that fine structure does not alias. Raises
    ValueError where `matrix` is no similarity.
    """
    fine = max(1, min(round(1 / _scale(matrix)), _LARGEST // size))
    # pixel u of the crop covers the pixels fine*u ... fine*u + fine-1 of the finer one
    finer = fine * np.asarray(matrix, np.float64)
    finer[:, 2] += (fine - 1) / 2
    crop = cv2.warpAffine(
        image,
        finer,
        (size * fine, size * fine),
        flags=interpolation,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if fine > 1:
        crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
    return _clip(crop)


def paste(frame: np.ndarray, crop: np.ndarray, matrix: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A copy of the frame with the crop put back where `matrix` says it came from.

    frame: (H, W, 3) uint8 or float32; crop: (S, S, 3) uint8 or float32 in [0, 1]; mask: (S, S)
    float in [0, 1], 0 leaves the frame's pixel as it is, bit for bit. The result has the frame's
    dtype. Pixel p of the frame takes the crop's value at exactly `matrix` p, rounded to 1/32 px.
    """
    frame, matrix = np.asarray(frame), np.asarray(matrix, np.float64)
    out = frame.copy()
    colour, soft = _as_float(crop), np.asarray(mask, np.float32)
    shrink = round(_scale(matrix))
    left, top, right, bottom = _footprint(matrix, soft, frame.shape, max(1, 2 * shrink))
    if left >= right or top >= bottom:
        return out
    to_crop = matrix.copy()
    to_crop[:, 2] += matrix[:, :2] @ (left, top)
    if shrink > 1:
        # the crop is much finer than the frame: average first, so that it does not alias
        size = crop.shape[0]
        small = max(1, round(size / shrink))
        colour = cv2.resize(colour, (small, small), interpolation=cv2.INTER_AREA)
        soft = cv2.resize(soft, (small, small), interpolation=cv2.INTER_AREA)
        to_crop *= small / size
        to_crop[:, 2] += (small / size - 1) / 2
    box = (right - left, bottom - top)
    inverse = cv2.WARP_INVERSE_MAP
    # A crop that is enlarged more than twice holds nothing that takes a kernel of eight by eight to keep, and four by
    # four is many times as fast.
    kernel = _INTERPOLATION if _scale(to_crop) > 0.5 else cv2.INTER_CUBIC
    colour = cv2.warpAffine(
        colour, to_crop, box, flags=kernel | inverse, borderMode=cv2.BORDER_REPLICATE
    )
    soft = cv2.warpAffine(soft, to_crop, box, flags=cv2.INTER_LINEAR | inverse)[..., None]
    under = _as_float(frame[top:bottom, left:right])
    blend = under + soft * (_clip(colour) - under)
    if frame.dtype == np.uint8:
        blend = np.rint(blend * 255)
    # where the mask is 0 the frame's own value is taken: no rounding can touch it
    region = out[top:bottom, left:right]
    np.copyto(region, blend.astype(frame.dtype), where=soft > 0)
    return out


def smooth_landmarks(
    landmarks: np.ndarray,
    frames: np.ndarray,
    *,
    sigma_centre: float = 0.75,
    sigma_shape: float = 2.0,
    max_jump: float = 0.35,
) -> np.ndarray:
    """Landmarks over time without the detector's jitter: (n, 5, 2) float64.

    landmarks: (n, 5, 2), one face a frame; frames: (n,) their numbers, rising. Each coordinate
    becomes the value, at its own frame, of the parabola that fits its neighbours best, with
    Gaussian weights of sigma frames cut off at 3 sigma: a weighted Savitzky-Golay filter
    (Analytical Chemistry 36, 1964, 1627-1639). Constant speed and constant acceleration pass
    unchanged; sigma 0 changes nothing. Neighbours are never taken from across a missing frame, nor
    across a jump of the landmarks' mean by more than `max_jump` eye distances from one frame to
    the next: a cut, or another face.

    The mean of the five landmarks, which places the crop, gets sigma_centre, and what they deviate
    from it, which sets the crop's size and roll, sigma_shape. Heads shift fast, above all before a
    webcam that drops frames, and heads grow and roll slowly. Against the frame-to-frame motion that
    a 478-point landmark model sees in three clips, the centre is nearest at 0.7 and off by a
    quarter more at 2; roll is nearest at 2 to 3. Raises ValueError for wrong shapes.
    """
    points, frames = np.asarray(landmarks, np.float64), np.asarray(frames)
    if points.ndim != 3 or points.shape[1:] != (5, 2) or frames.shape != points.shape[:1]:
        raise ValueError(
            f"smooth_landmarks: expected (n, 5, 2) and (n,), found {points.shape}, {frames.shape}"
        )
    if len(points) < 2:
        return points.copy()
    steps = np.diff(frames)
    if (steps <= 0).any():
        raise ValueError("smooth_landmarks: the frame numbers must rise")
    centre = points.mean(1, keepdims=True)
    eye_distance = np.hypot(*(points[:, 1] - points[:, 0]).T)
    jump = np.hypot(*np.diff(centre[:, 0], axis=0).T)
    allowed = max_jump * np.minimum(eye_distance[:-1], eye_distance[1:])
    breaks = np.flatnonzero((steps > steps.min()) | (jump > allowed)) + 1
    runs = np.split(np.arange(len(points)), breaks)
    return _fit_parabolas(centre, runs, sigma_centre) + _fit_parabolas(
        points - centre, runs, sigma_shape
    )


def _fit_parabolas(values: np.ndarray, runs: list[np.ndarray], sigma: float) -> np.ndarray:
    """Smooth (n, ...) along the first axis within each run of indices."""
    if sigma <= 0:
        return values
    out = np.empty_like(values)
    reach = int(np.ceil(3 * sigma))
    for run in runs:
        for i in run:
            before, after = min(reach, i - run[0]), min(reach, run[-1] - i)
            weights = _parabola_weights(int(before), int(after), sigma)
            out[i] = np.tensordot(weights, values[i - before : i + after + 1], 1)
    return out


@lru_cache(maxsize=1024)
def _parabola_weights(before: int, after: int, sigma: float) -> np.ndarray:
    """Weights (before + 1 + after,) of the neighbours in the local fit's value at offset 0."""
    offsets = np.arange(-before, after + 1, dtype=np.float64)
    root = np.exp(-((offsets / sigma) ** 2) / 4)  # the square root of the Gaussian weight
    degree = min(2, len(offsets) - 1)
    powers = offsets[:, None] ** np.arange(degree + 1)
    # value at 0 = first coefficient of argmin |root (powers c - y)|^2
    return np.linalg.pinv(root[:, None] * powers)[0] * root


def _scale(matrix: np.ndarray) -> float:
    """Crop pixels per frame pixel of a similarity: the square root of its determinant."""
    determinant = float(np.linalg.det(np.asarray(matrix, np.float64)[:, :2]))
    if not determinant > 0 or not isfinite(determinant):
        raise ValueError(f"alignment matrix: expected a similarity, found {np.asarray(matrix)}")
    return determinant**0.5


def _footprint(
    matrix: np.ndarray, mask: np.ndarray, shape: tuple[int, ...], reach: int
) -> tuple[int, int, int, int]:
    """The part of a frame that a crop can touch: left, top, right, bottom (both exclusive).

    reach: how many of the crop's pixels beyond those where `mask` is not 0 it is seen.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return 0, 0, 0, 0
    low_x, high_x = columns[0] - reach, columns[-1] + reach
    low_y, high_y = rows[0] - reach, rows[-1] + reach
    corners = np.array(
        [[low_x, low_y], [high_x, low_y], [high_x, high_y], [low_x, high_y]], np.float64
    )
    in_frame = np.linalg.solve(matrix[:, :2], (corners - matrix[:, 2]).T)
    low = np.maximum(np.floor(in_frame.min(1)), 0).astype(int)
    high = np.minimum(np.ceil(in_frame.max(1)) + 1, (shape[1], shape[0])).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _as_float(image: np.ndarray) -> np.ndarray:
    """float32 in [0, 1] of a uint8 or float image."""
    if image.dtype == np.uint8:
        return image.astype(np.float32) / 255
    return image.astype(np.float32, copy=False)


def _clip(image: np.ndarray) -> np.ndarray:
    """The kernel's negative lobes overshoot at edges; uint8 saturates by itself."""
    return image if image.dtype == np.uint8 else np.clip(image, 0, 1)
