"""The pole beside a flag: a tube, a ball on its top and the two ties that hold the cloth."""

from functools import cache

import numba
import numpy as np

from swap.studio import exact
from swap.studio.flags.drawings import HEADING

POLE, BALL, TIE = range(3)
PAINTS = np.array([[0.62, 0.63, 0.64], [0.72, 0.46, 0.10], [0.66, 0.63, 0.56]])  # linear
RADIUS = 0.026  # hoists
TOP, BOTTOM = 0.72, -3.4  # heights above the cloth's middle
_AXIS = -HEADING - 0.022 - RADIUS
_SPOKES, _RINGS, _PIECES = 12, 7, 10


@numba.njit(cache=True, nogil=True)
def _around(spokes: int) -> np.ndarray:
    out = np.empty((spokes, 2))
    for i in range(spokes):
        angle = 6.283185307179586 * i / spokes
        out[i, 0], out[i, 1] = exact.sin(angle), exact.cos(angle)
    return out


@cache
def pole() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Points and unit normals, float64 (V, 3), triangles int32 (F, 3) and their rows of PAINTS,
    int32 (F,). Axes as in `swap.studio.flags.cloth`; the tube runs out of the picture.
    """
    ring = _around(_SPOKES)
    level = np.column_stack([ring[:, 0], np.zeros(_SPOKES), ring[:, 1]])
    points, normals, triangles, material = [], [], [], []

    def sheet(rows: list[np.ndarray], outward: list[np.ndarray], paint: int) -> None:
        first = sum(map(len, points))
        points.extend(rows)
        normals.extend(outward)
        for k in range(len(rows) - 1):
            for i in range(_SPOKES):
                a, b = first + k * _SPOKES + i, first + k * _SPOKES + (i + 1) % _SPOKES
                triangles.extend([(a, a + _SPOKES, b + _SPOKES), (a, b + _SPOKES, b)])
                material.extend([paint, paint])

    heights = [TOP + (BOTTOM - TOP) * k / _PIECES for k in range(_PIECES + 1)]
    sheet([[_AXIS, y, 0] + RADIUS * level for y in heights], [level] * len(heights), POLE)
    turns = _around(2 * _RINGS)[: _RINGS + 1]  # the ball, from its top to its bottom
    ball = [sin * level + [0, cos, 0] for sin, cos in turns]
    centre = np.array([_AXIS, TOP + 0.03, 0])
    sheet([centre + 0.05 * unit for unit in ball], ball, BALL)
    for y in (0.47, -0.47):
        for flat in ([0, 0.016, 0], [0, 0, 0.016]):
            first = sum(map(len, points))
            ends = np.array([[_AXIS, y, 0], [-HEADING + 0.004, y, 0]])
            points.append(np.concatenate([ends - flat, ends + flat]))
            normals.append(np.tile([0.0, 0.0, 1.0], (4, 1)))
            triangles.extend([(first, first + 1, first + 3), (first, first + 3, first + 2)])
            material.extend([TIE, TIE])
    return (
        np.concatenate(points),
        np.concatenate(normals),
        np.array(triangles, np.int32),
        np.array(material, np.int32),
    )
