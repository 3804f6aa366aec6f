"""From samples to pixels: what is shaded once for several samples, and the average of a pixel."""

import math
from functools import cache

import numba
import numpy as np

from swap.studio import exact
from swap.studio.shade import HAIR

ENCODING = 16384  # steps of linear light
# Samples of one pixel belong together up to this difference in nearness, about 0.1 dm in depth.
NEAR = 5e-4


@numba.njit(cache=True, nogil=True, fastmath=False)
def gather(
    seen: np.ndarray, depth: np.ndarray, material: np.ndarray, small: np.ndarray, samples: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What has to be shaded: places float32 (N, 2) in samples, triangles int32 (N,), pixels int32
    (N,), rising, counts uint8 (N,) of samples for which they stand, and bool (N,) whether those
    are most of the pixel.

    seen, depth: (H * samples, W * samples), what `raster.fill` drew. material: uint8 (F,). small:
    bool (F,), triangles whose look changes within a pixel. Samples of a pixel that show one material
    at one depth are shaded once, at their middle; those of small triangles one by one.
    """
    height, width = seen.shape[0] // samples, seen.shape[1] // samples
    most = seen.size
    place, pixel = np.empty((most, 2), np.float32), np.empty(most, np.int32)
    triangle, count = np.empty(most, np.int32), np.empty(most, np.uint8)
    whole = np.empty(most, np.bool_)
    taken = np.empty(samples * samples, np.bool_)
    n = 0
    for y in range(height):
        for x in range(width):
            taken[:] = False
            for s in range(samples * samples):
                row, column = y * samples + s // samples, x * samples + s % samples
                t = seen[row, column]
                if t < 0 or taken[s]:
                    continue
                kind, near = material[t], depth[row, column]
                across, down, members = column, row, 1
                if not small[t]:
                    for other in range(s + 1, samples * samples):
                        v, u = y * samples + other // samples, x * samples + other % samples
                        o = seen[v, u]
                        if o < 0 or taken[other] or material[o] != kind or small[o]:
                            continue
                        if kind != HAIR and abs(depth[v, u] - near) > NEAR:
                            continue
                        taken[other] = True
                        across, down, members = across + u, down + v, members + 1
                place[n, 0], place[n, 1] = across / members, down / members
                triangle[n], pixel[n], count[n] = t, y * width + x, members
                whole[n] = 2 * members > samples * samples
                n += 1
    return place[:n], triangle[:n], pixel[:n], count[:n], whole[:n]


@cache
def encoding() -> np.ndarray:
    """uint8 (ENCODING + 1,): sRGB of linear light from 0 to 1 (IEC 61966-2-1)."""
    x = np.arange(ENCODING + 1) / ENCODING
    srgb = np.where(x <= 0.0031308, 12.92 * x, 1.055 * exact.powers(x, 1 / 2.4) - 0.055)
    return np.rint(srgb * 255).astype(np.uint8)


@numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")
def resolve(
    colour: np.ndarray,
    pixel: np.ndarray,
    count: np.ndarray,
    samples: int,
    height: int,
    width: int,
    to_frame: np.ndarray,
    backdrop: np.ndarray,
    table: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The picture uint8 (H, W, 3) and the coverage uint8 (H, W) of the face.

    colour: float32 (N, 4), as `shade` gives it, for pixel (N,) and count (N,) of `gather`.
    to_frame: (2, 3), from pixels to places in the frame, 0 to 1 in both directions. backdrop:
    float64 (2, 3), linear light at the top and the bottom of the frame. table: see `encoding`.
    Highlights are compressed: linear up to 0.6, then towards 1, so that a glint cannot ring.
    """
    rgb, mask = np.empty((height, width, 3), np.uint8), np.empty((height, width), np.uint8)
    total = np.empty(3)
    every = samples * samples
    n = 0
    for y in range(height):
        for x in range(width):
            left, face = every, 0.0
            total[:] = 0.0
            while n < len(pixel) and pixel[n] == y * width + x:
                left -= count[n]
                for c in range(3):
                    light = np.float64(colour[n, c])
                    high = max(light - 0.6, 0.0)
                    total[c] += count[n] * (min(light, 0.6) + 0.4 * (high / (high + 0.4)))
                face += count[n] * colour[n, 3]
                n += 1
            if left > 0:
                u = to_frame[0, 0] * x + to_frame[0, 1] * y + to_frame[0, 2]
                v = to_frame[1, 0] * x + to_frame[1, 1] * y + to_frame[1, 2]
                du, dv = u - 0.5, v - 0.42
                glow = max(0.3, 1.12 - 0.9 * (du * du + dv * dv))
                down = min(max(v, 0.0), 1.0)
                for c in range(3):
                    light = (backdrop[0, c] + (backdrop[1, c] - backdrop[0, c]) * down) * glow
                    total[c] += left * light
            for c in range(3):
                light = min(max(total[c] / every, 0.0), 1.0)
                rgb[y, x, c] = table[int(light * ENCODING + 0.5)]
            mask[y, x] = math.floor(255 * (face / every) + 0.5)
    return rgb, mask
