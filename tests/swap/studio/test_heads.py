"""Rendered heads: pure functions of their parameters that do what the parameters say."""

import numpy as np
import pytest

from swap.errors import UserError
from swap.faces.align import CropDefinition, crop_matrix, warp_crop
from swap.faces.detect import Detector
from swap.studio.hairline import growth
from swap.studio.heads import (
    FRAME,
    SUBJECTS,
    Params,
    draw,
    landmarks,
    picture,
    pictures,
    render,
    walk,
)
from swap.studio.maps import from_map

SIZE = 96


def grey(subject, **params):
    return render(subject, Params(**params), SIZE).mean(axis=2)


def changed(a, b):
    """Rows and columns of the pixels that differ visibly."""
    return np.nonzero(np.abs(a - b) > 8)


@pytest.mark.parametrize("subject", sorted(SUBJECTS))
def test_a_detector_finds_the_face_where_it_is(subject):
    params = Params(yaw=8, smile=0.3)
    picture = render(subject, params, 160)
    truth = landmarks(subject, params, 160)
    found = Detector().detect(picture)
    assert len(found) == 1
    eyes = np.linalg.norm(truth[1] - truth[0])
    assert np.linalg.norm(found[0].landmarks - truth, axis=1).max() < 0.25 * eyes


def test_the_same_call_gives_the_same_bytes_and_subjects_differ():
    params = Params(yaw=-12, jaw=0.4, blink_left=0.5)
    first = render("a", params, SIZE)
    assert first.dtype == np.uint8
    assert first.shape == (SIZE, SIZE, 3)
    np.testing.assert_array_equal(first, render("a", params, SIZE))
    assert np.abs(first.astype(float) - render("b", params, SIZE)).mean() > 10


def test_landmarks_follow_yaw_pitch_and_roll():
    straight = landmarks("a", Params(), SIZE)
    assert (landmarks("a", Params(yaw=25), SIZE)[2] - straight[2])[0] > 4
    assert (landmarks("a", Params(pitch=12), SIZE)[2] - straight[2])[1] > 2
    rolled = landmarks("a", Params(roll=20), SIZE)
    slope = np.degrees(np.arctan2(*(rolled[1] - rolled[0])[::-1]))
    assert slope == pytest.approx(20, abs=3)


def test_a_blink_changes_the_eyes_and_the_jaw_the_mouth():
    marks = landmarks("b", Params(), SIZE)
    rows, columns = changed(grey("b"), grey("b", blink_left=1.0))
    assert np.abs(rows - marks[1, 1]).max() < 12
    assert columns.min() > SIZE / 2 - 2
    rows, _ = changed(grey("b"), grey("b", jaw=0.6))
    assert rows.min() > marks[0, 1]
    mouth = grey("b", jaw=0.8)[
        int(marks[3, 1]) : int(marks[3, 1]) + 6, SIZE // 2 - 2 : SIZE // 2 + 2
    ]
    assert mouth.min() < 0.5 * grey("b")[int(marks[2, 1])].mean()


def mouth(subject, rows, columns, **params):
    """Pixels around the middle between the corners of the open mouth, and how much is face."""
    params = Params(jaw=1.0, **params)
    x, y = landmarks(subject, params, 256)[3:].mean(axis=0).astype(int)
    window = slice(y + rows[0], y + rows[1]), slice(x + columns[0], x + columns[1])
    image, face = picture(subject, params, 256)
    return image[window].reshape(-1, 3).astype(float), face[window]


@pytest.mark.parametrize("subject", sorted(SUBJECTS))
def test_an_open_mouth_is_a_dark_hole_in_the_face(subject):
    inside, face = mouth(subject, (-5, 2), (-6, 7))
    cheek, _ = mouth(subject, (-5, 2), (-40, -30))
    assert inside.mean() < 0.25 * cheek.mean()
    assert (face == 255).all()


def test_teeth_are_ivory_between_the_lips():
    params = Params(smile=0.8, jaw=0.4, light_x=0)
    x, y = landmarks("b", params, 256)[3:].mean(axis=0).astype(int)
    window = render("b", params, 256)[y - 8 : y + 9, x - 8 : x + 9].reshape(-1, 3).astype(float)
    red, green, blue = window[window.min(axis=1) > 110].mean(axis=0)
    assert red > green > blue > 0.75 * red


