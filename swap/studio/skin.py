"""Painting a skin: a texture of one subject, by place on the unshaped head (see maps.py)."""

import numpy as np

from swap.studio import exact
from swap.studio.maps import blob, from_map, interpolated, step
from swap.studio.noise import noise
from swap.studio.subjects import Subject

# Where hair begins: the least angle up (degrees) at an angle around the head from the face.
HAIRLINE = np.array(
    [
        [0, 36], [18, 37], [32, 39], [42, 36], [49, 26], [53, 12], [56, -4], [60, -7], [63, 4],
        [68, 15], [88, 16], [96, 6], [106, -18], [140, -30], [180, -33],
    ],
    float,
)  # fmt: skip
LONG_HAIRLINE = np.array(
    [[0, 38], [12, 37], [30, 33], [42, 20], [48, 0], [50, -60], [180, -60]], float
)


def strands(place: np.ndarray, slant: np.ndarray, fine: float, seed: int) -> np.ndarray:
    """Noise in about [-1, 1] drawn out along a direction on the front of the face: `slant` radians
    from the vertical, outwards positive on both sides.
    """
    x, y = np.abs(place[..., 0]), place[..., 1]
    across = x * exact.cosines(slant) - y * exact.sines(slant)
    along = x * exact.sines(slant) + y * exact.cosines(slant)
    side = np.where(place[..., 0] > 0, 5.0, 0.0)
    return noise(np.stack([across * fine, along * fine * 0.16, side], -1), 1, seed, 2)


def brow_cover(place: np.ndarray, subject: Subject) -> np.ndarray:
    """(S, S) in [0, 1]: how much of the skin the eyebrows hide."""
    brow = subject.brows
    x, y = np.abs(place[..., 0]), place[..., 1]
    t = (x - 0.125) / (0.53 - 0.125)
    line = (
        7.432 + brow.height + brow.arch * exact.sines(np.pi * np.clip(t * 0.78, 0, 1)) - 0.035 * t
    )
    thick = brow.thickness * (1 - 0.7 * exact.powers(np.clip(t, 0, 1), 1.5))
    body = (
        exact.exponentials(-(((y - line) / thick) ** 2) * 1.2)
        * step(7.358, 7.40, y)
        * step(-0.1, 0.2, t)
        * step(1.12, 0.6, t)
    )
    slant = np.clip(0.35 + 1.25 * t, 0.2, 1.75)
    hairs = strands(place, slant, 95, subject.seed + 31)
    cover = step(0.22, 1.15, body * (1 + 0.9 * hairs) * brow.density)
    return cover * (place[..., 2] > 0.6)


def beard_area(place: np.ndarray) -> np.ndarray:
    """(S, S) in [0, 1]: where beards grow."""
    x, y, z = np.abs(place[..., 0]), place[..., 1], place[..., 2]
    edge = (
        6.56
        + 0.62 * exact.powers(np.clip((x - 0.28) / 0.55, 0, 1), 1.6)
        + 0.03 * exact.sines(9 * x)
    )
    area = step(0.07, -0.07, y - edge) * step(6.15, 6.5, y + 0.16 * z)
    lip = step(6.9, 6.78, y + 0.22 * x) * step(0.42, 0.30, x) * step(6.5, 6.62, y)
    return np.maximum(area, lip) * step(0.42, 0.75, z)


def scalp_cover(size: int, place: np.ndarray, subject: Subject) -> np.ndarray:
    """(S, S) in [0, 1]: where hair grows on the head, with a ragged hairline."""
    around, up = from_map(size)
    line = interpolated(np.degrees(np.abs(around)), HAIRLINE)
    recede = subject.hair.recede * exact.exponentials(
        -(((np.degrees(np.abs(around)) - 30) / 17) ** 2)
    )
    above = np.degrees(up) - line - subject.hair.raised * (np.abs(around) < 0.8) - recede
    ragged = (
        noise(place, 14, subject.seed + 41, 2) * 3.5 + noise(place, 60, subject.seed + 43) * 2.5
    )
    bare = np.degrees(up) + 0.16 * np.clip(100 - np.degrees(np.abs(around)), 0, 60)
    crown = 1 - subject.hair.bald * step(30, 52, bare + 2 * ragged)
    return step(-2.0, 3.5, above + ragged) * crown


