"""The landmarks of rendered faces, whose truth is known, on people that the network was not trained on."""

import shutil

import cv2
import numpy as np
import pytest

from swap.errors import UserError
from swap.faces import landmarks
from swap.faces.align import TEMPLATE, umeyama
from swap.faces.detect import Detector
from swap.faces.landmarks import MIRRORED, refined
from swap.faces.models.build import BATCH, EYES, SIDE, _rendered, batch, view
from swap.studio import heads
from swap.studio.anyone import anyone
from swap.studio.family import FRAME
from swap.studio.subjects import SUBJECTS


def eye_distance(points):
    return np.linalg.norm(points[1] - points[0])


def rough(points, rng, angle=6.0, scale=0.07, shift=0.06):
    """What a detector might say: turned, scaled and shifted, each point by itself besides."""
    eyes, middle = eye_distance(points), points.mean(0)
    a, s = np.radians(rng.normal(0, angle)), np.exp(rng.normal(0, scale))
    turn = s * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    moved = (points - middle) @ turn.T + middle + eyes * rng.normal(0, shift, 2)
    return moved + eyes * rng.normal(0, 0.04, points.shape)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_within_4_percent_of_the_eye_distance_of_the_truth(subject):
    rng, errors, before = np.random.default_rng(7), [], []
    for p in heads.walk(600, 31)[::20]:
        truth = heads.landmarks(subject, p, FRAME)
        start = rough(truth, rng)
        found = refined(heads.render(subject, p, FRAME), start)
        errors.append(np.linalg.norm(found - truth, axis=1).mean() / eye_distance(truth))
        before.append(np.linalg.norm(start - truth, axis=1).mean() / eye_distance(truth))
    assert np.mean(errors) < 0.04
    assert np.mean(before) > 0.08


@pytest.fixture(scope="module")
def portrait():
    p = heads.draw(3, 5)
    return heads.render("c", p, (360, 360)), heads.landmarks("c", p, (360, 360))


@pytest.mark.parametrize("degrees", [-60, -25, 25, 60])
def test_a_turned_picture_turns_the_landmarks(portrait, degrees):
    picture, truth = portrait
    turn = cv2.getRotationMatrix2D((179.5, 179.5), degrees, 1.0)
    turned = cv2.warpAffine(picture, turn, (360, 360))
    # From landmarks that show 20 degrees less than there are.
    less = cv2.getRotationMatrix2D((179.5, 179.5), degrees - np.sign(degrees) * 20, 1.0)
    middle = truth.mean(0)
    start = (truth - middle) @ less[:, :2].T + turn[:, :2] @ middle + turn[:, 2]
    found = refined(turned, start)
    expected = refined(picture, truth) @ turn[:, :2].T + turn[:, 2]
    assert np.linalg.norm(found - expected, axis=1).max() < 0.03 * eye_distance(truth)


def test_a_mirrored_picture_mirrors_the_landmarks(portrait):
    picture, truth = portrait
    start = (truth[MIRRORED] * (-1, 1)) + (359, 0)
    mirrored = refined(np.ascontiguousarray(picture[:, ::-1]), start)
    expected = refined(picture, truth)[MIRRORED] * (-1, 1) + (359, 0)
    assert np.linalg.norm(mirrored - expected, axis=1).max() < 0.03 * eye_distance(truth)


def test_large_and_small_pictures(portrait):
    picture, truth = portrait
    for factor in (0.25, 3.0):
        other = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        found = (refined(other, (truth + 0.5) * factor - 0.5) + 0.5) / factor - 0.5
        error = np.linalg.norm(found - truth, axis=1).mean() / eye_distance(truth)
        assert error < 0.05


def test_a_point_is_no_face(portrait):
    with pytest.raises(ValueError, match="coincide"):
        refined(portrait[0], np.ones((5, 2)))


def test_a_missing_or_damaged_model_is_one_sentence(tmp_path, monkeypatch, portrait):
    path = tmp_path / "landmarks.safetensors"
    monkeypatch.setattr(landmarks, "MODEL", path)
    landmarks._network.cache_clear()
    landmarks.describe.cache_clear()
    try:
        with pytest.raises(UserError, match="install latentface again"):
            refined(*portrait)
        with pytest.raises(UserError, match="install latentface again"):
            Detector()  # before any frame
        shutil.copy(landmarks.Path(landmarks.__file__).parent / "models" / path.name, path)
        damaged = bytearray(path.read_bytes())
        damaged[-100] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="install latentface again"):
            refined(*portrait)
    finally:
        landmarks._network.cache_clear()
        landmarks.describe.cache_clear()


