"""The solids of the fruit in their own space: rays against an apple, its stalk and leaf, and a kiwi.

The axis is y: the apple's stalk and the kiwi's cut end point to +y. One unit is about the fruit's
radius; everything lies within `BOUND` of the origin. Only exact operations (see exact.py) are used.
"""

import math

import numba
import numpy as np

BOUND = 1.09  # radius of a sphere about the origin that holds either fruit with all that is on it
FAR = 1e9  # the distance along a ray that hits nothing
BODY = 0.985  # radius of a sphere that holds the apple without its stalk and leaf
HOLLOW = 0.080  # how wide the apple's hollow is, in 1 - cos of the angle from the axis

CUT = 0.56  # height of the kiwi's flat face
KIWI_CENTRE = 0.03  # height of the centre of the whole kiwi's ellipsoid
KIWI = (0.93, 0.99, 0.91)  # its semi-axes
FACE = math.sqrt(1 - ((CUT - KIWI_CENTRE) / KIWI[1]) ** 2)  # the face's semi-axes over KIWI[0], [2]

# The stalk's centre line and radius, from the bottom of the hollow to the thick end.
STALK = np.array(
    [
        [0.0, 0.36, 0.0, 0.030],
        [0.008, 0.62, 0.006, 0.024],
        [0.035, 0.85, 0.020, 0.025],
        [0.085, 1.03, 0.045, 0.040],
    ]
)
STALK_CENTRE, STALK_REACH = (0.04, 0.72, 0.02), 0.40
# The leaf: where it starts, its axes (along, across, up), length, half width, sag and cup.
LEAF_ORIGIN = np.array([0.03, 0.80, 0.015])
_along = np.array([0.80, 0.50, 0.33]) / math.sqrt(0.80**2 + 0.50**2 + 0.33**2)
_across = np.array([-0.33, 0.0, 0.80]) / math.sqrt(0.33**2 + 0.80**2)
_up = np.array(
    [
        -_along[1] * _across[2],
        _along[0] * _across[2] - _along[2] * _across[0],
        _along[1] * _across[0],
    ]
)
LEAF_AXES = np.stack([_along, _across, _up])
LEAF_LENGTH, LEAF_WIDTH, LEAF_SAG, LEAF_CUP = 0.44, 0.125, 0.52, 0.95

_exact = numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")
_inline = numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy", inline="always")


@_inline
def apple_radius(x: float, y: float, z: float) -> float:
    """Distance of the apple's surface from the origin in the direction of the unit vector."""
    top, bottom = 1 - y, 1 + y
    r = 0.930 + 0.005 * y - 0.030 * y * y + 0.008 * x - 0.008 * z
    # Five lobes: sin^5(theta) cos(5 phi) is the real part of (x + i z)^5.
    xx, zz = x * x, z * z
    five = x * (xx * xx - 10 * xx * zz + 5 * zz * zz)
    r += five * (0.007 + 0.009 * top)
    hollow = 1 + top / HOLLOW
    r -= 0.42 / (hollow * hollow) * (1 + 0.20 * x)
    calyx = 1 + bottom / 0.055
    return r - 0.22 / (calyx * calyx)


@_inline
def _above(x: float, y: float, z: float) -> float:
    """How far a point lies outside of the apple, measured along its own radius."""
    length = math.sqrt(x * x + y * y + z * z) + 1e-12
    inverse = 1 / length
    return length - apple_radius(x * inverse, y * inverse, z * inverse)


@_exact
def hit_apple(
    ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, radius: float
) -> float:
    """Distance along the ray (unit direction) to the apple's body, or FAR.

    It steps by secants: the height over a convex body is convex along a ray, so that a secant
    does not step past the surface. High over the hollow that is not so; there the steps are less
    than half of the height, which changes by up to twice the way.
    """
    b = ox * dx + oy * dy + oz * dz
    disc = b * b - (ox * ox + oy * oy + oz * oz - radius * radius)
    if disc <= 0:
        return FAR
    half = math.sqrt(disc)
    t, end = max(0.0, -b - half), -b + half
    before, height_before = t, FAR
    for _ in range(64):
        x, y, z = ox + t * dx, oy + t * dy, oz + t * dz
        length = math.sqrt(x * x + y * y + z * z)
        inverse = 1 / length
        height = length - apple_radius(x * inverse, y * inverse, z * inverse)
        fall = -(b + t) * inverse  # of the distance from the origin
        if height_before < FAR:
            fall = (height_before - height) / (t - before)
        if height < 4e-4:
            break
        step = 0.45 * height
        if fall > 0.2 and height < 0.06:
            step = height / fall
        elif abs(y) < 0.80 * length:
            if fall > 0.01:
                step = height / fall
            elif fall < 0 and abs(y) < 0.5 * length:
                return FAR
        before, height_before = t, height
        t += step + 1e-4
        if t > end:
            return FAR
    if height >= 4e-4:
        return FAR
    if height > -4e-4:
        return t + height / fall if fall > 0.2 else t
    if height_before < FAR:
        # The last step went through the surface: regula falsi between its ends.
        after = t
        for _ in range(4):
            t = before + (after - before) * height_before / (height_before - height)
            middle = _above(ox + t * dx, oy + t * dy, oz + t * dz)
            if abs(middle) < 2e-4:
                break
            if middle < 0:
                after, height, height_before = t, middle, 0.5 * height_before
            else:
                before, height_before, height = t, middle, 0.5 * height
    return t


