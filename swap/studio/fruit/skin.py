"""The fruits' painted surfaces, made once: colour, bumps and hairs from lattice noise.

A skin is painted on the sphere of directions, unfolded to a square by the octahedral map (Meyer et
al., On Floating-Point Normal Vectors, 2010), which needs no trigonometry; the kiwi's cut face is
painted on its own square. Channels: linear red, green, blue; the bump's x, y, z, the vector that is
added to the unit normal; hairs, or gloss. Values are quantised to 16 bits, see `quantised`.
"""

from functools import cache

import numba
import numpy as np

from swap.studio.noise import hashed, noise

SIDE = 768  # texels of a skin
FACE_SIDE = 640  # texels of the cut face
CAP = 0.42  # how far the apple's pale cap reaches, in 1 - cos of the angle from the axis
FACE_EXTENT = 1.04  # half the side of its square, in semi-axes of the face
BUMP = 2.0  # a bump's components lie within +- this


@numba.njit(cache=True, nogil=True, fastmath=False)
def _spots(points: np.ndarray, seed: int, near: np.ndarray, which: np.ndarray) -> None:
    """Distance to the nearest of one random point per unit cell, and a random number of its own."""
    for i in range(points.shape[0]):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        ix, iy, iz = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
        best, number = 9.0, 0.0
        for c in range(27):
            cx, cy, cz = ix + c % 3 - 1, iy + c // 3 % 3 - 1, iz + c // 9 - 1
            ex = cx + hashed(cx, cy, cz, seed) - x
            ey = cy + hashed(cx, cy, cz, seed + 1) - y
            ez = cz + hashed(cx, cy, cz, seed + 2) - z
            d = ex * ex + ey * ey + ez * ez
            if d < best:
                best, number = d, hashed(cx, cy, cz, seed + 3)
        near[i], which[i] = np.sqrt(best), number


