"""A z-buffer in Numba: which triangle is seen at each sample, and how far away it is.

Pixel centres lie at integer coordinates. The result depends on nothing but its arguments: one
thread, one order, exact operations, so the same call gives the same bytes on every machine.
"""

import math

import numba
import numpy as np

NOTHING = -1
# In shares of a triangle. Two triangles round their common edge differently: none may miss a sample.
_EDGE = 1e-9


@numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")
def _draw(
    points: np.ndarray,
    triangles: np.ndarray,
    corners: np.ndarray,
    least: np.ndarray,
    texture: np.ndarray,
    depth: np.ndarray,
    seen: np.ndarray,
    first: int,
    two_sided: bool,
    cut: bool,
) -> None:
    height, width = depth.shape
    size = texture.shape[0]
    for t in range(triangles.shape[0]):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, y0 = np.float64(points[i, 0]), np.float64(points[i, 1])
        x1, y1 = np.float64(points[j, 0]), np.float64(points[j, 1])
        x2, y2 = np.float64(points[k, 0]), np.float64(points[k, 1])
        area = (x2 - x0) * (y1 - y0) - (x1 - x0) * (y2 - y0)
        if abs(area) <= 1e-9 or (area < 0 and not two_sided):
            continue
        left = max(0, math.ceil(min(x0, x1, x2)))
        right = min(width - 1, math.floor(max(x0, x1, x2)))
        top = max(0, math.ceil(min(y0, y1, y2)))
        bottom = min(height - 1, math.floor(max(y0, y1, y2)))
        if left > right or top > bottom:
            continue
        z2 = np.float64(points[k, 2])
        z02, z12 = points[i, 2] - z2, points[j, 2] - z2
        share = 1 / area
        # a, b and 1 - a - b are the shares of the corners; they are linear in x and y.
        ax, ay = (y2 - y1) * share, (x1 - x2) * share
        bx, by = (y0 - y2) * share, (x2 - x0) * share
        for y in range(top, bottom + 1):
            a = ax * (left - x1) + ay * (y - y1)
            b = bx * (left - x2) + by * (y - y2)
            within = False
            for x in range(left, right + 1):
                if a >= -_EDGE and b >= -_EDGE and a + b <= 1 + _EDGE:
                    within = True
                    z = np.float32(z2 + a * z02 + b * z12)
                    if z > depth[y, x]:
                        solid = True
                        if cut:
                            c = 1 - a - b
                            u = a * corners[t, 0, 0] + b * corners[t, 1, 0] + c * corners[t, 2, 0]
                            v = a * corners[t, 0, 1] + b * corners[t, 1, 1] + c * corners[t, 2, 1]
                            row = min(max(int(v * size), 0), size - 1)
                            solid = texture[row, int(u * size) % size] >= least[t]
                        if solid:
                            depth[y, x] = z
                            seen[y, x] = first + t
                elif within:
                    break
                a += ax
                b += bx


@numba.njit(cache=True, nogil=True, fastmath=False)
def fill(
    points: np.ndarray,
    triangles: np.ndarray,
    depth: np.ndarray,
    seen: np.ndarray,
    first: int,
    two_sided: bool,
) -> None:
    """Draw triangles into `depth` (H, W) float32, larger is nearer, and `seen` (H, W) int32.

    points: float32 (V, 3), x and y in samples, y downwards, and nearness. A triangle whose corners
    run counter-clockwise on the picture (y up) faces the viewer; others are drawn only if two_sided.
    seen gets first + the triangle's row. A sample on a shared edge belongs to the triangle drawn first.
    """
    corners, least = np.empty((0, 3, 2), np.float32), np.empty(0, np.uint8)
    texture = np.empty((1, 1), np.uint8)
    _draw(points, triangles, corners, least, texture, depth, seen, first, two_sided, False)


@numba.njit(cache=True, nogil=True, fastmath=False)
def fill_cut(
    points: np.ndarray,
    triangles: np.ndarray,
    corners: np.ndarray,
    least: np.ndarray,
    texture: np.ndarray,
    depth: np.ndarray,
    seen: np.ndarray,
    first: int,
    two_sided: bool,
) -> None:
    """As `fill`, for triangles with holes: a sample is drawn where the opacity uint8 (S, S), at the
    triangle's map coordinates float32 (F, 3, 2), reaches `least` uint8 (F,).
    """
    _draw(points, triangles, corners, least, texture, depth, seen, first, two_sided, True)
