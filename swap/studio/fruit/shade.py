"""What one ray sees of the fruit: the nearest part, its material, its light.

Only exact operations (see exact.py): the same bytes everywhere.
"""

import math

import numba
import numpy as np

from swap.studio.fruit.light import DISTANCE, lit, step
from swap.studio.fruit.material import fetch, hairs, leaf_colour, unfold, unfold_kiwi
from swap.studio.fruit.shapes import (
    BODY,
    FACE,
    FAR,
    KIWI,
    KIWI_CENTRE,
    LEAF_AXES,
    LEAF_CUP,
    LEAF_LENGTH,
    LEAF_SAG,
    STALK_CENTRE,
    STALK_REACH,
    apple_normal,
    apple_radius,
    hit_apple,
    hit_kiwi,
    hit_leaf,
    hit_stalk,
    leaf_width,
    stalk_distance,
    stalk_normal,
)
from swap.studio.fruit.skin import FACE_EXTENT

APPLE, KIWI_KIND = 0, 1
# What a sample shows: 0 is the backdrop. MANY parts in one pixel: hairs, leaf, grazing angles.
BODY_PART, STALK_PART, FACE_PART, MANY = 1, 2, 3, 4
_inline = numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy", inline="always")


@_inline
def fruit(
    kind: int, x: float, y: float, cx: float, cy: float, cz: float, turn: np.ndarray,
    lights: np.ndarray, klx: float, kly: float, klz: float, sky: np.ndarray, paper: np.ndarray,
    deep: float, skin: np.ndarray, face: np.ndarray, colour: np.ndarray, texel: np.ndarray,
) -> float:  # fmt: skip
    """Colour of the sample at (x, y), in radii from the centre; returns the fruit's share of it."""
    # The ray in the fruit's space.
    length = 1 / math.sqrt(x * x + y * y + DISTANCE * DISTANCE)
    rx, ry, rz = x * length, y * length, -DISTANCE * length
    dx = turn[0, 0] * rx + turn[1, 0] * ry + turn[2, 0] * rz
    dy = turn[0, 1] * rx + turn[1, 1] * ry + turn[2, 1] * rz
    dz = turn[0, 2] * rx + turn[1, 2] * ry + turn[2, 2] * rz
    sun, open_air, sharp, gloss = 1.0, 1.0, 0.05, 0.0
    wrap_r, wrap_g, wrap_b, through = 0.20, 0.14, 0.12, 0.0
    share, colour[3] = 1.0, BODY_PART
    if kind == APPLE:
        t = hit_apple(cx, cy, cz, dx, dy, dz, BODY)
        stem = hit_stalk(cx, cy, cz, dx, dy, dz)
        blade, along, across = hit_leaf(cx, cy, cz, dx, dy, dz)
        if blade < t and blade < stem:
            t, colour[3] = blade, MANY
            leaf_colour(along, across, texel)
            du, dv = 2 * LEAF_SAG * along * LEAF_LENGTH, -2 * LEAF_CUP * across
            dv -= 0.35 if across > 0 else -0.35  # folded along its rib
            du += 0.25 * texel[3]
            a = LEAF_AXES
            nx = du * a[0, 0] + dv * a[1, 0] + a[2, 0]
            ny = du * a[0, 1] + dv * a[1, 1] + a[2, 1]
            nz = du * a[0, 2] + dv * a[1, 2] + a[2, 2]
            length = 1 / math.sqrt(nx * nx + ny * ny + nz * nz)
            if nx * dx + ny * dy + nz * dz > 0:
                length = -length
            nx, ny, nz = nx * length, ny * length, nz * length
            gloss, sharp, through = 0.25, 0.25, 0.55
            px, py, pz = cx + t * dx, cy + t * dy, cz + t * dz
        elif stem < t:
            t, colour[3] = stem, STALK_PART
            px, py, pz = cx + t * dx, cy + t * dy, cz + t * dz
            nx, ny, nz = stalk_normal(px, py, pz)
            grain = 0.75 + 0.5 * step(0.55, 1.05, py)
            texel[0], texel[1], texel[2] = 0.20 * grain, 0.135 * grain, 0.062 * grain
            gloss, sharp = 0.10, 0.3
            open_air = 0.25 + 0.75 * step(0.40, 0.85, py)
            sun = step(0.45, 0.75, py)
        elif t < FAR:
            px, py, pz = cx + t * dx, cy + t * dy, cz + t * dz
            nx, ny, nz = apple_normal(px, py, pz)
            size = 1 / math.sqrt(px * px + py * py + pz * pz)
            ux, uy, uz = px * size, py * size, pz * size
            u, v = unfold(ux, uy, uz)
            fetch(skin, u, v, texel)
            nx, ny, nz = nx + texel[3], ny + texel[4], nz + texel[5]
            length = 1 / math.sqrt(nx * nx + ny * ny + nz * nz)
            nx, ny, nz = nx * length, ny * length, nz * length
            gloss, sharp = texel[6], 0.20
            top, bottom = 1 - uy, 1 + uy
            if top < 0.3:
                cavity = 1 + top / 0.045
                open_air = 1 - 0.45 / (cavity * cavity)
            elif bottom < 0.2:
                cavity = 1 + bottom / 0.04
                open_air = 1 - 0.75 / (cavity * cavity)
            sun = _apple_shadow(px, py, pz, nx, ny, nz, klx, kly, klz, top)
            wrap_r, wrap_g, wrap_b = 0.26, 0.16, 0.12
        else:
            return 0.0
    else:
        t, flat = hit_kiwi(cx, cy, cz, dx, dy, dz, 1.0)
        if t < FAR:
            px, py, pz = cx + t * dx, cy + t * dy, cz + t * dz
            if flat:
                colour[3] = FACE_PART
                u, v = px / (KIWI[0] * FACE * FACE_EXTENT), pz / (KIWI[2] * FACE * FACE_EXTENT)
                fetch(face, u, v, texel)
                nx, ny, nz = texel[3], 1.0, texel[5]
                gloss, sharp, through = texel[6], 0.25, 0.0
                wrap_r, wrap_g, wrap_b = 0.45, 0.55, 0.35
            else:
                u, v = unfold_kiwi(px, py, pz)
                fetch(skin, u, v, texel)
                nx = px / (KIWI[0] * KIWI[0])
                ny = (py - KIWI_CENTRE) / (KIWI[1] * KIWI[1])
                nz = pz / (KIWI[2] * KIWI[2])
                length = 1 / math.sqrt(nx * nx + ny * ny + nz * nz)
                nx, ny, nz = nx * length, ny * length, nz * length
                nx, ny, nz = nx + texel[3], ny + texel[4], nz + texel[5]
                gloss, sharp = 0.22, 0.3
                wrap_r, wrap_g, wrap_b = 0.22, 0.20, 0.18
            length = 1 / math.sqrt(nx * nx + ny * ny + nz * nz)
            nx, ny, nz = nx * length, ny * length, nz * length
        else:
            nx, ny, nz = 0.0, 0.0, 0.0
            share = 0.0
    if share > 0:
        lit(
            px, py, pz, nx, ny, nz, dx, dy, dz, turn, lights, sky, paper, deep, sun, open_air,
            gloss, sharp, wrap_r, wrap_g, wrap_b, through, colour, texel,
        )  # fmt: skip
    facing = -(nx * dx + ny * dy + nz * dz)
    if facing < 0.2:
        colour[3] = MANY
    if kind == KIWI_KIND and (share == 0 or (not flat and facing < 0.55)):
        share = hairs(
            cx, cy, cz, dx, dy, dz, turn, lights, klx, kly, klz, sky, skin, share, colour, texel
        )
    return share


