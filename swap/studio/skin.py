"""Painting a skin: a texture of one subject, by place on the unshaped head (see maps.py)."""

import numpy as np

from swap.studio import exact
from swap.studio.hairline import growth, scalp_cover
from swap.studio.maps import blob, step
from swap.studio.noise import noise
from swap.studio.subjects import Subject


def strands(
    place: np.ndarray, slant: np.ndarray, fine: float, seed: int, level: float = 0.0
) -> np.ndarray:
    """Noise in about [-1, 1] drawn out along a direction on the front of the face: `slant` radians
    from the vertical, outwards positive on both sides. A slant that changes from place to place
    bends them least near the height `level`.
    """
    x, y = np.abs(place[..., 0]), place[..., 1] - level
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


def folds(place: np.ndarray) -> np.ndarray:
    """(S, S) in [0, 1]: the folds from the wings of the nose past the corners of the mouth."""
    x, y = np.abs(place[..., 0]), place[..., 1]
    t = np.clip((6.99 - y) / 0.3, 0, 1.3)
    middle = 0.205 + 0.2 * t
    line = exact.exponentials(-(((x - middle) / 0.022) ** 2))
    return line * step(0.0, 0.25, t) * step(1.15, 0.7, t) * (place[..., 2] > 0.6)


def beard_area(place: np.ndarray, soft: float = 0.07) -> np.ndarray:
    """(S, S) in [0, 1]: where beards grow, with edges `soft` decimetres wide."""
    x, y, z = np.abs(place[..., 0]), place[..., 1], place[..., 2]
    edge = (
        6.56
        + 0.62 * exact.powers(np.clip((x - 0.28) / 0.55, 0, 1), 1.6)
        + 0.03 * exact.sines(9 * x)
    )
    area = step(soft, -soft, y - edge) * step(-0.16, 0.06, y - 6.12 - 0.45 * (1.4 - z))
    lip = (
        step(6.86 + soft, 6.84 - soft, y + 0.22 * x)
        * step(0.38 + soft, 0.36 - soft, x)
        * step(6.5, 6.62, y)
    )
    return np.maximum(area, lip) * step(0.42, 0.75, z)


