"""Light on a surface of the fruit, and what the fruit leaves of it on the table.

Key light: a large soft box, with light that creeps past the terminator (wrap); a weak light from
the other side; sky and table, darkened in hollows and near the table; the soft box's mirror image
in gloss, with Schlick's Fresnel. Only exact operations (see exact.py): the same bytes everywhere.
"""

import math

import numba
import numpy as np

DISTANCE = 8.0  # of the camera from the fruit's centre, in radii
TABLE = (0.9612616959383189, 0.27563735581699916)  # cosine and sine of the camera's 16 degrees
_exact = numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")
_inline = numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy", inline="always")


@_inline
def step(low: float, high: float, x: float) -> float:
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


@_inline
def soft_box(
    nx: float,
    ny: float,
    nz: float,
    vx: float,
    vy: float,
    vz: float,
    lights: np.ndarray,
    soft: float,
) -> float:
    """The key light's mirror image: a rectangle whose edge is `soft` wide, in tangents."""
    nv = nx * vx + ny * vy + nz * vz
    rx, ry, rz = 2 * nv * nx - vx, 2 * nv * ny - vy, 2 * nv * nz - vz
    ahead = rx * lights[0, 0] + ry * lights[0, 1] + rz * lights[0, 2]
    if ahead <= 0.1:
        return 0.0
    a = abs(rx * lights[1, 0] + ry * lights[1, 1] + rz * lights[1, 2]) / ahead
    b = abs(rx * lights[2, 0] + ry * lights[2, 1] + rz * lights[2, 2]) / ahead
    return step(0.20 + soft, 0.20 - soft, a) * step(0.30 + soft, 0.30 - soft, b)


@_inline
def lit(
    px: float, py: float, pz: float, nx: float, ny: float, nz: float, dx: float, dy: float,
    dz: float, turn: np.ndarray, lights: np.ndarray, sky: np.ndarray, paper: np.ndarray,
    deep: float, sun: float, open_air: float, gloss: float, sharp: float, wrap_r: float,
    wrap_g: float, wrap_b: float, through: float, colour: np.ndarray, texel: np.ndarray,
) -> None:  # fmt: skip
    """Writes the linear light that a surface sends to the camera; albedo in texel[:3]."""
    # Normal, view and height above the table in the picture's space.
    ax = turn[0, 0] * nx + turn[0, 1] * ny + turn[0, 2] * nz
    ay = turn[1, 0] * nx + turn[1, 1] * ny + turn[1, 2] * nz
    az = turn[2, 0] * nx + turn[2, 1] * ny + turn[2, 2] * nz
    vx = -(turn[0, 0] * dx + turn[0, 1] * dy + turn[0, 2] * dz)
    vy = -(turn[1, 0] * dx + turn[1, 1] * dy + turn[1, 2] * dz)
    vz = -(turn[2, 0] * dx + turn[2, 1] * dy + turn[2, 2] * dz)
    wy = turn[1, 0] * px + turn[1, 1] * py + turn[1, 2] * pz
    wz = turn[2, 0] * px + turn[2, 1] * py + turn[2, 2] * pz
    above = TABLE[0] * wy + TABLE[1] * wz + deep
    rise = TABLE[0] * ay + TABLE[1] * az
    key = ax * lights[0, 0] + ay * lights[0, 1] + az * lights[0, 2]
    fill = max(0.0, (ax * lights[4, 0] + ay * lights[4, 1] + az * lights[4, 2] + 0.3) / 1.3)
    up = 0.5 + 0.5 * rise
    table = (1 - up) * (0.18 + 0.82 * above / (above + 0.55))
    facing = max(0.0, ax * vx + ay * vy + az * vz)
    grazing = 1 - facing
    fresnel = grazing * grazing * grazing * grazing * grazing
    mirror = 0.04 + 0.55 * fresnel
    glint = soft_box(ax, ay, az, vx, vy, vz, lights, sharp) * 0.20 / (0.20 + 0.6 * sharp)
    bounce_y = 2 * facing * rise - (TABLE[0] * vy + TABLE[1] * vz)
    sky_seen = step(-0.4, 0.5, bounce_y)
    behind = max(0.0, -key) * through
    for c in range(3):
        w = wrap_r if c == 0 else (wrap_g if c == 1 else wrap_b)
        front = max(0.0, (key + w) / (1 + w))
        front = front * (1 - w + w * front)
        light = lights[3, c] * (front * sun + behind) + lights[5, c] * fill * open_air
        around = up * sky[c] + table * paper[1, c] * 0.85
        light += around * open_air * (0.35 + 0.65 * open_air)
        value = texel[c] * light
        value += gloss * lights[3, c] * glint * (0.30 + 5.0 * mirror) * sun
        value += (
            gloss
            * mirror
            * open_air
            * (sky_seen * sky[c] + (1 - sky_seen) * 0.35 * table * paper[1, c])
        )
        colour[c] = value


@_exact
def table_shadow(
    x: float, y: float, deep: float, foot_x: float, foot_y: float, foot_z: float, lights: np.ndarray
) -> float:
    """The table's light behind (x, y), 1 where the fruit takes none: a ball in its place, which
    hides a share of the sky (r / d)^2 cos, and a soft shadow of the key light.
    """
    down = -(TABLE[0] * y - TABLE[1] * DISTANCE)  # the ray (x, y, -DISTANCE) against the table
    if down <= 0.05:
        return 1.0
    t = (TABLE[1] * DISTANCE + deep) / down
    qx, qy, qz = t * x, t * y, DISTANCE - t * DISTANCE
    # The ball stands between the fruit's centre and the point on which it rests.
    lift = 0.94 * deep
    bx = 0.35 * foot_x
    by = 0.35 * (foot_y + deep * TABLE[0])
    bz = 0.35 * (foot_z + deep * TABLE[1])
    ux, uy, uz = bx - qx, by - qy, bz - qz
    d2 = ux * ux + uy * uy + uz * uz
    d = math.sqrt(d2)
    radius = 0.5 * (lift + 0.9)
    radius = min(radius, 0.995 * d)
    up = (TABLE[0] * uy + TABLE[1] * uz) / d
    hidden = up * radius * radius / d2
    contact_x, contact_y, contact_z = foot_x - qx, foot_y - qy, foot_z - qz
    c2 = contact_x * contact_x + contact_y * contact_y + contact_z * contact_z
    contact = 1 / (1 + c2 / 0.05)
    along = ux * lights[0, 0] + uy * lights[0, 1] + uz * lights[0, 2]
    sun = 1.0
    if along > 0:
        miss = math.sqrt(max(0.0, d2 - along * along)) - 0.9 * radius
        sun = step(-0.30, 0.30, miss / (0.35 + 0.35 * along) * 0.6)
    return (0.42 + 0.58 * sun) * (1 - 0.80 * min(1.0, hidden)) * (1 - 0.45 * contact)
