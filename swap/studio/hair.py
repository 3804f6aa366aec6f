"""Hair as a few shells over the skull, cut out strand by strand by a texture."""

import cv2
import numpy as np

from swap.studio.maps import CENTRE, directions, from_map, step, to_map
from swap.studio.mesh import HeadMesh
from swap.studio.noise import noise
from swap.studio.raster import fill
from swap.studio.skin import HAIRLINE, LONG_HAIRLINE, scalp_cover
from swap.studio.subjects import Subject

COLUMNS, ROWS, SHELLS = 72, 44, 6


def skull(mesh: HeadMesh, vertices: np.ndarray, size: int = 256) -> np.ndarray:
    """float32 (S, S): the head's radius by direction (texels as in maps.py), without its ears."""
    skin = mesh.part_triangles("skin")
    hidden = (mesh.masks["ears"] > 0.3) | (mesh.masks["inside-mouth"] > 0.5)
    skin = skin[~hidden[skin].any(axis=1)]
    around, up, radius = directions(vertices)
    uv = to_map(around, up)[skin]
    skin = skin[np.ptp(uv[..., 0], axis=1) < 0.5]
    uv = uv[np.ptp(uv[..., 0], axis=1) < 0.5]
    corners = np.concatenate([uv.reshape(-1, 2) * size - 0.5, radius[skin].reshape(-1, 1)], 1)
    reach, seen = np.zeros((size, size), np.float32), np.full((size, size), -1, np.int32)
    rows = np.arange(len(corners), dtype=np.int32).reshape(-1, 3)
    fill(corners.astype(np.float32), rows, reach, seen, 0, True)
    known = (reach > 0).astype(np.float32)
    wide = (cv2.BORDER_REFLECT,)
    smooth = cv2.GaussianBlur(reach, (0, 0), 3, borderType=wide[0])
    weight = cv2.GaussianBlur(known, (0, 0), 3, borderType=wide[0])
    far = cv2.GaussianBlur(reach, (0, 0), 14, borderType=wide[0])
    far /= np.maximum(cv2.GaussianBlur(known, (0, 0), 14, borderType=wide[0]), 1e-3)
    return np.where(weight > 0.35, smooth / np.maximum(weight, 1e-3), far)


