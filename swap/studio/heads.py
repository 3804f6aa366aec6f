"""Heads: a picture as a pure function of subject, pose, expression and light.

    rgb = render("a", Params(yaw=20, smile=0.6), 256)

The same Params give the same pose, expression and light for every subject: the truth of a swap.
They give the same bytes on every machine, because kernels use exact operations only.
"""

import math
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import numba
import numpy as np

from swap.errors import UserError
from swap.studio import shade as sh
from swap.studio.head import Head, eye_frames, load_head, to_linear
from swap.studio.lashes import lash_texture
from swap.studio.light import cast_shadow, lighting
from swap.studio.mesh import normals_of
from swap.studio.posing import HEAD_WIDTH, Params, turns
from swap.studio.raster import NOTHING, fill, fill_cut
from swap.studio.resolve import encoding, gather, resolve
from swap.studio.subjects import SUBJECTS
from swap.studio.walks import draw, walk

__all__ = [
    "FRAME", "SUBJECTS", "Params", "draw", "landmarks", "load_head", "picture", "pictures",
    "render", "walk",
]  # fmt: skip

FRAME = (240, 320)  # height and width of the frame that `view` starts from
WIDE = 110 / 240  # a head's width, between the ears about, as a share of the frame's height
DISTANCE = 14.0  # of the camera from the head, in decimetres
LOOK_AT = (0.0, 7.12, 0.6)  # the point at the centre of the picture
CAMERA = (LOOK_AT[0], LOOK_AT[1], LOOK_AT[2] + DISTANCE)
TEXELS = 256.0  # of the finest texture along a decimetre of the face, about


def render(
    subject: str | Head,
    params: Params,
    size: int | tuple[int, int] = FRAME,
    *,
    view: np.ndarray | None = None,
    head_width: float | None = None,
    samples: int = 2,
) -> np.ndarray:
    """uint8 (H, W, 3) sRGB; the arguments are those of `picture`."""
    return picture(subject, params, size, view=view, head_width=head_width, samples=samples)[0]


def picture(
    subject: str | Head,
    params: Params,
    size: int | tuple[int, int] = FRAME,
    *,
    view: np.ndarray | None = None,
    head_width: float | None = None,
    samples: int = 2,
) -> tuple[np.ndarray, np.ndarray]:
    """The picture uint8 (H, W, 3) sRGB and the coverage uint8 (H, W) of the face: skin in front of
    the ears and above the jaw's edge, eyes, brows, mouth, beard; not hair.

    size: H = W, or (H, W). view: None, or a similarity (2, 3) that takes a point of the FRAME to a
    point of the picture, both in pixels: a crop is rendered, not resampled. head_width: pixels of
    the whole frame between the ears, about, by default 11/24 of the frame's height: 110 in FRAME.
    samples: per pixel along each axis. Raises KeyError for an unknown subject, UserError for a
    view that is no similarity.
    """
    head = load_head(subject) if isinstance(subject, str) else subject
    height, width = (size, size) if isinstance(size, int) else size
    to_picture, to_frame = _camera((height, width), view, head_width)
    world = head.body.placed(params)
    normals = normals_of(world, head.triangles)
    to_samples = samples * to_picture
    to_samples[:, 2] += (samples - 1) / 2
    points = project(world, to_samples)
    seen = np.full((height * samples, width * samples), NOTHING, np.int32)
    depth = np.zeros(seen.shape, np.float32)
    _draw(head, points, depth, seen)
    axes, frame, shadow = cast_shadow(head, world, params)
    turn = turns(params.yaw, params.pitch, params.roll)[255]
    place, triangle, pixel, count, whole = gather(seen, depth, head.material, head.small, samples)
    fine = _level(len(head.skin), to_samples)
    coarse = _level(len(head.skin), to_picture)
    colour = sh.shade(
        place, triangle, whole, points, world, normals, head.triangles, head.material,
        head.corners, head.attributes, head.skin[fine], head.skin[coarse], head.hair[fine],
        head.hair[coarse], shadow, axes, frame, lighting(params, axes[2]),
        eye_frames(head, params, turn), CAMERA, np.ascontiguousarray(turn.T[1:]), head.colours,
        params.jaw, head.subject.seed, sh.curves(),
    )  # fmt: skip
    backdrop = to_linear(np.array(head.subject.backdrop)).astype(np.float64)
    backdrop = np.array([backdrop * 0.75, backdrop * 0.42])
    return resolve(
        colour, pixel, count, samples, height, width, to_frame, backdrop, encoding()
    )  # fmt: skip


