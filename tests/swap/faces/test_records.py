"""alignments.jsonl: what is written is read back, what is damaged is refused and named."""

import json

import numpy as np
import pytest

from swap.errors import UserError
from swap.faces.align import CropDefinition
from swap.faces.journal import Journal
from swap.faces.records import FILE_NAME, PART_NAME, Alignment, read_alignments

SETTINGS = {
    "source": "a.mp4",
    "source_sha256": "0" * 64,
    "crop": CropDefinition().to_dict(),
    "size": 256,
    "every": 1,
    "detector": "d",
    "fps": "24000/1001",
    "width": 360,
    "height": 288,
}


def alignment(frame):
    rng = np.random.default_rng(frame)
    matrix = np.array([[1.1, -0.1, 1 / 3], [0.1, 1.1, rng.normal()]])
    landmarks = rng.normal(size=(5, 2)) * 100
    return Alignment(
        frame, 0, f"{frame:06d}_0.png", (1.5, 2, 30, 40), landmarks, matrix, 0.9, frame / 24
    )


def written(folder):
    with Journal(folder, SETTINGS) as journal:
        journal.add(0, 1, alignment(0))
        journal.add(1, 0, None)
        journal.add(2, 3, alignment(2))
        journal.finish([("frame 3", "torn")])
    return folder / FILE_NAME


def test_round_trip(tmp_path):
    path = written(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [FILE_NAME]
    for place in (tmp_path, str(tmp_path), path):
        header, faces = read_alignments(place)
        assert header | SETTINGS == header
        assert (header["frames"], header["faces"]) == (3, 2)
        assert (header["without_face"], header["several"]) == ([1], [2])
        assert header["skipped"] == [["frame 3", "torn"]]
        for face, frame in zip(faces, (0, 2), strict=True):
            expected = alignment(frame)
            assert (face.frame, face.face, face.file) == (frame, 0, expected.file)
            assert face.box == expected.box
            np.testing.assert_allclose(face.landmarks, expected.landmarks, atol=1e-4)
            np.testing.assert_array_equal(face.matrix, expected.matrix)
            assert face.time == pytest.approx(expected.time, abs=1e-6)


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match="no folder of extracted faces"):
        read_alignments(tmp_path)
    (tmp_path / PART_NAME).write_text("{}\n")
    with pytest.raises(UserError, match="interrupted"):
        read_alignments(tmp_path)


HEADER_DAMAGE = {
    "format": "other",
    "version": 2,
    "size": 0,
    "every": True,
    "width": -1,
    "fps": "0/1",
    "crop": {"face_side": 3.2},
    "source": None,
    "without_face": [-1],
    "skipped": [["a"]],
    "faces": "2",
}
FACE_DAMAGE = {
    "frame": 1.5,
    "face": -1,
    "file": "../../x.png",
    "box": [1, 2, 3],
    "landmarks": [[0, 0]] * 4,
    "matrix": [[1, 0, 0], [0, -1, 0]],
    "score": float("nan"),
    "time": "0",
}


@pytest.mark.parametrize(
    ("number", "name", "value"),
    [(1, *item) for item in HEADER_DAMAGE.items()] + [(2, *item) for item in FACE_DAMAGE.items()],
)
def test_a_damaged_value_is_named_with_its_line(tmp_path, number, name, value):
    path = written(tmp_path)
    lines = path.read_text().splitlines()
    record = json.loads(lines[number - 1])
    lines[number - 1] = json.dumps({**record, name: value})
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=f"line {number}.*{'crop' if name == 'crop' else name}"):
        read_alignments(tmp_path)
    del record[name]
    lines[number - 1] = json.dumps(record)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=f"line {number}"):
        read_alignments(tmp_path)


def test_truncated_disordered_and_foreign_files(tmp_path):
    path = written(tmp_path)
    whole = path.read_text()
    lines = whole.splitlines(keepends=True)
    for text in (
        "".join(lines[:-1]),
        whole[: len(whole) // 2],
        lines[0] + lines[2] + lines[1],
        "",
        "[" * 100_000,
        "not json\n",
        "[]\n",
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=FILE_NAME.replace(".", r"\.")):
            read_alignments(tmp_path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        read_alignments(tmp_path)


def test_a_journal_goes_on_from_its_last_whole_line(tmp_path):
    with Journal(tmp_path, SETTINGS) as journal:
        journal.add(0, 1, alignment(0))
        journal.add(1, 0, None)
        journal.add(2, 1, alignment(2))
    part = tmp_path / PART_NAME
    part.write_bytes(part.read_bytes()[:-20])
    again = Journal(tmp_path, SETTINGS)
    assert again.matches()
    with again:
        assert again.done == {0: 1, 1: 0}
        again.add(2, 2, alignment(2))
        again.finish([])
    header, faces = read_alignments(tmp_path)
    assert [face.frame for face in faces] == [0, 2]
    assert header["several"] == [2]


def test_a_journal_with_other_settings_does_not_match(tmp_path):
    with Journal(tmp_path, SETTINGS):
        pass
    assert Journal(tmp_path, SETTINGS).matches()
    assert not Journal(tmp_path, {**SETTINGS, "size": 128}).matches()
