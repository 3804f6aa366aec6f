"""Where hair grows on a head, and which way its strands run: maps by direction (see maps.py)."""

import numpy as np

from swap.studio import exact
from swap.studio.maps import blurred, from_map, interpolated, on_sphere, sampled, step
from swap.studio.noise import noise
from swap.studio.subjects import Subject

# Where hair begins: the least angle up (degrees) at an angle around the head from the face.
HAIRLINE = np.array(
    [
        [0, 37], [18, 38], [32, 41], [40, 37], [46, 28], [51, 16], [54, 2], [57, -6], [62, -8],
        [66, 4], [70, 15], [88, 16], [96, 6], [106, -18], [140, -30], [180, -33],
    ],
    float,
)  # fmt: skip
# Hair that falls beside the face: its edge is one strand, from the parting to below the chin (see
# `run`: z + 0.12 |x| = 0.75 above the horizon).
LONG_HAIRLINE = np.array(
    [
        [0, 43], [6, 42], [16, 41], [26, 38], [37.5, 30], [44.4, 20], [47.7, 10], [48.7, 0],
        [49.5, -30], [52, -60], [180, -60],
    ],
    float,
)  # fmt: skip
COARSE, SOFT = 256, 5.0  # texels of the map in which the edge is softened, and by how many


def line(sides: np.ndarray, subject: Subject, long: bool) -> np.ndarray:
    """Degrees up (...) where hair begins, at degrees around from the face, 0 to 180 (...)."""
    hair = subject.hair
    if long:
        return interpolated(sides, LONG_HAIRLINE)
    corner = exact.exponentials(-(((sides - 30) / 17) ** 2))
    burn = exact.exponentials(-(((sides - 60) / 6) ** 2))
    up = interpolated(sides, HAIRLINE) + hair.recede * corner + 22 * (1 - hair.sideburns) * burn
    return up + hair.raised * step(58, 40, sides)


def growth(size: int, subject: Subject, long: bool) -> np.ndarray:
    """float64 (S, S): 0 where no hair grows, 0.5 on the line, 1 a few degrees behind it, as soft
    where the line is steep as where it is level.
    """
    around, up = from_map(COARSE)
    above = np.degrees(up) - line(np.abs(np.degrees(around)), subject, long)
    soft = blurred(step(-0.6, 0.6, above), SOFT)
    grid = (np.arange(size) + 0.5) / size
    out = sampled(soft, np.stack(np.meshgrid(grid, grid), -1))
    if subject.hair.bald:
        around, up = from_map(size)
        sides = np.degrees(np.abs(around))
        out = out * (1 - subject.hair.bald * step(28, 54, np.degrees(up) + 0.16 * (100 - sides)))
    return out


def parting_distance(around: np.ndarray, up: np.ndarray, subject: Subject) -> np.ndarray:
    """(...): how far a direction (angles around and up) is from the parting, in radii of the head;
    9 where there is none.
    """
    x, z = np.moveaxis(on_sphere(around, up)[..., [0, 2]], -1, 0)
    return np.where((up > 0.3) & (z > -0.35), np.abs(x - subject.hair.parting), 9.0)


def run(size: int, subject: Subject) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three of (S, S): across the strands and along them, in radians about, and `parting_distance`.

    A strand leaves the parting sideways and backwards: it keeps z + k |x - parting|. Below the
    widest part of the head it hangs straight down.
    """
    around, up = from_map(size)
    unit = on_sphere(around, np.maximum(up, 0.0) if subject.hair.long else up)
    x, z = unit[..., 0], unit[..., 2]
    off = np.abs(x - subject.hair.parting)
    across = z + (0.12 if subject.hair.long else 0.9) * off
    return (
        across + 3.0 * (x > subject.hair.parting),
        np.broadcast_to(up, x.shape),
        parting_distance(around, up, subject),
    )


def scalp_cover(size: int, place: np.ndarray, subject: Subject) -> np.ndarray:
    """(S, S) in [0, 1]: how much of the scalp hair hides; thin, single hairs at the edge."""
    across, along, gap = run(size, subject)
    if subject.hair.curl:
        hairs = noise(place, 70, subject.seed + 43, 2)
    else:
        hairs = noise(np.stack([across * 105, along * 9, 0 * across], -1), 1, subject.seed + 43, 2)
    ragged = 0.10 * noise(place, 9, subject.seed + 41, 2) + 0.16 * hairs
    cover = step(0.12, 0.95, growth(size, subject, False) + ragged)
    if subject.hair.parted:
        cover = cover * (0.35 + 0.65 * step(0.008, 0.03, gap + 0.006 * hairs))
    return cover
