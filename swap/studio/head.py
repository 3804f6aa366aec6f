"""A subject's head, ready to be rendered: shaped, painted, its parts joined into one mesh."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from swap.studio import shade as sh
from swap.studio.hair import hair_shells, hair_texture, without_empty
from swap.studio.lashes import lash_coordinates
from swap.studio.maps import corner_coordinates, painted_positions, step
from swap.studio.mesh import load_mesh
from swap.studio.occlusion import occlusion
from swap.studio.posing import HEAD_WIDTH, PIVOT, Params, expression, rotations
from swap.studio.skin import paint_skin
from swap.studio.subjects import SUBJECTS, Subject

TEXTURE = 1024  # texels a side


@dataclass(frozen=True, eq=False)
class Head:
    """One subject, ready to be rendered: mesh parts joined into one list, and its textures."""

    subject: Subject
    vertices: np.ndarray
    shapes: dict[str, tuple[np.ndarray, np.ndarray]]
    follow: np.ndarray  # float32 (V,): how much a vertex follows the head, 0 at the shoulders
    triangles: np.ndarray
    solid: int  # triangles without holes, which come first; lashes follow, and then hair
    lashes: int
    material: np.ndarray
    corners: np.ndarray
    least: np.ndarray
    attributes: np.ndarray
    eyes: np.ndarray  # float32 (2, 4): centre and radius, left and right
    skin: np.ndarray
    hair: np.ndarray
    colours: np.ndarray


@cache
def load_head(name: str) -> Head:
    """Prepare a subject of `SUBJECTS`; about two seconds, once. Raises KeyError for another name."""
    return make_head(SUBJECTS[name])


def make_head(subject: Subject) -> Head:
    """Shape, paint and join the parts of a subject."""
    mesh = load_mesh()
    shaped = mesh.shaped(subject.shape)
    balls = [np.unique(mesh.part_triangles(f"{side}_eye")) for side in ("left", "right")]
    middle = np.mean([shaped[b].mean(0) for b in balls], axis=0)
    unshaped = np.mean([mesh.vertices[b].mean(0) for b in balls], axis=0)
    shaped = shaped - (middle - unshaped).astype(np.float32)
    eyes = np.array([fit_sphere(shaped[b]) for b in balls])

    pieces = [shaped]
    base = mesh.vertices
    triangles, material = [], []
    for names, kind in (
        (("skin",), sh.SKIN),
        (("upper_teeth", "lower_teeth"), sh.TEETH),
        (("tongue",), sh.TONGUE),
    ):
        part = mesh.part_triangles(*names)
        triangles.append(part)
        material.append(np.full(len(part), kind))
    count = len(shaped)
    attributes = [vertex_attributes(shaped, eyes)]
    follow = [turning(base)]
    for e, (cx, cy, cz, radius) in enumerate(eyes):
        ball, faces = sphere(np.array([cx, cy, cz]), radius)
        triangles.append(faces + count)
        material.append(np.full(len(faces), sh.EYE))
        pieces.append(ball)
        own = np.zeros((len(ball), 6), np.float32)
        own[:, sh.LIPS] = e
        attributes.append(own)
        follow.append(np.ones(len(ball), np.float32))
        count += len(ball)
    solid = sum(map(len, triangles))
    place = painted_positions(mesh, TEXTURE)
    albedo, gloss = paint_skin(place, subject)
    corners = [corner_coordinates(np.concatenate([base, *pieces[1:]]), np.concatenate(triangles))]
    least = [np.zeros(solid, np.float32)]
    hair = np.zeros((2, 2, 2), np.float32)
    lashes, uv = lash_coordinates(mesh)
    triangles.append(lashes)
    material.append(np.full(len(lashes), sh.LASH))
    corners.append(uv)
    least.append(np.full(len(lashes), 0.5, np.float32))
    if subject.hair.thickness:
        points, faces, uv, cut = hair_shells(mesh, shaped, subject)
        hair = hair_texture(TEXTURE, place, subject)
        faces, uv, cut = without_empty(faces, uv, cut, hair)
        triangles.append(faces + count)
        material.append(np.full(len(faces), sh.HAIR))
        corners.append(uv)
        least.append(cut)
        pieces.append(points)
        attributes.append(np.zeros((len(points), 6), np.float32))
        follow.append(turning(points))
    shapes = {}
    for name, target in mesh.targets.items():
        if name.startswith("face/"):
            shapes[name.removeprefix("face/")] = target
    colours = [subject.lips, subject.iris, subject.hair.colour, subject.cloth, subject.skin]
    sheen = [[1 - 0.9 * subject.hair.curl] * 3]
    head = Head(
        subject,
        np.concatenate(pieces).astype(np.float32),
        shapes,
        np.concatenate(follow).astype(np.float32),
        np.concatenate(triangles).astype(np.int32),
        solid,
        len(lashes),
        np.concatenate(material).astype(np.uint8),
        np.concatenate(corners).astype(np.float32),
        np.concatenate(least).astype(np.float32),
        np.concatenate(attributes).astype(np.float32),
        eyes,
        np.concatenate([to_linear(albedo), gloss[..., None]], -1).astype(np.float32),
        hair,
        np.concatenate([to_linear(np.array(colours)), sheen]).astype(np.float32),
    )
    for column, jaw in ((sh.SHUT, 0.0), (sh.OPEN, 1.0)):
        posed = expressed(head, Params(jaw=jaw))
        normals = sh.normals_of(posed, head.triangles)
        head.attributes[:, column] = occlusion(posed, normals, head)
    return head


def turning(place: np.ndarray) -> np.ndarray:
    """float32 (V,): 1 where a point turns with the head, 0 where it stays with the shoulders."""
    height = place[:, 1] + 0.45 * np.clip(place[:, 2] - 0.35, 0, 1)
    return step(5.35, 6.25, height)


def vertex_attributes(shaped: np.ndarray, eyes: np.ndarray) -> np.ndarray:
    """float32 (V, 6): lips, rims of the lids, inside of the mouth and cloth of the mesh's vertices;
    the occlusions are filled in later.
    """
    mesh = load_mesh()
    out = np.zeros((len(shaped), 6), np.float32)
    out[:, sh.LIPS] = mesh.masks["lips"]
    out[:, sh.MOUTH] = mesh.masks["inside-mouth"] * (mesh.masks["lips"] < 0.5)
    for x, y, z, radius in eyes:
        gap = np.linalg.norm(shaped - [x, y, z], axis=1) / radius - 1
        out[:, sh.RIM] = np.maximum(out[:, sh.RIM], 0.72 * step(0.085, 0.03, gap))
    base = mesh.vertices
    teeth = mesh.part_triangles("upper_teeth", "lower_teeth")
    bitten = np.unique(teeth)
    outward = base[bitten][:, [0, 2]] - [0, 1.05]
    facing = (sh.normals_of(base, teeth)[bitten][:, [0, 2]] * outward).sum(1)
    out[bitten, sh.LIPS] = step(-0.1, 0.0, facing)
    across = np.hypot(base[:, 0], 0.9 * (base[:, 2] - 0.15))
    out[:, sh.CLOTH] = (
        5.72 - base[:, 1] - 0.55 * np.clip(base[:, 2] - 0.2, -0.35, 0.7) + 0.35 * (across - 0.65)
    )
    return out


def fit_sphere(points: np.ndarray) -> np.ndarray:
    """float32 (4,): centre and radius of the sphere that fits the points (N, 3) best."""
    p = points.astype(np.float64)
    rows = np.c_[2 * p, np.ones(len(p))]
    x = np.linalg.lstsq(rows, (p**2).sum(1), rcond=None)[0]
    return np.r_[x[:3], np.sqrt(x[3] + x[:3] @ x[:3])].astype(np.float32)


def sphere(centre: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and triangles of the front of a ball, where an eye can be seen."""
    rings, spokes = 9, 20
    off = np.linspace(0, np.radians(100), rings + 1)[1:, None]
    turn = np.linspace(0, 2 * np.pi, spokes, endpoint=False)[None]
    unit = np.stack(
        [np.sin(off) * np.cos(turn), np.sin(off) * np.sin(turn), np.cos(off) + 0 * turn], -1
    )
    points = np.concatenate([[[0, 0, 1]], unit.reshape(-1, 3)])
    grid = 1 + np.arange(rings * spokes).reshape(rings, spokes)
    beside = np.roll(grid, -1, axis=1)
    cap = np.stack([np.zeros(spokes, int), grid[0], beside[0]], -1)
    p, q, r, s = grid[:-1].ravel(), grid[1:].ravel(), beside[1:].ravel(), beside[:-1].ravel()
    faces = np.concatenate([cap, np.stack([p, q, r], -1), np.stack([p, r, s], -1)])
    return (centre + radius * points).astype(np.float32), faces.astype(np.int32)