def _draw(head: Head, points: np.ndarray, depth: np.ndarray, seen: np.ndarray) -> None:
    """All triangles into depth and seen, see raster.py."""
    fill(points, head.triangles[: head.solid], depth, seen, 0, False)
    hair = head.solid + head.lashes
    inner = hair + head.outer
    for start, stop, opacity, two_sided in (
        (head.solid, hair, lash_texture(), True),
        (hair, inner, head.hair_opacity, False),
        (inner, len(head.triangles), head.hair_opacity, True),
    ):
        cut = slice(start, stop)
        parts = head.triangles[cut], head.corners[cut], head.least[cut]
        fill_cut(points, *parts, opacity, depth, seen, start, two_sided)


def pictures(
    subject: str | Head,
    params: Sequence[Params],
    size: int | tuple[int, int] = FRAME,
    *,
    views: Sequence[np.ndarray | None] | None = None,
    threads: int | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`picture` of each of the params (with the view of the same place, where there are any), in
    order, rendered by `threads` threads, by default one for each processor. The number of threads
    changes nothing but the time. Raises what `picture` raises, ValueError for too few views.
    """
    if views is not None and len(views) != len(params):
        raise ValueError(f"pictures: {len(params)} params with {len(views)} views")
    head = load_head(subject) if isinstance(subject, str) else subject
    count = threads or os.cpu_count() or 1
    with ThreadPoolExecutor(count) as pool:
        ahead: deque = deque()
        for p, view in zip(params, views or repeat(None), strict=False):
            ahead.append(pool.submit(picture, head, p, size, view=view))
            if len(ahead) > 2 * count:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def landmarks(
    subject: str | Head,
    params: Params,
    size: int | tuple[int, int] = FRAME,
    *,
    view: np.ndarray | None = None,
    head_width: float | None = None,
) -> np.ndarray:
    """float32 (5, 2): where the eyes, the tip of the nose and the corners of the mouth really are in
    the picture that `render` gives, in pixels, in the order of `swap.faces.align.TEMPLATE`: what is
    at the picture's left comes first. Hidden ones are given too. `head.landmark_rows` defines them.
    """
    head = load_head(subject) if isinstance(subject, str) else subject
    to_picture, _ = _camera((size, size) if isinstance(size, int) else size, view, head_width)
    world, out, at = head.marks.placed(params).astype(np.float64), [], 0
    for number in head.mark_sizes:
        out.append([sum(column) / number for column in world[at : at + number].T])
        at += number
    return project(np.array(out, np.float32), to_picture)[:, :2]


def _camera(
    shape: tuple[int, int], view: np.ndarray | None, head_width: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Two (2, 3) matrices: from decimetres right of and above LOOK_AT, at its distance, to pixels;
    and from pixels to places in the frame, 0 to 1 in both directions.
    """
    height, width = shape if view is None else FRAME
    scale = (WIDE * height if head_width is None else head_width) / HEAD_WIDTH
    lens = np.array([[scale, 0.0, (width - 1) / 2], [0.0, -scale, (height - 1) / 2]])
    if view is None:
        return lens, np.array([[1 / width, 0, 0.5 / width], [0, 1 / height, 0.5 / height]])
    m = np.asarray(view, np.float64)
    if m.shape != (2, 3) or not np.isfinite(m).all():
        raise UserError("A view is a matrix of 2 rows and 3 columns of finite numbers.")
    (a, b, p), (c, d, q) = m.tolist()
    area = a * d - b * c
    if not area > 0 or abs(a - d) + abs(b + c) > 1e-6 * math.sqrt(area):
        raise UserError("A view turns, scales and shifts; this matrix does something else.")
    x, y = lens[0], lens[1]
    to_picture = np.array([a * x + b * y, c * x + d * y])
    to_picture[:, 2] += (p, q)
    back = np.array([[d, -b, b * q - d * p], [-c, a, c * p - a * q]]) / area
    back[:, 2] += 0.5
    return to_picture, back / np.array([[width], [height]])


def _level(levels: int, to_samples: np.ndarray) -> int:
    """The coarsest level of a texture whose texels are no larger than the samples."""
    along, across = to_samples[:, 0]
    scale, level = math.sqrt(along * along + across * across), 0
    while level < levels - 1 and TEXELS / 2 ** (level + 1) >= scale:
        level += 1
    return level


@numba.njit(cache=True, nogil=True, fastmath=False)
def project(world: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """float32 (V, 3): x, y, and nearness 1 / distance. camera: float64 (2, 3), from decimetres right
    of and above LOOK_AT, at its distance, to pixels or samples.
    """
    out = np.empty_like(world)
    for v in range(len(world)):
        near = 1 / (DISTANCE - (world[v, 2] - LOOK_AT[2]))
        x = DISTANCE * near * (world[v, 0] - LOOK_AT[0])
        y = DISTANCE * near * (world[v, 1] - LOOK_AT[1])
        out[v, 0] = camera[0, 0] * x + camera[0, 1] * y + camera[0, 2]
        out[v, 1] = camera[1, 0] * x + camera[1, 1] * y + camera[1, 2]
        out[v, 2] = near
    return out
