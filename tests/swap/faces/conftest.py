"""A drawn face that YuNet recognises: its place, size and roll are known exactly."""

import math

import cv2
import numpy as np
import pytest

SUPERSAMPLING = 4
BACKGROUND, HAIR, SKIN, WHITE, IRIS = (
    (70, 95, 120),
    (60, 40, 30),
    (205, 160, 135),
    (245, 245, 245),
    (50, 35, 25),
)
# (x, y, half width, half height, colour) in eye distances from midway between the eyes
PARTS = [
    (0, 0.25, 1.25, 1.6, HAIR),
    (0, 0.5, 1.05, 1.45, SKIN),
    *[(side * 0.5, -0.3, 0.28, 0.06, HAIR) for side in (-1, 1)],
    *[(side * 0.5, 0, 0.24, 0.12, WHITE) for side in (-1, 1)],
    *[(side * 0.5, 0, 0.11, 0.11, IRIS) for side in (-1, 1)],
    *[(side * 0.1, 0.6, 0.05, 0.035, (120, 70, 60)) for side in (-1, 1)],
    (0, 0.5, 0.13, 0.16, (190, 140, 115)),
    (0, 1.154, 0.42, 0.11, (165, 75, 75)),
    (0, 1.154, 0.34, 0.02, (90, 30, 30)),
]


def draw_face(width, height, eye_distance, x, y, degrees=0.0, onto=None):
    """uint8 (height, width, 3): a face with the point midway between its eyes at pixel (x, y)."""
    s = SUPERSAMPLING
    if onto is None:
        large = np.full((height * s, width * s, 3), BACKGROUND, np.uint8)
    else:
        large = cv2.resize(onto, (width * s, height * s), interpolation=cv2.INTER_NEAREST)
    scale = eye_distance * s
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    for px, py, a, b, colour in PARTS:
        centre = (
            (x + eye_distance * (cos * px - sin * py) + 0.5) * s - 0.5,
            (y + eye_distance * (sin * px + cos * py) + 0.5) * s - 0.5,
        )
        fixed = [round(v * 16) for v in (*centre, a * scale, b * scale)]  # 4 fractional bits
        cv2.ellipse(
            large, tuple(fixed[:2]), tuple(fixed[2:]), degrees, 0, 360, colour, -1, cv2.LINE_AA, 4
        )
    return cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="session")
def drawn_face():
    return draw_face
