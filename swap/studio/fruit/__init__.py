"""Fruit: an apple and a cut kiwi, a picture as a pure function of subject, pose and light.

    rgb = render("apple", Params(yaw=20, spin=-20), 256)

The same Params give the same pose and light for both: the truth of a swap. The fruit's axis runs
through the apple's stalk and through the middle of the kiwi's cut face. The turn about that axis
shows in the apple's leaf, and in the kiwi's long core and a darker sector of its cut, on the side of
the leaf. The apple is pale about its stalk and red elsewhere, as the kiwi is pale where it is cut and
dark elsewhere: a network that sees both sorts of pictures can find out that they turn alike.
"""

import math
from dataclasses import dataclass, fields
from functools import cache

import numpy as np

from swap.errors import UserError
from swap.faces.align import TEMPLATE, CropDefinition
from swap.studio.exact import cos, sin
from swap.studio.fruit.draw import draw_fruit
from swap.studio.fruit.face import kiwi_face
from swap.studio.fruit.light import DISTANCE
from swap.studio.fruit.shade import APPLE, KIWI_KIND
from swap.studio.fruit.shapes import BOUND, surface_points
from swap.studio.fruit.skin import SIDE, apple_skin, kiwi_skin, linear

FRAME = (240, 320)  # height and width of the picture in which x, y and scale are meant
RADIUS = 64.0  # pixels of the frame that one unit of length takes at scale 1
UPRIGHT = 50.0  # degrees by which the axis leans from the vertical towards the viewer, all angles 0
SAMPLES = 2  # per pixel along each axis


@dataclass(frozen=True)
class Subject:
    """paper: sRGB of the backdrop at the top and at the bottom of the frame."""

    name: str
    kind: int
    paper: tuple[tuple[float, float, float], tuple[float, float, float]]


SUBJECTS = {
    s.name: s
    for s in (
        Subject("apple", APPLE, ((0.55, 0.62, 0.66), (0.80, 0.82, 0.81))),
        Subject("kiwi", KIWI_KIND, ((0.66, 0.60, 0.54), (0.88, 0.84, 0.78))),
    )
}


@dataclass(frozen=True)
class Params:
    """Angles in degrees. yaw turns the axis' upper end to the right in the picture, pitch lowers it
    towards the viewer, roll tips the fruit clockwise, spin turns it about its own axis.

    x, y: shift to the right and up, in fruit widths (two radii). scale: 1 gives a radius of 64
    pixels in the frame of 240 x 320. light_x, light_y: where the key light stands, to the right and
    up; light: its strength; warmth: 0 is neutral, 1 like a lamp, -1 like the sky.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    spin: float = 0.0
    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0
    light_x: float = -38.0
    light_y: float = 42.0
    light: float = 1.0
    warmth: float = 0.0


def render(
    subject: str,
    params: Params,
    size: int | tuple[int, int] = 128,
    *,
    view: np.ndarray | None = None,
) -> np.ndarray:
    """uint8 (H, W, 3) sRGB; arguments and errors as for `picture`."""
    return picture(subject, params, size, view=view)[0]


def picture(
    subject: str,
    params: Params,
    size: int | tuple[int, int] = 128,
    *,
    view: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The picture, uint8 (H, W, 3) sRGB, and the fruit's share of every pixel, uint8 (H, W).

    size: H = W, or (H, W). view: (2, 3), a similarity from the pixels of the frame (240, 320) to
    those of the picture; by default the frame's height fills the picture's. Pixel centres lie at
    integers. Raises KeyError for an unknown subject, UserError for values that are not finite, a
    scale that is not positive or a view that is no similarity.
    """
    about = SUBJECTS[subject]
    check(params)
    height, width = (size, size) if isinstance(size, int) else size
    to_frame = _inverse(_default_view(height, width) if view is None else view)
    radius = RADIUS * params.scale
    place = np.array([*_centre(params), radius])
    per_unit = radius / math.sqrt(to_frame[0, 0] ** 2 + to_frame[1, 0] ** 2)
    skin = _level(apple_skin() if subject == "apple" else kiwi_skin(), SIDE * 0.45 / per_unit)
    # The cut face is finer than the skin: about half of its own square is one unit.
    face = _level(kiwi_face(), kiwi_face()[0].shape[0] * 0.5 / per_unit)
    lights, sky = lighting(params)
    linear_light = np.empty((height, width, 3))
    cover = np.empty((height, width))
    draw_fruit(
        about.kind, linear_light, cover, to_frame, place, rotation(params), lights, sky,
        _paper(subject), _points(subject), skin, face, SAMPLES,
    )  # fmt: skip
    return encode(linear_light), (cover * 255 + 0.5).astype(np.uint8)


