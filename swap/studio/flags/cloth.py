"""A cloth in the wind: where its points lie, and how much light each of them gets.

A row of the cloth, from the hoist to the fly, keeps its length: it is the curve whose direction is

    theta(u, v) = sum_i A_i e(u) sin(2 pi (f_i u + g_i v) - phase_i)     in plan,
    delta(u, v)                                                          downwards,
    P(u, v) = (0, 1/2 - v, 0) + fly * integral_0^u (cos theta cos delta, -sin delta, sin theta cos delta) du

with u along the fly and v down the hoist, both from 0 to 1, x to the fly, y up, z to the viewer. The
waves travel from the hoist to the fly as their phases grow; e(u) is small at the hoist. Lengths are
in hoists. Every flag has the same theta and delta: the same folds.
"""

import math

import numba
import numpy as np

from swap.studio import exact
from swap.studio.flags.drawings import HEADING
from swap.studio.flags.walks import Params

COLUMNS, ROWS = 84, 36  # of the mesh, without the heading
BAND = 2  # columns of the heading
WAVES = np.array([[1.1, 0.14], [2.0, -0.08], [3.7, 0.20]])  # f_i, g_i without skew
_LEAN = np.array([0.24, 0.36, 0.55])  # what skew adds to g_i
_SUN, _SKY, _THROUGH, _SHEEN = range(4)


def waves(p: Params) -> np.ndarray:
    """float64 (3, 4): amplitude in radians, f_i, g_i, phase_i in turns, of the three waves. The folds of
    a cloth that hangs run down from the pole's upper tie, so droop tilts them too.
    """
    strength = 0.74 + 0.26 * p.wind
    amplitude = strength * np.array(
        [0.86 - 0.16 * p.flutter, 0.56 + 0.14 * p.flutter, 0.12 + 0.40 * p.flutter]
    )
    phase = np.array([p.phase_1, p.phase_2, p.phase_3]) / 360
    return np.column_stack(
        [amplitude, WAVES[:, 0], WAVES[:, 1] + _LEAN * (p.skew - p.droop / 26), phase]
    )


@numba.njit(cache=True, nogil=True)
def _envelope(u: float) -> float:
    rise = min(u / 0.14, 1.0)
    return rise * rise * (3 - 2 * rise) * (0.72 + 0.28 * u)


@numba.njit(cache=True, nogil=True)
def surface(waves: np.ndarray, droop: float, fly: float) -> tuple[np.ndarray, np.ndarray]:
    """Points of the cloth, float64 (ROWS + 1, BAND + COLUMNS + 1, 3), the heading first, and the
    middle (3,) of the curve that a row follows on the average over all phases, v = 1/2.
    """
    out = np.empty((ROWS + 1, BAND + COLUMNS + 1, 3))
    turn = 6.283185307179586
    along = np.empty((COLUMNS, 3, 2))
    envelope, fall = np.empty(COLUMNS), np.empty(COLUMNS)
    step = fly / COLUMNS
    far, low = 0.0, 0.0
    for k in range(COLUMNS):
        u = (k + 0.5) / COLUMNS
        envelope[k] = _envelope(u)
        fall[k] = droop * (0.4 + 1.1 * u - 0.4 * u * u)
        steady = 1.0
        for i in range(3):
            angle = turn * (waves[i, 1] * u - waves[i, 3])
            along[k, i, 0], along[k, i, 1] = exact.sin(angle), exact.cos(angle)
            a = waves[i, 0] * envelope[k]
            steady *= 1 - a * a / 4 + a * a * a * a / 64  # mean of cos(a sin): Bessel's J0
        far += step * steady * exact.cos(fall[k])
        low -= step * exact.sin(fall[k])
    for r in range(ROWS + 1):
        v = r / ROWS
        x, y, z = 0.0, 0.5 - v, 0.0
        across = np.empty((3, 2))
        for i in range(3):
            angle = turn * waves[i, 2] * v
            across[i, 0], across[i, 1] = exact.sin(angle), exact.cos(angle)
        for k in range(BAND):
            out[r, k] = -HEADING * (1 - k / BAND), y, z
        out[r, BAND] = x, y, z
        for k in range(COLUMNS):
            theta, first = 0.0, 0.0
            for i in range(3):
                wave = along[k, i, 0] * across[i, 1] + along[k, i, 1] * across[i, 0]
                theta += waves[i, 0] * wave
                if i == 0:
                    first = wave
            theta *= envelope[k]
            delta = fall[k] * (0.92 + 0.16 * v) + 0.07 * waves[0, 0] * envelope[k] * first
            level = exact.cos(delta)
            x += step * exact.cos(theta) * level
            y -= step * exact.sin(delta)
            z += step * exact.sin(theta) * level
            out[r, BAND + 1 + k] = x, y, z
    return out, np.array([far / 2, low / 2, 0.0])


