"""What a head does in one picture: its parameters, and where they put its vertices."""

from dataclasses import dataclass

import numpy as np

PIVOT = np.array([0.0, 6.35, 0.15], np.float32)  # about which the head turns
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


def rotations(p: Params, share: np.ndarray) -> np.ndarray:
    """float64 (N, 3, 3): the head's turn, times `share` (N,) of each angle."""
    yaw, pitch, roll = (np.radians(a) * share.astype(np.float64) for a in (p.yaw, p.pitch, -p.roll))
    cy, sy, cp, sp, cr, sr = (
        np.cos(yaw),
        np.sin(yaw),
        np.cos(pitch),
        np.sin(pitch),
        np.cos(roll),
        np.sin(roll),
    )
    zero, one = np.zeros_like(cy), np.ones_like(cy)

    def stack(*rows: tuple[np.ndarray, ...]) -> np.ndarray:
        return np.stack([np.stack(row, -1) for row in rows], -2)

    about_y = stack((cy, zero, sy), (zero, one, zero), (-sy, zero, cy))
    about_x = stack((one, zero, zero), (zero, cp, -sp), (zero, sp, cp))
    about_z = stack((cr, -sr, zero), (sr, cr, zero), (zero, zero, one))
    return about_z @ about_y @ about_x
