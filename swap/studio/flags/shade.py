"""What the z-buffer saw of a flag, its pole and the sky, as colours.

    sun * (albedo * facing + gloss) + sky * albedo * open + sun * through * albedo * (a + b albedo)

The last term is light through the thin cloth, which takes its colour twice. The drawing is averaged
over each sample's footprint on the cloth, so that thin stripes do not shimmer: the sample's square,
seen from the cloth, has the sizes |du/dx, du/dy| and |dv/dx, dv/dy|.
"""

import math
from functools import cache

import numba
import numpy as np

from swap.studio.flags.drawings import HEADING, HEM, TEXELS, linear

GLOSS = 0.028
THROUGH = 0.8
_SUN, _SKY, _THROUGH, _SHEEN, _COLUMN, _ROW = range(6)


@numba.njit(cache=True, nogil=True, inline="always")
def _corner(sums: np.ndarray, column: float, row: float, out: np.ndarray, sign: float) -> None:
    """Add sign * the sum left of and above a point, between texels bilinear, to out (3,)."""
    i, j = min(int(row), sums.shape[0] - 2), min(int(column), sums.shape[1] - 2)
    f, g = row - i, column - j
    for c in range(3):
        upper = sums[i, j, c] + g * (sums[i, j + 1, c] - sums[i, j, c])
        lower = sums[i + 1, j, c] + g * (sums[i + 1, j + 1, c] - sums[i + 1, j, c])
        out[c] += sign * (upper + f * (lower - upper))


@numba.njit(cache=True, nogil=True)
def box_mean(
    sums: np.ndarray, column: float, row: float, wide: float, high: float, out: np.ndarray
) -> None:
    """out (3,): the mean, 0 to 1, of a box of texels about a point in texels from the upper left."""
    height, width = sums.shape[0] - 1, sums.shape[1] - 1
    wide, high = min(max(wide, 1.0), width / 4), min(max(high, 1.0), height / 4)
    left = min(max(column - wide / 2, 0.0), width - wide)
    top = min(max(row - high / 2, 0.0), height - high)
    out[:] = 0
    _corner(sums, left, top, out, 1.0)
    _corner(sums, left + wide, top, out, -1.0)
    _corner(sums, left, top + high, out, -1.0)
    _corner(sums, left + wide, top + high, out, 1.0)
    for c in range(3):
        out[c] = max(out[c] / (wide * high * 65535), 0.0)


