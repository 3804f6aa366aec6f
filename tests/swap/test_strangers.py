"""Unusual pictures and videos come out as what they show; bad ones are refused in one sentence.

All cases of `python -m bench strangers` but the costly ones, here in one process; the bench gives each its own,
with limits, and runs the whole command.
"""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.stranger_pictures import PICTURES, encoded, face
from bench.stranger_videos import FRAMES, UNEVEN, VIDEOS
from bench.strangers import try_case
from swap.data.faces import _load_picture
from swap.errors import UserError
from swap.faces.detect import LARGEST_LOOK, Detector
from swap.pictures import FORMATS, LARGEST_PICTURE, read_picture
from swap.terminal import printable
from swap.video import probe, read_frames

CASES = {case.what: case for case in [*PICTURES, *VIDEOS]}
COSTLY = {what for what in CASES if "GB" in what or "7,900" in what or "among 200" in what}


@pytest.mark.parametrize("what", sorted(CASES.keys() - COSTLY))
def test_read_or_refused_in_one_sentence(what, tmp_path):
    case = CASES[what]
    path = case.make(tmp_path)
    if case.says not in ("", "no face"):
        with pytest.raises(UserError, match=case.says) as refusal:
            list(read_frames(path)) if probe(path) else None
        assert len(str(refusal.value)) < 600 + 2 * len(str(path))
        return
    assert probe(path).width > 0
    frames = list(read_frames(path))
    for frame in frames:
        assert frame.image.dtype == np.uint8
        assert frame.image.ndim == 3
    if not case.says and case.frames:
        assert len(frames) == case.frames


def test_the_table_has_what_the_issue_names():
    assert len(CASES) >= 90
    assert len(PICTURES) + len(VIDEOS) == len(CASES)


@pytest.mark.parametrize(
    "what", ["tiny PNG claiming 50,000 x 50,000", "pipe named .mp4", "animated WebP"]
)
def test_the_command_within_its_limits(what):
    outcome = try_case(CASES[what])
    assert not outcome.wrong


# ---- what they show


def off(found, expected):
    """Mean difference in grey levels."""
    return np.abs(found.astype(float) - expected).mean()


GREY = {
    "PNG, 8 bits grey",
    "PNG, 16 bits grey",
    "TIFF, 16 bits grey",
    "TIFF, 32 bits grey",
    "TIFF, floating-point",
}
PICTURE_COLOURS = {
    "PNG, 16 bits a channel": 0.01, "PNG with alpha, wholly transparent": 0.01, "TIFF, CMYK": 0.01,
    "PNG, palette with transparent colours": 4, "JPEG, CMYK": 3, "WebP with alpha": 3, "JPEG named .png": 2,
    "JPEG with EXIF that is garbage": 2, "PNG, 8 bits grey": 1, "PNG, 16 bits grey": 1,
    "TIFF, 16 bits grey": 1, "TIFF, 32 bits grey": 1, "TIFF, floating-point": 1,
    "eight JPEGs with EXIF's eight orientations": 2, "TIFF of three pages: the first is read": 0.01,
}  # fmt: skip
VIDEO_COLOURS = {
    "turned by 90 degrees (display matrix)": 3, "10 bits, H.264": 3, "10 bits, 4:2:2, FFV1": 2,
    "16 bits a channel, FFV1": 0.5, "8 bits grey, FFV1": 2, "16 bits grey, FFV1": 2, "alpha, FFV1": 2,
    "alpha, QuickTime animation": 0.5, "animated PNG": 0.01, "animated WebP": 3, "animated GIF": 6,
    "mkv named .mp4": 3, "variable frame rate": 3, "motion JPEG with EXIF in every frame": 3,
}  # fmt: skip


@pytest.mark.parametrize("what", PICTURE_COLOURS)
def test_colours_of_pictures(what, tmp_path):
    expected = face().astype(float)
    if what in GREY:
        weights = [1 / 3] * 3 if what != "PNG, 8 bits grey" else [0.299, 0.587, 0.114]
        expected = (expected @ weights)[..., None].repeat(3, 2)
    for frame in read_frames(CASES[what].make(tmp_path)):
        assert off(frame.image, expected) <= PICTURE_COLOURS[what], frame.name


