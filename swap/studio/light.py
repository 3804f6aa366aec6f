"""Where the light of a picture comes from, and what it does not reach."""

import math

import numba
import numpy as np

from swap.studio import exact
from swap.studio.head import Head
from swap.studio.posing import Params
from swap.studio.raster import fill, fill_cut

SHADOW = 176  # samples a side of the shadow map
CENTRE, SPAN = (0.0, 6.75, 0.4), 4.2  # of the shadow map, in decimetres


def direction(x: float, y: float) -> np.ndarray:
    """float64 (3,): unit vector from the head to a light, degrees to the right in the picture and up."""
    a, e = x * (math.pi / 180), y * (math.pi / 180)
    flat = exact.cos(e)
    return np.array([exact.sin(a) * flat, exact.sin(e), exact.cos(a) * flat])


@numba.njit(cache=True, nogil=True, fastmath=False)
def seen_from_light(world: np.ndarray, axes: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """float32 (V, 3): x, y in samples of the shadow map and nearness to the light."""
    out = np.empty_like(world)
    half, scale = SHADOW / 2, frame[3]
    for v in range(len(world)):
        x, y, z = world[v, 0] - frame[0], world[v, 1] - frame[1], world[v, 2] - frame[2]
        out[v, 0] = half + scale * (x * axes[0, 0] + y * axes[0, 1] + z * axes[0, 2])
        out[v, 1] = half - scale * (x * axes[1, 0] + y * axes[1, 1] + z * axes[1, 2])
        out[v, 2] = x * axes[2, 0] + y * axes[2, 1] + z * axes[2, 2] + 50
    return out


def cast_shadow(
    head: Head, world: np.ndarray, p: Params
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The key light's axes float64 (3, 3), its frame (4,): centre and samples a decimetre, and what
    is nearest to it, float32 (SHADOW, SHADOW). world: float32 (V, 3), as `Body.placed` gives it.
    """
    x, y, z = direction(p.light_x, p.light_y)
    flat = math.sqrt(x * x + z * z)
    right = np.array([z / flat, 0.0, -x / flat])
    up = np.array([y * right[2], z * right[0] - x * right[2], -y * right[0]])
    axes, frame = np.array([right, up, [x, y, z]]), np.array([*CENTRE, SHADOW / SPAN])
    points = seen_from_light(world, axes, frame)
    depth, seen = np.zeros((SHADOW, SHADOW), np.float32), np.empty((SHADOW, SHADOW), np.int32)
    fill(points, head.triangles[: head.solid], depth, seen, 0, False)
    fill_cut(points, *head.shading_hair, head.hair_opacity, depth, seen, 0, False)
    return axes, frame, depth


def lighting(p: Params, towards: np.ndarray) -> np.ndarray:
    """float64 (6, 3): direction and colour of the key and fill lights, and sky and ground."""
    warm = np.array([1 + 0.12 * p.warmth, 1.0, 1 - 0.16 * p.warmth])
    key = np.array([1.08, 1.0, 0.92]) * warm * 1.18 * p.light
    away = direction(-np.sign(p.light_x or -1) * 55, 8)
    return np.array(
        [towards, key, away, [0.20, 0.23, 0.27], [0.40, 0.43, 0.48], [0.20, 0.17, 0.15]]
    )
