"""A subject's head, ready to be rendered: shaped, painted, its parts joined into one mesh."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from swap.studio import exact
from swap.studio import shade as sh
from swap.studio.hair import hair_shells, hair_texture, without_empty
from swap.studio.lashes import lash_coordinates
from swap.studio.maps import corner_coordinates, halvings, painted_mask, painted_positions, step
from swap.studio.mesh import load_mesh, normals_of
from swap.studio.occlusion import occlusion
from swap.studio.posing import HEAD_WIDTH, PIVOT, Body, Params, turned
from swap.studio.skin import paint_skin
from swap.studio.subjects import SUBJECTS, Subject

TEXTURE, LEVELS = 1024, 5  # texels a side of the finest level, and levels
EYE = 0.3078, 7.284, 1.245, 0.1605  # the ball between the unshaped lids: centre and radius
SHADING_SHELLS = (1, 4)  # of the hair, innermost is 0, that throw its shadow


@dataclass(frozen=True, eq=False)
class Head:
    """One subject, ready to be rendered: mesh parts joined into one list, and its textures."""

    subject: Subject
    body: Body
    marks: Body  # the vertices of the landmarks only, one landmark's after the other's
    mark_sizes: tuple[int, ...]  # how many of them each landmark is the mean of
    triangles: np.ndarray  # int32 (F, 3): solid ones, lashes, hair seen from outside, other hair
    solid: int
    lashes: int
    outer: int
    material: np.ndarray  # uint8 (F,)
    small: np.ndarray  # bool (F,), see resolve.py
    corners: np.ndarray  # float32 (F, 3, 2): map coordinates
    least: np.ndarray  # uint8 (F,): least opacity
    attributes: np.ndarray  # float32 (V, shade.COLUMNS), see shade.py
    eyes: np.ndarray  # float64 (2, 4): centre and radius, left and right
    skin: tuple[np.ndarray, ...]  # uint16 (S, S, 4), finest first: linear albedo, gloss
    hair: tuple[np.ndarray, ...]  # uint16 (S, S, 1): tone
    hair_opacity: np.ndarray  # uint8 (S, S)
    shading_hair: tuple[np.ndarray, np.ndarray, np.ndarray]  # triangles, corners, least
    colours: np.ndarray  # float32 (6, 3), see shade.py


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
    shaped = shaped - rounded(middle - unshaped).astype(np.float32)
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
    attributes = [vertex_attributes(subject.lashes)]
    share = [turning(base)]
    fronts = []
    for e, (cx, cy, cz, radius) in enumerate(eyes):
        fronts.insert(0, count)  # a ball's first vertex; the subject's right one comes first
        ball, faces = sphere(np.array([cx, cy, cz]), radius)
        triangles.append(faces + count)
        material.append(np.full(len(faces), sh.EYE))
        pieces.append(ball)
        own = np.zeros((len(ball), sh.COLUMNS), np.float32)
        own[:, sh.LIPS], own[:, sh.FACE] = e, 1
        attributes.append(own)
        share.append(np.full(len(ball), 255, np.uint8))
        count += len(ball)
    solid = sum(map(len, triangles))
    place = painted_positions(mesh, TEXTURE)
    albedo, gloss = paint_skin(place, painted_mask(mesh, "lips", TEXTURE), subject)
    corners = [corner_coordinates(np.concatenate([base, *pieces[1:]]), np.concatenate(triangles))]
    least = [np.zeros(solid, np.uint8)]
    opacity, tone, outer = np.zeros((8, 8), np.uint8), np.zeros((8, 8, 1), np.uint16), 0
    lashes, uv = lash_coordinates(mesh)
    triangles.append(lashes)
    material.append(np.full(len(lashes), sh.LASH))
    corners.append(uv)
    least.append(np.full(len(lashes), 128, np.uint8))
    shading_hair = np.empty((0, 3), np.int32), np.empty((0, 3, 2), np.float32), least[0][:0]
    if subject.hair.thickness:
        opacity, tone = hair_texture(TEXTURE, place, subject)
        shells = without_empty(hair_shells(mesh, shaped, subject), opacity)
        faces = shells.triangles + count
        # Hair behind the neck and the temples is seen from inside: its innermost, densest shells.
        outer = int((shells.shell >= 2).sum())
        dark = np.isin(shells.shell, SHADING_SHELLS)
        shading_hair = faces[dark], shells.corners[dark], shells.least[dark]
        triangles.append(faces)
        material.append(np.full(len(faces), sh.HAIR))
        corners.append(shells.corners)
        least.append(shells.least)
        pieces.append(shells.points)
        own = np.zeros((len(shells.points), sh.COLUMNS), np.float32)
        own[:, sh.FACE] = -1
        attributes.append(own)
        share.append(turning(shells.points))
    shapes = {}
    for name, target in mesh.targets.items():
        if name.startswith("face/"):
            shapes[name.removeprefix("face/")] = target
    colours = [subject.lips, subject.iris, subject.hair.colour, subject.cloth, subject.skin]
    sheen = [[1 - 0.9 * subject.hair.curl] * 3]
    body = Body.of(rounded(np.concatenate(pieces)), np.concatenate(share), shapes)
    marks = landmark_rows(shaped, fronts)
    paint = np.concatenate([to_linear(albedo), gloss[..., None]], -1)
    rows, kinds = np.concatenate(triangles), np.concatenate(material).astype(np.uint8)
    looks = np.concatenate(attributes).astype(np.float32)
    head = Head(
        subject,
        body,
        body.part(np.concatenate(marks)),
        tuple(len(rows) for rows in marks),
        rows.astype(np.int32),
        solid,
        len(lashes),
        outer,
        kinds,
        small_triangles(rows, kinds, looks),
        np.concatenate(corners).astype(np.float32),
        np.concatenate(least),
        looks,
        eyes,
        halvings(np.rint(65535 * np.clip(paint, 0, 1)).astype(np.uint16), LEVELS),
        halvings(tone, LEVELS),
        opacity,
        shading_hair,
        np.concatenate([to_linear(np.array(colours)), sheen]).astype(np.float32),
    )
    for column, jaw in ((sh.SHUT, 0.0), (sh.OPEN, 1.0)):
        posed = head.body.placed(Params(jaw=jaw))
        normals = normals_of(posed, head.triangles)
        open_sky = occlusion(posed, normals, head)
        head.attributes[:, column] = np.rint(open_sky * 4096) / 4096
    return head


def rounded(place: np.ndarray) -> np.ndarray:
    """float64: to 1/65536 dm, so that an ulp of another machine's sums and fits does not matter."""
    return np.rint(np.asarray(place, np.float64) * 65536) / 65536