@pytest.mark.parametrize("subject", ["a", "c"])
def test_a_dark_line_of_lashes_lies_where_closed_lids_meet(subject):
    params = Params(blink_left=1.0, blink_right=1.0, light_x=0)
    image = render(subject, params, 256).mean(axis=2)
    for x, y in landmarks(subject, params, 256)[:2].astype(int):
        column = image[y - 4 : y + 14, x - 3 : x + 4].mean(axis=1)
        assert column.min() < 0.5 * np.median(column)
        assert column[: column.argmin()].max() > 0.9 * np.median(column)


@pytest.mark.parametrize("subject", sorted(SUBJECTS))
def test_hair_grows_behind_a_soft_line(subject):
    cover = growth(512, SUBJECTS[subject], SUBJECTS[subject].hair.long)
    around, up = (np.degrees(angle).ravel() for angle in from_map(512))
    crown, forehead = np.abs(up - 80).argmin(), np.abs(up - 24).argmin()
    face, temple = np.abs(around).argmin(), np.abs(around - 100).argmin()
    assert cover[forehead, face] < 0.01
    assert cover[np.abs(up - 30).argmin(), temple] > 0.8
    assert (cover[crown, face] > 0.99) == (SUBJECTS[subject].hair.bald == 0)
    side = cover[forehead, face:temple]
    between = around[face:temple][(side > 0.1) & (side < 0.9)]
    assert 4 < np.ptp(between) < 20


def test_light_that_reaches_into_the_mouth_finds_it_red():
    palate, _ = mouth("a", (-6, -4), (-8, 9), pitch=-12, light_x=0, light_y=5)
    red, _, blue = palate.mean(axis=0)
    assert red > 2 * blue


def test_a_view_shows_what_a_warped_frame_shows():
    params = Params(yaw=14, roll=9, jaw=0.3, x=0.05)
    points = landmarks("a", params)
    matrix = crop_matrix(points, 96, CropDefinition())
    image, face = picture("a", params, 96, view=matrix)
    # A frame four times finer, so that warping it loses nothing.
    zoom = np.array([[4, 0, 1.5], [0, 4, 1.5]])
    fine, fine_face = picture("a", params, (4 * FRAME[0], 4 * FRAME[1]), view=zoom, samples=1)
    back = matrix.copy()
    back[:, :2] /= 4
    back[:, 2] -= back[:, :2] @ (1.5, 1.5)
    warped = warp_crop(fine, back, 96)
    inner = slice(4, -4), slice(4, -4)
    assert np.abs(image[inner].astype(float) - warped[inner]).mean() < 4
    soft = warp_crop(np.repeat(fine_face[..., None], 3, axis=2), back, 96)[..., 0]
    assert np.abs(face[inner].astype(float) - soft[inner]).mean() < 3
    moved = landmarks("a", params, 96, view=matrix)
    np.testing.assert_allclose(moved, points @ matrix[:, :2].T + matrix[:, 2], atol=2e-3)


