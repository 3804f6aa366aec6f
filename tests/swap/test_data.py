"""Face sets, colour matching, batches and their prefetching."""

import hashlib
import json
import mmap
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from swap.data import Augmentation, Batches, ColourMatch, FaceSet, Prefetcher, even_spread
from swap.data.batches import AHEAD
from swap.data.mapped import read_ahead
from swap.errors import UserError
from swap.faces.align import CropDefinition
from swap.faces.records import Alignment

MARGIN = 4 / 3


def smooth_faces(count, side=56, seed=0):
    """Smooth random pictures: what a face is to a sampler."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 7, 7, 3), np.uint8)
    return np.stack([cv2.resize(c, (side, side), interpolation=cv2.INTER_CUBIC) for c in coarse])


def face_set(count=30, seed=0):
    return FaceSet(smooth_faces(count, seed=seed), MARGIN)


def batches(seed=5, batch_size=4, **options):
    return Batches(face_set(30, 1), face_set(40, 2), seed, batch_size, 32, **options)


@pytest.fixture
def extraction(tmp_path):
    """Makes extraction folders of 256-pixel crops; one listed face has no crop."""

    def make(name, count, margin=MARGIN):
        folder = tmp_path / name
        folder.mkdir()
        header = {
            "format": "latentface-alignments", "version": 1, "source": "a.mp4",
            "source_sha256": "0" * 64, "crop": CropDefinition(margin=margin).to_dict(),
            "size": 256, "every": 1, "detector": "none", "fps": "24/1", "width": 360,
            "height": 288, "frames": count + 1, "faces": count + 1, "without_face": [],
            "several": [], "skipped": [],
        }  # fmt: skip
        lines = [header]
        for i in range(count + 1):
            file = f"{i:06d}_0.png" if i < count else None
            box, landmarks = (0, 0, 9, 9), np.zeros((5, 2))
            matrix = np.eye(2, 3)
            lines.append(Alignment(i, 0, file, box, landmarks, matrix, 0.9, i / 24).to_dict())
            if file is not None:
                # The right half and the last channel say which way round the picture was read.
                picture = np.zeros((256, 256, 3), np.uint8)
                picture[:, 128:] = (200, 100, i)
                cv2.imwrite(str(folder / file), picture[..., ::-1])
        (folder / "alignments.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
        return folder

    return make


# ---------------------------------------------------------------- FaceSet


def test_faces_that_memory_should_not_hold_are_mapped_and_the_same(extraction, tmp_path):
    folder = extraction("a", 40)
    for number in (3, 39):
        (folder / f"{number:06d}_0.png").write_bytes(b"no picture")
    held = FaceSet.load(folder)
    mapped = FaceSet.load(folder, spill=tmp_path / "run", in_memory=38 * 112 * 112 * 3)
    assert (held.mapped, mapped.mapped) == (False, True)
    assert mapped.paths == held.paths
    assert [name for name, _ in mapped.skipped] == [name for name, _ in held.skipped]
    np.testing.assert_array_equal(mapped.images, held.images)
    for a, b in zip(
        Batches(held, held, 3, 8, 64).at(5), Batches(mapped, mapped, 3, 8, 64).at(5), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(mapped.mean, held.mean)
    assert list((tmp_path / "run").iterdir()) == []  # its file has no name
    assert not FaceSet.load(folder, spill=tmp_path / "run", in_memory=10**9).mapped


def test_mapped_faces_are_asked_for_before_they_are_needed(monkeypatch):
    """Every face of a step but the first, which nobody could foresee; across epochs; each step once."""
    asked, taken = [], []
    faces = FaceSet(np.zeros((30, 8, 8, 3), np.uint8), 4 / 3, mapped=True)
    monkeypatch.setattr(faces, "expect", lambda chosen: asked.append(chosen.tolist()))
    take = FaceSet.take

    def taking(self, indices, epochs):
        taken.append((indices.tolist(), len(asked)))
        return take(self, indices, epochs)

    monkeypatch.setattr(FaceSet, "take", taking)
    batches = Batches(faces, FaceSet(np.zeros((30, 8, 8, 3), np.uint8), 4 / 3), 3, 7, 8)
    for step in range(40):
        batches.drawn(step)
    steps = taken  # A's; B's are held in memory, where they are read as they lie
    assert len(asked) == 39 + AHEAD
    for step, (chosen, already) in enumerate(steps[1:], 1):
        assert asked[step - 1] == chosen
        assert already >= step


def test_reading_ahead_covers_a_picture_in_whole_pages(tmp_path):
    shape = (20, 50, 50, 3)
    mapped = np.memmap(tmp_path / "faces", np.uint8, "w+", shape=shape)
    asked = []

    class Recorder:
        def madvise(self, option, start, length):
            asked.append((option, start, length))

    mapped._mmap = Recorder()
    read_ahead(np.asarray(mapped)[2:], np.array([0, 7]))
    size = 50 * 50 * 3
    for (option, start, length), first in zip(asked, (2 * size, 9 * size), strict=True):
        assert option == mmap.MADV_WILLNEED
        assert start % mmap.PAGESIZE == 0
        assert start <= first < start + mmap.PAGESIZE
        assert start + length == first + size
    read_ahead(np.zeros(shape, np.uint8), np.array([1]))  # nothing to ask


def test_a_disk_without_room_for_faces_is_said(extraction, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("swap.data.mapped._reserve", full)
    with pytest.raises(UserError, match=r"No space left.*--most-faces"):
        FaceSet.load(extraction("a", 30), spill=tmp_path / "run", in_memory=1)


def test_load_reads_rgb_at_the_load_size_in_order(extraction):
    folder = extraction("a", 30)
    faces = FaceSet.load(folder)
    assert faces.images.shape == (30, 112, 112, 3)
    assert faces.images.dtype == np.uint8
    assert faces.margin == MARGIN
    assert faces.images[:, 50, 90].tolist() == [[200, 100, i] for i in range(30)]
    assert not faces.images[:, :, :56].any()
    assert faces.paths == tuple(folder / f"{i:06d}_0.png" for i in range(30))
    assert FaceSet.load(folder, face_size=128).images.shape[1] == 224


def test_load_merges_folders_and_keeps_an_even_spread(extraction):
    folders = [extraction("a", 40), extraction("b", 60)]
    faces = FaceSet.load(folders, limit=50)
    assert len(faces) == 50
    assert faces.available == 100
    taken = [path.parent.name for path in faces.paths]
    assert taken.count("a") == 20
    gaps = np.diff([int(p.name[:6]) + 40 * (p.parent.name == "b") for p in faces.paths])
    assert set(gaps.tolist()) == {2}


def test_load_skips_and_lists_unreadable_pictures(extraction):
    folder = extraction("a", 30)
    (folder / "000003_0.png").write_bytes(b"not a picture")
    (folder / "000004_0.png").write_bytes(b"")
    (folder / "000005_0.png").unlink()
    (folder / "000005_0.png").mkdir()
    whole = (folder / "000006_0.png").read_bytes()
    (folder / "000006_0.png").write_bytes(whole[:20])
    cv2.imwrite(str(folder / "000007_0.png"), np.zeros((256, 200, 3), np.uint8))
    faces = FaceSet.load(folder)
    assert [path.name for path, _ in faces.skipped] == [f"{i:06d}_0.png" for i in range(3, 8)]
    assert all(reason for _, reason in faces.skipped)
    assert "200x256" in faces.skipped[4][1]
    assert faces.images[:, 50, 90, 2].tolist() == [0, 1, 2, *range(8, 30)]


def test_deleted_crops_are_left_out_before_the_spread(extraction):
    folder = extraction("a", 80)
    for i in range(40):
        (folder / f"{i:06d}_0.png").unlink()
    faces = FaceSet.load(folder, limit=40)
    assert len(faces) == faces.available == faces.deleted == 40
    assert faces.skipped == ()


def test_load_refuses_too_few_faces(extraction):
    with pytest.raises(UserError, match=r"found 24 usable faces.*at least 25.*longer video"):
        FaceSet.load(extraction("a", 24))
    with pytest.raises(UserError, match="found 0 usable faces"):
        FaceSet.load(extraction("empty", 0))
    folder = extraction("b", 26)
    (folder / "000000_0.png").unlink()
    assert len(FaceSet.load(folder)) == 25
    (folder / "000001_0.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"found 24 usable faces \(1 could not be read"):
        FaceSet.load(folder)


def test_load_refuses_different_crop_definitions(extraction):
    with pytest.raises(UserError, match="with one setting"):
        FaceSet.load([extraction("a", 30), extraction("b", 30, margin=1.5)])


def test_load_refuses_no_folder():
    with pytest.raises(UserError, match="no folder"):
        FaceSet.load([])


def test_load_does_not_depend_on_the_stored_size(tmp_path, extraction):
    # A picture whose colour is linear in x reads the same from 256 and from 512 pixels, but for
    # the borders and rounding: the two are sampled at the same pixel centres.
    folders = extraction("small", 25), extraction("large", 25)
    for folder, side in zip(folders, (256, 512), strict=True):
        x = (np.arange(side) + 0.5) / side
        picture = np.repeat(np.tile(x * 255, (side, 1))[..., None], 3, 2)
        cv2.imwrite(str(folder / "000000_0.png"), np.rint(picture))
    small, large = (FaceSet.load(folder).images[0].astype(int) for folder in folders)
    assert abs(small - large).max() <= 1


def test_load_averages_the_pixels_it_merges(extraction):
    folder = extraction("a", 25)
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 200
    cv2.imwrite(str(folder / "000000_0.png"), stripes)
    loaded = FaceSet.load(folder).images[0]
    assert abs(loaded.mean() - 100) < 1
    assert loaded.min() > 50  # 256 / 112 = 2.29 stored pixels in each
    assert loaded.max() < 150


def test_even_spread():
    assert even_spread(5, 9).tolist() == [0, 1, 2, 3, 4]
    assert even_spread(10, 5).tolist() == [1, 3, 5, 7, 9]
    for count, limit in ((4801, 4000), (1000, 999), (7, 3)):
        spread = even_spread(count, limit)
        assert len(np.unique(spread)) == limit
        assert set(np.diff(spread).tolist()) <= {count // limit, count // limit + 1}


def test_statistics_are_those_of_the_pooled_pixels():
    images = np.random.default_rng(3).integers(0, 256, (6, 90, 90, 3), np.uint8)
    faces = FaceSet(images, 1.5)
    inside = np.zeros((90, 90), bool)
    for y in range(90):
        for x in range(90):  # the face square is 60 pixels wide about (44.5, 44.5)
            along = (x - 44.5) / 60 / 0.23, ((y - 44.5) / 60 - 0.03) / 0.29
            inside[y, x] = np.hypot(*along) <= 1
    pixels = images[:, inside].reshape(-1, 3) / 255
    np.testing.assert_allclose(faces.mean, pixels.mean(0), rtol=1e-9)
    np.testing.assert_allclose(faces.std, pixels.std(0), rtol=1e-9)
    square = images[:, 15:75, 15:75].reshape(-1, 3) / 255
    np.testing.assert_allclose(faces.square_mean, square.mean(0), rtol=1e-9)


def test_face_set_refuses_other_arrays():
    with pytest.raises(ValueError, match="uint8"):
        FaceSet(np.zeros((3, 8, 8, 3), np.float32), MARGIN)
    with pytest.raises(ValueError, match="uint8"):
        FaceSet(np.zeros((3, 8, 9, 3), np.uint8), MARGIN)
    with pytest.raises(ValueError, match="margin"):
        FaceSet(np.zeros((3, 8, 8, 3), np.uint8), 0.9)


# ---------------------------------------------------------------- ColourMatch


def test_match_gives_the_other_sets_mean_and_spread():
    a, b = face_set(30, 1), face_set(30, 2)
    a = FaceSet((a.images * 0.5 + 60).astype(np.uint8), MARGIN)
    b = FaceSet((b.images * [0.4, 0.5, 0.6] + [80, 70, 40]).astype(np.uint8), MARGIN)
    match = ColourMatch.fit(a, b)
    matched = match.apply(a.images / 255)
    matched = FaceSet(np.rint(matched * 255).astype(np.uint8), MARGIN)
    np.testing.assert_allclose(matched.mean, b.mean, atol=2e-3)
    np.testing.assert_allclose(matched.std, b.std, rtol=0.02)
    assert matched.images.min() > 0  # else clipping would have had a part in it
    assert matched.images.max() < 255


def test_match_inverts_and_survives_json():
    match = ColourMatch([0.7, 1.0, 1.3], [0.1, 0.0, -0.1])
    image = np.random.default_rng(0).uniform(0.2, 0.8, (4, 5, 3)).astype(np.float32)
    np.testing.assert_allclose(match.invert(match.apply(image)), image, atol=1e-6)
    again = ColourMatch.from_dict(match.to_dict())
    assert (again.gain == match.gain).all()
    assert (again.offset == match.offset).all()
    assert (ColourMatch.identity().apply(image) == image).all()


def test_match_clips_and_bounds_its_gain():
    match = ColourMatch([2, 2, 2], [-0.5, 0, 0.5])
    assert match.apply(np.array([[0.0, 1.0, 1.0]])).tolist() == [[0, 1, 1]]
    assert match.apply(np.zeros((1, 3))).dtype == np.float32
    flat = FaceSet(np.full((25, 8, 8, 3), 90, np.uint8), MARGIN)
    match = ColourMatch.fit(flat, face_set())
    assert match.gain.tolist() == [2, 2, 2]
    with pytest.raises(ValueError, match="positive"):
        ColourMatch([1, 0, 1], [0, 0, 0])
    with pytest.raises(ValueError, match="3 finite"):
        ColourMatch([1, np.nan, 1], [0, 0, 0])


# ---------------------------------------------------------------- Batches


def digest(batch):
    return hashlib.sha256(b"".join(array.tobytes() for array in batch)).hexdigest()


def test_batch_shapes_and_range():
    batch = batches().at(0)
    for array in batch:
        assert array.shape == (4, 32, 32, 3)
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        assert array.min() >= 0
        assert array.max() <= 1
        assert array.max() > 0.5


def test_at_does_not_depend_on_what_was_asked_before():
    fresh = digest(batches().at(7))
    used = batches()
    for step in (0, 7, 100, 3, 8):
        used.at(step)
    assert digest(used.at(7)) == fresh
    assert digest(used.at(8)) != fresh
    assert digest(batches(seed=6).at(7)) != fresh


def test_at_is_the_same_in_another_process():
    here = Path(__file__)
    code = f"import sys; sys.path.insert(0, {str(here.parent)!r}); import {here.stem} as t; "
    code += "print(t.digest(t.batches().at(7)))"
    root = here.parents[2]
    other = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == digest(batches().at(7))


def test_faces_read_where_they_lie_are_those_that_were_copied():
    """Lasting pictures are read in place, mapped ones are taken first, which the draw may do long before."""
    lasting, copied = [face_set(30, 1), face_set(40, 2)], [face_set(30, 1), face_set(40, 2)]
    for faces in copied:
        faces.mapped = True
    assert [faces.lasting for faces in (*lasting, *copied)] == [True, True, False, False]
    one, other = Batches(*lasting, 5, 4, 32), Batches(*copied, 5, 4, 32)
    drawn = other.drawn(7)
    for faces in copied:
        faces.images[:] = 0
    assert digest(other.made(drawn)) == digest(one.at(7))


def test_steps_sides_and_items_draw_differently():
    one = FaceSet(smooth_faces(1), MARGIN)
    made = Batches(one, one, 0, 3, 32)
    pictures = np.concatenate([*made.at(0), *made.at(1)])
    for i in range(len(pictures)):
        for j in range(i):
            assert abs(pictures[i] - pictures[j]).max() > 0.02, (i, j)


def test_an_items_warp_does_not_depend_on_the_batch_size():
    one = FaceSet(smooth_faces(1), MARGIN)
    small, large = Batches(one, one, 3, 2, 32).at(5), Batches(one, one, 3, 6, 32).at(5)
    for few, many in zip(small, large, strict=True):
        assert (few == many[:2]).all()


@pytest.mark.parametrize("step", [0, 199, 599, 1000, 12345])
def test_faces_lie_still_from_a_step_on(step):
    """Without noise and mirror a target is then its face's square; before, it is moved as far as is left of it."""
    moves = Augmentation(noise=0, mirror=0, still_from=1000)
    faces, made = face_set(30, 1), batches(augmentation=moves)
    target = made.at(step).target_a
    off = abs(target - faces.squares(made.indices(step, 0), 32)).mean()
    if step >= 1000:
        assert (
            off < 1e-4
        )  # the two round weights of pixels differently, and here and there a result
        return
    left = {0: 1, 199: 1, 599: 401 / 800}[step]
    less = Augmentation(10 * left, zoom=0.05 * left, shift=0.05 * left, noise=0, mirror=0)
    np.testing.assert_array_equal(target, batches(augmentation=less).at(step).target_a)
    assert off > 0.01 * left