def to_linear(srgb: np.ndarray) -> np.ndarray:
    """float32: linear light of sRGB values in [0, 1] (IEC 61966-2-1)."""
    x = np.asarray(srgb, np.float64)
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4).astype(np.float32)


def expressed(head: Head, p: Params) -> np.ndarray:
    """float32 (V, 3): the head's vertices with the expression, before it turns."""
    moved = head.vertices.copy()
    for name, weight in expression(p).items():
        index, shift = head.shapes[name]
        moved[index] += np.float32(weight) * shift
    return moved


def pose(head: Head, points: np.ndarray, p: Params) -> np.ndarray:
    """float32 (V, 3): turned about the neck, shoulders staying, and shifted."""
    turned = np.einsum("vij,vj->vi", rotations(p, head.follow), points - PIVOT)
    return (turned + PIVOT + [HEAD_WIDTH * p.x, HEAD_WIDTH * p.y, 0]).astype(np.float32)


def eye_frames(head: Head, p: Params, turn: np.ndarray) -> np.ndarray:
    """float32 (2, 10): centre, gaze, up of the gaze, radius of both eyes, in the world."""
    out = np.empty((2, 10), np.float32)
    for e in range(2):
        a, b = np.radians(p.gaze_x), np.radians(p.gaze_y)
        gaze = np.array([np.sin(a) * np.cos(b), np.sin(b), np.cos(a) * np.cos(b)])
        up = np.array([-np.sin(a) * np.sin(b), np.cos(b), -np.cos(a) * np.sin(b)])
        out[e, :3] = (
            turn @ (head.eyes[e, :3] - PIVOT) + PIVOT + [HEAD_WIDTH * p.x, HEAD_WIDTH * p.y, 0]
        )
        out[e, 3:6], out[e, 6:9], out[e, 9] = turn @ gaze, turn @ up, head.eyes[e, 3]
    return out
