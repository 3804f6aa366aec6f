"""What a head does in one picture: its parameters, and where they put its vertices."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np

from swap.studio.exact import cos, sin

PIVOT = (0.0, 6.35, 0.15)  # about which the head turns
HEAD_WIDTH = 1.5  # decimetres, about


@dataclass(frozen=True)
class Params:
    """Angles in degrees; expressions from 0 to 1. "Left" is the subject's left.

    yaw turns to the subject's left, pitch down, roll towards the subject's left shoulder. gaze_x and
    gaze_y turn the eyes to the subject's left and up. light_x and light_y: where the key light
    stands, to the right in the picture and up. x, y: shift of the head in heads' widths (1.5 dm).
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    gaze_x: float = 0.0
    gaze_y: float = 0.0
    blink_left: float = 0.0
    blink_right: float = 0.0
    brow_up: float = 0.0
    brow_down: float = 0.0
    smile: float = 0.0
    frown: float = 0.0
    jaw: float = 0.0
    pucker: float = 0.0
    stretch: float = 0.0
    mouth_x: float = 0.0
    squint: float = 0.0
    light_x: float = -35.0
    light_y: float = 30.0
    light: float = 1.0
    warmth: float = 0.0
    x: float = 0.0
    y: float = 0.0


def expression(p: Params) -> dict[str, float]:
    """Weights of the ARKit shapes, without "face/"."""
    shapes = {
        "eyeBlinkLeft": p.blink_left,
        "eyeBlinkRight": p.blink_right,
        "browInnerUp": p.brow_up,
        "browOuterUpLeft": 0.8 * p.brow_up,
        "browOuterUpRight": 0.8 * p.brow_up,
        "browDownLeft": p.brow_down,
        "browDownRight": p.brow_down,
        "mouthSmileLeft": p.smile,
        "mouthSmileRight": p.smile,
        "cheekSquintLeft": 0.6 * p.smile,
        "cheekSquintRight": 0.6 * p.smile,
        "eyeSquintLeft": min(1.0, 0.35 * p.smile + p.squint),
        "eyeSquintRight": min(1.0, 0.35 * p.smile + p.squint),
        "mouthUpperUpLeft": 0.75 * p.smile * p.jaw,
        "mouthUpperUpRight": 0.75 * p.smile * p.jaw,
        "mouthFrownLeft": p.frown,
        "mouthFrownRight": p.frown,
        "jawOpen": 0.75 * p.jaw,
        "mouthLowerDownLeft": 0.25 * p.jaw,
        "mouthLowerDownRight": 0.25 * p.jaw,
        "mouthPucker": p.pucker,
        "mouthStretchLeft": p.stretch,
        "mouthStretchRight": p.stretch,
        "mouthLeft": max(0.0, p.mouth_x),
        "mouthRight": max(0.0, -p.mouth_x),
        "eyeWideLeft": 0.6 * p.brow_up * (1 - p.blink_left),
        "eyeWideRight": 0.6 * p.brow_up * (1 - p.blink_right),
    }
    up, down = max(0.0, p.gaze_y) / 30, max(0.0, -p.gaze_y) / 30
    for side, sign, blink in (("Left", 1, p.blink_left), ("Right", -1, p.blink_right)):
        awake = 1 - blink
        shapes[f"eyeLookUp{side}"] = up * awake
        shapes[f"eyeLookDown{side}"] = down * awake
        shapes[f"eyeLookOut{side}"] = max(0.0, sign * p.gaze_x) / 40 * awake
        shapes[f"eyeLookIn{side}"] = max(0.0, -sign * p.gaze_x) / 40 * awake
    return {name: weight for name, weight in shapes.items() if weight}


