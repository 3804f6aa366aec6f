"""The fruit's materials: texels, the leaf's pattern, the kiwi's hairs. Only exact operations."""

import math

import numba
import numpy as np

from swap.studio.fruit.light import step
from swap.studio.fruit.shapes import FAR, KIWI, KIWI_CENTRE, LEAF_WIDTH, hit_kiwi, leaf_width
from swap.studio.fruit.skin import BUMP

SHELLS = 6  # of hairs
FUZZ = 0.055  # length of the hairs
_exact = numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")
_inline = numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy", inline="always")


@_inline
def fetch(texture: np.ndarray, u: float, v: float, out: np.ndarray) -> None:
    """Bilinear; u, v in [-1, 1] over the square inside of the border; out: seven channels."""
    size = texture.shape[0] - 2
    x = min(max((u * 0.5 + 0.5) * size + 0.5, 0.0), size + 0.999)
    y = min(max((v * 0.5 + 0.5) * size + 0.5, 0.0), size + 0.999)
    ix, iy = int(x), int(y)
    fx, fy = x - ix, y - iy
    a, b, c, d = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
    for k in range(7):
        value = a * texture[iy, ix, k] + b * texture[iy, ix + 1, k]
        value += c * texture[iy + 1, ix, k] + d * texture[iy + 1, ix + 1, k]
        out[k] = value / 65535.0
    for k in range(3, 6):
        out[k] = (out[k] - 0.5) * (2 * BUMP)


@_inline
def fetch_hair(texture: np.ndarray, u: float, v: float) -> float:
    """As `_fetch`, the last channel only."""
    size = texture.shape[0] - 2
    x = min(max((u * 0.5 + 0.5) * size + 0.5, 0.0), size + 0.999)
    y = min(max((v * 0.5 + 0.5) * size + 0.5, 0.0), size + 0.999)
    ix, iy = int(x), int(y)
    fx, fy = x - ix, y - iy
    upper = texture[iy, ix, 6] * (1 - fx) + texture[iy, ix + 1, 6] * fx
    lower = texture[iy + 1, ix, 6] * (1 - fx) + texture[iy + 1, ix + 1, 6] * fx
    return (upper * (1 - fy) + lower * fy) / 65535.0


@_inline
def unfold(x: float, y: float, z: float) -> tuple[float, float]:
    """The octahedral map of a direction."""
    total = 1 / (abs(x) + abs(y) + abs(z))
    u, v = x * total, z * total
    if y < 0:
        fu = (1 - abs(v)) * (-1.0 if u < 0 else 1.0)
        fv = (1 - abs(u)) * (-1.0 if v < 0 else 1.0)
        return fu, fv
    return u, v


@_inline
def unfold_kiwi(px: float, py: float, pz: float) -> tuple[float, float]:
    return unfold(px / KIWI[0], (py - KIWI_CENTRE) / KIWI[1], pz / KIWI[2])


@_exact
def leaf_colour(along: float, across: float, out: np.ndarray) -> None:
    """Colour, and in out[3] the height of veins; the leaf's own green."""
    width = leaf_width(along)
    side = abs(across)
    rib = step(0.016 - 0.008 * along, 0.004, side)
    vein = along * 9 - side / LEAF_WIDTH * 2.1
    vein -= math.floor(vein)
    vein = step(0.16, 0.03, min(vein, 1 - vein)) * step(0.0, 0.02, side)
    rim = step(0.75, 1.0, side / max(width, 1e-6))
    light = 0.5 * rib + 0.20 * vein
    out[0] = 0.12 + 0.18 * light + 0.03 * rim
    out[1] = 0.25 + 0.20 * light + 0.01 * rim
    out[2] = 0.045 + 0.06 * light
    out[3] = vein


@_exact
def hairs(
    cx: float, cy: float, cz: float, dx: float, dy: float, dz: float, turn: np.ndarray,
    lights: np.ndarray, klx: float, kly: float, klz: float, sky: np.ndarray, skin: np.ndarray,
    share: float, colour: np.ndarray, texel: np.ndarray,
) -> float:  # fmt: skip
    """Lays the hairs over a sample of the kiwi or of what is behind it: shells, inner ones denser.

    Returns the share that kiwi and hairs cover together; colour is of that share only.
    """
    for k in range(SHELLS):
        out = (k + 0.5) / SHELLS
        t, flat = hit_kiwi(cx, cy, cz, dx, dy, dz, 1 + FUZZ * out)
        if t >= FAR or flat:
            continue
        px, py, pz = cx + t * dx, cy + t * dy, cz + t * dz
        nx = px / (KIWI[0] * KIWI[0])
        ny = (py - KIWI_CENTRE) / (KIWI[1] * KIWI[1])
        nz = pz / (KIWI[2] * KIWI[2])
        length = 1 / math.sqrt(nx * nx + ny * ny + nz * nz)
        nx, ny, nz = nx * length, ny * length, nz * length
        facing = -(nx * dx + ny * dy + nz * dz)
        if facing > 0.55:
            break
        # Hairs lean towards the far end and a little to one side.
        u, v = unfold_kiwi(px + 0.02 * out, py + 0.05 * out, pz)
        tall = fetch_hair(skin, u, v)
        hair = step(0.22 + 0.42 * out, 0.52 + 0.42 * out, tall)
        cover = hair * (0.62 - 0.30 * out) * step(0.55, 0.1, facing)
        if cover <= 0:
            continue
        key = nx * klx + ny * kly + nz * klz
        ahead = max(0.0, dx * klx + dy * kly + dz * klz)
        front = max(0.0, (key + 0.4) / 1.4)
        up = 0.5 + 0.5 * (turn[1, 0] * nx + turn[1, 1] * ny + turn[1, 2] * nz)
        total = share + (1 - share) * cover
        for c in range(3):
            tone = 0.24 if c == 0 else (0.165 if c == 1 else 0.085)
            light = lights[3, c] * (front + 0.5 * ahead) + sky[c] * up + 0.25 * lights[5, c]
            old = colour[c] * share
            colour[c] = (tone * light * cover + old * (1 - cover)) / total
        share = total
    return share