def landmark_rows(shaped: np.ndarray, eyes: list[int]) -> tuple[np.ndarray, ...]:
    """The vertices whose means are the five landmarks: the front of each eyeball, which is what the
    lids lie open around, the tip of the nose (pronasale: what is foremost, to 2 mm), and the corners
    where upper and lower lip meet (cheilion). Fixed on the mesh, whatever the picture shows.

    shaped: float32 (V, 3), the mesh's vertices in the subject's shape. eyes: the vertices at the
    front of the eyeballs, of the subject's right one and of the left one.
    """
    mesh = load_mesh()
    x, y, z = mesh.vertices.T
    tip = np.flatnonzero((np.abs(x) < 0.12) & (np.abs(y - 6.95) < 0.15) & (z > 1.5))
    tip = tip[shaped[tip, 2] > shaped[tip, 2].max() - 0.02]
    lips = np.flatnonzero(mesh.masks["lips"] > 0.5)
    corners = [lips[side * x[lips] > (side * x[lips]).max() - 0.01] for side in (-1, 1)]
    return (*(np.array([row]) for row in eyes), tip, *corners)


def small_triangles(rows: np.ndarray, kinds: np.ndarray, looks: np.ndarray) -> np.ndarray:
    """bool (F,): eyes, teeth, lashes, and of the skin the lips, the lids' rims and the collar."""
    corners = looks[rows]
    cloth = corners[..., sh.CLOTH]
    collar = (cloth.min(axis=1) < 0.12) & (cloth.max(axis=1) > 0)
    painted = np.abs(corners[..., [sh.LIPS, sh.RIM, sh.MOUTH]]).max(axis=(1, 2)) > 0.1
    tiny = (kinds != sh.HAIR) & (kinds != sh.SKIN)
    return tiny | ((kinds == sh.SKIN) & (collar | painted))


def turning(place: np.ndarray) -> np.ndarray:
    """uint8 (V,): 255 where a point turns with the head, 0 where it stays with the shoulders."""
    height = place[:, 1] + 0.45 * np.clip(place[:, 2] - 0.35, 0, 1)
    return np.rint(255 * step(5.35, 6.25, height)).astype(np.uint8)


def face_edge(base: np.ndarray) -> np.ndarray:
    """(V,): decimetres, about, from the face's edge to the vertices of the unshaped mesh, positive
    in the face: in front of the ears, above the jaw, below the top of the forehead.
    """
    y, z = base[:, 1], base[:, 2]
    jaw = 0.9 * (y - 6.1 - 0.45 * (1.4 - z))
    return np.minimum(np.minimum(z - 0.72, jaw), 8.05 - y)


