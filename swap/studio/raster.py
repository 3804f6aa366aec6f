"""A z-buffer in Numba: which triangle is seen at each sample, and how far away it is.

Pixel centres lie at integer coordinates. The result depends on nothing but its arguments: one
thread, one order, so the same call gives the same bytes.
"""

import numba
import numpy as np

NOTHING = -1


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
    height, width = depth.shape
    for t in range(triangles.shape[0]):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, y0, z0 = points[i, 0], points[i, 1], points[i, 2]
        x1, y1, z1 = points[j, 0], points[j, 1], points[j, 2]
        x2, y2, z2 = points[k, 0], points[k, 1], points[k, 2]
        area = (x2 - x0) * (y1 - y0) - (x1 - x0) * (y2 - y0)
        if area < 0 and two_sided:
            x1, x2, y1, y2, z1, z2 = x2, x1, y2, y1, z2, z1
            area = -area
        if area <= 1e-9:
            continue
        left = max(0, int(np.ceil(min(x0, x1, x2))))
        right = min(width - 1, int(np.floor(max(x0, x1, x2))))
        top = max(0, int(np.ceil(min(y0, y1, y2))))
        bottom = min(height - 1, int(np.floor(max(y0, y1, y2))))
        scale = np.float32(1) / area
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                a = ((x2 - x1) * (y - y1) - (x - x1) * (y2 - y1)) * -scale
                b = ((x0 - x2) * (y - y2) - (x - x2) * (y0 - y2)) * -scale
                c = np.float32(1) - a - b
                if a < 0 or b < 0 or c < 0:
                    continue
                z = a * z0 + b * z1 + c * z2
                if z > depth[y, x]:
                    depth[y, x] = z
                    seen[y, x] = first + t


@numba.njit(cache=True, nogil=True)
def average(samples: np.ndarray, factor: int) -> np.ndarray:
    """float32 (H, W, C): means over factor x factor samples of (H * factor, W * factor, C)."""
    height, width, channels = samples.shape
    out = np.zeros((height // factor, width // factor, channels), np.float32)
    share = np.float32(1 / factor**2)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            for c in range(channels):
                total = np.float32(0)
                for v in range(factor):
                    for u in range(factor):
                        total += samples[y * factor + v, x * factor + u, c]
                out[y, x, c] = total * share
    return out


@numba.njit(cache=True, nogil=True)
def fill_cut(
    points: np.ndarray,
    triangles: np.ndarray,
    corners: np.ndarray,
    least: np.ndarray,
    texture: np.ndarray,
    depth: np.ndarray,
    seen: np.ndarray,
    first: int,
) -> None:
    """As `fill`, from both sides, for triangles with holes: a sample is drawn where the texture's
    first channel (S, S, C), at the triangle's map coordinates (F, 3, 2), reaches `least` (F,).
    """
    height, width = depth.shape
    size = texture.shape[0]
    for t in range(triangles.shape[0]):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, y0, z0 = points[i, 0], points[i, 1], points[i, 2]
        x1, y1, z1 = points[j, 0], points[j, 1], points[j, 2]
        x2, y2, z2 = points[k, 0], points[k, 1], points[k, 2]
        area = (x2 - x0) * (y1 - y0) - (x1 - x0) * (y2 - y0)
        if abs(area) <= 1e-9:
            continue
        left = max(0, int(np.ceil(min(x0, x1, x2))))
        right = min(width - 1, int(np.floor(max(x0, x1, x2))))
        top = max(0, int(np.ceil(min(y0, y1, y2))))
        bottom = min(height - 1, int(np.floor(max(y0, y1, y2))))
        scale = np.float32(1) / area
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                a = ((x2 - x1) * (y - y1) - (x - x1) * (y2 - y1)) * -scale
                b = ((x0 - x2) * (y - y2) - (x - x2) * (y0 - y2)) * -scale
                c = np.float32(1) - a - b
                if a < 0 or b < 0 or c < 0:
                    continue
                z = a * z0 + b * z1 + c * z2
                if z <= depth[y, x]:
                    continue
                u = a * corners[t, 0, 0] + b * corners[t, 1, 0] + c * corners[t, 2, 0]
                v = a * corners[t, 0, 1] + b * corners[t, 1, 1] + c * corners[t, 2, 1]
                row = min(max(int(v * size), 0), size - 1)
                if texture[row, int(u * size) % size, 0] < least[t]:
                    continue
                depth[y, x] = z
                seen[y, x] = first + t
