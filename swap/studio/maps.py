"""Painting on a head: a map by direction from the middle of the head, and helpers to paint it.

A texture of S x S texels shows the head unrolled: columns by the angle around the vertical axis,
denser in front, rows by the angle above the horizon. One vertex has the same texel for every person
and every expression, so a painted eyebrow moves with the skin beneath it.
"""

import numpy as np

from swap.studio import exact
from swap.studio.mesh import HeadMesh
from swap.studio.raster import fill

CENTRE = np.array([0.0, 7.15, 0.25], np.float32)
LOWEST, HIGHEST = -1.35, 1.5707964  # rows from top to bottom: from HIGHEST to LOWEST


def directions(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Angle around (0 in front, to the subject's left positive), angle up, radius, of (..., 3)."""
    x, y, z = np.moveaxis(points.astype(np.float64) - CENTRE, -1, 0)
    flat = np.sqrt(x * x + z * z)
    return exact.angles(x, z), exact.angles(y, flat), np.sqrt(flat * flat + y * y)


def to_map(around: np.ndarray, up: np.ndarray) -> np.ndarray:
    """(..., 2): texture coordinates in [0, 1], u to the subject's left and v downwards."""
    t = around / np.pi
    u = 0.5 + 0.5 * (1.6 * t - 0.6 * t * np.abs(t))
    return np.stack([u, (HIGHEST - up) / (HIGHEST - LOWEST)], axis=-1).astype(np.float32)


def from_map(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Angles around (1, S) and up (S, 1) of the texels' centres."""
    g = (np.arange(size) + 0.5) / size * 2 - 1
    t = np.sign(g) * (1.6 - np.sqrt(2.56 - 2.4 * np.abs(g))) / 1.2
    return (t * np.pi)[None], (HIGHEST - (np.arange(size) + 0.5) / size * (HIGHEST - LOWEST))[
        :, None
    ]


def corner_coordinates(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """float32 (F, 3, 2): map coordinates of the triangles' corners; those that cross the seam at
    the back go beyond 1, where a texture starts anew.
    """
    around, up, _ = directions(vertices)
    uv = to_map(around, up)[triangles]
    crosses = np.ptp(uv[..., 0], axis=1) > 0.5
    uv[..., 0] += (crosses[:, None] & (uv[..., 0] < 0.5)).astype(np.float32)
    return uv


def painted_mask(mesh: HeadMesh, name: str, size: int) -> np.ndarray:
    """float64 (S, S): a mask of the mesh with soft borders, from 0 to 1."""
    skin = mesh.part_triangles("skin")
    inside = mesh.masks["inside-mouth"][skin].max(axis=1) > 0.5
    used = skin[(mesh.masks[name][skin].min(axis=1) > 0.5) & ~inside]
    flat = np.ones((len(used) * 3, 3), np.float32)
    flat[:, :2] = corner_coordinates(mesh.vertices, used).reshape(-1, 2) * size - 0.5
    reach, seen = np.zeros((size, size), np.float32), np.full((size, size), -1, np.int32)
    fill(flat, np.arange(len(flat), dtype=np.int32).reshape(-1, 3), reach, seen, 0, True)
    return blurred(reach, 2.0)


def painted_positions(mesh: HeadMesh, size: int) -> np.ndarray:
    """float32 (S, S, 3): where on the unshaped head each texel lies, outermost surface first."""
    skin = mesh.part_triangles("skin")
    used = skin[mesh.masks["inside-mouth"][skin].max(axis=1) < 0.5]
    uv = corner_coordinates(mesh.vertices, used)
    _, _, radius = directions(mesh.vertices)
    around, up = np.broadcast_arrays(*from_map(size))
    reach = np.zeros((size, size), np.float32)
    for shift in (0, 1):
        corners = np.empty((len(used) * 3, 3), np.float32)
        corners[:, :2] = (uv.reshape(-1, 2) - [shift, 0]) * size - 0.5
        corners[:, 2] = radius[used].reshape(-1)
        seen = np.full((size, size), -1, np.int32)
        fill(corners, np.arange(len(corners), dtype=np.int32).reshape(-1, 3), reach, seen, 0, True)
    for y in range(1, size):  # below the bust: the last row that shows anything, continued
        empty = reach[y] == 0
        reach[y, empty] = reach[y - 1, empty]
    place = on_sphere(around, up) * reach[..., None]
    return (place + CENTRE).astype(np.float32)


def on_sphere(around: np.ndarray, up: np.ndarray) -> np.ndarray:
    """float64 (..., 3): unit vectors in the direction of two angles, broadcast."""
    flat = exact.cosines(up)
    parts = exact.sines(around) * flat, exact.sines(up), exact.cosines(around) * flat
    return np.stack(np.broadcast_arrays(*parts), -1)


def interpolated(x: np.ndarray, table: np.ndarray) -> np.ndarray:
    """float64 (...): the table's second column (N, 2) at x in its first, which rises."""
    at, value = table.astype(np.float64).T
    i = np.clip(np.searchsorted(at, x, "right") - 1, 0, len(at) - 2)
    share = np.clip((x - at[i]) / (at[i + 1] - at[i]), 0, 1)
    return value[i] + (value[i + 1] - value[i]) * share


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """float64 (H, W): convolved with a Gaussian, mirrored at the borders."""
    reach = round(4 * sigma)
    weights = exact.exponentials(-((np.arange(-reach, reach + 1) / sigma) ** 2) / 2)
    out = image.astype(np.float64)
    for _ in range(2):
        wide = np.pad(out, ((reach, reach), (0, 0)), mode="symmetric")
        total = sum(w * wide[i : i + len(out)] for i, w in enumerate(weights))
        out = (total / sum(weights)).T
    return out


def sampled(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """float64 (...): the map (S, S) at coordinates (..., 2), bilinear."""
    size = len(image)
    x, y = np.moveaxis(np.clip(uv * np.float64(size) - 0.5, 0, size - 1.001), -1, 0)
    ix, iy = x.astype(int), y.astype(int)
    fx, fy = x - ix, y - iy
    upper = image[iy, ix] * (1 - fx) + image[iy, ix + 1] * fx
    lower = image[iy + 1, ix] * (1 - fx) + image[iy + 1, ix + 1] * fx
    return upper * (1 - fy) + lower * fy


def halvings(texture: np.ndarray, levels: int) -> tuple[np.ndarray, ...]:
    """The texture, uint16 (S, S, C), and means over 2 x 2, 4 x 4, ... of its texels."""
    out = [texture]
    for _ in range(levels - 1):
        t = out[-1].astype(np.uint32)
        four = t[::2, ::2] + t[1::2, ::2] + t[::2, 1::2] + t[1::2, 1::2]
        out.append(((four + 2) // 4).astype(np.uint16))
    return tuple(out)


def blob(
    place: np.ndarray, centre: tuple[float, float], radii: tuple[float, float], both: bool = True
) -> np.ndarray:
    """float32 (S, S): a soft spot on the front of the face at centre (x, y) with radii, and its
    mirror image if both.
    """
    x = np.abs(place[..., 0]) if both else place[..., 0]
    d = ((x - centre[0]) / radii[0]) ** 2 + ((place[..., 1] - centre[1]) / radii[1]) ** 2
    return np.where(place[..., 2] > 0.3, exact.exponentials(-d), 0).astype(np.float32)


def step(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """0 below low, 1 above high, smooth between; falling if high < low."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)