def paint_skin(place: np.ndarray, subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    """Albedo float32 (S, S, 3), as sRGB in [0, 1], and gloss (S, S) in [0, 1], of one subject."""
    seed = subject.seed
    skin = np.empty((*place.shape[:2], 3), np.float32)
    skin[:] = np.array(subject.skin, np.float32)
    blotches = noise(place, 3.2, seed, 3)
    patches = noise(place, 11, seed + 5, 2)
    pores = noise(place, 48, seed + 9, 2)
    skin *= (1 + 0.035 * blotches + 0.03 * patches + 0.045 * pores * subject.rough)[..., None]

    red = 0.85 * blob(place, (0.42, 6.93), (0.24, 0.17)) + 0.9 * blob(
        place, (0, 6.92), (0.13, 0.13), False
    )
    red += 0.35 * blob(place, (0, 6.33), (0.2, 0.13), False) + 0.25 * blob(
        place, (0, 7.75), (0.5, 0.2), False
    )
    red += (
        0.45
        * step(0.62, 0.8, np.abs(place[..., 0]))
        * step(6.7, 6.9, place[..., 1])
        * step(7.6, 7.4, place[..., 1])
    )
    red = np.clip(red * (1 + 0.5 * patches), 0, 1.3) * subject.flush
    skin *= 1 - red[..., None] * np.array([-0.015, 0.14, 0.13], np.float32)
    shade = 0.5 * blob(place, (0.29, 7.16), (0.19, 0.06)) + 0.35 * blob(
        place, (0.32, 7.32), (0.2, 0.085)
    )
    skin *= 1 - (shade * subject.eye_shade)[..., None] * np.array([0.16, 0.22, 0.16], np.float32)

    if subject.freckles:
        spots = noise(place, 52, seed + 61) + 0.35 * noise(place, 23, seed + 63)
        where = (
            blob(place, (0.3, 7.0), (0.34, 0.2))
            + 0.9 * blob(place, (0, 7.05), (0.2, 0.2), False)
            + 0.15
        )
        skin *= 1 - (subject.freckles * step(0.45, 0.8, spots) * where)[..., None] * np.array(
            [0.14, 0.25, 0.33], np.float32
        )
    for (mx, my), radius in subject.moles:
        mole = blob(place, (mx, my), (radius, radius), False) > 0.45
        skin[mole] *= np.array([0.45, 0.36, 0.34], np.float32)
    if subject.lines:
        y, x = place[..., 1], np.abs(place[..., 0])
        wave = y + 0.02 * exact.sines(6 * place[..., 0]) + 0.012 * noise(place, 5, seed + 71)
        brow_lines = exact.exponentials(-(((wave * 9) % 1 - 0.5) ** 2) * 60) * blob(
            place, (0, 7.72), (0.42, 0.14), False
        )
        feet = exact.exponentials(
            -((((y - 7.27) / (x - 0.36 + 1e-3) * 2.1) % 1 - 0.5) ** 2) * 40
        ) * blob(place, (0.57, 7.25), (0.08, 0.1))
        skin *= 1 - (subject.lines * (0.75 * brow_lines + 0.8 * feet))[..., None] * np.array(
            [0.25, 0.3, 0.3], np.float32
        )

    hair = np.array(subject.hair.colour, np.float32)
    if subject.beard.density:
        area = beard_area(place)
        grain = noise(place, 120, seed + 51, 1)
        runs = strands(place, np.full(place.shape[:2], 0.12), 85, seed + 53)
        full = subject.beard.length
        grown = (1 - full) * (0.34 + 0.36 * step(-0.3, 0.6, grain + 0.3 * runs)) + full * step(
            0.1, 0.9, area * (1.05 + 0.6 * runs)
        )
        amount = np.clip(area * grown * subject.beard.density, 0, 0.95)[..., None]
        tone = np.array(subject.beard.colour, np.float32) * (1 + 0.3 * full * runs)[..., None]
        skin = skin * (1 - amount) + tone * amount
    cover = (brow_cover(place, subject) * 0.92)[..., None]
    skin = skin * (1 - cover) + np.array(subject.brows.colour, np.float32) * cover
    if subject.hair.density:
        roots = (scalp_cover(len(place), place, subject) * subject.hair.density)[..., None] * 0.9
        skin = skin * (1 - roots) + hair * 0.8 * roots

    gloss = (
        0.5
        + 0.45 * blob(place, (0, 7.75), (0.45, 0.22), False)
        + 0.6 * blob(place, (0, 6.98), (0.1, 0.2), False)
    )
    gloss += 0.25 * blob(place, (0.42, 7.03), (0.14, 0.1)) + 0.1 * patches + 0.2 * pores
    gloss *= 1 - 0.75 * beard_area(place) * min(1.0, subject.beard.density)
    return np.clip(skin, 0.01, 1), np.clip(gloss * (1 - 0.8 * cover[..., 0]), 0.05, 1)