def vertex_attributes(lashes: float) -> np.ndarray:
    """float32 (V, COLUMNS): lips, lids and their rims, inside of the mouth, cloth, face of the mesh's
    vertices; the occlusions are filled in later. lashes: how dark they make the upper rims.
    """
    mesh = load_mesh()
    out = np.zeros((len(mesh.vertices), sh.COLUMNS), np.float32)
    out[:, sh.LIPS] = mesh.masks["lips"]
    out[:, sh.MOUTH] = mesh.masks["inside-mouth"] * (mesh.masks["lips"] < 0.5)
    base = mesh.vertices
    for side in (1, -1):
        dx, dy, dz = (base - [side * EYE[0], EYE[1], EYE[2]]).T
        gap = np.sqrt(dx * dx + dy * dy + dz * dz) / EYE[3] - 1
        above = step(7.262, 7.292, base[:, 1])
        dark = 0.5 + 0.25 * min(lashes, 1.4)
        rim = dark * step(0.15, 0.06, gap) * above - 0.8 * step(0.07, 0.03, gap) * (1 - above)
        out[:, sh.RIM] += rim
        out[:, sh.LID] += np.clip(1 - gap / 0.4, 0, 1) * above * (dz > 0)
    teeth = mesh.part_triangles("upper_teeth", "lower_teeth")
    bitten = np.unique(teeth)
    for part, up in (("upper_teeth", 1), ("lower_teeth", -1)):
        rows = np.unique(mesh.part_triangles(part))
        across, height = base[rows, 0], up * base[rows, 1]
        near = np.abs(across[:, None] - across) < 0.025
        edge = np.where(near, height, np.inf).min(axis=1)
        out[rows, sh.RIM] = np.clip((height - edge) / 0.19, 0, 1)
        # The front of the row lies on an ellipse about the middle of the jaw, its back inside.
        forward = base[rows, 2] - (1.0 if up > 0 else 0.965)
        out[rows, sh.LIPS] = step(0.78, 0.9, (across / 0.3) ** 2 + (forward / 0.49) ** 2)
    tongue = np.unique(mesh.part_triangles("tongue"))
    out[tongue, sh.RIM] = step(1.15, 1.42, base[tongue, 2])
    across = np.sqrt(base[:, 0] ** 2 + (0.9 * (base[:, 2] - 0.15)) ** 2)
    out[:, sh.CLOTH] = (
        5.72 - base[:, 1] - 0.55 * np.clip(base[:, 2] - 0.2, -0.35, 0.7) + 0.35 * (across - 0.65)
    )
    inner = np.r_[np.flatnonzero(mesh.masks["inside-mouth"] > 0.5), bitten]
    inner = np.r_[inner, np.unique(mesh.part_triangles("tongue", "lashes"))]
    out[:, sh.FACE] = face_edge(base)
    out[inner, sh.FACE] = 1
    return out


def fit_sphere(points: np.ndarray) -> np.ndarray:
    """float64 (4,): centre and radius of the sphere that fits the points (N, 3) best."""
    p = points.astype(np.float64)
    rows = np.c_[2 * p, np.ones(len(p))]
    x = np.linalg.lstsq(rows, (p**2).sum(1), rcond=None)[0]
    return rounded(np.r_[x[:3], np.sqrt(x[3] + x[:3] @ x[:3])])


def sphere(centre: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and triangles of the front of a ball, where an eye can be seen."""
    rings, spokes = 9, 20
    off = np.linspace(0, np.radians(100), rings + 1)[1:, None]
    turn = np.linspace(0, 2 * np.pi, spokes, endpoint=False)[None]
    flat, near = exact.sines(off), exact.cosines(off)
    unit = np.stack([flat * exact.cosines(turn), flat * exact.sines(turn), near + 0 * turn], -1)
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
    curve = exact.powers((x + 0.055) / 1.055, 2.4)
    return np.where(x <= 0.04045, x / 12.92, curve).astype(np.float32)


def eye_frames(head: Head, p: Params, turn: np.ndarray) -> np.ndarray:
    """float64 (2, 10): centre, gaze, up of the gaze and how far it is shut, of both eyes, in the
    world. turn: (3, 3).
    """
    a, b = p.gaze_x * (np.pi / 180), p.gaze_y * (np.pi / 180)
    sin_a, cos_a, sin_b, cos_b = exact.sin(a), exact.cos(a), exact.sin(b), exact.cos(b)
    gaze = turned(turn, (sin_a * cos_b, sin_b, cos_a * cos_b))
    up = turned(turn, (-sin_a * sin_b, cos_b, -cos_a * sin_b))
    shift = np.array([PIVOT[0] + HEAD_WIDTH * p.x, PIVOT[1] + HEAD_WIDTH * p.y, PIVOT[2]])
    centres = [turned(turn, eye[:3] - PIVOT) + shift for eye in head.eyes]
    shut = (p.blink_left,), (p.blink_right,)
    return np.array([np.concatenate([c, gaze, up, b]) for c, b in zip(centres, shut, strict=True)])
