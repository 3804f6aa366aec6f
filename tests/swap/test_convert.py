"""Conversion on drawn clips with a detector that knows the truth and networks whose answer is known."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from swap import convert as module
from swap.convert import ColourShift, convert, face_mask, mask_widths, other
from swap.data import FaceSet
from swap.errors import UserError
from swap.faces.align import TEMPLATE, CropDefinition, crop_matrix, warp_crop
from swap.faces.detect import Detection
from swap.faces.extract import extract
from swap.faces.records import FILE_NAME
from swap.model import FACE_SIZE
from swap.provenance import SourceType, read_mark
from swap.run import TrainedRun
from swap.video import VideoWriter, probe, read_frames
from tests.swap.helpers import hashes, tone_clip, write_clip
from tests.swap.test_video import sound_of

FRAMES, WIDTH, HEIGHT = 24, 144, 112
WITHOUT, SEVERAL = (5, 6, 17), (2, 20)
EYES = 20  # pixels between the eyes, so that a face square is 64 pixels wide in the frame, too
CROP = CropDefinition()


def landmarks(index):
    """The face moves at constant speed, so smoothing changes nothing; turned by 5 degrees."""
    cos, sin = np.cos(np.radians(5)), np.sin(np.radians(5))
    turned = TEMPLATE @ np.array([[cos, sin], [-sin, cos]])
    return EYES * turned + (60 + 0.75 * index, 42 + 0.25 * index)


def picture(index, width=WIDTH, height=HEIGHT):
    """Smooth, so that 64 pixels show all there is; the top left corner says how many faces."""
    y, x = np.mgrid[:height, :width] / 16
    waves = [np.sin(x + 0.1 * index) + np.cos(y), np.sin(y + x / 2), np.cos(x / 2 - 0.05 * index)]
    image = np.stack([128 + 40 * wave for wave in waves], -1).astype(np.uint8)
    image[:8, :8] = 60 * (0 if index in WITHOUT else 2 if index in SEVERAL else 1)
    return image


class Knowing:
    """A stand-in for Detector: the corner says how many faces, the order which frame it is."""

    def __init__(self):
        self.index = -1

    def describe(self):
        return "knowing"

    def find(self, rgb):
        self.index += 1
        found = Detection((0, 0, 60, 80), landmarks(self.index).astype(np.float32), 0.9)
        return [found, Detection((0, 0, 9, 9), found.landmarks / 2, 0.9)][
            : round(rgb[:8, :8].mean() / 60)
        ]

    def refine(self, rgb, face):
        return face


class Model:
    """A stand-in for SwapModel: answers f(faces) and keeps what it was asked."""

    preset = SimpleNamespace(name="stub")

    def __init__(self, f=lambda faces: faces):
        self.f, self.asked, self.faces = f, set(), []

    def swap(self, faces, source, target):
        assert faces.dtype == np.float32
        assert faces.shape[1:] == (64, 64, 3)
        self.asked.add((source, target))
        self.faces.append(faces)
        return self.f(faces)


def stub_run(f=lambda faces: faces, crop=CROP):
    return TrainedRun(Path("run"), Model(f), crop, {}, "f" * 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def clip(folder):
    return tone_clip(folder / "clip.mp4", map(picture, range(FRAMES)), fps=24)


@pytest.fixture(scope="module")
def silent(folder):
    return write_clip(folder / "silent.mp4", map(picture, range(FRAMES)))


@pytest.fixture(scope="module")
def faces_of_clip(folder, clip):
    extract(clip, folder / "faces", size=64, detector=Knowing(), threads=1)
    return folder / "faces"


def images(path):
    return np.array([frame.image for frame in read_frames(path)])


def psnr(found, expected):
    return -10 * np.log10(np.mean((found / 255.0 - expected / 255.0) ** 2))


def inside(index, level=0.5):
    """Which pixels of a frame the mask covers by more than ``level``, from the matrix alone."""
    matrix = crop_matrix(landmarks(index), FACE_SIZE, CROP, margin=False)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    u, v = (matrix @ np.stack([x, y, np.ones_like(x)]).reshape(3, -1)).reshape(2, HEIGHT, WIDTH)
    mask = face_mask(FACE_SIZE, mask_widths(landmarks(index)))
    return cv2.remap(mask, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR) > level


# ---------------------------------------------------------------- the video


def test_an_identity_swap_gives_the_video_back(clip, tmp_path):
    run = stub_run()
    report = convert(clip, tmp_path / "out.mp4", run, to="b", detector=Knowing())
    assert report.frames == FRAMES
    assert report.swapped == FRAMES - len(WITHOUT)
    assert tuple(report.passed) == WITHOUT
    assert report.several == len(SEVERAL)
    assert report.skipped == []
    source, made = images(clip), images(tmp_path / "out.mp4")
    assert made.shape == source.shape
    for index, (found, expected) in enumerate(zip(made, source, strict=True)):
        assert psnr(found, expected) > 40, index
        if index not in WITHOUT:
            where = inside(index)
            assert where.sum() > 1000
            assert psnr(found[where], expected[where]) > 38, index


def test_size_rate_times_and_sound_are_kept(clip, tmp_path):
    out = tmp_path / "out.mp4"
    convert(clip, out, stub_run(), to="b", detector=Knowing())
    before, after = probe(clip), probe(out)
    assert (after.width, after.height, after.fps) == (WIDTH, HEIGHT, Fraction(24))
    assert (after.frames, after.has_audio) == (FRAMES, True)
    times = [[f.pts * f.time_base for f in read_frames(path)] for path in (clip, out)]
    np.testing.assert_allclose(np.diff(np.array(times, float)), 1 / 24, atol=1e-3)
    assert before.fps == after.fps
    (heard, rate, _), (original, rate_before, _) = sound_of(out), sound_of(clip)
    assert rate == rate_before
    spectrum = np.abs(np.fft.rfft(heard[: rate // 2]))
    assert spectrum.argmax() * 2 == pytest.approx(440, abs=4)
    assert np.sqrt((heard**2).mean()) == pytest.approx(np.sqrt((original**2).mean()), rel=0.05)


def test_only_the_face_changes(silent, tmp_path):
    """A network that answers stripes: there they are, and nowhere else."""
    stripes = np.zeros((64, 64, 3), np.float32)
    stripes[::2] = 1
    out = tmp_path / "out.mp4"
    run = stub_run(lambda faces: np.broadcast_to(stripes, faces.shape))
    convert(silent, out, run, to="b", detector=Knowing())
    for index, (found, source) in enumerate(zip(images(out), images(silent), strict=True)):
        changed = np.abs(found.astype(int) - source).mean(-1)
        if index in WITHOUT:
            assert changed.mean() < 2
            continue
        assert changed[inside(index, 0.9)].mean() > 10, index
        assert (
            changed[
                ~cv2.dilate(inside(index, 0).astype(np.uint8), np.ones((9, 9))).astype(bool)
            ].mean()
            < 2
        )


def test_what_the_network_draws_is_where_it_belongs(silent, tmp_path, monkeypatch):
    """A bright spot on the 64 x 64 face is at its place in the frame, to a fraction of a pixel.

    Looked at before encoding: the codec's noise moves a spot's centre by as much, and not alike each time.
    """
    made, write = [], VideoWriter.write

    def record(self, rgb, *arguments):
        made.append(rgb.copy())
        write(self, rgb, *arguments)

    monkeypatch.setattr(VideoWriter, "write", record)
    u, v = 27.0, 36.0
    y, x = np.mgrid[:64, :64]
    spot = np.exp(-((x - u) ** 2 + (y - v) ** 2) / 18)[..., None].astype(np.float32)
    run = stub_run(lambda faces: faces + 0.35 * spot)
    convert(silent, tmp_path / "out.mp4", run, to="b", detector=Knowing())
    source = images(silent)
    for index in set(range(FRAMES)) - set(WITHOUT):
        brighter = (made[index].astype(float) - source[index]).mean(-1)
        weight = np.clip(brighter - 0.3 * brighter.max(), 0, None)
        rows, columns = np.mgrid[:HEIGHT, :WIDTH]
        found = [(weight * along).sum() / weight.sum() for along in (columns, rows)]
        matrix = crop_matrix(landmarks(index), FACE_SIZE, CROP, margin=False)
        expected = np.linalg.solve(matrix[:, :2], (u, v) - matrix[:, 2])
        assert np.hypot(*(found - expected)) < 0.12, index


@pytest.mark.parametrize(("to", "source"), [("b", "a"), ("a", "b")])
def test_the_network_is_asked_for_the_other_one(silent, tmp_path, to, source):
    run = stub_run()
    convert(silent, tmp_path / "out.mp4", run, to=to, detector=Knowing())
    assert run.model.asked == {(source, to)}
    assert other(to) == source


@pytest.mark.parametrize("crop", [CROP, CropDefinition(2.8, 0.5, 1.5)], ids=["default", "other"])
def test_the_network_sees_what_training_showed_it(silent, tmp_path, crop):
    run = stub_run(crop=crop)
    convert(silent, tmp_path / "out.mp4", run, to="b", detector=Knowing())
    seen = np.concatenate(run.model.faces[1:])  # the first call is for the colours
    frames = [(i, f) for i, f in enumerate(images(silent)) if i not in WITHOUT]
    assert len(seen) == len(frames)
    for face, (index, frame) in zip(seen, frames, strict=True):
        matrix = crop_matrix(landmarks(index), 256, crop)
        stored = cv2.resize(warp_crop(frame, matrix, 256), (112, 112), interpolation=cv2.INTER_AREA)
        expected = FaceSet(stored[None], crop.margin).squares([0], 64)[0]
        assert np.abs(face - expected).mean() < 0.005, index


def test_beside_has_the_original_on_the_left(silent, tmp_path):
    run = stub_run(lambda faces: faces[:, ::-1])
    out, beside = tmp_path / "out.mp4", tmp_path / "beside.mp4"
    convert(silent, out, run, to="b", detector=Knowing(), beside=beside)
    source, alone, both = images(silent), images(out), images(beside)
    assert both.shape == (FRAMES, HEIGHT, 2 * WIDTH, 3)
    for index in range(FRAMES):
        assert psnr(both[index, :, :WIDTH], source[index]) > 38
        assert psnr(both[index, :, WIDTH:], alone[index]) > 38
    alone_on_its_own = tmp_path / "only.mp4"
    convert(silent, None, stub_run(), to="b", detector=Knowing(), beside=alone_on_its_own)
    assert probe(alone_on_its_own).width == 2 * WIDTH


def test_only_the_first_frames(clip, tmp_path):
    report = convert(clip, tmp_path / "out.mp4", stub_run(), to="b", detector=Knowing(), stop=8)
    assert (report.frames, report.swapped, report.passed) == (8, 6, [5, 6])
    assert len(images(tmp_path / "out.mp4")) == 8
    assert 7 / 24 <= np.count_nonzero(sound_of(tmp_path / "out.mp4")[0]) / 44_100 <= 10 / 24


def test_every_product_is_marked_as_a_swap(silent, tmp_path):
    out, beside = tmp_path / "out.mp4", tmp_path / "beside.mp4"
    convert(silent, out, stub_run(), to="b", detector=Knowing(), beside=beside)
    for path in (out, beside):
        mark = read_mark(path)
        assert mark.source_type == SourceType.SWAPPED
        expected = {"Preset": "stub", "Model_sha256": "f" * 64, "To": "b", "Frames": "all"}
        assert mark.details == expected


def test_odd_sizes_stay(tmp_path):
    clip = write_clip(tmp_path / "odd.mp4", (picture(i, 143, 111) for i in range(8)))
    convert(clip, tmp_path / "out.mp4", stub_run(), to="b", detector=Knowing())
    assert images(tmp_path / "out.mp4").shape == images(clip).shape == (8, 111, 143, 3)


def test_progress_ends_at_its_total(silent, tmp_path):
    told = {}
    convert(
        silent, tmp_path / "out.mp4", stub_run(), to="b", detector=Knowing(),
        progress=lambda what, done, total: told.setdefault(what, []).append((done, total)),
    )  # fmt: skip
    assert len(told) == 2
    for calls in told.values():
        assert calls[-1] == (FRAMES, FRAMES)
        assert [done for done, _ in calls] == sorted(done for done, _ in calls)


# ---------------------------------------------------------------- recorded faces


def test_recorded_faces_are_those_of_detection(clip, faces_of_clip, tmp_path):
    """The same video, but for the 1e-4 pixels to which landmarks are recorded."""
    results = []
    for name, options in (("a", {"detector": Knowing()}), ("b", {"faces": faces_of_clip})):
        run = stub_run(lambda faces: faces[:, :, ::-1])
        report = convert(clip, tmp_path / f"{name}.mp4", run, to="b", **options)
        results.append((report, images(tmp_path / f"{name}.mp4")))
    (detected, first), (recorded, second) = results
    assert detected == recorded
    assert psnr(first, second) > 45


def test_recorded_faces_for_the_first_frames(clip, faces_of_clip, tmp_path):
    report = convert(clip, tmp_path / "o.mp4", stub_run(), to="b", faces=faces_of_clip, stop=8)
    assert (report.frames, report.passed, report.several) == (8, [5, 6], 1)


def test_faces_of_another_video_are_refused(clip, silent, faces_of_clip, folder, tmp_path):
    renamed = tmp_path / clip.name  # the same name is not the same video
    renamed.write_bytes(silent.read_bytes())
    for source in (silent, renamed):
        with pytest.raises(UserError, match=r"extracted from clip\.mp4, which is not"):
            convert(source, tmp_path / "out.mp4", stub_run(), to="b", faces=faces_of_clip)
    copied = tmp_path / "another name.mp4"  # and another name is not another video
    copied.write_bytes(clip.read_bytes())
    convert(copied, tmp_path / "good.mp4", stub_run(), to="b", faces=faces_of_clip)
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("part", [{"every": 2}, {"stop": 12}])
def test_faces_of_a_part_are_refused(clip, tmp_path, part):
    extract(clip, tmp_path / "part", size=64, detector=Knowing(), threads=1, **part)
    with pytest.raises(UserError, match="only a part"):
        convert(clip, tmp_path / "out.mp4", stub_run(), to="b", faces=tmp_path / "part")
    assert (tmp_path / "part" / FILE_NAME).exists()
    assert not (tmp_path / "out.mp4").exists()


# ---------------------------------------------------------------- refusals


class Blind(Knowing):
    def find(self, rgb):
        return []


def test_a_video_without_a_face_is_refused(silent, tmp_path):
    with pytest.raises(UserError, match="no face was found"):
        convert(silent, tmp_path / "out.mp4", stub_run(), to="b", detector=Blind())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["out", "beside"])
@pytest.mark.parametrize("which", ["clip", "silent"])
def test_the_source_is_never_overwritten(request, tmp_path, which, name):
    source = tmp_path / "mine.mp4"
    source.write_bytes(request.getfixturevalue(which).read_bytes())
    before = hashes(tmp_path)
    paths = {"out": None, "beside": None, name: source}
    with pytest.raises(UserError, match="another name"):
        convert(source, paths["out"], stub_run(), to="b", beside=paths["beside"])
    assert hashes(tmp_path) == before


def test_an_error_midway_leaves_what_was_there(silent, tmp_path):
    (tmp_path / "out.mp4").write_text("earlier")
    calls = []

    def failing(faces):
        calls.append(len(faces))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return faces

    with pytest.raises(KeyboardInterrupt):
        convert(
            silent, tmp_path / "out.mp4", stub_run(failing), to="b", detector=Knowing(),
            beside=tmp_path / "beside.mp4",
        )  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} == {"out.mp4", "out.mp4.unfinished"}
    assert (tmp_path / "out.mp4").read_text() == "earlier"


def test_a_face_whose_crop_was_deleted_is_left_as_it_is(clip, tmp_path):
    faces = tmp_path / "faces"
    extract(clip, faces, size=64, detector=Knowing(), threads=1)
    for index in (3, 9):
        (faces / f"{index:06d}_0.png").unlink()
    black = stub_run(np.zeros_like)
    report = convert(clip, tmp_path / "out.mp4", black, to="b", faces=faces)
    assert report.passed == sorted((*WITHOUT, 3, 9))
    source, made = images(clip), images(tmp_path / "out.mp4")
    for index in (3, 9):
        assert psnr(made[index], source[index]) > 40
    assert psnr(made[4], source[4]) < 40


def test_the_sound_of_a_part_ends_with_its_pictures(clip, tmp_path):
    convert(clip, tmp_path / "all.mp4", stub_run(), to="b", detector=Knowing())
    convert(clip, tmp_path / "part.mp4", stub_run(), to="b", detector=Knowing(), stop=12)
    lengths = []
    for name in ("all.mp4", "part.mp4"):
        samples, rate, _ = sound_of(tmp_path / name)
        lengths.append(np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max())[-1] / rate)
    assert lengths[0] == pytest.approx(FRAMES / 24, abs=0.1)
    assert lengths[1] == pytest.approx(12 / 24, abs=0.1)


def test_a_folder_as_output_is_refused_before_any_work(clip, tmp_path):
    detector = Knowing()
    with pytest.raises(UserError, match="is a folder"):
        convert(clip, tmp_path, stub_run(), to="b", detector=detector)
    assert detector.index == -1


def test_the_mark_tells_models_and_directions_apart():
    run = stub_run()
    assert module.conversion_mark(run, "b", None) == module.conversion_mark(run, "b", None)
    others = [
        module.conversion_mark(run, "a", None),
        module.conversion_mark(run, "b", 9),
        module.conversion_mark(replace(run, fingerprint="e" * 64), "b", None),
    ]
    assert module.conversion_mark(run, "b", None) not in others


# ---------------------------------------------------------------- mask and colours


@pytest.mark.parametrize("size", [64, 128])
def test_the_mask_is_one_on_the_face_and_soft_to_nothing(size):
    mask = face_mask(size)
    assert (mask.shape, mask.dtype) == ((size, size), np.float32)
    assert mask.min() == 0
    assert mask.max() == 1
    np.testing.assert_allclose(mask, mask[:, ::-1], atol=1e-6)
    # All five landmarks are well inside.
    units = (TEMPLATE - (0, CROP.centre_y)) / CROP.face_side + 0.5
    for x, y in units * size - 0.5:
        assert mask[round(y), round(x)] > 0.95
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    assert border.max() < 0.1
    # No step that could be seen, and on its way out it only falls.
    assert max(np.abs(np.diff(mask, axis=axis)).max() for axis in (0, 1)) < 20 / size
    for row in mask:
        assert np.diff(row[size // 2 :]).max() <= 1e-6
    peak = mask.sum(1).argmax()
    for column in mask.T:
        assert np.diff(column[peak:]).max() <= 1e-6


def test_the_mask_moves_with_a_turned_face():
    def centre(widths):
        mask = face_mask(64, widths)
        return (mask.sum(0) * np.arange(64)).sum() / mask.sum() - 31.5

    far_left, far_right = np.array([[0.9, 1.2], [0.7, 1.2]]), np.array([[1.2, 0.9], [1.2, 0.7]])
    assert centre(np.ones((2, 2))) == pytest.approx(0, abs=1e-3)
    assert centre(far_left) > 1
    assert centre(far_right) == pytest.approx(-centre(far_left), abs=1e-3)
    np.testing.assert_array_equal(face_mask(64), face_mask(64, mask_widths(TEMPLATE)))


def test_the_mask_is_wider_on_the_near_cheek():
    front = mask_widths(TEMPLATE)
    np.testing.assert_allclose(front[:, 0], front[:, 1])
    turned = TEMPLATE.copy()
    turned[2, 0] += 0.3  # the nose points to the picture's right, where the far cheek is
    widths = mask_widths(turned)
    assert (widths[:, 0] > front[:, 0] + 0.15).all()
    assert (widths[:, 1] < front[:, 1] - 0.1).all()
    assert widths[1, 1] < widths[0, 1]  # the far cheek ends before the far eye does
    mirrored = (turned * (-1, 1))[[1, 0, 2, 4, 3]]
    np.testing.assert_allclose(mask_widths(mirrored), widths[:, ::-1])
    rotated = 40 * turned @ np.array([[0.8, 0.6], [-0.6, 0.8]]) + (300, 200)
    np.testing.assert_allclose(mask_widths(rotated), widths)


@pytest.mark.parametrize("nose", [-0.9, -0.5, 0.5, 0.9])
def test_both_eyes_stay_under_the_mask_however_a_face_is_turned(nose):
    turned = TEMPLATE.copy()
    turned[2, 0] += nose
    mask = face_mask(64, mask_widths(turned))
    matrix = crop_matrix(turned, 64, CROP, margin=False)
    for x, y in turned[:2] @ matrix[:, :2].T + matrix[:, 2]:
        assert mask[round(y), round(x)] > 0.7


def colour_pair(tint, seed=0):
    """New faces, and faces to replace of other colours; neither near black nor white."""
    rng = np.random.default_rng(seed)
    new, replaced = rng.uniform(0.35, 0.65, (2, 5, 64, 64, 3)).astype(np.float32)
    return new, replaced * np.array(tint, np.float32)


def test_faces_of_the_same_colours_need_no_match():
    new, _ = colour_pair((1, 1, 1))
    match = ColourShift.fit(new, new)
    np.testing.assert_allclose(match.apply(new), new, atol=1e-5)


def middle_colour(faces):
    """The mean over a disc of 10 pixels about the middle of the mask: all of it is face."""
    y, x = np.mgrid[:64, :64]
    disc = np.hypot(x - 31.5, y - 32.5) < 10
    return faces[:, disc].mean((0, 1))


def test_the_mean_colour_becomes_that_of_the_faces_replaced():
    new, replaced = colour_pair((1.1, 0.95, 0.85))
    matched = ColourShift.fit(new, replaced).apply(new)
    np.testing.assert_allclose(middle_colour(matched), middle_colour(replaced), atol=0.02)
    assert np.abs(middle_colour(new) - middle_colour(replaced)).max() > 0.04


def test_the_gain_has_limits():
    new, _ = colour_pair((1, 1, 1))
    low, high = module.GAIN_LIMITS
    for spread in (0.01, 50):
        replaced = 0.5 + spread * (new - 0.5)
        assert low - 1e-6 <= ColourShift.fit(new, replaced).gain <= high + 1e-6


def test_black_stays_dark_where_skin_is_shifted():
    new, _ = colour_pair((1, 1, 1))
    match = ColourShift.fit(new, new + np.array([0.2, 0.1, 0.1], np.float32))
    black = np.zeros((1, 64, 64, 3), np.float32)
    assert match.apply(black).max() < 0.01
    grey = np.full((1, 64, 64, 3), 0.5, np.float32)
    assert match.apply(grey)[0, 0, 0] == pytest.approx([0.7, 0.6, 0.6], abs=0.01)


def test_colours_of_the_surroundings_do_not_count():
    new, replaced = colour_pair((1.1, 0.95, 0.85))
    expected = ColourShift.fit(new, replaced)
    for faces in (new, replaced):
        faces[:, :6] = faces[:, -4:] = 1
        faces[:, :, :8] = faces[:, :, -8:] = 0
    found = ColourShift.fit(new, replaced)
    np.testing.assert_array_equal(found.apply(new), expected.apply(new))


def test_a_face_of_one_tone_has_a_match():
    flat = np.full((2, 64, 64, 3), 0.5, np.float32)
    match = ColourShift.fit(flat, flat + np.float32(0.125))
    np.testing.assert_allclose(match.apply(flat), 0.625, atol=1e-6)


def test_the_colours_of_the_network_are_brought_to_the_video(silent, tmp_path):
    """A network that makes everything darker makes no difference in the end."""
    run = stub_run(lambda faces: 0.85 * faces)
    convert(silent, tmp_path / "out.mp4", run, to="b", detector=Knowing())
    for index, (found, source) in enumerate(
        zip(images(tmp_path / "out.mp4"), images(silent), strict=True)
    ):
        assert psnr(found, source) > 38, index
