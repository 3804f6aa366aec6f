"""Hair as a few shells over the skull, cut out strand by strand by a texture."""

from dataclasses import dataclass

import cv2
import numpy as np

from swap.studio import exact
from swap.studio.hairline import growth, line, parting_distance, run
from swap.studio.maps import CENTRE, blurred, directions, on_sphere, sampled, step, to_map
from swap.studio.mesh import HeadMesh
from swap.studio.noise import noise
from swap.studio.raster import fill
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
    known = (reach > 0).astype(np.float64)
    smooth, weight = blurred(reach, 3), blurred(known, 3)
    far = blurred(reach, 14) / np.maximum(blurred(known, 14), 1e-3)
    return np.where(weight > 0.35, smooth / np.maximum(weight, 1e-3), far)


@dataclass(frozen=True, eq=False)
class Shells:
    """points: float32 (N, 3). Of each triangle, the outermost shell's first: triangles int32 (M, 3),
    corners float32 (M, 3, 2) on the map, least uint8 (M,), the least opacity at which a texel of
    the shell is hair, shell int (M,), 0 the innermost.
    """

    points: np.ndarray
    triangles: np.ndarray
    corners: np.ndarray
    least: np.ndarray
    shell: np.ndarray


def hair_shells(mesh: HeadMesh, vertices: np.ndarray, subject: Subject) -> Shells:
    """The shells that stand off the skull as far as the subject's hair is thick."""
    lowest = -1.02 if subject.hair.long else -0.75
    a = np.linspace(-np.pi, np.pi, COLUMNS + 1)
    e = np.linspace(1.5607, lowest, ROWS + 1)
    around, up = np.meshgrid(a, e)
    base = skull(mesh, vertices)
    uv = to_map(around, up)
    radius = sampled(base, uv)
    radius[:, 0] = radius[:, -1] = 0.5 * (radius[:, 0] + radius[:, -1])
    sides = np.abs(np.degrees(around))
    if subject.hair.long:
        upright = exact.cosines(up)
        fallen = np.maximum.accumulate(np.where(up > -0.1, radius * upright, 0), axis=0)
        fallen = blurred(fallen * (1 + 0.05 * step(0.2, -0.9, up)), 1.2 * COLUMNS / 72)
        hang = step(0.25, -0.15, up)
        radius = radius * (1 - hang) + fallen / upright * hang
        bump = exact.exponentials(-(((sides - 82) / 24) ** 2) - ((np.degrees(up) + 4) / 26) ** 2)
        radius = radius + 0.07 * bump
    unit = on_sphere(around, up)
    reach = 14 + 14 * step(70, 35, sides)
    above = np.degrees(up) - line(sides, subject, subject.hair.long)
    inside = exact.powers(step(-3, reach, above), 0.75)
    small = (0.12 + 0.12 * subject.hair.curl) * noise(unit, 9, subject.seed + 83)
    lumps = 1 + 0.22 * noise(unit, 3.1, subject.seed + 81, 2) + small
    crown = subject.hair.curl + (1 - subject.hair.curl) * (
        0.22 + 0.78 * step(0.2, 0.75, up + 0.25 * exact.cosines(around) ** 2)
    )
    depth = subject.hair.thickness * inside * (1 if subject.hair.long else crown) * lumps
    if subject.hair.parted:
        gap = parting_distance(around, up, subject)
        depth = depth * (1 - 0.6 * exact.exponentials(-((np.minimum(gap, 1) / 0.1) ** 2)))
    grid = np.arange((ROWS + 1) * (COLUMNS + 1)).reshape(ROWS + 1, COLUMNS + 1)
    p, q, r, s = grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]
    quads = np.concatenate([np.stack([p, q, r], -1), np.stack([p, r, s], -1)], 0).reshape(-1, 3)
    points, triangles, least, corners = [], [], [], []
    for row, shell in enumerate(reversed(range(SHELLS))):
        spread = 0.3 + 0.3 * subject.hair.curl
        height = 0.006 + depth * (1 - spread * (1 - (shell + 1) / SHELLS))
        points.append((CENTRE + unit * (radius + height)[..., None]).reshape(-1, 3))
        triangles.append(quads + row * grid.size)
        sparse = 0.5 + 0.25 * subject.hair.curl
        least.append(np.full(len(quads), round(255 * (0.28 + sparse * shell / SHELLS)), np.uint8))
        # Each shell of curls shows another part of the texture, so that no strand stands straight.
        away = 0.011 * subject.hair.curl * shell * np.array([exact.cos(2.4 * shell), 0.6])
        corners.append(uv.reshape(-1, 2)[quads] + away.astype(np.float32))
    return Shells(
        np.concatenate(points).astype(np.float32),
        np.concatenate(triangles).astype(np.int32),
        np.concatenate(corners).astype(np.float32),
        np.concatenate(least),
        np.repeat(np.arange(SHELLS)[::-1], len(quads)),
    )


