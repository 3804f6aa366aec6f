"""How much of the sky a point sees: ambient occlusion from many shadow maps, once per subject."""

from typing import TYPE_CHECKING

import numpy as np

from swap.studio import exact
from swap.studio.raster import fill

if TYPE_CHECKING:
    from swap.studio.head import Head

DIRECTIONS, SIDE, SCALE = 96, 224, 224 / 4.6


def along(points: np.ndarray, ray: np.ndarray) -> np.ndarray:
    """float64 (V,): scalar products with a vector (3,), summed in a fixed order."""
    return points[:, 0] * ray[0] + points[:, 1] * ray[1] + points[:, 2] * ray[2]


def occlusion(world: np.ndarray, normals: np.ndarray, head: "Head") -> np.ndarray:
    """float32 (V,) in [0, 1]: the share of the cosine-weighted half space that is open."""
    n = np.arange(DIRECTIONS) + 0.5
    up, turn = 1 - 2 * n / DIRECTIONS, np.pi * (1 + 5**0.5) * n  # Fibonacci's spiral on a sphere
    flat = np.sqrt(1 - up**2)
    rays = np.stack([flat * exact.cosines(turn), up, flat * exact.sines(turn)], -1)
    open_, total = np.zeros(len(world)), np.full(len(world), 1e-6)
    # The outermost shells of hair are loose: the scalp lies beneath them, and only it counts.
    solid = head.triangles[: head.solid]
    place = world + 0.012 * normals - [0, 6.75, 0.4]
    for ray in rays:
        right = np.cross([0.0, 1.0, 0.01], ray)
        right /= np.sqrt(right[0] ** 2 + right[1] ** 2 + right[2] ** 2)
        x = SIDE / 2 + SCALE * along(place, right)
        y = SIDE / 2 - SCALE * along(place, np.cross(ray, right))
        z = along(place, ray) + 50
        depth, seen = np.zeros((SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE), np.int32)
        fill(np.stack([x, y, z], -1).astype(np.float32), solid, depth, seen, 0, True)
        column = np.clip(np.rint(x).astype(int), 0, SIDE - 1)
        row = np.clip(np.rint(y).astype(int), 0, SIDE - 1)
        weight = np.maximum(0, along(normals, ray))
        open_ += weight * (depth[row, column] <= z + 0.03)
        total += weight
    return (open_ / total).astype(np.float32)