def landmarks(subject: str, params: Params, size: int | tuple[int, int] = 128) -> np.ndarray:
    """float32 (5, 2): five points in the shape of `TEMPLATE`, placed by the fruit's x, y and scale
    only, such that the face square of `CropDefinition` just holds the fruit in any pose.

    Pixels of the picture that `render` gives without a view. Raises as `picture` does.
    """
    SUBJECTS[subject]
    check(params)
    height, width = (size, size) if isinstance(size, int) else size
    definition = CropDefinition()
    # A ball at the camera's distance looks larger than it is.
    half = 1.02 * BOUND / math.sqrt(1 - (BOUND / DISTANCE) ** 2) * RADIUS * params.scale
    eyes = 2 * half / definition.face_side
    points = np.array(_centre(params)) + (TEMPLATE - [0, definition.centre_y]) * eyes
    view = _default_view(height, width)
    return (points * view[0, 0] + view[:, 2]).astype(np.float32)


def walk(frames: int, seed: int) -> list[Params]:
    """`frames` Params at 25 a second, a smooth random walk, a pure function of the arguments."""
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, 1], np.uint64)))
    bounds = {
        "yaw": (0, 55, 55), "pitch": (0, 32, 50), "roll": (0, 22, 60), "spin": (0, 6, 65),
        "x": (0, 0.22, 60), "y": (0, 0.12, 55), "scale": (1, 0.14, 80),
        "light_x": (-8, 62, 90), "light_y": (38, 24, 80), "light": (1, 0.16, 110),
        "warmth": (0, 0.7, 130),
    }  # fmt: skip
    columns = {
        name: middle + reach * np.tanh(0.9 * _drift(rng, frames, period))
        for name, (middle, reach, period) in bounds.items()
    }
    return [Params(**{k: _rounded(v[i]) for k, v in columns.items()}) for i in range(frames)]


def draw(seed: int, index: int) -> Params:
    """One independent draw over all poses and lights; a pure function of the arguments.

    spin stays within 6 degrees, here and in a walk: the leaf shows it on the apple and nothing does so clearly on the
    kiwi, and what only one side shows no swap can carry over.
    """
    key = np.array([seed, 2], np.uint64)
    rng = np.random.Generator(np.random.Philox(key=key, counter=(0, 0, 0, index)))
    bounds = {
        "yaw": (0, 60), "pitch": (0, 35), "roll": (0, 26), "spin": (0, 6), "x": (0, 0.25),
        "y": (0, 0.14), "scale": (1, 0.18), "light_x": (-5, 70), "light_y": (36, 30),
        "light": (1, 0.22), "warmth": (0, 0.9),
    }  # fmt: skip
    return Params(
        **{
            k: _rounded(middle + reach * rng.uniform(-1, 1))
            for k, (middle, reach) in bounds.items()
        }
    )


def check(params: Params) -> None:
    """Raises UserError for Params that make no picture."""
    for field in fields(params):
        value = getattr(params, field.name)
        if not math.isfinite(value):
            raise UserError(f"fruit: {field.name} must be a finite number, not {value!r}")
    if params.scale <= 0:
        raise UserError(f"fruit: scale must be positive, not {params.scale}")


def rotation(p: Params) -> np.ndarray:
    """float64 (3, 3): from the fruit's space (y: its axis) to right, up and nearer in the picture.

    About the vertical, then in the picture's plane; before that the lean, and first of all the spin.
    """
    degree = math.pi / 180

    def about(axis: int, angle: float) -> list[list[float]]:
        c, s = cos(angle * degree), sin(angle * degree)
        turn = [[1.0 if i == j else 0.0 for j in range(3)] for i in range(3)]
        i, j = ((1, 2), (2, 0), (0, 1))[axis]
        turn[i][i], turn[j][j], turn[i][j], turn[j][i] = c, c, -s, s
        return turn

    turn = about(1, p.spin)
    for axis, angle in ((0, UPRIGHT + p.pitch), (1, p.yaw), (2, -p.roll)):
        # Written out, because a BLAS may add in another order on another machine.
        left, right = about(axis, angle), turn
        turn = [
            [
                left[i][0] * right[0][j] + left[i][1] * right[1][j] + left[i][2] * right[2][j]
                for j in range(3)
            ]
            for i in range(3)
        ]
    return np.array(turn)