def test_what_it_is_trained_with_is_where_the_landmarks_are():
    """A white dot at a landmark of an empty picture must be found in the view, where the answer says."""
    rng, seen = np.random.default_rng(0), 0
    points = np.array([[46, 49], [74, 49], [60, 66], [49, 81], [71, 81]], float)
    for number in range(60):
        which = number % 5
        picture = np.zeros((SIDE, SIDE, 3), np.uint8)
        x, y = points[which].astype(int)
        picture[y - 2 : y + 3, x - 2 : x + 3] = 255
        cut, answer = view(picture, points, rng)
        at = np.array(landmarks.VIEW_EYES * (answer + TEMPLATE - landmarks.MIDDLE) + 31.5)
        grey = cut.astype(float).mean(2)
        weight = np.where(grey > 0.7 * grey.max(), grey, 0)
        yx = np.array([(weight.sum(1 - a) * np.arange(64)).sum() / weight.sum() for a in (0, 1)])
        assert at[0, 0] < at[1, 0]  # the right eye is at the left, mirrored or not
        assert at[3, 0] < at[4, 0]
        # Mirrored, a right eye is a left one: the dot is at one of the two.
        names = {which, MIRRORED[which]}
        seen += min(np.hypot(*(at[n] - yx[::-1])) for n in names) < 1.0
    # What is drawn over a view and noise hide some; a wrong transform hits by chance only.
    assert seen > 42


def test_a_batch_is_a_function_of_its_number(tmp_path):
    rng = np.random.default_rng(1)
    np.save(tmp_path / "pictures.npy", rng.integers(0, 256, (3, SIDE, SIDE, 3), np.uint8))
    np.save(tmp_path / "points.npy", np.float32(SIDE / 2 + EYES * TEMPLATE)[None].repeat(3, 0))
    one, same, other = batch(tmp_path, 4), batch(tmp_path, 4), batch(tmp_path, 5)
    assert one[0].shape == (BATCH, 64, 64, 3)
    assert one[1].shape == (BATCH, 10)
    np.testing.assert_array_equal(one[0], same[0])
    np.testing.assert_array_equal(one[1], same[1])
    assert (one[0] != other[0]).mean() > 0.5


def test_pictures_are_taken_again_only_where_they_are_whole(tmp_path):
    shape = (3, SIDE, SIDE, 3)
    assert not _rendered(tmp_path, shape)
    np.save(tmp_path / "pictures.npy", np.zeros(shape, np.uint8))
    assert not _rendered(tmp_path, shape)
    np.save(tmp_path / "points.npy", np.zeros((3, 5, 2), np.float32))
    assert _rendered(tmp_path, shape)
    assert not _rendered(tmp_path, (4, SIDE, SIDE, 3))
    for damaged in (b"", (tmp_path / "points.npy").read_bytes()[:90]):
        (tmp_path / "points.npy").write_bytes(damaged)
        assert not _rendered(tmp_path, shape)


def test_anyone_is_a_function_of_the_number_and_nobody_of_the_studio():
    people = [anyone(n) for n in range(200)]
    assert people[7] == anyone(7)
    assert len({p.skin for p in people}) == 200
    assert not {p.skin for p in people} & {p.skin for p in SUBJECTS.values()}
    from swap.studio.mesh import load_mesh

    mesh = load_mesh()
    for p in people[:40]:
        assert np.isfinite(mesh.shaped(p.shape)).all()  # every shape there is
        for colour in (p.skin, p.lips, p.iris, p.cloth, p.backdrop, p.hair.colour, p.brows.colour):
            assert 0 < min(colour) <= max(colour) < 1


def test_upright_views_have_the_template_in_the_middle():
    rng = np.random.default_rng(2)
    turn = np.array([[0.8, -0.6], [0.6, 0.8]]) * 30
    points = TEMPLATE @ turn.T + rng.uniform(50, 90, 2)
    matrix = landmarks.view_matrix(points, (0.1, -0.2))
    placed = points @ matrix[:, :2].T + matrix[:, 2]
    expected = 20.0 * (TEMPLATE - landmarks.MIDDLE - (0.1, -0.2)) + 31.5
    np.testing.assert_allclose(placed, expected, atol=1e-9)
    assert umeyama(points, TEMPLATE).shape == (2, 3)
