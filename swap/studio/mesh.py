"""The head mesh of assets/heads.npz: shapes of people and of expressions as sums of targets.

Units are decimetres, x to the subject's left, y up, z forward.
"""

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numba
import numpy as np

ASSET = Path(__file__).parent / "assets" / "heads.npz"
EXPRESSION = "face/"  # prefix of the 52 expression shapes, named as in Apple's ARKit


@dataclass(frozen=True, eq=False)
class HeadMesh:
    """vertices: float32 (V, 3). triangles: int32 (F, 3), counter-clockwise seen from outside.

    part: uint8 (F,), an index into part_names. masks: name -> float32 (V,) in [0, 1].
    targets: name -> (vertex indices (N,), shifts float32 (N, 3)).
    """

    vertices: np.ndarray
    triangles: np.ndarray
    part: np.ndarray
    part_names: tuple[str, ...]
    masks: dict[str, np.ndarray]
    targets: dict[str, tuple[np.ndarray, np.ndarray]]

    def part_triangles(self, *names: str) -> np.ndarray:
        """The triangles (N, 3) of the parts named."""
        wanted = [self.part_names.index(name) for name in names]
        return self.triangles[np.isin(self.part, wanted)]

    def shaped(self, weights: dict[str, float]) -> np.ndarray:
        """float32 (V, 3): the vertices with the targets added by weight. A name "*-rest" stands for
        both "l-rest" and "r-rest". Raises KeyError for an unknown target.
        """
        moved = self.vertices.copy()
        for name, weight in weights.items():
            sides = [name.replace("*", s, 1) for s in "lr"] if name.startswith("*") else [name]
            for side in sides:
                index, shift = self.targets[side]
                moved[index] += np.float32(weight) * shift
        return moved


@cache
def load_mesh() -> HeadMesh:
    """The mesh in heads.npz, read once."""
    with np.load(ASSET, allow_pickle=False) as file:
        data = {name: file[name] for name in file.files}
    starts, shifts = data["target_starts"], data["target_shifts"].T.astype(np.float32) / 1000
    targets = {}
    for i, name in enumerate(data["target_names"]):
        rows = slice(starts[i], starts[i + 1])
        index = np.cumsum(data["target_vertices"][rows], dtype=np.int64)
        targets[str(name)] = (index, np.ascontiguousarray(shifts[rows]))
    masks = (data["masks"].T / np.float32(255)).astype(np.float32)
    return HeadMesh(
        (data["vertices"] / 1e4).astype(np.float32),
        data["triangles"].astype(np.int32),
        data["part"],
        tuple(str(n) for n in data["part_names"]),
        dict(zip((str(n) for n in data["mask_names"]), masks, strict=True)),
        targets,
    )


@numba.njit(cache=True, nogil=True, fastmath=False)
def normals_of(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """float32 (V, 3): sums of the adjacent triangles' normals, weighted by area, not of unit length."""
    out = np.zeros_like(vertices)
    for t in range(triangles.shape[0]):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = (
            vertices[j, 0] - vertices[i, 0],
            vertices[j, 1] - vertices[i, 1],
            vertices[j, 2] - vertices[i, 2],
        )
        bx, by, bz = (
            vertices[k, 0] - vertices[i, 0],
            vertices[k, 1] - vertices[i, 1],
            vertices[k, 2] - vertices[i, 2],
        )
        nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        for v in (i, j, k):
            out[v, 0] += nx
            out[v, 1] += ny
            out[v, 2] += nz
    for v in range(out.shape[0]):
        length = math.sqrt(out[v, 0] ** 2 + out[v, 1] ** 2 + out[v, 2] ** 2) + 1e-20
        for c in range(3):
            out[v, c] /= length
    return out
