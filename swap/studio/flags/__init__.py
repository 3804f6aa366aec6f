"""Flags blowing in the wind: a picture as a pure function of subject, wind, waves, pose and light.

    rgb = render("australia", Params(yaw=20, wind=0.8), 256)
    rgb, mask = picture("usa", Params(yaw=20, wind=0.8), 256)

The same Params give the same folds, pose and light for both flags: the truth of a swap. Each keeps
its own proportions, 1:2 and 1:1.9, and the waves run over the same shares of its length.
"""

from functools import cache

import numba
import numpy as np

from swap.errors import UserError
from swap.faces.align import TEMPLATE, CropDefinition
from swap.studio import exact
from swap.studio.flags.cloth import BAND, COLUMNS, ROWS, light_on, normals, surface, waves
from swap.studio.flags.drawings import HEADING, SUBJECTS, linear, sums
from swap.studio.flags.pole import PAINTS, pole
from swap.studio.flags.shade import levels, shade, texel
from swap.studio.flags.walks import Params, draw, walk
from swap.studio.raster import NOTHING, fill

__all__ = ["SUBJECTS", "Params", "cloth_points", "draw", "landmarks", "picture", "render", "walk"]

FRAME = (240, 320)  # height and width of the picture that `view` starts from
HOIST = 90.0  # pixels of the frame a hoist, in the plane of the cloth's middle, at scale 1
DISTANCE = 5.0  # of the camera from the cloth's middle, in hoists
SQUARE = 2.15  # side in hoists of the square that holds the cloth
SAMPLES = 3  # a pixel along each axis


def render(
    subject: str,
    params: Params,
    size: int | tuple[int, int] = 128,
    *,
    view: np.ndarray | None = None,
) -> np.ndarray:
    """uint8 (H, W, 3) sRGB; arguments and errors as those of `picture`."""
    return picture(subject, params, size, view=view)[0]


