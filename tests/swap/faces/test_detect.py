"""The detector on drawn faces, whose place is known, and on frames of real clips."""

from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import cv2
import numpy as np
import pytest

from swap.errors import UserError
from swap.faces import detect
from swap.faces.align import TEMPLATE, umeyama
from swap.faces.detect import Detector


@pytest.fixture(scope="module")
def detector():
    return Detector()


def place(landmarks):
    """Where the face is: eye mid-point x and y, eye distance, roll in degrees."""
    matrix = umeyama(TEMPLATE, landmarks)
    roll = np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))
    return np.array([*matrix[:, 2], np.hypot(*matrix[:, 0]), roll])


def test_finds_the_drawn_face_upright_rolled_small_and_large(detector, drawn_face):
    for width, height, eyes, x, y, degrees in (
        (320, 240, 40, 160.3, 90.7, 0),
        (320, 240, 40, 130, 80, 20),
        (640, 480, 90, 300, 200, -20),
        (1280, 720, 30, 1000, 300, 5),
    ):
        (face,) = detector.detect(drawn_face(width, height, eyes, x, y, degrees))
        found = place(face.landmarks)
        assert np.hypot(found[0] - x, found[1] - y) < 0.15 * eyes
        assert found[2] == pytest.approx(eyes, rel=0.15)
        assert found[3] == pytest.approx(degrees, abs=3)
        assert 0.6 <= face.score <= 1
        box_x, box_y, w, h = face.box
        assert (face.landmarks > [box_x, box_y]).all()
        assert (face.landmarks < [box_x + w, box_y + h]).all()


@pytest.mark.parametrize("degrees", [-20, -12, 12, 20])
def test_roll_is_followed_in_full(detector, drawn_face, degrees):
    upright, turned = (
        place(detector.detect(drawn_face(320, 240, 42, 150, 100, d))[0].landmarks)
        for d in (0, degrees)
    )
    assert turned[3] - upright[3] == pytest.approx(degrees, abs=2.5)


def test_landmarks_are_in_the_order_of_the_template(detector, drawn_face):
    (face,) = detector.detect(drawn_face(320, 240, 40, 160, 90))
    right_eye, left_eye, nose, right_mouth, left_mouth = face.landmarks
    assert right_eye[0] < nose[0] < left_eye[0]
    assert right_mouth[0] < nose[0] < left_mouth[0]
    assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])


def test_a_moving_face_is_followed_more_steadily_than_by_the_best_answer(detector, drawn_face):
    net = cv2.FaceDetectorYN.create(str(detect.MODEL), "", (320, 240), 0.6, 0.3)
    ours, best = [], []
    for i in range(24):
        # sub-pixel steps across more than one cell of the finest grid
        x, y = 140 + 0.43 * i, 85 + 0.29 * i
        picture = drawn_face(320, 240, 42, x, y, 4)
        truth = np.array([x, y, 42, 4])
        (face,) = detector.detect(picture)
        ours.append(place(face.landmarks) - truth)
        row = net.detect(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1][0]
        best.append(place(row[4:14].reshape(5, 2)) - truth)
    scatter, scatter_of_best = np.std(ours, 0), np.std(best, 0)
    assert (scatter[:3] < 0.6 * scatter_of_best[:3]).all()
    # pixels, of a face with 42 between the eyes: sub-pixel but for the constant offset
    assert (scatter[:3] < 0.7).all()


def test_the_largest_comes_first(detector, drawn_face):
    picture = drawn_face(640, 360, 30, 120, 150)
    picture = drawn_face(640, 360, 55, 420, 140, onto=picture)
    picture = drawn_face(640, 360, 20, 560, 60, onto=picture)
    faces = detector.detect(picture)
    assert [round(place(face.landmarks)[0] / 20) for face in faces] == [21, 6, 28]


def test_a_face_lost_in_the_small_picture_is_found_in_the_full_one(drawn_face):
    # twenty pixels between the eyes, of 1600: four in the first look
    picture = drawn_face(1600, 900, 20, 900, 450)
    assert Detector()._look(cv2.resize(picture, (320, 180)), 0.6) == []
    (face,) = Detector().detect(picture)
    assert np.hypot(*(place(face.landmarks)[:2] - [900, 450])) < 4


