"""The flags of Australia and of the United States, flat, from their published geometry.

Lengths are in hoists (the flag's height, which both laws call its width): x from the hoist along the
fly, y downwards from the top edge.

Australia: the Flags Act 1953, Schedule 1, as amended in 1954 (the first print gave the Commonwealth
Star three eighths instead of three tenths). Centre of the fly: (3/2, 1/2).

    star          centre                                                diameter  points
    Commonwealth  middle of the Union Jack produced, 1/4 from the bottom    3/10     7
    Alpha         middle line of the fly, 1/6 from the bottom               1/7      7
    Beta          1/4 left, 1/16 above the centre                           1/7      7
    Gamma         middle line, 1/6 from the top                             1/7      7
    Delta         2/9 right, 1/16 + 1/15 above the centre                   1/7      7
    Epsilon       1/10 right, 1/24 below the centre                         1/12     5

The inner diameter of each is 4/9 of the outer one. The proportions 1:2 and the Union Jack in the
upper quarter are those of the Act's Schedule 2 (a picture). The Union Jack is that of the Admiralty's
and the Flag Institute's specification in thirtieths of its height: red cross 6, its white edge 2;
saltires, across the diagonals: broad white 3, red 2, narrow white 1, the broad one above in the half
next to the hoist and below in the other. Colours: Pantone 280 C and 185 C (Australian flags, Department
of the Prime Minister and Cabinet), as Pantone's own sRGB values.

United States: Executive Order 10834 of 21 August 1959. Fly 1.9; union 7/13 by 0.76; stripes 1/13;
diameter of a star 0.0616; rows of stars C/10 apart and columns D/12, which the order rounds to
E = F = 0.054 and G = H = 0.063. Colours: cables 70180 and 70075 of the Standard Color Reference of
America, by their usual equivalents Pantone 193 C and 281 C (Department of State: #B31942, #0A3161).
"""

from dataclasses import dataclass
from functools import cache

import numba
import numpy as np

from swap.studio import exact
from swap.studio.noise import noise

WHITE, RED, BLUE, CANVAS = range(4)
HEADING = 0.05  # the canvas band at the pole that carries the ropes, beside the flag itself
HEM = 0.016  # width of the doubled cloth along the free edges, in hoists
TEXELS = 520  # texels a hoist: 40 a stripe, and whole numbers for both flags' lengths
_FINE = 4  # samples a texel along each axis
_AUSTRALIA, _USA = range(2)
_PENTAGRAM = 0.38196601125010515  # inner by outer radius where the five points' edges are lines


@dataclass(frozen=True)
class Subject:
    """design: which flag; fly: its length in hoists; colours: sRGB of white, red, blue and canvas;
    sky: sRGB of the backdrop at the top and at the bottom; seed: of the cloth's threads.
    """

    design: int
    fly: float
    colours: tuple[tuple[int, int, int], ...]
    sky: tuple[tuple[int, int, int], tuple[int, int, int]]
    seed: int


SUBJECTS = {
    "australia": Subject(
        _AUSTRALIA,
        2.0,
        ((255, 255, 255), (228, 0, 43), (1, 33, 105), (236, 231, 219)),
        ((92, 150, 205), (206, 224, 234)),
        1,
    ),
    "usa": Subject(
        _USA,
        1.9,
        ((255, 255, 255), (179, 25, 66), (10, 49, 97), (236, 231, 219)),
        ((126, 164, 206), (229, 230, 226)),
        2,
    ),
}

# x, y, outer diameter, inner by outer diameter, points
AUSTRALIAN_STARS = (
    (0.5, 3 / 4, 3 / 10, 4 / 9, 7),
    (1.5, 5 / 6, 1 / 7, 4 / 9, 7),
    (1.5 - 1 / 4, 1 / 2 - 1 / 16, 1 / 7, 4 / 9, 7),
    (1.5, 1 / 6, 1 / 7, 4 / 9, 7),
    (1.5 + 2 / 9, 1 / 2 - 1 / 16 - 1 / 15, 1 / 7, 4 / 9, 7),
    (1.5 + 1 / 10, 1 / 2 + 1 / 24, 1 / 12, 4 / 9, 5),
)


def stars(subject: str) -> np.ndarray:
    """float64 (stars, 5): x, y, outer diameter, inner by outer diameter, points. KeyError for an
    unknown subject.
    """
    if SUBJECTS[subject].design == _AUSTRALIA:
        return np.array(AUSTRALIAN_STARS)
    rows = [
        (column * 0.76 / 12, row * 7 / 130, 0.0616, _PENTAGRAM, 5)
        for row in range(1, 10)
        for column in range(2 - row % 2, 12, 2)
    ]
    return np.array(rows)


@numba.njit(cache=True, nogil=True)
def _corners(star: np.ndarray) -> np.ndarray:
    """float64 (2 points, 2): a star's corners, the first one straight above its centre."""
    count = 2 * int(star[4])
    out = np.empty((count, 2))
    for i in range(count):
        radius = star[2] / 2 * (star[3] if i % 2 else 1.0)
        turn = 6.283185307179586 * i / count
        out[i, 0] = star[0] + radius * exact.sin(turn)
        out[i, 1] = star[1] - radius * exact.cos(turn)
    return out


