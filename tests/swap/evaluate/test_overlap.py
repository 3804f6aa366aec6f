import io
import json

import cv2
import numpy as np
import pytest
from rich.console import Console

from swap.data import FaceSet
from swap.evaluate import overlap, overlap_report
from swap.evaluate.overlap import kinship, overlap_coefficient, prepared
from swap.evaluate.statistics import NOSE, face_statistics, head_turn
from swap.faces.align import TEMPLATE
from tests.swap.helpers import MARGIN, smooth_faces

SIDE, COUNT = 96, 160


def face(skin, wide, yaw, jaw, shut, light):
    """(SIDE, SIDE, 3) uint8: a drawn face, its eyes and mouth where alignment would put them."""
    picture = np.full((SIDE, SIDE, 3), 120, np.uint8)
    unit = SIDE / (3.2 * MARGIN)  # pixels an eye distance

    def at(x, y):
        return round(SIDE / 2 + x * unit), round(SIDE / 2 + (y - 0.55) * unit)

    cv2.ellipse(
        picture, at(-yaw / 90, 0.55), (round(wide * unit), round(1.45 * unit)), 0, 0, 360, skin, -1
    )
    for x in (-0.5, 0.5):
        cv2.ellipse(
            picture, at(x, 0), (6, max(1, round(3 * (1 - shut)))), 0, 0, 360, (245,) * 3, -1
        )
        cv2.circle(picture, at(x - yaw / 200, 0), max(1, round(3 * (1 - shut))), (20, 20, 20), -1)
        cv2.line(picture, at(x - 0.25, -0.3), at(x + 0.25, -0.3), (40, 30, 30), 2)
    cv2.line(picture, at(-yaw / 60, 0.1), at(-yaw / 50, 0.55), tuple(v // 2 for v in skin), 2)
    cv2.ellipse(
        picture, at(-yaw / 150, 1.15), (10, 1 + round(9 * jaw)), 0, 0, 360, (60, 10, 20), -1
    )
    ramp = 1 + light * np.linspace(-0.3, 0.3, SIDE)[None, :, None]
    return np.clip(cv2.GaussianBlur(picture, (0, 0), 0.8) * ramp, 0, 255).astype(np.uint8)


def people(skin, wide, seed, yaw=30.0, jaw=1.0, light=0.0, count=COUNT):
    """A face set, its landmarks, and how far each mouth is open."""
    rng = np.random.default_rng(seed)
    turns = rng.uniform(-yaw, yaw, count)
    jaws, shuts = jaw * rng.random(count) ** 2, (rng.random(count) < 0.15) * rng.random(count)
    sides = light + rng.uniform(-0.3, 0.3, count)
    drawn = [face(skin, wide, *v) for v in zip(turns, jaws, shuts, sides, strict=True)]
    points = np.repeat(TEMPLATE[None] * 50 + 100, count, 0)
    points[:, 2, 0] -= 50 * NOSE * np.sin(np.radians(turns))
    return FaceSet(np.stack(drawn), MARGIN), points, jaws


PALE, DARK = (224, 178, 150), (120, 80, 60)
A, POINTS_A, JAWS = people(PALE, 1.15, 1)
B, POINTS_B, _ = people(DARK, 1.0, 2)


def test_two_faces_that_do_the_same_overlap():
    found = overlap(A, B, POINTS_A, POINTS_B)
    assert found.shared > 0.2
    assert found.parts["kinship"] > 0.9
    assert min(found.parts["pose"], found.parts["expression"]) > 0.7
    assert found.total > 0.7
    assert not [advice for advice in found.advice if "film" in advice.lower()]


def test_a_set_overlaps_with_itself_wholly():
    found = overlap(A, A, POINTS_A, POINTS_A)
    assert found.total == pytest.approx(1)
    assert found.alike == pytest.approx(1)


def test_what_is_no_face_is_warned_of_and_nothing_else_is_said():
    other = FaceSet(smooth_faces(COUNT), MARGIN)
    upside_down = FaceSet(np.ascontiguousarray(B.images[:, ::-1]), MARGIN)
    for stranger in (other, upside_down):
        for pair in ((A, stranger), (stranger, A)):
            found = overlap(*pair)
            assert found.parts["kinship"] < 0.2
            assert found.total < 0.2
            assert len(found.advice) == 1
            assert "same kind of thing" in found.advice[0]


def test_a_head_that_never_turns_is_told_to():
    still, points, _ = people(DARK, 1.0, 3, yaw=5.0)
    found = overlap(A, still, POINTS_A, points)
    assert found.parts["pose"] < 0.6
    assert any("film B turning its head" in advice for advice in found.advice)
    share = found.statistics["yaw"]["a_outside_b"]
    turned = np.abs(head_turn(POINTS_A)[0])
    assert share == pytest.approx((turned > 13).mean(), abs=0.05)
    back = overlap(still, A, points, POINTS_A)
    assert any("film A turning its head" in advice for advice in back.advice)


def test_a_mouth_that_never_opens_is_told_to():
    silent, points, _ = people(DARK, 1.0, 4, jaw=0.1)
    found = overlap(A, silent, POINTS_A, points)
    assert found.parts["expression"] < 0.7
    assert any("film B talking" in advice for advice in found.advice)


def test_light_from_the_other_side_and_blur_are_told():
    dark, points, _ = people(DARK, 1.0, 5, light=2.5)
    found = overlap(A, dark, POINTS_A, points)
    assert any("B is lit more from the picture's right" in advice for advice in found.advice)
    soft = FaceSet(np.stack([cv2.GaussianBlur(f, (0, 0), 2.5) for f in B.images]), MARGIN)
    found = overlap(A, soft, POINTS_A, POINTS_B)
    assert found.parts["sharpness"] < 0.3
    assert any("B's pictures are less sharp" in advice for advice in found.advice)


def test_few_faces_are_told_and_no_landmarks_leave_pose_out():
    few, *_ = people(DARK, 1.0, 6, count=40)
    found = overlap(A, few)
    assert found.parts["pose"] is None
    assert "yaw" not in found.statistics
    assert any("B has 40 faces" in advice for advice in found.advice)
    json.dumps(found.to_json(), allow_nan=False)
    out = io.StringIO()
    Console(file=out, width=200).print(overlap_report(found))
    assert "B has 40 faces" in out.getvalue()


def test_turns_are_read_off_the_landmarks():
    points = np.repeat(TEMPLATE[None], 5, 0) * 37 + 80
    angles = np.array([-40, -10, 0, 10, 40])
    points[:, 2, 0] -= 37 * NOSE * np.sin(np.radians(angles))
    turn = np.radians(20)
    rolled = points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    for seen in (points, rolled):
        yaw, pitch = head_turn(seen)
        # The nose is one of the landmarks that alignment fits, so large angles come out a little small.
        np.testing.assert_allclose(yaw, angles, rtol=0.2, atol=0.5)
        assert np.abs(pitch).max() < 3


def test_an_open_mouth_is_read_off_the_picture():
    mouth = face_statistics(A, np.arange(COUNT))["mouth"]
    assert np.corrcoef(mouth, JAWS)[0, 1] > 0.8


def test_the_overlap_coefficient_of_known_distributions():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0, 10, 20000), rng.uniform(5, 15, 20000)
    assert overlap_coefficient(a, a, 0.5) == pytest.approx(1)
    assert overlap_coefficient(a, b, 0.5) == pytest.approx(0.5, abs=0.03)
    assert overlap_coefficient(a, a + 30, 0.5) == 0
    # Nearer than a step counts as nearly the same, wherever the bins begin.
    constant = np.full(10, 3.3)
    assert overlap_coefficient(constant, constant + 0.05, 0.5) == pytest.approx(0.9)


def test_kinship_of_noise_is_0():
    rng = np.random.default_rng(0)
    noise = [FaceSet(rng.integers(0, 256, (80, 86, 86, 3), np.uint8), MARGIN) for _ in range(2)]
    shared, alike = kinship(*(prepared(n, np.arange(80)) for n in noise))
    assert shared == 0
    assert abs(alike) < 0.1


def test_wrong_numbers_of_landmarks_are_refused():
    with pytest.raises(ValueError, match="3 landmarks for the 160 faces of a"):
        overlap(A, B, POINTS_A[:3], POINTS_B)
