"""Heads: a picture as a pure function of subject, pose, expression and light.

    rgb = render("a", Params(yaw=20, smile=0.6), 256)

The same Params give the same pose, expression and light for every subject: the truth of a swap.
"""

from functools import cache

import numpy as np

from swap.studio import shade as sh
from swap.studio.head import Head, expressed, eye_frames, load_head, pose, to_linear
from swap.studio.lashes import lash_texture
from swap.studio.mesh import load_mesh
from swap.studio.posing import HEAD_WIDTH, Params, rotations
from swap.studio.raster import NOTHING, average, fill, fill_cut
from swap.studio.subjects import SUBJECTS

__all__ = ["SUBJECTS", "Params", "landmarks", "load_head", "render"]

SHADOW = 176  # samples a side of the shadow map
DISTANCE = 14.0  # of the camera from the head, in decimetres
LOOK_AT = np.array([0.0, 7.12, 0.6], np.float32)  # the point at the centre of the picture
CAMERA = (LOOK_AT + np.array([0, 0, DISTANCE])).astype(np.float32)


def render(
    subject: str | Head,
    params: Params,
    size: int | tuple[int, int] = 128,
    *,
    head_width: float | None = None,
    samples: int = 2,
) -> np.ndarray:
    """uint8 (H, W, 3) sRGB. size: H = W, or (H, W); head_width: pixels between the ears, about, by
    default half of the height; samples: per pixel along each axis. Raises KeyError for an unknown
    subject.
    """
    head = load_head(subject) if isinstance(subject, str) else subject
    height, width = (size, size) if isinstance(size, int) else size
    scale = (head_width or 0.5 * height) / HEAD_WIDTH * samples
    world = pose(head, expressed(head, params), params)
    normals = sh.normals_of(world, head.triangles)
    points = project(world, scale, (height * samples, width * samples))
    seen = np.full((height * samples, width * samples), NOTHING, np.int32)
    depth = np.zeros(seen.shape, np.float32)
    fill(points, head.triangles[: head.solid], depth, seen, 0, False)
    hair = head.solid + head.lashes
    for cut, texture in ((slice(head.solid, hair), lash_texture()), (slice(hair, None), head.hair)):
        parts = head.triangles[cut], head.corners[cut], head.least[cut]
        fill_cut(points, *parts, texture, depth, seen, cut.start)
    axes, frame, shadow = cast_shadow(head, world, params)
    lights = lighting(params, axes)
    turn = rotations(params, np.ones(1))[0]
    backdrop = to_linear(np.array(head.subject.backdrop))
    picture = sh.shade(
        seen, points, world, normals, head.triangles, head.material, head.corners, head.attributes,
        head.skin, head.hair, shadow, axes, frame, lights, eye_frames(head, params, turn),
        CAMERA, np.ascontiguousarray(turn.T[1:], np.float32),
        head.colours, np.float32(params.jaw), np.stack([backdrop * 0.75, backdrop * 0.42]).astype(np.float32),
        head.subject.seed,
    )  # fmt: skip
    return encode(average(picture_clipped(picture), samples))


def landmarks(
    subject: str | Head,
    params: Params,
    size: int | tuple[int, int] = 128,
    *,
    head_width: float | None = None,
) -> np.ndarray:
    """float32 (5, 2): where the eyes, the tip of the nose and the corners of the mouth really are in
    the picture that `render` gives, in pixels, in the order of `swap.faces.align.TEMPLATE`: what is
    at the picture's left comes first. Hidden ones are given too.
    """
    head = load_head(subject) if isinstance(subject, str) else subject
    height, width = (size, size) if isinstance(size, int) else size
    scale = (head_width or 0.5 * height) / HEAD_WIDTH
    world = pose(head, expressed(head, params), params)
    rows = [world[list(group)].mean(axis=0) for group in landmark_vertices()]
    return project(np.array(rows), scale, (height, width))[:, :2]