@_exact
def apple_normal(px: float, py: float, pz: float) -> tuple[float, float, float]:
    """Unit normal of the apple's body at a point of its surface: the gradient of |p| - r(p / |p|),
    u - (g - (g u) u) / |p|, where u = p / |p| and g is the gradient of `apple_radius`.
    """
    inverse = 1 / math.sqrt(px * px + py * py + pz * pz)
    x, y, z = px * inverse, py * inverse, pz * inverse
    top, bottom = 1 - y, 1 + y
    xx, zz = x * x, z * z
    five = x * (xx * xx - 10 * xx * zz + 5 * zz * zz)
    lobes = 0.007 + 0.009 * top
    hollow, calyx = 1 + top / HOLLOW, 1 + bottom / 0.055
    deep = 0.42 / (hollow * hollow)
    gx = 0.008 - 0.20 * deep + lobes * 5 * (xx * xx - 6 * xx * zz + zz * zz)
    gz = -0.008 + lobes * 20 * x * z * (zz - xx)
    gy = 0.005 - 0.060 * y - 0.009 * five
    gy += 2 * (0.22 / (0.055 * calyx * calyx * calyx) - deep * (1 + 0.20 * x) / (HOLLOW * hollow))
    along = gx * x + gy * y + gz * z
    nx = x - (gx - along * x) * inverse
    ny = y - (gy - along * y) * inverse
    nz = z - (gz - along * z) * inverse
    length = 1 / math.sqrt(nx * nx + ny * ny + nz * nz)
    return nx * length, ny * length, nz * length


@_exact
def stalk_distance(x: float, y: float, z: float) -> float:
    """Distance to the stalk's surface: three round cones (exact enough where they taper little)."""
    nearest = FAR
    for i in range(3):
        ax, ay, az = STALK[i, 0], STALK[i, 1], STALK[i, 2]
        bx, by, bz = STALK[i + 1, 0] - ax, STALK[i + 1, 1] - ay, STALK[i + 1, 2] - az
        px, py, pz = x - ax, y - ay, z - az
        h = (px * bx + py * by + pz * bz) / (bx * bx + by * by + bz * bz)
        h = min(max(h, 0.0), 1.0)
        ex, ey, ez = px - h * bx, py - h * by, pz - h * bz
        radius = STALK[i, 3] + (STALK[i + 1, 3] - STALK[i, 3]) * h
        nearest = min(nearest, math.sqrt(ex * ex + ey * ey + ez * ez) - radius)
    return nearest


@_exact
def hit_stalk(ox: float, oy: float, oz: float, dx: float, dy: float, dz: float) -> float:
    """Distance along the ray to the stalk, or FAR."""
    px, py, pz = ox - STALK_CENTRE[0], oy - STALK_CENTRE[1], oz - STALK_CENTRE[2]
    b = px * dx + py * dy + pz * dz
    disc = b * b - (px * px + py * py + pz * pz - STALK_REACH * STALK_REACH)
    if disc <= 0:
        return FAR
    half = math.sqrt(disc)
    t, end = max(0.0, -b - half), -b + half
    while t < end:
        gap = stalk_distance(ox + t * dx, oy + t * dy, oz + t * dz)
        if gap < 1e-3:
            return t
        t += gap
    return FAR


@_exact
def stalk_normal(x: float, y: float, z: float) -> tuple[float, float, float]:
    """Unit normal of the stalk, by central differences."""
    e = 1e-3
    nx = stalk_distance(x + e, y, z) - stalk_distance(x - e, y, z)
    ny = stalk_distance(x, y + e, z) - stalk_distance(x, y - e, z)
    nz = stalk_distance(x, y, z + e) - stalk_distance(x, y, z - e)
    length = 1 / math.sqrt(nx * nx + ny * ny + nz * nz + 1e-18)
    return nx * length, ny * length, nz * length


