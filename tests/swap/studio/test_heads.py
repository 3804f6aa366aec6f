"""Rendered heads: pure functions of their parameters that do what the parameters say."""

from dataclasses import replace

import numpy as np
import pytest

from swap.faces.detect import Detector
from swap.studio.heads import SUBJECTS, Params, landmarks, render
from swap.studio.walks import walk

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
    assert replace(steps[0], yaw=0.0).yaw == 0