@numba.njit(cache=True, nogil=True)
def normals(points: np.ndarray) -> np.ndarray:
    """float64 (R, C, 3): unit normals of a grid of points (R, C, 3), towards the viewer of a flat one."""
    rows, columns = points.shape[:2]
    out = np.empty_like(points)
    for r in range(rows):
        up, down = max(r - 1, 0), min(r + 1, rows - 1)
        for c in range(columns):
            left, right = max(c - 1, 0), min(c + 1, columns - 1)
            ax = points[r, right, 0] - points[r, left, 0]
            ay = points[r, right, 1] - points[r, left, 1]
            az = points[r, right, 2] - points[r, left, 2]
            bx = points[up, c, 0] - points[down, c, 0]
            by = points[up, c, 1] - points[down, c, 1]
            bz = points[up, c, 2] - points[down, c, 2]
            nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
            length = math.sqrt(nx * nx + ny * ny + nz * nz) + 1e-12
            out[r, c] = nx / length, ny / length, nz / length
    return out


# Neighbours along a row that can hide a point's sky, in columns: dense near, sparse far.
_REACH = (1, 2, 3, 4, 6, 8, 11, 14, 18, 22)


@numba.njit(cache=True, nogil=True)
def _open_sky(row: np.ndarray, c: int, nx: float, nz: float) -> float:
    """The share of the sky before a point, in plan, that its row's own folds leave open."""
    hidden = 0.0
    for side in (-1, 1):
        horizon = 0.0
        for reach in _REACH:
            at = c + side * reach
            if at < 0 or at >= row.shape[0]:
                break
            dx, dz = row[at, 0] - row[c, 0], row[at, 2] - row[c, 2]
            rise = dx * nx + dz * nz
            if rise > 0:
                far = dx * dx + dz * dz
                horizon = max(horizon, rise / math.sqrt(far) / (1 + 1.5 * far))
        hidden += horizon
    return 1 - 0.5 * hidden


@numba.njit(cache=True, nogil=True)
def _sunny(row: np.ndarray, c: int, v: float, sun: np.ndarray) -> float:
    """1 where the sun's ray to a point, in plan, meets no other part of its row; the ray passes above
    the cloth where it has risen over the top edge.
    """
    level = math.sqrt(sun[0] * sun[0] + sun[2] * sun[2]) + 1e-9
    sx, sz = sun[0] / level, sun[2] / level
    slope = sun[1] / level
    px, pz = row[c, 0], row[c, 2]
    before = (row[0, 0] - px) * sz - (row[0, 2] - pz) * sx
    for at in range(1, row.shape[0]):
        dx, dz = row[at, 0] - px, row[at, 2] - pz
        side = dx * sz - dz * sx
        if (side > 0) != (before > 0) and abs(at - c) > 2:
            towards = dx * sx + dz * sz
            if towards > 0.02 and towards * slope < v:
                return 0.0
        before = side
    return 1.0


@numba.njit(cache=True, nogil=True)
def light_on(
    points: np.ndarray, normal: np.ndarray, sun: np.ndarray, camera: np.ndarray
) -> np.ndarray:
    """float64 (R, C, 4): what each point of the grid shows of the sun on its visible side, of the
    sky, of the sun through the cloth, and of the sun's gloss. sun: unit vector towards it; camera: a
    point; all in the cloth's own axes.
    """
    rows, columns = points.shape[:2]
    lit, out = np.empty((rows, columns)), np.empty((rows, columns, 4))
    for r in range(rows):
        for c in range(columns):
            lit[r, c] = _sunny(points[r], c, r / (rows - 1), sun)
    for r in range(rows):
        for c in range(columns):
            nx, ny, nz = normal[r, c, 0], normal[r, c, 1], normal[r, c, 2]
            vx, vy = camera[0] - points[r, c, 0], camera[1] - points[r, c, 1]
            vz = camera[2] - points[r, c, 2]
            far = math.sqrt(vx * vx + vy * vy + vz * vz)
            vx, vy, vz = vx / far, vy / far, vz / far
            facing = nx * vx + ny * vy + nz * vz
            if facing < 0:
                nx, ny, nz, facing = -nx, -ny, -nz, -facing
            # A penumbra: the mean over the neighbours.
            total, count = 0.0, 0
            for row in range(max(r - 1, 0), min(r + 2, rows)):
                for column in range(max(c - 2, 0), min(c + 3, columns)):
                    total += lit[row, column]
                    count += 1
            sunny = total / count
            key = nx * sun[0] + ny * sun[1] + nz * sun[2]
            plan = math.sqrt(nx * nx + nz * nz) + 1e-9
            sky = _open_sky(points[r], c, nx / plan, nz / plan)
            hx, hy, hz = sun[0] + vx, sun[1] + vy, sun[2] + vz
            gloss = (nx * hx + ny * hy + nz * hz) / math.sqrt(hx * hx + hy * hy + hz * hz + 1e-9)
            gloss = max(gloss, 0.0)
            gloss *= gloss
            gloss *= gloss
            gloss *= gloss
            grazing = (1 - facing) * (1 - facing)
            out[r, c, _SUN] = max(key, 0.0) * sunny
            out[r, c, _SKY] = sky * sky * (0.72 + 0.28 * ny)
            out[r, c, _THROUGH] = max(-key, 0.0) * (0.25 + 0.75 * sunny)
            out[r, c, _SHEEN] = (gloss + 0.5 * grazing) * sunny * (key > 0) * min(4 * key, 1.0)
    return out