@numba.njit(cache=True, nogil=True)
def shade(
    seen: np.ndarray,  # int32 (H n, W n): triangle, or -1
    points: np.ndarray,  # float32 (V, 3): sample x, y
    triangles: np.ndarray,  # int32 (F, 3)
    values: np.ndarray,  # float64 (V, 6): light, and column and row of the drawing in texels
    cloth: int,  # the first triangles are the cloth's
    material: np.ndarray,  # int32 (F - cloth,): row of `paints`
    paints: np.ndarray,  # float64 (M, 3)
    sums: np.ndarray,  # float64 (h + 1, w + 1, 3): of the drawing
    sun: np.ndarray,  # float64 (3,): colour
    sky: np.ndarray,  # float64 (3,): colour
    backdrop: np.ndarray,  # float64 (2, 3): linear colour at the top and the bottom of the frame
    inverse: np.ndarray,  # float64 (2, 3): from the picture to the frame
    shape: tuple[int, int],  # of the frame
    samples: int,
    levels: np.ndarray,  # uint8 (65536,): sRGB of linear light
    rgb: np.ndarray,  # uint8 (H, W, 3), written
    mask: np.ndarray,  # uint8 (H, W), written
) -> None:
    """Write the picture and the share of the cloth in each pixel."""
    height, width = mask.shape
    texels = sums.shape[0] - 1
    edge = sums.shape[1] - 1 - HEM * texels
    albedo, total = np.empty(3), np.empty(3)
    s = np.empty(6)
    for py in range(height):
        for px in range(width):
            total[:] = 0
            covered, empty = 0, 0
            for i in range(samples * samples):
                y, x = py * samples + i // samples, px * samples + i % samples
                t = seen[y, x]
                if t < 0:
                    empty += 1
                    continue
                p, q, r = triangles[t, 0], triangles[t, 1], triangles[t, 2]
                x0, y0 = np.float64(points[p, 0]), np.float64(points[p, 1])
                ax, ay = points[q, 0] - x0, points[q, 1] - y0
                bx, by = points[r, 0] - x0, points[r, 1] - y0
                area = ax * by - ay * bx
                b = ((x - x0) * by - (y - y0) * bx) / area
                c_ = (ax * (y - y0) - ay * (x - x0)) / area
                for k in range(6):
                    at = values[p, k]
                    s[k] = at + b * (values[q, k] - at) + c_ * (values[r, k] - at)
                glow = THROUGH
                if t < cloth:
                    covered += 1
                    du, dw = (
                        values[q, _COLUMN] - values[p, _COLUMN],
                        values[r, _COLUMN] - values[p, _COLUMN],
                    )
                    ux, uy = (du * by - dw * ay) / area, (dw * ax - du * bx) / area
                    dv, dw = values[q, _ROW] - values[p, _ROW], values[r, _ROW] - values[p, _ROW]
                    vx, vy = (dv * by - dw * ay) / area, (dw * ax - dv * bx) / area
                    wide, high = math.sqrt(ux * ux + uy * uy), math.sqrt(vx * vx + vy * vy)
                    box_mean(sums, s[_COLUMN], s[_ROW], wide, high, albedo)
                    if s[_COLUMN] < HEADING * texels:
                        glow *= 0.3
                    elif (
                        s[_ROW] < HEM * texels
                        or s[_ROW] > texels - HEM * texels
                        or s[_COLUMN] > edge
                    ):
                        glow *= 0.62
                else:
                    albedo[:] = paints[material[t - cloth]]
                    glow = 0.0
                for k in range(3):
                    a = albedo[k]
                    through = glow * s[_THROUGH] * a * (0.45 + 0.55 * a)
                    total[k] += sun[k] * (a * s[_SUN] + GLOSS * s[_SHEEN] + through)
                    total[k] += sky[k] * a * (s[_SKY] + 0.2 * glow)
            if empty:
                fx = inverse[0, 0] * px + inverse[0, 1] * py + inverse[0, 2]
                fy = inverse[1, 0] * px + inverse[1, 1] * py + inverse[1, 2]
                down = min(max((fy + 0.5) / shape[0], -0.5), 1.5)
                aside = (fx + 0.5) / shape[1] - 0.35
                for k in range(3):
                    mixed = backdrop[0, k] + (backdrop[1, k] - backdrop[0, k]) * down
                    total[k] += empty * max(mixed * (1.04 - 0.16 * aside * aside), 0.0)
            for k in range(3):
                value = total[k] / (samples * samples)
                if value > 0.7:  # bright cloth keeps its folds: the rest is compressed
                    value = 0.7 + 0.3 * (value - 0.7) / (value - 0.4)
                rgb[py, px, k] = levels[int(min(value, 1.0) * 65535 + 0.5)]
            mask[py, px] = (covered * 510 + samples * samples) // (2 * samples * samples)


@cache
def levels() -> np.ndarray:
    """uint8 (65536,): 8-bit sRGB of linear light in 65535ths, the nearest to each (IEC 61966-2-1)."""
    edges = linear(np.arange(255) + 0.5)
    return np.searchsorted(edges, np.arange(65536), side="right").astype(np.uint8)


def texel(u: np.ndarray, v: np.ndarray, fly: float) -> np.ndarray:
    """float64 (..., 2): column and row in texels of the drawing at cloth coordinates in [0, 1]."""
    return np.stack([(u * fly + HEADING) * TEXELS, v * TEXELS], axis=-1)
