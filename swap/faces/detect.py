"""Faces and their five landmarks, by YuNet (see models/README.md) through cv2.FaceDetectorYN.

Two passes. `find` looks at the whole picture, made small, and says where the faces are, and roughly
where their landmarks. `refine` has them from a network of our own that looks at upright views of one
face (landmarks.py).

YuNet gives one answer for each cell of its grids (8, 16 and 32 pixels) that a face covers. The
answers of one face scatter by 0.05 eye distances. Here the answers that overlap the best one by half
are averaged, weighted by score, which costs nothing. It also shows a tilted head as less tilted than
it is: on frames of three clips turned by 15 degrees its landmarks turn by 4 to 10 only. So its roll
is counted twice.
"""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from swap.errors import UserError
from swap.faces.align import TEMPLATE, umeyama
from swap.faces.landmarks import describe, refined

MODEL = Path(__file__).parent / "models" / "face_detection_yunet_2023mar.onnx"
MODEL_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"

LARGEST_LOOK = 2560  # pixels of the longer side that YuNet is shown: 200 MB
_CANDIDATE_SCORE = 0.3  # answers below this are no part of an average
_SAME_FACE = 0.5  # intersection over union with the best answer, to be averaged with it
_OVERLAP = 0.3  # a second face may overlap the first by this much, as in OpenCV's own sample
_TOP_K = 5000
_SMALLEST = 10  # pixels of the smallest face YuNet knows; OpenCV 4 sees ghosts in thinner pictures
_LARGEST_MOVE = 0.5  # of the landmarks' mean by `refine`, in eye distances
_LARGEST_GROWTH = 1.6  # of the eye distance by `refine`, and 1 over it the smallest
_ROLL_GAIN = 2.0  # true roll over the roll that YuNet shows, about


@dataclass(frozen=True, eq=False)
class Detection:
    """One face. box: (x, y, w, h) and landmarks: float32 (5, 2), in pixels of the picture, in the
    order of `align.TEMPLATE`: the person's right eye, left eye, nose, right and left mouth corner.
    score: 0..1.
    """

    box: tuple[float, float, float, float]
    landmarks: np.ndarray
    score: float


