"""What the families have in common: aligned faces, folders, clips, and sets that are rendered while training."""

import json

import numpy as np
import pytest

from swap.data import FaceSet
from swap.data.batches import Batches
from swap.errors import UserError
from swap.evaluate.rendered import Rendered
from swap.faces.align import CropDefinition, warp_crop
from swap.faces.records import read_alignments
from swap.provenance import SourceType, read_mark
from swap.studio import family, live, write
from swap.studio.family import FRAME, PAIRS, draws, face, faces, get_family, true_alignment
from swap.video import probe
from tests.swap.helpers import hashes

CROP = CropDefinition()


@pytest.mark.parametrize("name", PAIRS)
def test_a_face_is_what_the_alignment_cuts_from_the_frame(name):
    """Rendered straight into the crop against the frame, rendered large and cut out."""
    subject = PAIRS[name][1]
    params = draws(name, 3, seed=5)[2]
    _, matrix = true_alignment(name, subject, params, 96, CROP)
    large = np.diag([3.0, 3.0]) @ np.eye(2, 3)
    large[:, 2] = 1.0  # pixel centres: a point p of the frame lies at 3 p + 1
    frame, _ = get_family(name).picture(subject, params, (3 * FRAME[0], 3 * FRAME[1]), view=large)
    to_crop = matrix @ np.vstack([np.linalg.inv(np.vstack([large, [0, 0, 1]]))])
    cut = warp_crop(frame, to_crop, 96).astype(float)
    apart = np.abs(cut - face(name, subject, params, 96).rgb.astype(float))
    assert np.median(apart) <= 2
    assert apart.mean() < 6


def test_many_faces_are_the_single_ones_in_order():
    params = draws("heads", 5, seed=1)
    images, masks = faces("heads", "d", params, 48)
    for image, mask, p in zip(images, masks, params, strict=True):
        one = face("heads", "d", p, 48)
        np.testing.assert_array_equal(image, one.rgb)
        np.testing.assert_array_equal(mask, one.mask)


def test_an_unknown_family_or_subject_is_refused_by_name():
    with pytest.raises(UserError, match="heads, fruit, flags"):
        get_family("cars")
    with pytest.raises(UserError, match="apple, kiwi"):
        family.check_subject("fruit", "pear")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("studio") / "faces"
    write.write_faces("heads", "a", 30, 4, 48, out)
    return out


def test_written_faces_can_be_trained_on_and_say_what_they_show(written):
    header, alignments = read_alignments(written)
    assert header["faces"] == len(alignments) == 30
    faces_read = FaceSet.load(written, face_size=27)
    params = draws("heads", 30, 4)
    np.testing.assert_array_equal(
        FaceSet.load(written, face_size=27).images.shape[0], len(faces_read)
    )
    lines = [json.loads(x) for x in (written / write.PARAMETERS).read_text().splitlines()]
    assert (lines[0]["family"], lines[0]["subject"], lines[0]["pictures"]) == ("heads", "a", 30)
    assert lines[8]["yaw"] == params[7].yaw
    points = get_family("heads").landmarks("a", params[7], FRAME)
    np.testing.assert_allclose(alignments[7].landmarks, points, atol=1e-3)
    mark = read_mark(written / "000007_0.png")
    assert mark.source_type == SourceType.RENDERED


def test_writing_goes_on_where_it_stopped_and_refuses_other_faces(written, tmp_path):
    whole = hashes(written)
    assert write.write_faces("heads", "a", 30, 4, 48, written) == 30
    out = tmp_path / "faces"

    class Stop(Exception):
        pass

    def stop(done, total):
        if done == 11:
            raise Stop

    with pytest.raises(Stop):
        write.write_faces("heads", "a", 30, 4, 48, out, stop)
    assert 11 <= write.write_faces("heads", "a", 30, 4, 48, out) < 30
    assert hashes(out) == whole
    with pytest.raises(UserError, match="holds other faces"):
        write.write_faces("heads", "b", 30, 4, 48, out)
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        write.write_faces("heads", "b", 30, 4, 48, tmp_path)
    assert hashes(out) == whole


def test_a_clip_is_a_video_with_its_parameters_beside_it(tmp_path):
    path = tmp_path / "kiwi.mp4"
    write.write_clip("fruit", "kiwi", 6, 3, path, height=96)
    info = probe(path)
    assert (info.width, info.height, info.frames) == (128, 96, 6)
    assert read_mark(path).source_type == SourceType.RENDERED
    lines = (tmp_path / "kiwi.jsonl").read_text().splitlines()
    assert len(lines) == 7


def test_a_live_set_shows_new_pictures_as_a_function_of_the_step():
    count = 16
    made = [live.LiveFaces("flags", "usa", count, 9, 32) for _ in range(2)]
    batches = [Batches(m, m, 0, 8, 16) for m in made]
    late = count * (live.KEEP + 1) // 8  # every picture has been replaced by now
    for step in (0, 1, late):
        batches[0].at(step)
    np.testing.assert_array_equal(batches[0].at(late).target_a, batches[1].at(late).target_a)
    numbers = {made[0].number(i, e) for i in range(count) for e in range(3 * live.KEEP)}
    assert numbers >= set(range(3 * count))
    first = live.LiveFaces("flags", "usa", count, 9, 32).images
    changed = (made[0].images != first).any(axis=(1, 2, 3))
    assert changed.sum() >= 8
    index, epoch = 5, live.KEEP + 2
    drawn = get_family("flags").draw(9, made[1].number(index, epoch))
    shown = made[1].take(np.array([index]), np.array([epoch]))[0]
    np.testing.assert_array_equal(shown, face("flags", "usa", drawn, 32).rgb)


def test_a_live_set_knows_what_its_pictures_show_now():
    """After training on new pictures, baselines and regressors are given those, each with its own parameters."""
    rendered = Rendered("fruit", "apple", "kiwi", 25, 3)
    sets = rendered.training(32, lambda *_: None, live=True)
    Batches(sets["a"], sets["b"], 0, 25, 16).at(5)  # some of them replaced, others not yet
    training = rendered.trained_on(sets)
    for number, (side, subject) in enumerate((("a", "apple"), ("b", "kiwi"))):
        begun = draws("fruit", 25, 4 * 3 + number)
        shown = [face("fruit", subject, p, 32).rgb for p in training.params[side]]
        np.testing.assert_array_equal(sets[side].images, shown)
        assert 0 < sum(p not in begun for p in training.params[side]) < 25