@pytest.mark.parametrize("batch_size", [4, 7, 30, 77])
def test_every_face_is_seen_once_per_epoch(batch_size):
    made = batches(batch_size=batch_size)
    seen = np.concatenate([made.indices(step, 0) for step in range(200 // batch_size + 1)])
    epochs = seen[: len(seen) // 30 * 30].reshape(-1, 30)
    assert (np.sort(epochs, axis=1) == np.arange(30)).all()
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == len(epochs)
    other = np.concatenate([made.indices(step, 1) for step in range(200 // batch_size + 1)])
    assert (np.sort(other[:40]) == np.arange(40)).all()
    assert len(made._order) == 4  # two orders a side, however long the run


def test_match_applies_to_input_and_target_of_its_side_only():
    match = ColourMatch([0.5, 0.6, 0.7], [0.1, 0.2, -0.1])
    plain, matched = batches().at(2), batches(match_a=match).at(2)
    np.testing.assert_allclose(matched.input_a, match.apply(plain.input_a), atol=1e-6)
    np.testing.assert_allclose(matched.target_a, match.apply(plain.target_a), atol=1e-6)
    assert (matched.input_b == plain.input_b).all()
    matched = batches(match_b=match).at(2)
    np.testing.assert_allclose(matched.target_b, match.apply(plain.target_b), atol=1e-6)
    assert (matched.input_a == plain.input_a).all()


@pytest.mark.parametrize("name", ["brightness", "contrast", "gain"])
def test_colour_jitter_touches_the_input_only_and_as_named(name):
    plain = batches().at(2)
    jittered = batches(augmentation=Augmentation(**{name: 0.1})).at(2)
    assert (jittered.target_a == plain.target_a).all()
    gains = []
    for before, after in zip(plain.input_a, jittered.input_a, strict=True):
        for channel in range(3):
            x, y = before[..., channel].ravel(), after[..., channel].ravel()
            inner = (y > 0.02) & (y < 0.98)
            slope, offset = np.polyfit(x[inner], y[inner], 1)
            np.testing.assert_allclose(y[inner], slope * x[inner] + offset, atol=1e-5)
            gains.append((slope, offset))
    slope, offset = np.array(gains).reshape(-1, 3, 2).transpose(2, 0, 1)
    if name == "brightness":
        np.testing.assert_allclose(slope, 1, atol=1e-4)
        assert 0.01 < abs(offset).max() <= 0.1001
    else:
        assert 0.01 < abs(slope - 1).max() <= 0.1001
        np.testing.assert_allclose(offset, (1 - slope) / 2 * (name == "contrast"), atol=1e-4)
    same_in_all_channels = np.ptp(slope, axis=1).max() < 1e-4
    assert same_in_all_channels == (name != "gain")
    assert np.ptp(slope + offset, axis=0).max() > 0.01  # the pictures of a batch differ


@pytest.mark.parametrize(
    ("arguments", "says"),
    [((-1, 4, 64), "seed"), ((2**64, 4, 64), "seed"), ((0, 0, 64), "batch"), ((0, 4, 0), "size")],
)
def test_batches_refuse_what_cannot_be(arguments, says):
    with pytest.raises(UserError, match=says):
        Batches(face_set(), face_set(), *arguments)


# ---------------------------------------------------------------- Prefetcher


def test_prefetcher_yields_what_at_yields():
    made = batches()
    with Prefetcher(batches().at, start=3, stop=9) as prefetcher:
        got = list(prefetcher)
    assert [step for step, _ in got] == list(range(3, 9))
    for step, batch in got:
        assert digest(batch) == digest(made.at(step))


def test_prefetcher_is_bounded_and_closes():
    asked = []
    threads = threading.active_count()
    prefetcher = Prefetcher(lambda step: asked.append(step) or step, depth=2)
    assert next(prefetcher) == (0, 0)
    deadline = threading.Event()
    deadline.wait(0.05)
    assert asked == [0, 1, 2]  # one taken, two waiting
    prefetcher.close()
    prefetcher.close()
    assert threading.active_count() == threads
    assert list(prefetcher) == []


def test_prefetcher_makes_several_once_few_are_left():
    asked, pause = [], threading.Event()
    with Prefetcher(lambda step: asked.append(step) or step, depth=5, refill=1) as prefetcher:

        def made_after(taken):
            for _ in range(taken):
                next(prefetcher)
            pause.wait(0.05)
            return len(asked)

        assert [made_after(n) for n in (0, 3, 1, 1, 2, 1)] == [5, 5, 9, 9, 9, 13]


def test_prefetcher_raises_the_makers_exception_at_its_step():
    def make(step):
        if step == 2:
            raise UserError("the disk is gone")
        return step

    threads = threading.active_count()
    with Prefetcher(make) as prefetcher:
        assert [next(prefetcher), next(prefetcher)] == [(0, 0), (1, 1)]
        with pytest.raises(UserError, match="the disk is gone"):
            next(prefetcher)
        with pytest.raises(StopIteration):
            next(prefetcher)
    assert threading.active_count() == threads


def test_prefetcher_refuses_no_depth():
    with pytest.raises(ValueError, match="depth"):
        Prefetcher(lambda step: step, depth=0)
    for refill in (-1, 3):
        with pytest.raises(ValueError, match="refill"):
            Prefetcher(lambda step: step, depth=3, refill=refill)