def lighting(p: Params) -> tuple[np.ndarray, np.ndarray]:
    """float64 (6, 3): to the key light, its right and up, its colour, to the fill light, its colour;
    and the sky's colour (3,). Right, up and nearer in the picture; linear light.
    """
    degree = math.pi / 180
    sa, ca = sin(p.light_x * degree), cos(p.light_x * degree)
    se, ce = sin(p.light_y * degree), cos(p.light_y * degree)
    side = 1.0 if p.light_x <= 0 else -1.0
    # The fill light crosses over without a jump as the key light passes the middle.
    away = min(1.0, abs(p.light_x) / 15) * side
    far = 1 / math.sqrt(0.82 * 0.82 * away * away + 0.15 * 0.15 + 0.55 * 0.55)
    strength = 1.22 * p.light
    lights = [
        [sa * ce, se, ca * ce],
        [ca, 0.0, -sa],
        [-sa * se, ce, -ca * se],
        [
            strength * 1.06 * (1 + 0.13 * p.warmth),
            strength,
            strength * 0.93 * (1 - 0.20 * p.warmth),
        ],
        [0.82 * away * far, 0.15 * far, 0.55 * far],
        [0.11, 0.12, 0.135],
    ]
    return np.array(lights), np.array([0.27, 0.29, 0.32])


def encode(light: np.ndarray) -> np.ndarray:
    """uint8 sRGB of linear light (..., 3) >= 0: linear up to 0.6, then bent towards 1."""
    high = np.maximum(light - 0.6, 0)
    bent = np.minimum(light, 0.6) + 0.4 * (high / (high + 0.4))
    return _srgb_table()[(bent * 65535 + 0.5).astype(np.int32)]


@cache
def _srgb_table() -> np.ndarray:
    """uint8 (65536,): IEC 61966-2-1 of i / 65535. A table, because a power is not exact."""
    x = np.arange(65536) / 65535
    srgb = np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)
    return np.rint(srgb * 255).astype(np.uint8)


@cache
def _paper(subject: str) -> np.ndarray:
    return np.round(np.stack([linear(*c) for c in SUBJECTS[subject].paper]) * 65536) / 65536


@cache
def _points(subject: str) -> np.ndarray:
    return surface_points(subject)


def _level(levels: tuple[np.ndarray, ...], texels: float) -> np.ndarray:
    """The coarsest level that still has at least one texel a pixel; texels: the finest level's."""
    chosen = 0
    while chosen + 1 < len(levels) and texels >= 2:
        chosen, texels = chosen + 1, texels / 2
    return levels[chosen]


def _centre(p: Params) -> tuple[float, float]:
    """The fruit's centre in the frame, in pixels."""
    width = 2 * RADIUS
    return (FRAME[1] - 1) / 2 + width * p.x, (FRAME[0] - 1) / 2 - width * p.y


def _default_view(height: int, width: int) -> np.ndarray:
    scale = height / FRAME[0]
    return np.array(
        [
            [scale, 0, (width - 1) / 2 - scale * (FRAME[1] - 1) / 2],
            [0, scale, (height - 1) / 2 - scale * (FRAME[0] - 1) / 2],
        ]
    )


def _inverse(view: np.ndarray) -> np.ndarray:
    """float64 (2, 3): back from the picture to the frame. Raises UserError for no similarity."""
    m = np.asarray(view, np.float64)
    if m.shape != (2, 3) or not np.isfinite(m).all():
        raise UserError("fruit: a view must be a (2, 3) matrix of finite numbers")
    # Who computed it may differ in the last bit from machine to machine: forget the last bits.
    (a, b, x), (c, d, y) = (np.round(m * 2.0**24) / 2.0**24).tolist()
    area = a * d - b * c
    if not area > 0 or abs(a - d) + abs(b + c) > 1e-3 * math.sqrt(area):
        raise UserError("fruit: a view must be a similarity: one scale, a turn and a shift")
    return np.array(
        [
            [d / area, -b / area, (b * y - d * x) / area],
            [-c / area, a / area, (c * x - a * y) / area],
        ]
    )


def _rounded(x: float) -> float:
    """A multiple of 1 / 4096: no libm's last bit survives."""
    return round(float(x) * 4096) / 4096


def _drift(rng: np.random.Generator, frames: int, period: float) -> np.ndarray:
    """float64 (frames,): smooth noise of deviation 1 with features about `period` frames long, a
    uniform cubic B-spline (twice continuously differentiable).
    """
    knots = rng.standard_normal(int(frames / period) + 6)
    t = np.arange(frames) / period + rng.uniform(0, 1) + 1
    i = t.astype(int)
    f = t - i
    weights = ((1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3)
    return sum(w / 6 * knots[i + k - 1] for k, w in enumerate(weights)) / 0.69