@dataclass(frozen=True, eq=False)
class Body:
    """Vertices that expressions move and the head's turn takes along.

    vertices: float32 (V, 3). share: uint8 (V,), how much of the turn a vertex follows, 255 all of it.
    names: the expressions, whose shifts float32 (N, 3) of the vertices index int32 (N,) lie one
    after the other, from starts[i] to starts[i + 1].
    """

    vertices: np.ndarray
    share: np.ndarray
    names: dict[str, int]
    starts: np.ndarray
    index: np.ndarray
    shift: np.ndarray

    @classmethod
    def of(
        cls,
        vertices: np.ndarray,
        share: np.ndarray,
        shapes: dict[str, tuple[np.ndarray, np.ndarray]],
    ) -> "Body":
        """A body from shapes: name -> (vertex indices (N,), shifts (N, 3))."""
        sizes = [len(index) for index, _ in shapes.values()]
        return cls(
            np.ascontiguousarray(vertices, np.float32),
            np.ascontiguousarray(share, np.uint8),
            {name: i for i, name in enumerate(shapes)},
            np.cumsum([0, *sizes]),
            np.concatenate([index for index, _ in shapes.values()]).astype(np.int32),
            np.concatenate([shift for _, shift in shapes.values()]).astype(np.float32),
        )

    def part(self, rows: np.ndarray) -> "Body":
        """The body of these vertices (N,) only, in this order."""
        to = np.full(len(self.vertices), -1)
        to[rows] = np.arange(len(rows))
        shapes = {}
        for name, i in self.names.items():
            run = slice(self.starts[i], self.starts[i + 1])
            kept = to[self.index[run]] >= 0
            shapes[name] = to[self.index[run]][kept], self.shift[run][kept]
        return Body.of(self.vertices[rows], self.share[rows], shapes)

    def placed(self, p: Params) -> np.ndarray:
        """float32 (V, 3): where the vertices are with the expression, the turn and the shift of p."""
        weights = expression(p)
        active = np.array([self.names[name] for name in weights], np.int64)
        shift = np.array([HEAD_WIDTH * p.x, HEAD_WIDTH * p.y, 0.0])
        return _place(
            self.vertices, self.share, turns(p.yaw, p.pitch, p.roll), self.starts, self.index,
            self.shift, active, np.array(list(weights.values()), np.float32), shift,
        )  # fmt: skip


@numba.njit(cache=True, nogil=True, fastmath=False)
def turns(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """float64 (256, 3, 3): the rotations for each share, from none to the whole turn (degrees)."""
    out = np.empty((256, 3, 3))
    for i in range(256):
        share = i * (math.pi / 180 / 255)
        cy, sy = cos(yaw * share), sin(yaw * share)
        cp, sp = cos(pitch * share), sin(pitch * share)
        cr, sr = cos(roll * share), sin(-roll * share)
        # about z, after about y, after about x
        out[i, 0, 0], out[i, 1, 0], out[i, 2, 0] = cr * cy, sr * cy, -sy
        out[i, 0, 1], out[i, 0, 2] = cr * sy * sp - sr * cp, cr * sy * cp + sr * sp
        out[i, 1, 1], out[i, 1, 2] = sr * sy * sp + cr * cp, sr * sy * cp - cr * sp
        out[i, 2, 1], out[i, 2, 2] = cy * sp, cy * cp
    return out


@numba.njit(cache=True, nogil=True, fastmath=False)
def _place(
    vertices: np.ndarray,
    share: np.ndarray,
    turn: np.ndarray,
    starts: np.ndarray,
    index: np.ndarray,
    shift: np.ndarray,
    active: np.ndarray,
    weights: np.ndarray,
    offset: np.ndarray,
) -> np.ndarray:
    out = vertices.copy()
    for n in range(active.shape[0]):
        w = weights[n]
        for row in range(starts[active[n]], starts[active[n] + 1]):
            for c in range(3):
                out[index[row], c] += w * shift[row, c]
    for v in range(out.shape[0]):
        r = turn[share[v]]
        x, y, z = out[v, 0] - PIVOT[0], out[v, 1] - PIVOT[1], out[v, 2] - PIVOT[2]
        for c in range(3):
            turned = r[c, 0] * x + r[c, 1] * y + r[c, 2] * z
            out[v, c] = turned + PIVOT[c] + offset[c]
    return out


def turned(turn: np.ndarray, vector: Sequence[float]) -> np.ndarray:
    """float64 (3,): a vector turned by a rotation (3, 3), summed in a fixed order."""
    return turn[:, 0] * vector[0] + turn[:, 1] * vector[1] + turn[:, 2] * vector[2]