@cache
def landmark_vertices() -> tuple[tuple[int, ...], ...]:
    """The mesh's vertices whose means are the five landmarks: both corners of each eye's opening,
    the foremost point of the nose, the outermost points of the lips.
    """
    mesh = load_mesh()
    v = mesh.vertices
    lids = np.flatnonzero(mesh.masks["eyelids"] > 0.5)
    lips = np.flatnonzero(mesh.masks["lips"] > 0.5)
    nose = np.flatnonzero((np.abs(v[:, 0]) < 0.1) & (np.abs(v[:, 1] - 6.95) < 0.2))
    found = []
    for sign in (-1, 1):
        own = lids[v[lids, 0] * sign > 0]
        found.append((int(own[v[own, 0].argmin()]), int(own[v[own, 0].argmax()])))
    found.append((int(nose[v[nose, 2].argmax()]),))
    found += [(int(lips[v[lips, 0].argmin()]),), (int(lips[v[lips, 0].argmax()]),)]
    return tuple(found)


def picture_clipped(picture: np.ndarray) -> np.ndarray:
    """Compressed highlights: linear up to 0.6, then towards 1, so that a glint cannot ring."""
    high = np.maximum(picture - 0.6, 0)
    return np.minimum(picture, 0.6) + 0.4 * (high / (high + 0.4)).astype(np.float32)


def encode(linear: np.ndarray) -> np.ndarray:
    """uint8: sRGB of linear light in [0, 1] (IEC 61966-2-1)."""
    x = np.clip(linear, 0, 1)
    srgb = np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)
    return np.rint(srgb * 255).astype(np.uint8)


def project(world: np.ndarray, scale: float, shape: tuple[int, int]) -> np.ndarray:
    """float32 (V, 3): sample x, y, and nearness 1 / distance; scale in samples a decimetre."""
    near = 1 / (DISTANCE - (world[:, 2] - LOOK_AT[2]))
    x = (shape[1] - 1) / 2 + scale * DISTANCE * near * (world[:, 0] - LOOK_AT[0])
    y = (shape[0] - 1) / 2 - scale * DISTANCE * near * (world[:, 1] - LOOK_AT[1])
    return np.stack([x, y, near], -1).astype(np.float32)


def direction(x: float, y: float) -> np.ndarray:
    """Unit vector from the head to a light, degrees to the right in the picture and up."""
    a, e = np.radians(x), np.radians(y)
    return np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])


def cast_shadow(
    head: Head, world: np.ndarray, p: Params
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The key light's axes (3, 3), its frame (centre and scale), and what is nearest to it."""
    towards = direction(p.light_x, p.light_y)
    right = np.cross([0, 1, 0], towards)
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(towards, right), towards]).astype(np.float32)
    centre = np.array([0, 6.75, 0.4], np.float32)
    scale = SHADOW / 4.2
    local = (world - centre) @ axes.T
    points = np.stack(
        [SHADOW / 2 + scale * local[:, 0], SHADOW / 2 - scale * local[:, 1], local[:, 2] + 50], -1
    )
    depth, seen = np.zeros((SHADOW, SHADOW), np.float32), np.zeros((SHADOW, SHADOW), np.int32)
    points = points.astype(np.float32)
    fill(points, head.triangles[: head.solid], depth, seen, 0, True)
    cut = slice(head.solid + head.lashes, None)
    fill_cut(
        points, head.triangles[cut], head.corners[cut], head.least[cut], head.hair, depth, seen, 0
    )
    return axes, np.r_[centre, scale].astype(np.float32), depth


def lighting(p: Params, axes: np.ndarray) -> np.ndarray:
    """float32 (6, 3): direction and colour of the key and fill lights, and sky and ground."""
    warm = np.array([1 + 0.12 * p.warmth, 1.0, 1 - 0.16 * p.warmth])
    key = np.array([1.08, 1.0, 0.92]) * warm * 1.18 * p.light
    away = direction(-np.sign(p.light_x or -1) * 55, 8)
    return np.stack(
        [
            axes[2], key, away, np.array([0.20, 0.23, 0.27]),
            np.array([0.40, 0.43, 0.48]), np.array([0.20, 0.17, 0.15]),
        ]
    ).astype(np.float32)  # fmt: skip