class Detector:
    """Finds faces. One detector may be used by several threads at once.

    score_threshold: the least score of a face. max_side: pictures are made as small as this for
    `find`; where that shows no face, it looks again at twice that and at full size, which is
    LARGEST_LOOK at most. Raises
    UserError where a model file is missing or damaged.
    """

    def __init__(self, score_threshold: float = 0.6, max_side: int = 320) -> None:
        if not 0 < score_threshold < 1:
            raise ValueError(f"score_threshold must be between 0 and 1, not {score_threshold}")
        if max_side < 32:
            raise ValueError(f"max_side must be at least 32 pixels, not {max_side}")
        self.score_threshold, self.max_side = score_threshold, max_side
        self._model, self._landmarks = _verified_model(MODEL), describe()
        self._per_thread = threading.local()

    def describe(self) -> str:
        """What decides the landmarks, in a line: kept with them, so that they can be reproduced."""
        return (
            f"YuNet 2023mar, score >= {self.score_threshold:g}, longer side {self.max_side}, "
            f"roll gain {_ROLL_GAIN:g}, {self._landmarks}"
        )

    def detect(self, rgb: np.ndarray) -> list[Detection]:
        """All faces of a uint8 (H, W, 3) RGB picture, refined, the largest first."""
        return [self.refine(rgb, found) for found in self.find(rgb)]

    def find(self, rgb: np.ndarray) -> list[Detection]:
        """The faces as one look at the whole picture shows them, the largest first."""
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
            raise ValueError(f"a picture must be uint8 (H, W, 3), found {rgb.dtype} {rgb.shape}")
        longer = min(max(rgb.shape[:2]), LARGEST_LOOK)
        for side in (self.max_side, 2 * self.max_side, longer):
            found = self._look(_smaller(rgb, side), self.score_threshold)
            if found or side >= longer:
                break
        scale = np.array([rgb.shape[1], rgb.shape[0]]) / _size_within(rgb, side)
        found = [_rescaled(face, scale) for face in found]
        return sorted(found, key=lambda face: face.box[2] * face.box[3], reverse=True)

    def refine(self, rgb: np.ndarray, face: Detection) -> Detection:
        """The same face with landmarks from upright views of it; unchanged where those are of something else."""
        try:
            found = refined(rgb, face.landmarks)
            size = np.hypot(*umeyama(TEMPLATE, found)[:, 0])
        except ValueError:  # landmarks in one point
            return face
        before = umeyama(TEMPLATE, face.landmarks)
        eyes = np.hypot(*before[:, 0])
        away = np.hypot(*(found.mean(0) - face.landmarks.mean(0)))
        if away > _LARGEST_MOVE * eyes or not 1 / _LARGEST_GROWTH < size / eyes < _LARGEST_GROWTH:
            return face
        return Detection(face.box, found.astype(np.float32), face.score)

    def _look(self, rgb: np.ndarray, threshold: float) -> list[Detection]:
        """All faces in one picture at its own size, each the mean of YuNet's answers for it."""
        if min(rgb.shape[:2]) < _SMALLEST:
            return []
        net = self._net()
        net.setInputSize((rgb.shape[1], rgb.shape[0]))
        _, rows = net.detect(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        faces = []
        rows = np.empty((0, 15)) if rows is None else rows.astype(np.float64)
        rows = rows[np.isfinite(rows).all(1)]
        sides = rows[:, 2:4]
        rows = rows[((sides > 0) & (sides < 2 * max(rgb.shape))).all(1)]
        rows = rows[np.argsort(-rows[:, 14], kind="stable")]
        while len(rows) and rows[0, 14] >= threshold:
            overlap = _overlap(rows[0, :4], rows[:, :4])
            same = rows[overlap >= _SAME_FACE]
            mean = np.average(same[:, :14], axis=0, weights=same[:, 14])
            rows = rows[overlap < _OVERLAP]
            try:
                landmarks = _with_full_roll(mean[4:].reshape(5, 2)).astype(np.float32)
            except ValueError:
                continue  # landmarks in one point: no face
            faces.append(Detection(tuple(mean[:4].tolist()), landmarks, float(same[0, 14])))
        return faces

    def _net(self) -> "cv2.FaceDetectorYN":
        """This thread's network: cv2's object keeps its input between calls."""
        if not hasattr(self._per_thread, "net"):
            with quiet():
                net = cv2.FaceDetectorYN.create(
                    "onnx",
                    self._model,
                    np.empty(0, np.uint8),
                    (32, 32),
                    _CANDIDATE_SCORE,
                    1.0,
                    _TOP_K,
                )
            self._per_thread.net = net
        return self._per_thread.net


def _with_full_roll(landmarks: np.ndarray) -> np.ndarray:
    """Landmarks (5, 2) turned about their mean to `_ROLL_GAIN` times the roll that they show."""
    pose = umeyama(TEMPLATE, landmarks)
    more = (_ROLL_GAIN - 1) * np.arctan2(pose[1, 0], pose[0, 0])
    cos, sin = np.cos(more), np.sin(more)
    mean = landmarks.mean(0)
    return (landmarks - mean) @ np.array([[cos, sin], [-sin, cos]]) + mean


def _verified_model(path: Path) -> np.ndarray:
    """The model file as uint8 (n,). Raises UserError where it is missing or damaged."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"the face detector's model {path} cannot be read ({error.strerror}); "
            "install latentface again."
        ) from error
    if hashlib.sha256(content).hexdigest() != MODEL_SHA256:
        raise UserError(
            f"the face detector's model {path} is damaged: expected 232,589 bytes with sha256 "
            f"{MODEL_SHA256[:12]}..., found {len(content):,} bytes; install latentface again."
        )
    return np.frombuffer(content, np.uint8)


_log_level = threading.Lock()


@contextmanager
def quiet() -> Iterator[None]:
    """Without OpenCV 5's warning that its new engine takes no targets; none is asked for."""
    logging = getattr(cv2.utils, "logging", None)
    if logging is None:  # OpenCV 4, which does not warn
        yield
        return
    with _log_level:
        level = logging.getLogLevel()
        logging.setLogLevel(logging.LOG_LEVEL_ERROR)
        try:
            yield
        finally:
            logging.setLogLevel(level)


def _size_within(rgb: np.ndarray, side: int) -> tuple[int, int]:
    """(width, height) of the picture when its longer side is at most `side`."""
    height, width = rgb.shape[:2]
    scale = min(1.0, side / max(height, width))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _smaller(rgb: np.ndarray, side: int) -> np.ndarray:
    size = _size_within(rgb, side)
    if size == (rgb.shape[1], rgb.shape[0]):
        return rgb
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)


def _rescaled(face: Detection, scale: np.ndarray) -> Detection:
    """From the small picture to the large one: pixel centres are at integers in both."""
    x, y, w, h = face.box
    corner = (np.array([x, y]) + 0.5) * scale - 0.5
    landmarks = (face.landmarks + 0.5) * scale - 0.5
    box = (float(corner[0]), float(corner[1]), float(w * scale[0]), float(h * scale[1]))
    return Detection(box, landmarks.astype(np.float32), face.score)


def _overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of one box (4,) with boxes (n, 4), all (x, y, w, h): (n,)."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[:2] + box[2:], boxes[:, :2] + boxes[:, 2:])
    shared = np.clip(high - low, 0, None).prod(1)
    return shared / (box[2:].prod() + boxes[:, 2:].prod(1) - shared)