@_inline
def _apple_shadow(
    px: float, py: float, pz: float, nx: float, ny: float, nz: float, lx: float, ly: float,
    lz: float, top: float,
) -> float:  # fmt: skip
    """The key light's share that stalk, leaf and the hollow's wall leave to a point of the apple."""
    ox, oy, oz = px + 0.01 * nx, py + 0.01 * ny, pz + 0.01 * nz
    sun = 1.0
    if top < 0.13:
        # March to the light out of the hollow; how closely it passes the wall softens the edge.
        nearest, t = 1.0, 0.03
        for _ in range(9):
            qx, qy, qz = ox + t * lx, oy + t * ly, oz + t * lz
            r = math.sqrt(qx * qx + qy * qy + qz * qz)
            gap = r - apple_radius(qx / r, qy / r, qz / r)
            nearest = min(nearest, gap / t)
            t += 0.075
        sun = step(-0.25, 0.20, nearest)
    ex, ey, ez = STALK_CENTRE[0] - ox, STALK_CENTRE[1] - oy, STALK_CENTRE[2] - oz
    along = ex * lx + ey * ly + ez * lz
    off = ex * ex + ey * ey + ez * ez - along * along
    if along > 0 and off < (STALK_REACH + 0.05) * (STALK_REACH + 0.05):
        nearest, t = 1.0, max(0.01, along - STALK_REACH)
        for _ in range(14):
            gap = stalk_distance(ox + t * lx, oy + t * ly, oz + t * lz)
            nearest = min(nearest, gap / t)
            if gap < 1e-3 or t > along + STALK_REACH:
                break
            t += max(gap, 0.01)
        sun *= step(-0.02, 0.10, nearest)
    blade, along, across = hit_leaf(ox, oy, oz, lx, ly, lz)
    if blade < FAR:
        rim = 1 - abs(across) / leaf_width(along)
        sun *= 1 - 0.85 * step(0.0, min(0.9, 1.2 * blade) + 0.1, rim)
    return sun