def test_the_first_look_is_put_back_by_pixel_centres(drawn_face):
    picture = drawn_face(640, 480, 80, 300, 200)
    half = cv2.resize(picture, (320, 240), interpolation=cv2.INTER_AREA)
    (small,), (large,) = Detector().find(half), Detector().find(picture)
    # the same 320 pixels are looked at: pixel u of the half covers 2u and 2u + 1
    np.testing.assert_allclose(large.landmarks, 2 * small.landmarks + 0.5, atol=1e-3)
    np.testing.assert_allclose(large.box[:2], 2 * np.array(small.box[:2]) + 0.5, atol=1e-3)
    np.testing.assert_allclose(large.box[2:], 2 * np.array(small.box[2:]), atol=1e-3)


def test_pictures_without_a_face(detector):
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    for picture in (noise, np.zeros((1, 1, 3), np.uint8), np.zeros((2, 3000, 3), np.uint8)):
        assert detector.detect(picture) == []


def test_threads_share_a_detector(detector, drawn_face):
    pictures = [drawn_face(320, 240, 40, 120 + 7 * i, 90) for i in range(8)]
    alone = [detector.detect(picture)[0].landmarks for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        together = [faces[0].landmarks for faces in pool.map(detector.detect, pictures)]
    np.testing.assert_array_equal(alone, together)


def test_a_damaged_or_missing_model_is_named(tmp_path, monkeypatch):
    damaged = tmp_path / "face.onnx"
    damaged.write_bytes(detect.MODEL.read_bytes()[:-1])
    monkeypatch.setattr(detect, "MODEL", damaged)
    with pytest.raises(UserError, match=r"face\.onnx is damaged"):
        Detector()
    damaged.unlink()
    with pytest.raises(UserError, match=r"face\.onnx cannot be read"):
        Detector()


def test_wrong_arguments_are_refused(detector):
    for bad in (np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3), np.float32)):
        with pytest.raises(ValueError, match="uint8"):
            detector.detect(bad)
    with pytest.raises(ValueError, match="score_threshold"):
        Detector(score_threshold=1.5)
    with pytest.raises(ValueError, match="max_side"):
        Detector(max_side=0)


def test_opencv_prints_nothing_and_keeps_its_log_level(capfd, drawn_face):
    logging = getattr(cv2.utils, "logging", None)
    if logging is None:
        pytest.skip("OpenCV 4 has no log level to change and prints no warning")
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_WARNING)
    try:
        Detector().detect(drawn_face(320, 240, 40, 160, 90))
        assert logging.getLogLevel() == logging.LOG_LEVEL_WARNING
    finally:
        logging.setLogLevel(level)
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""


def test_roll_is_followed_in_full_on_real_faces(real_clips, detector):
    from swap.video import read_frames

    for clip in sorted(real_clips.glob("*.mp4"))[:3]:
        frame = next(read_frames(clip, start=30)).image
        height, width = frame.shape[:2]
        upright = place(detector.detect(frame)[0].landmarks)[3]
        for degrees in (-15, 15):
            # OpenCV's angle is counted the other way round
            turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -degrees, 1)
            turned = detector.detect(cv2.warpAffine(frame, turn, (width, height)))[0]
            assert place(turned.landmarks)[3] - upright == pytest.approx(degrees, abs=3)


def test_the_small_first_look_costs_no_accuracy(real_clips, detector):
    from swap.video import read_frames

    full = Detector(max_side=4096)
    for clip in sorted(real_clips.glob("*.mp4"))[:3]:
        for frame in islice(read_frames(clip, step=60), 8):
            a, b = detector.detect(frame.image)[0], full.detect(frame.image)[0]
            eyes = np.hypot(*(a.landmarks[1] - a.landmarks[0]))
            assert np.hypot(*(a.landmarks - b.landmarks).T).mean() < 0.06 * eyes