def spots(points: np.ndarray, frequency: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """float64 (...) twice: distance from points (..., 3) to the nearest of scattered points, about
    1 / frequency apart, in that unit, and a number in [0, 1) that belongs to the scattered point.
    """
    flat = np.ascontiguousarray(points.reshape(-1, 3) * np.float64(frequency))
    near, which = np.empty(len(flat)), np.empty(len(flat))
    _spots(flat, seed, near, which)
    return near.reshape(points.shape[:-1]), which.reshape(points.shape[:-1])


def linear(*srgb: float) -> np.ndarray:
    """float64 (3,): linear light of an sRGB colour in [0, 1] (IEC 61966-2-1)."""
    x = np.array(srgb)
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def step(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """Smoothly from 0 at low to 1 at high; low may be the larger."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def mixed(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Colours a (..., 3) where share (...) is 0, b where it is 1."""
    return a + (b - a) * share[..., None]


def quantised(channels: np.ndarray) -> np.ndarray:
    """uint16 (H, W, 7): the colour and the last channel in [0, 1], the bump in [-BUMP, BUMP].

    Rounding makes the values the same where a libm differs in the last bit.
    """
    scaled = channels.copy()
    scaled[..., 3:6] = scaled[..., 3:6] / (2 * BUMP) + 0.5
    return np.rint(np.clip(scaled, 0, 1) * 65535).astype(np.uint16)


def levels(base: np.ndarray, octahedral: bool) -> tuple[np.ndarray, ...]:
    """The picture, its half, its quarter and its eighth, each with a border of one texel."""
    out = []
    for _ in range(4):
        out.append(_bordered(base, octahedral))
        wide = base.astype(np.uint32)
        total = wide[::2, ::2] + wide[1::2, ::2] + wide[::2, 1::2] + wide[1::2, 1::2]
        base = ((total + 2) // 4).astype(np.uint16)
    return tuple(out)


def _bordered(base: np.ndarray, octahedral: bool) -> np.ndarray:
    if not octahedral:
        return np.pad(base, ((1, 1), (1, 1), (0, 0)), mode="edge")
    # Beyond an edge of the octahedral map lies the same edge's other half.
    out = np.pad(base, ((1, 1), (1, 1), (0, 0)))
    out[0, 1:-1], out[-1, 1:-1] = base[0, ::-1], base[-1, ::-1]
    out[1:-1, 0], out[1:-1, -1] = base[::-1, 0], base[::-1, -1]
    out[0, 0], out[0, -1], out[-1, 0], out[-1, -1] = (
        base[-1, -1],
        base[-1, 0],
        base[0, -1],
        base[0, 0],
    )
    return out


def _directions(side: int) -> np.ndarray:
    """float64 (side, side, 3): the unit vectors of an octahedral map's texel centres."""
    s = (np.arange(side) + 0.5) / side * 2 - 1
    u, v = np.meshgrid(s, s)
    w = 1 - np.abs(u) - np.abs(v)
    fold_u = np.where(w < 0, (1 - np.abs(v)) * np.where(u < 0, -1, 1), u)
    fold_v = np.where(w < 0, (1 - np.abs(u)) * np.where(v < 0, -1, 1), v)
    d = np.stack([fold_u, w, fold_v], -1)
    return d / np.sqrt((d * d).sum(-1, keepdims=True))


def _bump(height: object, points: np.ndarray) -> np.ndarray:
    """float64 (..., 3): minus the slope, along the sphere, of a height given as a function."""
    e = 0.004
    here = height(points)
    slope = np.stack([(height(points + e * np.eye(3)[c]) - here) / e for c in range(3)], -1)
    return -(slope - (slope * points).sum(-1, keepdims=True) * points)


@cache
def apple_skin() -> tuple[np.ndarray, ...]:
    """uint16 (H, H, 7) each: see the file's head. Red, but for a pale cap about the stalk."""
    d = _directions(SIDE)
    x, y, z = d[..., 0], d[..., 1], d[..., 2]
    ring = np.sqrt(x * x + z * z) + 1e-6
    top, bottom = 1 - y, 1 + y
    around = np.stack([x / ring, 0.10 * y + 0.02 * x, z / ring], -1)
    streak = noise(around, 9, 11, 4).astype(float)
    fine = noise(around, 44, 21, 3).astype(float)
    cloud = noise(d, 1.9, 31, 3).astype(float)
    mottle = noise(d, 26, 41, 3).astype(float)
    sunny = (top - CAP) / 0.34 + 0.20 * cloud + 0.22 * streak + 0.26 * fine + 0.10 * mottle
    red = step(-0.90, 0.60, sunny)
    deep = step(-0.2, 0.8, sunny + 0.25 * mottle + 0.2 * cloud)
    yellow = mixed(
        linear(0.84, 0.81, 0.44), linear(0.77, 0.80, 0.40), step(-0.3, 0.5, cloud + 0.3 * mottle)
    )
    warm = mixed(linear(0.78, 0.40, 0.22), linear(0.62, 0.11, 0.11), step(0.15, 0.75, red))
    warm = mixed(warm, linear(0.43, 0.04, 0.065), 0.9 * deep)
    colour = (
        mixed(yellow, warm, step(0.02, 0.85, red)) * (1 + 0.10 * mottle + 0.06 * fine)[..., None]
    )
    # Lenticels: pale dots, smaller and closer towards the calyx.
    for frequency, seed, size in ((13.0, 51, 0.17), (21.0, 61, 0.20)):
        near, which = spots(d, frequency, seed)
        size = size * (0.45 + 0.75 * which) * (which > 0.25)
        dot = step(1.0, 0.45, near / np.maximum(size, 1e-3)) * (which > 0.25)
        dot *= 0.62 if frequency < 20 else 0.40 * step(0.2, -0.5, y)
        colour = mixed(colour, linear(0.80, 0.58, 0.40), 0.8 * dot)
    # Russet: the rough brown that spreads from the stalk, in rays.
    russet = step(0.022, 0.006, top * (1 + 0.9 * streak + 0.5 * fine) - 0.012 * mottle)
    colour = mixed(colour, linear(0.60, 0.50, 0.30), 0.85 * russet)
    green = step(0.20, 0.04, top) * (1 - russet)
    colour = mixed(colour, linear(0.78, 0.81, 0.44), 0.6 * green)
    dry = step(0.020, 0.004, bottom + 0.006 * fine)
    colour = mixed(colour, linear(0.20, 0.14, 0.09), dry)

    def height(p: np.ndarray) -> np.ndarray:
        return 0.016 * noise(p, 3.2, 71, 2).astype(float) + 0.0013 * noise(p, 15, 81, 2)

    gloss = 0.60 * (1 - 0.85 * russet - 0.6 * dry)
    return levels(quantised(np.concatenate([colour, _bump(height, d), gloss[..., None]], -1)), True)


@cache
def kiwi_skin() -> tuple[np.ndarray, ...]:
    """uint16 (H, H, 7) each: brown, with short hairs that lie along the fruit; last, the hairs."""
    d = _directions(SIDE)
    x, y, z = d[..., 0], d[..., 1], d[..., 2]
    # Meridians: hairs lie along the fruit. Away from the end they keep their breadth.
    along = np.stack([x, 0.22 * y, z], -1)
    hairs = 0.5 + 0.5 * noise(along, 84, 111, 2).astype(float)
    cloud = noise(d, 2.6, 121, 3).astype(float)
    mottle = noise(d, 19, 131, 3).astype(float)
    tuft = 0.5 + 0.5 * noise(d, 46, 141, 2).astype(float)
    brown = mixed(
        linear(0.37, 0.265, 0.15), linear(0.45, 0.335, 0.20), step(-0.5, 0.5, cloud + 0.3 * mottle)
    )
    brown = mixed(brown, linear(0.36, 0.31, 0.16), 0.3 * step(0.0, 0.6, noise(d, 1.4, 151, 2)))
    lay = step(0.35, 0.75, hairs)
    colour = brown * (0.66 + 0.60 * lay + 0.12 * mottle)[..., None]
    near, which = spots(d, 17, 161)
    speck = step(0.30, 0.12, near) * (which > 0.55) * 0.4
    colour = mixed(colour, linear(0.23, 0.15, 0.08), speck)
    # The far end: the hard, dark little knob of the flower.
    end = step(0.012, 0.004, 1 + y)
    colour = mixed(colour, linear(0.20, 0.14, 0.09), end)

    def height(p: np.ndarray) -> np.ndarray:
        slow = np.stack([p[..., 0], 0.22 * p[..., 1], p[..., 2]], -1)
        return (
            0.0032 * noise(slow, 84, 111, 2).astype(float)
            + 0.010 * noise(p, 19, 131, 2)
            + 0.012 * noise(p, 3, 171)
        )

    return levels(quantised(np.concatenate([colour, _bump(height, d), tuft[..., None]], -1)), True)