def test_a_view_that_is_none_of_the_frame_changes_nothing_and_others_are_refused():
    same = np.array([[1.0, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(render("d", Params()), render("d", Params(), FRAME, view=same))
    for bad in (same[:, :2], same * [[1], [-1]], same * 0, same * np.nan, same * [[1], [2]]):
        with pytest.raises(UserError):
            render("d", Params(), 32, view=bad)
    with pytest.raises(KeyError):
        render("nobody", Params(), 32)


@pytest.mark.parametrize("subject", sorted(SUBJECTS))
@pytest.mark.parametrize("yaw", [-30, 0, 30])
def test_the_face_is_in_the_mask_and_hair_neck_and_wall_are_not(subject, yaw):
    params = Params(yaw=yaw)
    image, face = picture(subject, params)
    assert face.dtype == np.uint8
    assert face.shape == image.shape[:2]
    marks = landmarks(subject, params)
    for x, y in marks[[0, 1, 2]]:  # the corners of the far side lie on the edge
        assert face[round(y), round(x)] == 255
    eyes, mouth = marks[:2].mean(axis=0), marks[3:].mean(axis=0)
    down = mouth - eyes
    for share, least, most in ((1.0, 255, 255), (-0.45, 255, 255), (2.1, 0, 0), (-2.2, 0, 0)):
        x, y = np.rint(eyes + share * down).astype(int)
        assert least <= face[max(y, 0), x] <= most, share
    assert not face[:, :60].any()
    assert not face[:, -60:].any()
    assert 0.08 < (face > 127).mean() < 0.2


def test_many_pictures_in_threads_are_the_single_ones_in_order():
    params = walk(7, 3)
    views = [np.array([[0.3, 0, -5.0 - i], [0, 0.3, 0]]) for i in range(7)]
    many = list(pictures("c", params, 64, views=views, threads=3))
    assert len(many) == 7
    for p, view, (image, face) in zip(params, views, many, strict=True):
        one, mask = picture("c", p, 64, view=view)
        np.testing.assert_array_equal(image, one)
        np.testing.assert_array_equal(face, mask)
    with pytest.raises(ValueError, match="views"):
        next(pictures("c", params, 64, views=views[:2]))


def test_draws_are_wide_independent_and_multiples_of_a_fraction():
    draws = [draw(9, i) for i in range(400)]
    assert draws[7] == draw(9, 7) != draw(10, 7)
    columns = {name: np.array([getattr(p, name) for p in draws]) for name in Params.__annotations__}
    for name, column in columns.items():
        assert (column * 4096 == np.rint(column * 4096)).all(), name
        assert column.std() > 0, name
    assert 30 < np.abs(columns["yaw"]).max() <= 35
    assert abs(np.corrcoef(columns["yaw"][1:], columns["yaw"][:-1])[0, 1]) < 0.15
    assert abs(np.corrcoef(columns["yaw"], columns["light_x"])[0, 1]) < 0.15
    free = [columns[n] for n in ("yaw", "pitch", "roll", "gaze_x", "light_x", "warmth", "x", "y")]
    one_and_next = np.corrcoef(np.array(free)[:, :-1], np.array(free)[:, 1:])
    assert np.abs(one_and_next - np.eye(16)).max() < 0.3
    assert columns["jaw"].max() == 1
    left, right = columns["blink_left"] > 0.5, columns["blink_right"] > 0.5
    assert (left & right).sum() > 10
    assert (left ^ right).sum() > 5
    assert (~left & ~right).sum() > 200


def test_the_gaze_moves_the_dark_of_the_eye():
    def darkest(gaze):
        picture = render("d", Params(gaze_x=gaze), 256).mean(axis=2)
        x, y = landmarks("d", Params(), 256)[1].round().astype(int)
        window = 255 - picture[y - 4 : y + 5, x - 12 : x + 13]
        window = np.maximum(window - np.percentile(window, 70), 0)
        return (window.sum(0) * np.arange(25)).sum() / window.sum()

    assert darkest(25) > darkest(0) + 1 > darkest(-25) + 2


def test_the_light_comes_from_where_it_stands():
    left, right = grey("c", light_x=-60), grey("c", light_x=60)
    half = SIZE // 2
    middle = slice(SIZE // 3, 2 * SIZE // 3)
    face = slice(half - 16, half), slice(half, half + 16)
    assert left[middle, face[0]].mean() > 1.15 * left[middle, face[1]].mean()
    assert right[middle, face[1]].mean() > 1.15 * right[middle, face[0]].mean()


def test_a_walk_is_smooth_bounded_and_a_function_of_its_seed():
    steps = walk(300, 7)
    assert steps == walk(300, 7)
    assert steps[:5] != walk(300, 8)[:5]
    yaw = np.array([p.yaw for p in steps])
    assert np.abs(yaw).max() <= 35
    assert np.abs(np.diff(yaw)).max() < 5
    blink = np.array([p.blink_left for p in steps])
    assert 3 <= (np.diff((blink > 0.8).astype(int)) == 1).sum() <= 20
    assert max(p.jaw for p in steps) > 0.4
    assert all(p.yaw * 4096 == round(p.yaw * 4096) for p in steps)