def hair_shells(
    mesh: HeadMesh, vertices: np.ndarray, subject: Subject
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Vertices (N, 3), triangles (M, 3), map coordinates of corners (M, 3, 2) and the least opacity
    (M,) at which a texel of the shell is hair.
    """
    lowest = -1.02 if subject.hair.long else -0.75
    a = np.linspace(-np.pi, np.pi, COLUMNS + 1)
    e = np.linspace(1.5607, lowest, ROWS + 1)
    around, up = np.meshgrid(a, e)
    base = skull(mesh, vertices)
    uv = to_map(around, up)
    x, y = uv[..., 0] * base.shape[1] - 0.5, uv[..., 1] * base.shape[0] - 0.5
    x, y = x.astype(np.float32), y.astype(np.float32)
    radius = cv2.remap(base, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    radius[:, 0] = radius[:, -1] = 0.5 * (radius[:, 0] + radius[:, -1])
    sides = np.abs(np.degrees(around))
    if subject.hair.long:
        flat = radius * np.cos(up)
        fallen = np.maximum.accumulate(np.where(up > -0.1, flat, 0), axis=0)
        fallen = cv2.GaussianBlur(fallen * (1 + 0.05 * step(0.2, -0.9, up)), (0, 0), 1.2)
        hang = step(0.25, -0.15, up)
        radius = radius * (1 - hang) + fallen / np.cos(up) * hang
    if subject.hair.long:
        bump = np.exp(-(((sides - 82) / 24) ** 2) - ((np.degrees(up) + 4) / 26) ** 2)
        radius = radius + 0.07 * bump.astype(np.float32)
    unit = np.stack([np.sin(around) * np.cos(up), np.sin(up), np.cos(around) * np.cos(up)], -1)
    line = np.interp(sides, *(LONG_HAIRLINE if subject.hair.long else HAIRLINE).T)
    reach = 14 + 14 * step(70, 35, sides)
    inside = step(-1, reach, np.degrees(up) - line) ** 0.75
    lumps = (
        1 + 0.22 * noise(unit, 3.1, subject.seed + 81, 2) + 0.12 * noise(unit, 9, subject.seed + 83)
    )
    crown = subject.hair.curl + (1 - subject.hair.curl) * (
        0.22 + 0.78 * step(0.2, 0.75, up + 0.25 * np.cos(around) ** 2)
    )
    depth = subject.hair.thickness * inside * (1 if subject.hair.long else crown) * lumps
    grid = np.arange((ROWS + 1) * (COLUMNS + 1)).reshape(ROWS + 1, COLUMNS + 1)
    p, q, r, s = grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]
    quads = np.concatenate([np.stack([p, q, r], -1), np.stack([p, r, s], -1)], 0).reshape(-1, 3)
    points, triangles, coordinates, least = [], [], [], []
    for shell in range(SHELLS):
        spread = 0.3 + 0.3 * subject.hair.curl
        height = 0.006 + depth * (1 - spread * (1 - (shell + 1) / SHELLS))
        place = CENTRE + unit * (radius + height)[..., None]
        points.append(place.reshape(-1, 3))
        triangles.append(quads + shell * grid.size)
        coordinates.append(uv.reshape(-1, 2)[quads])
        least.append(np.full(len(quads), 0.28 + 0.5 * shell / SHELLS))
    return tuple(
        np.ascontiguousarray(np.concatenate(x), t)
        for x, t in (
            (points, np.float32),
            (triangles, np.int32),
            (coordinates, np.float32),
            (least, np.float32),
        )
    )


def hair_texture(size: int, place: np.ndarray, subject: Subject) -> np.ndarray:
    """float32 (S, S, 2): opacity of the strands, and their tone (about 1)."""
    around, up = from_map(size)
    around, up = np.broadcast_arrays(around, up)
    ring = np.stack([np.sin(around), np.cos(around), up * 0], -1)
    flow = np.concatenate([ring[..., :2] * 34, (up * 1.6)[..., None]], -1)
    bend = 0.05 * noise(flow * 0.12, 1, subject.seed + 91)[..., None]
    fine = noise(flow * 2.6 + bend * 60, 1, subject.seed + 93, 2)
    locks = noise(flow * [0.33, 0.33, 1.0] + bend * 30, 1, subject.seed + 95, 2)
    tufts = noise(flow * [1.0, 1.0, 2.2] + bend * 30, 1, subject.seed + 97, 1)
    cover = scalp_cover(size, place, subject)
    if subject.hair.curl:
        fine = noise(place, 46, subject.seed + 93, 2)
        tufts = noise(place, 17, subject.seed + 97, 2)
        locks = noise(place, 7, subject.seed + 95)
    if subject.hair.long:
        degrees = np.degrees(np.abs(around))
        line = np.interp(degrees, *LONG_HAIRLINE.T)
        cover = step(-1.5, 2.5, np.degrees(up) - line + 2.0 * locks + 1.0 * fine)
        cover = cover * step(-1.0, -0.86, up + 0.06 * locks + 0.03 * tufts)
    opacity = cover * (0.62 + 0.42 * fine + 0.28 * tufts)
    tone = 1 + 0.26 * fine + 0.3 * locks
    return np.stack([np.clip(opacity, 0, 1), np.clip(tone, 0.3, 1.9)], -1).astype(np.float32)


def without_empty(
    triangles: np.ndarray, coordinates: np.ndarray, least: np.ndarray, texture: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The triangles that show any hair: some texel near them is as opaque as `least` asks."""
    size = texture.shape[0]
    near = cv2.dilate(texture[..., 0], np.ones((41, 41), np.uint8))
    u, v = (coordinates.mean(axis=1) * size).astype(int).T
    keep = near[np.clip(v, 0, size - 1), u % size] >= least
    return triangles[keep], coordinates[keep], least[keep]