def hair_texture(size: int, place: np.ndarray, subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    """Opacity of the strands, uint8 (S, S), and their tone, uint16 (S, S, 1) where 32768 is 1."""
    hair, seed = subject.hair, subject.seed
    across, along, gap = run(size, subject)
    if hair.curl:
        fine = noise(place, 62, seed + 93, 2)
        tufts = noise(place, 21, seed + 97, 2)
        locks = noise(place, 8, seed + 95)
        fine, tufts = 1.2 * fine, 1.3 * tufts
    else:
        flow = np.stack([across, 0.12 * along, 0 * across], -1)
        flow[..., 0] += 0.04 * noise(flow * [6.0, 16.0, 1], 1, seed + 91)
        fine = noise(flow * [100.0, 20.0, 1], 1, seed + 93, 2)
        tufts = noise(flow * [34.0, 14.0, 1], 1, seed + 97, 2)
        locks = noise(flow * [11.0, 9.0, 1], 1, seed + 95, 2)
    # The edge is soft: fewer and thinner strands, and whole locks that reach further.
    edge = growth(size, subject, hair.long)
    loose = 0.6 if hair.long else 1 + 0.9 * hair.curl
    cover = step(0.22, 1.02, edge + loose * (0.13 * locks + 0.1 * tufts) + 0.14 * fine)
    if hair.long:
        cover = cover * step(-1.0, -0.86, along + 0.07 * locks + 0.05 * tufts + 0.03 * fine)
    tone = 1 + 0.3 * fine + 0.22 * tufts + 0.18 * locks
    if hair.parted:
        deep = step(0.07, 0.0, gap)
        cover = cover * (1 - 0.75 * step(0.028, 0.006, gap + 0.008 * fine))
        tone = tone * (1 - 0.35 * deep)
    opacity = cover * (0.66 + 0.36 * fine + 0.26 * tufts)
    return (
        np.rint(255 * np.clip(opacity, 0, 1)).astype(np.uint8),
        np.rint(32768 * np.clip(tone, 0.3, 1.9)).astype(np.uint16)[..., None],
    )


def without_empty(shells: Shells, opacity: np.ndarray) -> Shells:
    """The triangles that show any hair: some texel near them is as opaque as they ask."""
    size = len(opacity)
    near = cv2.dilate(opacity, np.ones((41, 41), np.uint8))
    first, second, third = np.moveaxis(shells.corners, 1, 0)
    u, v = ((first + second + third) / 3 * size).astype(int).T
    keep = near[np.clip(v, 0, size - 1), u % size] >= shells.least
    used, rows = np.unique(shells.triangles[keep], return_inverse=True)
    return Shells(
        shells.points[used],
        rows.reshape(-1, 3).astype(np.int32),
        shells.corners[keep],
        shells.least[keep],
        shells.shell[keep],
    )