def picture(
    subject: str,
    params: Params,
    size: int | tuple[int, int] = 128,
    *,
    view: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (H, W, 3) sRGB and uint8 (H, W): how much of each pixel is cloth, 255 is all.

    size: H = W, or (H, W). view: similarity (2, 3) from pixels of the frame, 240 x 320, to pixels of
    the picture; by default the frame scaled to the height H, its middle in the middle. Raises
    KeyError for an unknown subject and UserError for an impossible size or view.
    """
    own = SUBJECTS[subject]
    height, width = (size, size) if isinstance(size, int) else size
    view = _frame_view(height, width) if view is None else _checked(view)
    if min(height, width) < 1:
        raise UserError(f"a picture needs a size of at least 1 pixel, not {height} x {width}")

    surface_points, middle = _surface(params, own.fly)
    posts, post_normals, post_triangles, material = pole()
    axes = _axes(*(_radians(a) for a in (params.yaw, params.pitch, params.roll)))
    sun, camera = _seen_from(axes, _direction(params.light_x, params.light_y), DISTANCE, middle)
    light = light_on(surface_points, normals(surface_points), sun, camera)
    points = np.concatenate([surface_points.reshape(-1, 3), posts])
    values = np.zeros((len(points), 6))
    cloth_values, triangles = _mesh(own.fly)
    count = len(points) - len(posts)
    values[:count, :4] = light.reshape(-1, 4)
    values[:count, 4:] = cloth_values
    _light_posts(post_normals, sun, values[count:])

    fine = view * SAMPLES
    fine[:, 2] += (SAMPLES - 1) / 2
    projected = _project(points, axes, middle, _placing(params), fine)
    seen = np.full((height * SAMPLES, width * SAMPLES), NOTHING, np.int32)
    fill(projected, triangles, np.zeros(seen.shape, np.float32), seen, 0, True)
    rgb, mask = np.empty((height, width, 3), np.uint8), np.empty((height, width), np.uint8)
    shade(
        seen, projected, triangles, values, len(triangles) - len(post_triangles), material, PAINTS,
        sums(subject), *_lights(params), _sky(subject), _inverse(view), FRAME, SAMPLES, levels(),
        rgb, mask,
    )  # fmt: skip
    return rgb, mask


def landmarks(subject: str, params: Params, size: int | tuple[int, int] = FRAME) -> np.ndarray:
    """float32 (5, 2): five points in the shape of `swap.faces.align.TEMPLATE`, whose face square
    follows the flag's position and scale and holds the cloth however it is turned, in pixels of the
    picture that `render` gives without a view. KeyError for an unknown subject.
    """
    if subject not in SUBJECTS:
        raise KeyError(subject)
    height, width = (size, size) if isinstance(size, int) else size
    view = _frame_view(height, width)
    x, y, hoist = _placing(params)
    crop = CropDefinition()
    unit = SQUARE * hoist / crop.face_side
    points = np.array([x, y]) + unit * (TEMPLATE - [0, crop.centre_y])
    return (points * view[0, 0] + view[:, 2]).astype(np.float32)


def cloth_points(subject: str, params: Params) -> np.ndarray:
    """float64 (37, 87, 3): x, y in pixels of the frame, and nearness, of the cloth's mesh: rows from
    the top, columns from the pole; the first two columns are the heading's, the rest u = 0 ... 1.
    """
    points, middle = _surface(params, SUBJECTS[subject].fly)
    axes = _axes(*(_radians(a) for a in (params.yaw, params.pitch, params.roll)))
    still = np.array([[1.0, 0, 0], [0, 1.0, 0]])
    flat = _project(points.reshape(-1, 3), axes, middle, _placing(params), still)
    return flat.reshape(points.shape).astype(np.float64)


def _frame_view(height: int, width: int) -> np.ndarray:
    scale = height / FRAME[0]
    middle = [(width - 1) / 2 - scale * (FRAME[1] - 1) / 2]
    return np.array(
        [[scale, 0, middle[0]], [0, scale, (height - 1) / 2 - scale * (FRAME[0] - 1) / 2]]
    )


def _checked(view: np.ndarray) -> np.ndarray:
    view = np.array(view, np.float64)
    if view.shape != (2, 3) or not np.isfinite(view).all():
        raise UserError(f"a view is a (2, 3) matrix of finite numbers, not one of {view.shape}")
    if view[0, 0] * view[1, 1] - view[0, 1] * view[1, 0] <= 0:
        raise UserError("a view is a similarity, without reflection, of a size above 0")
    return view


def _inverse(view: np.ndarray) -> np.ndarray:
    (a, b, x), (c, d, y) = view
    area = a * d - b * c
    return np.array(
        [
            [d / area, -b / area, (b * y - d * x) / area],
            [-c / area, a / area, (c * x - a * y) / area],
        ]
    )


def _radians(degrees: float) -> float:
    return degrees * (3.141592653589793 / 180)


def _surface(p: Params, fly: float) -> tuple[np.ndarray, np.ndarray]:
    return surface(waves(p), _radians(p.droop), fly)


def _placing(p: Params) -> tuple[float, float, float]:
    """The cloth's middle in the frame, in pixels, and pixels a hoist."""
    x, y = (FRAME[1] - 1) / 2 + HOIST * p.x, (FRAME[0] - 1) / 2 - HOIST * p.y
    return x, y, HOIST * p.scale


@numba.njit(cache=True, nogil=True)
def _axes(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """float64 (3, 3), from the cloth's axes to the viewer's: yaw first, then pitch, then roll."""
    a, b = exact.cos(yaw), exact.sin(yaw)
    c, d = exact.cos(pitch), exact.sin(pitch)
    e, f = exact.cos(roll), exact.sin(roll)
    # rows of pitch * yaw
    y0, y1, y2 = d * b, c, -d * a
    return np.array(
        [
            [e * a + f * y0, f * y1, e * b + f * y2],
            [-f * a + e * y0, e * y1, -f * b + e * y2],
            [-c * b, d, c * a],
        ]
    )


@numba.njit(cache=True, nogil=True)
def _direction(x: float, y: float) -> np.ndarray:
    """Unit vector, degrees to the right in the picture and up, 0 towards the viewer."""
    a, e = x * (3.141592653589793 / 180), y * (3.141592653589793 / 180)
    level = exact.cos(e)
    return np.array([exact.sin(a) * level, exact.sin(e), exact.cos(a) * level])


@numba.njit(cache=True, nogil=True)
def _seen_from(
    axes: np.ndarray, sun: np.ndarray, distance: float, middle: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The sun's direction and the camera's place in the cloth's axes."""
    out, camera = np.empty(3), np.empty(3)
    for i in range(3):
        out[i] = axes[0, i] * sun[0] + axes[1, i] * sun[1] + axes[2, i] * sun[2]
        camera[i] = axes[2, i] * distance + middle[i]
    return out, camera


@numba.njit(cache=True, nogil=True)
def _project(
    points: np.ndarray,
    axes: np.ndarray,
    middle: np.ndarray,
    placing: tuple[float, float, float],
    view: np.ndarray,
) -> np.ndarray:
    """float32 (V, 3): x and y in samples, and nearness 1 / distance, of points (V, 3)."""
    out = np.empty(points.shape, np.float32)
    for i in range(points.shape[0]):
        px, py, pz = points[i, 0] - middle[0], points[i, 1] - middle[1], points[i, 2] - middle[2]
        x = axes[0, 0] * px + axes[0, 1] * py + axes[0, 2] * pz
        y = axes[1, 0] * px + axes[1, 1] * py + axes[1, 2] * pz
        near = 1 / (DISTANCE - (axes[2, 0] * px + axes[2, 1] * py + axes[2, 2] * pz))
        x = placing[0] + placing[2] * DISTANCE * near * x
        y = placing[1] - placing[2] * DISTANCE * near * y
        out[i, 0] = view[0, 0] * x + view[0, 1] * y + view[0, 2]
        out[i, 1] = view[1, 0] * x + view[1, 1] * y + view[1, 2]
        out[i, 2] = near
    return out


@numba.njit(cache=True, nogil=True)
def _light_posts(normal: np.ndarray, sun: np.ndarray, values: np.ndarray) -> None:
    for i in range(normal.shape[0]):
        key = normal[i, 0] * sun[0] + normal[i, 1] * sun[1] + normal[i, 2] * sun[2]
        values[i, 0] = max(key, 0.0)
        values[i, 1] = 0.62 + 0.3 * normal[i, 1]
        gloss = max(key, 0.0) * max(key, 0.0)
        values[i, 3] = 2 * gloss * gloss * gloss


def _lights(p: Params) -> tuple[np.ndarray, np.ndarray]:
    """Colours of the sun and of the sky."""
    warm = np.array([1 + 0.10 * p.warmth, 1.0, 1 - 0.16 * p.warmth])
    return np.array([1.04, 1.0, 0.93]) * warm * (0.92 * p.light), np.array(
        [0.28, 0.315, 0.365]
    ) * p.light


@cache
def _sky(subject: str) -> np.ndarray:
    return linear(SUBJECTS[subject].sky) / 65535


@cache
def _mesh(fly: float) -> tuple[np.ndarray, np.ndarray]:
    """Texels (V, 2) of the cloth's points, and all triangles, the cloth's first."""
    u = np.concatenate(
        [-HEADING / fly * (1 - np.arange(BAND) / BAND), np.arange(COLUMNS + 1) / COLUMNS]
    )
    u, v = np.meshgrid(u, np.arange(ROWS + 1) / ROWS)
    place = np.arange(u.size, dtype=np.int32).reshape(u.shape)
    a, b, c, d = place[:-1, :-1], place[1:, :-1], place[1:, 1:], place[:-1, 1:]
    quads = np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)], 2).reshape(-1, 3)
    return texel(u, v, fly).reshape(-1, 2), np.concatenate([quads, pole()[2] + np.int32(u.size)])
