"""Light on what the z-buffer saw: skin, eyes, teeth, hair and cloth, sample by sample.

Colours are linear. Skin scatters light beneath its surface, red farthest: its lit side wraps around
the edge of the shadow by an amount that depends on the channel (d'Eon and Luebke, GPU Gems 3,
chapter 14, in the simplest form). Highlights are Blinn-Phong lobes, hair's are Kajiya-Kay's.
"""

import math
from functools import cache

import numba
import numpy as np

from swap.studio import exact

SKIN, EYE, TEETH, TONGUE, HAIR, LASH = range(6)
# Columns of the vertices' attributes. LIPS also tells the eyes apart and the front of the teeth. RIM
# is the lids' edge, the lower one's below 0; of the teeth the height, 0 at the edge to 1; of the
# tongue how far in front it lies. LID is the upper lid, 1 at the ball.
LIPS, RIM, MOUTH, CLOTH, SHUT, OPEN, FACE, LID = range(8)
COLUMNS = 8
WRAP, CLOTH_SCATTER = (0.42, 0.24, 0.18), 0.15
CURVE = 2048
EDGE = 0.015  # half of the width of the face's edge, in decimetres


@numba.njit(cache=True, nogil=True, inline="always")
def _texel(texture: np.ndarray, u: float, v: float, out: np.ndarray) -> None:
    """All channels of a uint16 texture, bilinear, around in u and clamped in v."""
    size = texture.shape[0]
    x = u * size - 0.5
    y = min(max(v * size - 0.5, 0.0), size - 1.001)
    ix, iy = math.floor(x), int(y)
    fx, fy = x - ix, y - iy
    left, right = ix % size, (ix + 1) % size
    for c in range(texture.shape[2]):
        upper = texture[iy, left, c] * (1 - fx) + texture[iy, right, c] * fx
        lower = texture[iy + 1, left, c] * (1 - fx) + texture[iy + 1, right, c] * fx
        out[c] = upper * (1 - fy) + lower * fy


@numba.njit(cache=True, nogil=True, inline="always")
def _step(low: float, high: float, x: float) -> float:
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


@numba.njit(cache=True, nogil=True, inline="always")
def _lit(shadow: np.ndarray, x: float, y: float, z: float, bias: float) -> float:
    """The share of a 4 x 4 neighbourhood of the shadow map that is not nearer to the light."""
    height, width = shadow.shape
    ix, iy = math.floor(x), math.floor(y)
    fx, fy = x - ix, y - iy
    total = 0.0
    for v in range(-1, 3):
        wy = (1 - fy) if v == -1 else (fy if v == 2 else 1.0)
        for u in range(-1, 3):
            wx = (1 - fx) if u == -1 else (fx if u == 2 else 1.0)
            cx, cy = ix + u, iy + v
            if cx < 0 or cy < 0 or cx >= width or cy >= height or shadow[cy, cx] <= z - bias:
                total += wx * wy
    return total / 9


@cache
def curves() -> np.ndarray:
    """float32 (8, CURVE + 1): powers of the numbers from 0 to 1 that `shade` looks up, rows 0 to 2
    for the light on skin by channel, 3 to 5 on cloth, 6 and 7 for the red of the shadow's edge.
    """
    x = np.arange(CURVE + 1) / CURVE
    rows = [exact.powers(x, 1 + w * scatter) for scatter in (1.0, CLOTH_SCATTER) for w in WRAP]
    rows += [exact.powers(x, 1 - 0.3 * scatter) for scatter in (1.0, CLOTH_SCATTER)]
    return np.array(rows, np.float32)


@numba.njit(cache=True, nogil=True, inline="always")
def _curve(table: np.ndarray, row: int, x: float) -> float:
    at = min(max(x, 0.0), 1.0) * CURVE
    i = min(int(at), CURVE - 1)
    return table[row, i] + (table[row, i + 1] - table[row, i]) * (at - i)


@numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")
def shade(
    place: np.ndarray,  # float32 (N, 2): sample x and y
    seen: np.ndarray,  # int32 (N,): triangle
    whole: np.ndarray,  # bool (N,): stands for most of a pixel, so that coarser textures serve
    points: np.ndarray,  # float32 (V, 3): sample x, y and 1 / distance
    world: np.ndarray,  # float32 (V, 3)
    normals: np.ndarray,  # float32 (V, 3)
    triangles: np.ndarray,  # int32 (F, 3)
    material: np.ndarray,  # uint8 (F,)
    corners: np.ndarray,  # float32 (F, 3, 2): map coordinates
    attributes: np.ndarray,  # float32 (V, COLUMNS)
    fine_skin: np.ndarray,  # uint16 (S, S, 4): linear albedo, gloss; 65535 is 1
    coarse_skin: np.ndarray,
    fine_hair: np.ndarray,  # uint16 (S, S, 1): tone; 32768 is 1
    coarse_hair: np.ndarray,
    shadow: np.ndarray,  # float32 (M, M): nearness to the light
    light_axes: np.ndarray,  # float64 (3, 3): right, up, towards the light
    shadow_frame: np.ndarray,  # float64 (4,): centre x, y, z and samples per decimetre
    lights: np.ndarray,  # float64 (6, 3): key direction and colour, fill ones, sky, ground colours
    eyes: np.ndarray,  # float64 (2, 10): centre, gaze, up of gaze, blink, of left and right
    camera: tuple[float, float, float],
    head_axes: np.ndarray,  # float64 (2, 3): up and forwards
    colours: np.ndarray,  # float32 (6, 3): lips, iris, hair, cloth, skin, sheen of hair
    gape: float,
    iris_seed: int,
    curve: np.ndarray,  # float32 (8, CURVE + 1), see `curves`
) -> np.ndarray:
    """float32 (N, 4): linear colour where a triangle is seen, and how much of it is face."""
    count = len(seen)
    out = np.empty((count, 4), np.float32)
    albedo = np.zeros(3)
    texel = np.zeros(4)
    for n in range(count):
        t = seen[n]
        px, py = np.float64(place[n, 0]), np.float64(place[n, 1])
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, y0 = np.float64(points[i, 0]), np.float64(points[i, 1])
        x1, y1 = np.float64(points[j, 0]), np.float64(points[j, 1])
        x2, y2 = np.float64(points[k, 0]), np.float64(points[k, 1])
        area = 1 / ((x2 - x0) * (y1 - y0) - (x1 - x0) * (y2 - y0))
        # A place that stands for several samples may lie just outside of the triangle.
        a = max(0.0, ((x2 - x1) * (y1 - py) - (x1 - px) * (y2 - y1)) * area)
        b = max(0.0, ((x0 - x2) * (y2 - py) - (x2 - px) * (y0 - y2)) * area)
        c_ = max(0.0, 1 - a - b)
        a, b, c_ = a * points[i, 2], b * points[j, 2], c_ * points[k, 2]
        total = 1 / (a + b + c_)
        a, b, c_ = a * total, b * total, c_ * total

        wx = a * world[i, 0] + b * world[j, 0] + c_ * world[k, 0]
        wy = a * world[i, 1] + b * world[j, 1] + c_ * world[k, 1]
        wz = a * world[i, 2] + b * world[j, 2] + c_ * world[k, 2]
        kind = material[t]
        out[n, 3] = _step(
            -EDGE,
            EDGE,
            a * attributes[i, FACE] + b * attributes[j, FACE] + c_ * attributes[k, FACE],
        )
        nx = a * normals[i, 0] + b * normals[j, 0] + c_ * normals[k, 0]
        ny = a * normals[i, 1] + b * normals[j, 1] + c_ * normals[k, 1]
        nz = a * normals[i, 2] + b * normals[j, 2] + c_ * normals[k, 2]
        length = 1 / math.sqrt(nx * nx + ny * ny + nz * nz + 1e-12)
        nx, ny, nz = nx * length, ny * length, nz * length
        lid = 0.0
        if kind == SKIN:
            lid = a * attributes[i, LID] + b * attributes[j, LID] + c_ * attributes[k, LID]
            if lid > 0:
                # The lid is stretched over the ball, more roundly than its few vertices say.
                dx, dy, dz = wx - eyes[0, 0], wy - eyes[0, 1], wz - eyes[0, 2]
                ex, ey, ez = wx - eyes[1, 0], wy - eyes[1, 1], wz - eyes[1, 2]
                if ex * ex + ey * ey + ez * ez < dx * dx + dy * dy + dz * dz:
                    dx, dy, dz = ex, ey, ez
                bulge = 0.75 * _step(0.4, 0.75, lid)
                length = bulge / math.sqrt(dx * dx + dy * dy + dz * dz)
                nx, ny, nz = nx - bulge * nx, ny - bulge * ny, nz - bulge * nz
                nx, ny, nz = nx + dx * length, ny + dy * length, nz + dz * length
                length = 1 / math.sqrt(nx * nx + ny * ny + nz * nz + 1e-12)
                nx, ny, nz = nx * length, ny * length, nz * length
        vx, vy, vz = camera[0] - wx, camera[1] - wy, camera[2] - wz
        length = 1 / math.sqrt(vx * vx + vy * vy + vz * vz)
        vx, vy, vz = vx * length, vy * length, vz * length
        u = a * corners[t, 0, 0] + b * corners[t, 1, 0] + c_ * corners[t, 2, 0]
        v = a * corners[t, 0, 1] + b * corners[t, 1, 1] + c_ * corners[t, 2, 1]

        lx, ly, lz = lights[0, 0], lights[0, 1], lights[0, 2]
        ox, oy, oz = wx + 0.03 * nx, wy + 0.03 * ny, wz + 0.03 * nz
        ox, oy, oz = ox - shadow_frame[0], oy - shadow_frame[1], oz - shadow_frame[2]
        half = shadow.shape[0] * 0.5
        s = shadow_frame[3]
        sx = half + s * (ox * light_axes[0, 0] + oy * light_axes[0, 1] + oz * light_axes[0, 2])
        sy = half - s * (ox * light_axes[1, 0] + oy * light_axes[1, 1] + oz * light_axes[1, 2])
        sz = ox * light_axes[2, 0] + oy * light_axes[2, 1] + oz * light_axes[2, 2] + 50
        sun = _lit(shadow, sx, sy, sz, -0.02 if kind != HAIR else -0.1)

        shut = a * attributes[i, SHUT] + b * attributes[j, SHUT] + c_ * attributes[k, SHUT]
        wide = a * attributes[i, OPEN] + b * attributes[j, OPEN] + c_ * attributes[k, OPEN]
        open_air = shut + (wide - shut) * gape

        key = nx * lx + ny * ly + nz * lz
        second = nx * lights[2, 0] + ny * lights[2, 1] + nz * lights[2, 2]
        hx, hy, hz = lx + vx, ly + vy, lz + vz
        length = 1 / math.sqrt(hx * hx + hy * hy + hz * hz + 1e-9)
        hx, hy, hz = hx * length, hy * length, hz * length
        gloss_dot = max(0.0, nx * hx + ny * hy + nz * hz)
        facing = max(0.0, nx * vx + ny * vy + nz * vz)
        fresnel = (1 - facing) ** 4

        shine, gleam, sky_share = 0.0, 0.0, 0.5 + 0.5 * ny
        scatter, row, haze = 0.0, 0, 0.0
        if kind == SKIN:
            lips = a * attributes[i, LIPS] + b * attributes[j, LIPS] + c_ * attributes[k, LIPS]
            rim = a * attributes[i, RIM] + b * attributes[j, RIM] + c_ * attributes[k, RIM]
            mouth = a * attributes[i, MOUTH] + b * attributes[j, MOUTH] + c_ * attributes[k, MOUTH]
            cloth = a * attributes[i, CLOTH] + b * attributes[j, CLOTH] + c_ * attributes[k, CLOTH]
            if cloth > 0:
                weave = 0.95 + 0.05 * exact.sin(wx * 110.0) * exact.sin(wy * 110.0)
                seam = (
                    1
                    - 0.45 * _step(0.085, 0.06, cloth)
                    - 0.25 * _step(0.02, 0.0, abs(cloth - 0.09))
                )
                for c in range(3):
                    albedo[c] = colours[3, c] * weave * seam
                scatter, row, haze = CLOTH_SCATTER, 1, 0.1 * CLOTH_SCATTER
            else:
                _texel(coarse_skin if whole[n] else fine_skin, u, v, texel)
                gloss = texel[3] / 65535
                lips = _step(0.12, 0.85, lips)
                lash, wet = max(rim, 0.0), max(-rim, 0.0)
                if abs(rim) > 0.02:
                    dx, dy, dz = wx - eyes[0, 0], wy - eyes[0, 1], wz - eyes[0, 2]
                    ex, ey, ez = wx - eyes[1, 0], wy - eyes[1, 1], wz - eyes[1, 2]
                    nearer = ex * ex + ey * ey + ez * ez < dx * dx + dy * dy + dz * dz
                    shut_eye = _step(0.5, 0.9, eyes[1 if nearer else 0, 9])
                    # Where the lids meet lies a dark line, which is not wet.
                    lash += (0.96 * _step(0.3, 0.65, abs(rim)) - lash) * shut_eye
                    wet *= 1 - shut_eye
                crease = _step(0.47, 0.6, lid) * _step(0.76, 0.62, lid)
                for c in range(3):
                    tone = texel[c] / 65535
                    tone += (
                        (colours[0, c] * (0.55 + 0.45 * tone / colours[4, c]) - tone) * 0.85 * lips
                    )
                    tone += ((0.50, 0.21, 0.17)[c] * (0.3 + 0.7 * colours[4, c]) - tone) * wet
                    tone *= (1 - lash) * (1 - (0.26, 0.38, 0.40)[c] * crease)
                    albedo[c] = tone
                if mouth > 0.5:
                    albedo[0], albedo[1], albedo[2] = 0.22, 0.05, 0.045
                gloss = gloss * (1 - lips) + 0.8 * lips
                shine = gloss * (0.055 * gloss_dot**14 + 0.13 * gloss_dot**48)
                shine += (0.14 * lips + 0.3 * wet) * gloss_dot**70
                haze = 0.1 * min(1.0, 2.5 * gloss)
                shine *= 1 + 3 * fresnel
                scatter = 1.0
        elif kind == EYE:
            e = int(attributes[i, LIPS])
            dx, dy, dz = wx - eyes[e, 0], wy - eyes[e, 1], wz - eyes[e, 2]
            length = 1 / math.sqrt(dx * dx + dy * dy + dz * dz)
            dx, dy, dz = dx * length, dy * length, dz * length
            nx, ny, nz = dx, dy, dz
            along = dx * eyes[e, 3] + dy * eyes[e, 4] + dz * eyes[e, 5]
            rise = dx * eyes[e, 6] + dy * eyes[e, 7] + dz * eyes[e, 8]
            off = math.sqrt(max(0.0, 1 - along * along))
            if along < 0:
                off = 1.0
            side = math.sqrt(max(0.0, off * off - rise * rise))
            angle = exact.atan2(rise, side)
            streak = (
                0.5
                + 0.25 * exact.sin(angle * 23 + iris_seed)
                + 0.25 * exact.sin(angle * 41 + off * 30)
            )
            iris = _step(0.485, 0.445, off)
            pupil = _step(0.19, 0.165, off)
            ring = _step(0.36, 0.46, off) * iris
            edge = _step(0.5, 0.95, off)
            white = (0.56, 0.525, 0.495)
            tilt = dx * head_axes[0, 0] + dy * head_axes[0, 1] + dz * head_axes[0, 2]
            shade_of_lid = 1 - 0.5 * _step(0.08, 0.42, tilt)
            for c in range(3):
                ball = white[c] * (1 - edge * (0.06, 0.34, 0.36)[c])
                tone = colours[1, c] * (0.65 + 0.7 * streak) * (1 + 0.5 * _step(0.34, 0.2, off))
                tone *= 1 - 0.75 * ring
                ball = ball + (tone - ball) * iris
                albedo[c] = ball * (1 - 0.97 * pupil) * shade_of_lid
            open_air = (0.15 + 0.85 * open_air) * (1 - 0.6 * _step(0.0, 0.55, tilt))
            sun *= 1 - 0.55 * _step(0.1, 0.5, tilt)
            key = 0.35 + 0.65 * (nx * lx + ny * ly + nz * lz)
            # The cornea bulges: its normal leans towards the gaze, and so does its glint.
            bulge = 0.35 * iris
            bx, by, bz = (
                nx + bulge * (nx - eyes[e, 3]),
                ny + bulge * (ny - eyes[e, 4]),
                nz + bulge * (nz - eyes[e, 5]),
            )
            length = 1 / math.sqrt(bx * bx + by * by + bz * bz)
            glint = max(0.0, (bx * hx + by * hy + bz * hz) * length)
            shine = 0.9 * _step(0.972, 0.99, glint) + 0.05 * glint**20
            shine *= 0.25 + 0.75 * sun
            sky_share = 0.55
        elif kind == TEETH:
            away = abs(u - 0.5)
            gap = abs(exact.sin(away * (62 - 60 * away) * math.pi))
            outer = a * attributes[i, LIPS] + b * attributes[j, LIPS] + c_ * attributes[k, LIPS]
            height = a * attributes[i, RIM] + b * attributes[j, RIM] + c_ * attributes[k, RIM]
            gum = _step(0.57, 0.63, height + 0.16 * (1 - gap) * (1 - gap))
            deep = _step(0.035, 0.11, away)
            for c in range(3):
                tone = (0.70, 0.61, 0.48)[c] * (1 - (0.0, 0.06, 0.16)[c] * height)
                tone *= 0.62 + 0.38 * _step(0.0, 0.22, gap)
                tone += ((0.46, 0.17, 0.15)[c] - tone) * gum
                tone += ((0.30, 0.09, 0.08)[c] - tone) * (1 - outer)
                albedo[c] = tone * (1 - 0.75 * deep)
            shine = 0.2 * gloss_dot**40 * (1 - deep)
            shade_of_lip = 1 - 0.35 * _step(0.1, 0.8, height)
            shade_of_lip *= 0.3 + 0.7 * _step(0.0, 0.3, gape)
            open_air = (0.85 + 0.25 * max(open_air, wide)) * outer * shade_of_lip + 0.06
            sun = (0.42 + 0.58 * sun) * outer * shade_of_lip
            key = 0.4 + 0.6 * key
            sky_share = 0.6
        elif kind == TONGUE:
            tip = a * attributes[i, RIM] + b * attributes[j, RIM] + c_ * attributes[k, RIM]
            middle = 1 - 0.25 * _step(0.02, 0.0, abs(u - 0.5))
            albedo[0], albedo[1], albedo[2] = 0.50 * middle, 0.17 * middle, 0.16 * middle
            shine = 0.1 * gloss_dot**30
            open_air = 0.08 * tip + (0.04 + 0.76 * tip) * open_air
            sun, key = tip * (0.12 + 0.88 * sun), 0.3 + 0.7 * key
        elif kind == HAIR:
            _texel(coarse_hair if whole[n] else fine_hair, u, v, texel)
            tone = texel[0] / 32768
            for c in range(3):
                albedo[c] = colours[2, c] * tone
            rise = nx * head_axes[0, 0] + ny * head_axes[0, 1] + nz * head_axes[0, 2]
            tx, ty, tz = (
                head_axes[0, 0] - rise * nx,
                head_axes[0, 1] - rise * ny,
                head_axes[0, 2] - rise * nz,
            )
            length = 1 / math.sqrt(tx * tx + ty * ty + tz * tz + 1e-6)
            along = (tx * hx + ty * hy + tz * hz) * length + 0.25 * (tone - 1)
            ring = max(0.0, 1 - along * along)
            gleam = (
                (0.10 * tone * tone * ring**14 + 0.32 * tone * ring**70)
                * _step(-0.2, 0.4, key)
                * sun
                * colours[5, 0]
            )
            shine = 0.012 * colours[5, 0] * tone * ring**60
            open_air = 0.35 + 0.65 * open_air
            key = 0.3 + 0.7 * key
        else:
            for c in range(3):
                albedo[c] = 0.012
        shine *= sun * min(1.0, 2 * max(0.0, open_air))
        sky = open_air * (0.35 + 0.65 * open_air)
        for c in range(3):
            w = WRAP[c] * scatter
            front, sunny = max(0.0, (key + w) / (1 + w)), sun
            if scatter > 0:
                front = _curve(curve, 3 * row + c, front)
                sunny = _curve(curve, 6 + row, sun) if c == 0 else sun
            back = max(0.0, (second + 0.3) / 1.3)
            light = lights[1, c] * front * sunny + lights[3, c] * back * open_air
            light += (lights[4, c] * sky_share + lights[5, c] * (1 - sky_share)) * sky
            # Light between close walls of skin takes on the skin's colour.
            glowing = 1 - scatter * (1 - open_air) * (0.0, 0.22, 0.28)[c]
            shine_c = shine + gleam * (0.15 + albedo[c] * 1.2)
            seen_light = albedo[c] * light * glowing + shine_c * lights[1, c]
            out[n, c] = seen_light + haze * fresnel * lights[4, c] * open_air
    return out