@_inline
def leaf_width(along: float) -> float:
    """Half the leaf's width, 0 outside of it; along: 0 at the foot and 1 at the tip."""
    if along <= 0 or along >= 1:
        return 0.0
    return LEAF_WIDTH * 4.6 * along * (1 - along) * (1.12 - 0.62 * along) + 0.012 * (1 - along)


@_exact
def hit_leaf(
    ox: float, oy: float, oz: float, dx: float, dy: float, dz: float
) -> tuple[float, float, float]:
    """Distance along the ray to the leaf, or FAR, and the hit's place along and across it.

    The leaf is a piece of the saddle up = -sag along^2 + cup across^2: a quadratic in the distance.
    """
    px, py, pz = ox - LEAF_ORIGIN[0], oy - LEAF_ORIGIN[1], oz - LEAF_ORIGIN[2]
    a = LEAF_AXES
    u = a[0, 0] * px + a[0, 1] * py + a[0, 2] * pz
    v = a[1, 0] * px + a[1, 1] * py + a[1, 2] * pz
    w = a[2, 0] * px + a[2, 1] * py + a[2, 2] * pz
    du = a[0, 0] * dx + a[0, 1] * dy + a[0, 2] * dz
    dv = a[1, 0] * dx + a[1, 1] * dy + a[1, 2] * dz
    dw = a[2, 0] * dx + a[2, 1] * dy + a[2, 2] * dz
    qa = LEAF_SAG * du * du - LEAF_CUP * dv * dv
    qb = 0.5 * dw + LEAF_SAG * u * du - LEAF_CUP * v * dv
    qc = w + LEAF_SAG * u * u - LEAF_CUP * v * v
    disc = qb * qb - qa * qc
    if disc < 0:
        return FAR, 0.0, 0.0
    q = -(qb + math.sqrt(disc)) if qb >= 0 else -(qb - math.sqrt(disc))
    best, best_u, best_v = FAR, 0.0, 0.0
    for i in range(2):
        below = qa if i == 0 else q
        if below == 0:
            continue
        t = (q if i == 0 else qc) / below
        if t <= 1e-3 or t >= best:
            continue
        along, across = (u + t * du) / LEAF_LENGTH, v + t * dv
        if abs(across) < leaf_width(along):
            best, best_u, best_v = t, along, across
    return best, best_u, best_v


@_exact
def hit_kiwi(
    ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, swell: float
) -> tuple[float, bool]:
    """Distance along the ray to the cut kiwi, or FAR, and whether that is the flat face.

    swell: the ellipsoid's semi-axes are multiplied by it (shells for the hairs).
    """
    ix, iy, iz = 1 / (KIWI[0] * swell), 1 / (KIWI[1] * swell), 1 / (KIWI[2] * swell)
    px, py, pz = ox * ix, (oy - KIWI_CENTRE) * iy, oz * iz
    ex, ey, ez = dx * ix, dy * iy, dz * iz
    a = ex * ex + ey * ey + ez * ez
    b = px * ex + py * ey + pz * ez
    disc = b * b - a * (px * px + py * py + pz * pz - 1)
    if disc <= 0:
        return FAR, False
    half = math.sqrt(disc)
    enter, leave = (-b - half) / a, (-b + half) / a
    if oy + enter * dy <= CUT:
        return enter, False
    if dy >= 0:
        return FAR, False
    flat = (CUT - oy) / dy
    return (flat, True) if flat < leave else (FAR, False)


def surface_points(subject: str) -> np.ndarray:
    """float64 (N, 3): points of the fruit's surface, dense enough to find its lowest one."""
    k = np.arange(1500)
    y = 1 - (2 * k + 1) / 1500
    turn = k * 2.399963229728653  # the golden angle: points of a spiral, evenly over the sphere
    ring = np.sqrt(1 - y * y)
    d = np.stack([ring * np.cos(turn), y, ring * np.sin(turn)], -1)
    if subject == "apple":
        points = d * np.array([apple_radius(*row) for row in d])[:, None]
        half = LEAF_LENGTH * np.linspace(0, 1, 12)
        leaf = LEAF_ORIGIN + half[:, None] * _along - LEAF_SAG * half[:, None] ** 2 * _up
        points = np.concatenate([points, STALK[:, :3], leaf])
    else:
        whole = d * np.array(KIWI) + [0, KIWI_CENTRE, 0]
        turn = np.linspace(0, 2 * np.pi, 200, endpoint=False)
        rim = np.stack(
            [KIWI[0] * FACE * np.cos(turn), 0 * turn + CUT, KIWI[2] * FACE * np.sin(turn)], -1
        )
        points = np.concatenate([whole[whole[:, 1] <= CUT], rim])
    return np.round(points * 4096) / 4096
