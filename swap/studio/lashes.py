"""Eyelashes: strips of the base mesh, cut into single lashes by a texture."""

from functools import cache

import numpy as np

from swap.studio import exact
from swap.studio.mesh import HeadMesh


def lash_coordinates(mesh: HeadMesh) -> tuple[np.ndarray, np.ndarray]:
    """The lashes' triangles (L, 3) and their corners' coordinates (L, 3, 2) in `lash_texture`: u
    around the eye, v from root to tip, upper lashes in the upper half and lower ones below.
    """
    lashes = mesh.part_triangles("lashes")
    base = np.where(mesh.vertices[:, :1] > 0, 1, -1) * np.array([0.3078, 0, 0]) + [0, 7.284, 1.245]
    d = mesh.vertices - base
    u = exact.angles(d[:, 1], d[:, 0]) / (2 * np.pi) % 1
    reach = np.sqrt(d[:, 0] ** 2 + d[:, 1] ** 2 + d[:, 2] ** 2)
    v = 0.02 + 0.46 * np.clip((reach - 0.152) / 0.054, 0, 1)
    first, second, third = mesh.vertices[lashes][..., 1].T
    upper = first + second + third > 3 * 7.279
    corners = np.stack([u[lashes], v[lashes] + np.where(upper, 0.0, 0.5)[:, None]], -1)
    crosses = np.ptp(corners[..., 0], axis=1) > 0.5
    corners[..., 0] += crosses[:, None] & (corners[..., 0] < 0.5)
    return lashes, corners.astype(np.float32)


@cache
def lash_texture(size: int = 256) -> np.ndarray:
    """uint8 (S, S): opacity; tapering lashes, the lower ones thinner and shorter, the roots of the
    upper ones close together.
    """
    grid = (np.arange(size) + 0.5) / size
    u, v = np.meshgrid(grid, grid)
    t = (v % 0.5) * 2
    lower = v > 0.5
    wave = 0.5 + 0.5 * exact.cosines(2 * np.pi * (u * 64 + 0.6 * t))
    need = np.where(lower, 0.3 + 1.6 * t, np.where(t < 0.34, -1, 0.05 + 0.9 * t))
    return np.where(wave > need, 255, 0).astype(np.uint8)