def paint_skin(
    place: np.ndarray, lips: np.ndarray, subject: Subject
) -> tuple[np.ndarray, np.ndarray]:
    """Albedo float32 (S, S, 3), as sRGB in [0, 1], and gloss (S, S) in [0, 1], of one subject.

    lips: (S, S) in [0, 1], where they are.
    """
    seed = subject.seed
    skin = np.empty((*place.shape[:2], 3), np.float32)
    skin[:] = np.array(subject.skin, np.float32)
    blotches = noise(place, 3.2, seed, 3)
    patches = noise(place, 11, seed + 5, 2)
    pores = noise(place, 80, seed + 9, 2)
    skin *= (1 + 0.03 * blotches + 0.02 * patches + 0.05 * pores * subject.rough)[..., None]
    # Blood lies unevenly beneath the skin: redder here, yellower there.
    skin *= 1 + (0.03 * noise(place, 6, seed + 7, 3))[..., None] * np.array([0.3, -1, -0.8])

    red = 0.85 * blob(place, (0.42, 6.93), (0.24, 0.17)) + 0.6 * blob(
        place, (0, 6.94), (0.17, 0.15), False
    )
    red += 0.35 * blob(place, (0, 6.33), (0.2, 0.13), False) + 0.25 * blob(
        place, (0, 7.75), (0.5, 0.2), False
    )
    red += (
        0.6
        * step(0.62, 0.8, np.abs(place[..., 0]))
        * step(6.7, 6.9, place[..., 1])
        * step(7.6, 7.4, place[..., 1])
    )
    red = np.clip(red * (1 + 0.3 * patches + 0.15 * pores), 0, 1.3) * subject.flush
    skin *= 1 - red[..., None] * np.array([-0.015, 0.14, 0.13], np.float32)
    shade = 0.5 * blob(place, (0.29, 7.16), (0.19, 0.06)) + 0.35 * blob(
        place, (0.32, 7.32), (0.2, 0.085)
    )
    skin *= 1 - (shade * subject.eye_shade)[..., None] * np.array([0.16, 0.22, 0.16], np.float32)

    if subject.freckles:
        # Value noise shows its lattice; shaken points do not.
        shaken = place + 0.011 * np.stack([noise(place, 55, seed + k, 2) for k in (66, 67, 68)], -1)
        small = noise(shaken, 84, seed + 61)
        large = noise(shaken, 48, seed + 63) + 0.25 * noise(place, 9, seed + 65)
        spots = np.maximum(step(0.42, 0.75, small) * 0.7, step(0.62, 0.85, large))
        where = (
            blob(place, (0.3, 7.0), (0.34, 0.2))
            + 0.9 * blob(place, (0, 7.05), (0.2, 0.2), False)
            + 0.15
        )
        skin *= 1 - (subject.freckles * spots * where)[..., None] * np.array(
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
        fold = folds(place)
        skin *= 1 - (subject.lines * (0.75 * brow_lines + 0.8 * feet + 0.5 * fold))[
            ..., None
        ] * np.array([0.25, 0.3, 0.3], np.float32)

    hair = np.array(subject.hair.colour, np.float32)
    if subject.beard.density:
        full = subject.beard.length
        area = beard_area(place, 0.07 + 0.1 * (1 - full)) * (1 - step(0.15, 0.85, lips))
        grain = 0.6 * noise(place, 118, seed + 51) + 0.5 * noise(place, 71, seed + 55)
        curve = 0.12 + 0.12 * noise(place, 3, seed + 57)
        runs = strands(place, curve, 100, seed + 53, 6.6)
        thin = strands(place, curve - 0.3, 58, seed + 59, 6.6)
        shadow = 0.5 + 0.42 * grain
        hairs = step(0.0, 1.0, area * (0.98 + 0.55 * runs + 0.4 * thin))
        amount = np.clip((1 - full) * area * shadow + full * hairs, 0, 1)
        amount = np.clip(amount * subject.beard.density, 0, 0.95)[..., None]
        bright = 1 + full * (0.32 * runs + 0.22 * thin)
        tone = np.array(subject.beard.colour, np.float32) * bright[..., None]
        skin = skin * (1 - amount) + tone * amount
    # Lips are finely creased from side to side.
    creased = strands(place, np.zeros(place.shape[:2]), 60, seed + 77)
    skin *= 1 + (0.16 * lips * creased)[..., None]
    cover = (brow_cover(place, subject) * 0.92)[..., None]
    skin = skin * (1 - cover) + np.array(subject.brows.colour, np.float32) * cover
    roots = np.zeros((1, 1, 1), np.float32)
    if subject.hair.thickness:
        # Hair keeps the light of the sky from the skin beneath its edge.
        dim = 0.38 * step(0.0, 0.12, np.float64(subject.hair.thickness))
        near = growth(len(place), subject, subject.hair.long)
        skin = skin * (1 - (dim * step(0.0, 0.7, near))[..., None] * np.array([0.82, 1, 1]))
    if subject.hair.density:
        roots = (scalp_cover(len(place), place, subject) * subject.hair.density)[..., None] * 0.9
        skin = skin * (1 - roots) + hair * 0.8 * roots

    gloss = (
        0.5
        + 0.45 * blob(place, (0, 7.75), (0.45, 0.22), False)
        + 0.6 * blob(place, (0, 6.98), (0.1, 0.2), False)
    )
    gloss += 0.1 * blob(place, (0.42, 7.03), (0.14, 0.1)) + 0.1 * patches + 0.2 * pores
    gloss *= 1 - 0.75 * beard_area(place) * min(1.0, subject.beard.density)
    gloss *= 1 - 0.9 * np.maximum(cover, roots)[..., 0]
    return np.clip(skin, 0.01, 1), np.clip(gloss, 0.03, 1)