@pytest.mark.parametrize("what", VIDEO_COLOURS)
def test_colours_and_order_of_videos(what, tmp_path):
    path = CASES[what].make(tmp_path)
    for frame in read_frames(path):
        index = 0 if "EXIF" in what else frame.index
        expected = face(index).astype(float)
        if "grey" in what:
            expected = (expected @ [0.299, 0.587, 0.114])[..., None].repeat(3, 2)
        assert off(frame.image, expected) <= VIDEO_COLOURS[what], frame.index


def test_times_of_films_and_of_uneven_videos(tmp_path):
    for what, ticks in (("variable frame rate", UNEVEN), ("animated PNG", [0, 70, 140])):
        (tmp_path / what).mkdir()
        path = CASES[what].make(tmp_path / what)
        found = [frame.pts * frame.time_base for frame in read_frames(path)]
        assert found == [Fraction(tick, 1000) for tick in ticks]


def test_a_film_is_read_in_parts_and_to_its_damage(tmp_path):
    path = CASES["animated WebP"].make(tmp_path)
    assert probe(path).frames == 3
    assert probe(path).fps == Fraction(1000, 70)
    assert [f.index for f in read_frames(path, start=1)] == [1, 2]
    assert [f.index for f in read_frames(path, step=2)] == [0, 2]
    film = CASES["animated PNG"].make(tmp_path)
    film.write_bytes(film.read_bytes()[:-4000])
    skipped = []
    frames = list(read_frames(film, on_skip=lambda *told: skipped.append(told)))
    assert 0 < len(frames) < 3
    assert len(skipped) == 1


# ---- bounds


def test_a_picture_of_the_greatest_size_is_read_and_a_larger_one_is_not(tmp_path):
    side = int(LARGEST_PICTURE**0.5)
    Image.new("1", (side + 1, side), 1).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="64,000,000 are read"):
        read_picture(tmp_path / "a.png")


def test_a_crop_that_claims_a_great_size_is_not_decoded(tmp_path, monkeypatch):
    Image.new("1", (2049, 2049), 1).save(tmp_path / "000000_0.png")
    monkeypatch.setattr("swap.data.faces.cv2.imdecode", None)
    assert "larger than 2048" in _load_picture(
        tmp_path / "000000_0.png", np.empty((8, 8, 3), np.uint8)
    )


def test_the_detector_looks_at_no_more_than_its_largest_picture(monkeypatch):
    detector, seen = Detector(), []
    monkeypatch.setattr(detector, "_look", lambda rgb, threshold: seen.append(max(rgb.shape)) or [])
    detector.find(np.zeros((5000, 20, 3), np.uint8))
    assert seen == [320, 640, LARGEST_LOOK]


def test_only_formats_that_start_no_other_program():
    assert not {"EPS", "WMF", "FITS", "GRIB", "HDF5", "BUFR", "MPO"} & set(FORMATS)


@pytest.mark.parametrize(
    "name", ["a\nb", "\x1b[31mred", "\x07", "a\rb", "\u202e", "\u2028", "\udce9"]
)
def test_a_name_cannot_steer_the_terminal(name):
    shown = printable(name)
    assert shown.isprintable()
    assert printable("Größe 資料 é.png") == "Größe 資料 é.png"


def test_unreadable_folders_and_files_are_told(tmp_path, monkeypatch):
    """As a user who may not; root may read all."""

    def forbidden(self):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.png").write_bytes(encoded("PNG"))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", forbidden)
        with pytest.raises(UserError, match="cannot be read: Permission denied"):
            probe(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "exists", forbidden)
        with pytest.raises(UserError, match="cannot be read: Permission denied"):
            probe(tmp_path / "a.mp4")
    assert FRAMES == 6