@numba.njit(cache=True, nogil=True)
def _inside(corners: np.ndarray, x: float, y: float) -> bool:
    """Whether a ray from the point crosses the polygon's edges an odd number of times."""
    odd, before = False, corners.shape[0] - 1
    for i in range(corners.shape[0]):
        ax, ay, bx, by = corners[before, 0], corners[before, 1], corners[i, 0], corners[i, 1]
        if (ay > y) != (by > y) and x < ax + (bx - ax) * (y - ay) / (by - ay):
            odd = not odd
        before = i
    return odd


@numba.njit(cache=True, nogil=True)
def _union_jack(x: float, y: float) -> int:
    """Its colour at a point from its centre, in thirtieths of its height: |x| <= 30, |y| <= 15."""
    if abs(x) <= 3 or abs(y) <= 3:
        return RED
    if abs(x) <= 5 or abs(y) <= 5:
        return WHITE
    # Distance above the diagonal on which the point's arm lies, at right angles to it.
    slope = 0.5 if (x < 0) == (y < 0) else -0.5
    above = (slope * x - y) / 1.118033988749895
    if abs(above) > 3:
        return BLUE
    red = -above if x < 0 else above
    return RED if 0 <= red <= 2 else WHITE


@numba.njit(cache=True, nogil=True)
def _field(design: int, x: float, y: float) -> int:
    """The flag's colour without its stars."""
    if x < 0:
        return CANVAS
    if design == _USA:
        if x <= 0.76 and y <= 7 / 13:
            return BLUE
        return WHITE if int(y * 13) % 2 else RED
    if x <= 1 and y <= 0.5:
        return _union_jack((x - 0.5) * 60, (y - 0.25) * 60)
    return BLUE


@numba.njit(cache=True, nogil=True)
def _coverage(design: int, stars: np.ndarray, height: int, width: int, left: float) -> np.ndarray:
    """uint8 (height, width, 4): samples of each colour in each texel; left: x of the left edge."""
    out = np.zeros((height, width, 4), np.uint8)
    for row in range(height):
        for column in range(width):
            for i in range(_FINE * _FINE):
                x = left + (column + (i % _FINE + 0.5) / _FINE) / height
                y = (row + (i // _FINE + 0.5) / _FINE) / height
                out[row, column, _field(design, x, y)] += 1
    for s in range(stars.shape[0]):
        corners, reach = _corners(stars[s]), stars[s, 2] / 2
        first = int((stars[s, 0] - left - reach) * height)
        last = int((stars[s, 0] - left + reach) * height) + 1
        top = int((stars[s, 1] - reach) * height)
        for row in range(top, int((stars[s, 1] + reach) * height) + 2):
            for column in range(first, last + 1):
                for i in range(_FINE * _FINE):
                    x = left + (column + (i % _FINE + 0.5) / _FINE) / height
                    y = (row + (i // _FINE + 0.5) / _FINE) / height
                    if _inside(corners, x, y):
                        out[row, column, BLUE] -= 1
                        out[row, column, WHITE] += 1
    return out


def linear(colours: tuple | np.ndarray) -> np.ndarray:
    """int64, the shape of `colours`: linear light in 65535ths of 8-bit sRGB (IEC 61966-2-1)."""
    x = np.asarray(colours) / 255
    light = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    return np.rint(light * 65535).astype(np.int64)


@cache
def flat(subject: str) -> np.ndarray:
    """uint16 (TEXELS, width, 3): the flag unlit, heading first, in 65535ths of linear light.
    KeyError for an unknown subject.
    """
    own = SUBJECTS[subject]
    band = round(HEADING * TEXELS)
    shares = _coverage(
        own.design, stars(subject), TEXELS, band + round(own.fly * TEXELS), -band / TEXELS
    )
    light = (shares[..., None].astype(np.int64) * linear(own.colours)).sum(axis=2)
    return (light // _FINE**2).astype(np.uint16)


@cache
def sums(subject: str) -> np.ndarray:
    """float64 (TEXELS + 1, width + 1, 3): sums of the woven flag over all texels above and to the
    left, whole numbers, so that the mean over any box is four look-ups (F. Crow, Summed-area tables
    for texture mapping, SIGGRAPH 1984). KeyError for an unknown subject.
    """
    woven = flat(subject).astype(np.int64) * _threads(subject) // 1024
    out = np.zeros((woven.shape[0] + 1, woven.shape[1] + 1, 3), np.int64)
    out[1:, 1:] = woven.cumsum(axis=0).cumsum(axis=1)
    return out.astype(np.float64)


def _threads(subject: str) -> np.ndarray:
    """int64 (TEXELS, width, 1), 1024 at most: uneven threads both ways, seams along the hems."""
    height, width = flat(subject).shape[:2]
    row, column = np.mgrid[:height, :width]
    seed = SUBJECTS[subject].seed
    tone = np.full((height, width), 990.0)
    for along, across, own in ((row, column, seed), (column, row, seed + 10)):
        points = np.stack([along / 96, across / 2.6, 0 * row], axis=-1)
        tone += 34 * noise(points, 1.0, own, 2)
    for distance in (row, height - 1 - row, width - 1 - column):
        tone -= 110 * (np.abs(distance - HEM * height) < 1.5)
    tone -= 160 * (np.abs(column - HEADING * height) < 1.5)
    return np.clip(np.rint(tone), 0, 1024).astype(np.int64)[..., None]
