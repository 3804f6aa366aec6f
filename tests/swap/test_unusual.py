"""How unusual a face is: what counts, and what must not."""

import cv2
import numpy as np
import pytest

from swap.data import FaceSet
from swap.data import unusual as module
from swap.data.unusual import eye_distances, eye_window, mouth_window, unusual
from swap.faces.align import TEMPLATE, CropDefinition

COUNT, SIDE, ODD = 60, 112, 33
CROP = CropDefinition()


def crop_window(window, *options):
    """A window of the face square as (SIDE, SIDE, 1) of a stored crop, 0 outside of the square."""
    inner = round(SIDE / CROP.margin)
    before = (SIDE - inner) // 2
    square = window(*eye_distances(inner), *options)
    return np.pad(square, (before, SIDE - inner - before))[..., None]


def people(change=None, odd=ODD, noise=2.0):
    """A still face with a little noise; ``change(face)`` makes one of them the odd one."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 200, (9, 9, 3)).astype(np.uint8)
    face = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC).astype(float)
    faces = face + rng.normal(0, noise, (COUNT, SIDE, SIDE, 3))
    if change is not None:
        faces[odd] = change(faces[odd])
    return FaceSet(np.clip(np.rint(faces), 0, 255).astype(np.uint8), CROP.margin)


def towards(window, value, *options):
    """A change that paints ``value`` where the window is."""
    share = crop_window(window, *options)
    return lambda face: face + share * (value - face)


# ---------------------------------------------------------------- the windows


def test_eye_distances_are_those_of_the_crop_matrix():
    """The landmarks of the template lie where a crop of them has them."""
    from swap.faces.align import crop_matrix

    matrix = crop_matrix(40 * TEMPLATE + 100, 64, CROP, margin=False)
    x, y = eye_distances(64)
    for u, v in TEMPLATE:
        column, row = matrix @ (40 * u + 100, 40 * v + 100, 1)
        assert np.interp(column, np.arange(64), x[0]) == pytest.approx(u, abs=1e-9)
        assert np.interp(row, np.arange(64), y[:, 0]) == pytest.approx(v, abs=1e-9)


def test_windows_are_one_on_their_feature_and_low_on_the_others():
    mouth = TEMPLATE[3:].mean(0)
    for eye in TEMPLATE[:2]:
        assert eye_window(*eye) == pytest.approx(1, abs=1e-6)
        assert mouth_window(*eye) < 0.01
    assert mouth_window(*mouth) == pytest.approx(1)
    assert eye_window(*mouth) < 0.01


# ---------------------------------------------------------------- the weights


def test_weights_have_mean_one():
    weights = unusual(people())
    assert (weights.shape, weights.dtype) == ((COUNT,), np.float64)
    assert weights.mean() == pytest.approx(1)
    assert weights.min() > 0


def test_faces_that_are_all_alike_weigh_all_alike():
    np.testing.assert_allclose(unusual(people(noise=0)), 1)


@pytest.mark.parametrize(
    ("window", "options"),
    [(eye_window, (module.TIGHT_EYE,)), (mouth_window, ())],
    ids=["eyes closed", "mouth open"],
)
@pytest.mark.parametrize("odd", [0, ODD, COUNT - 1])
def test_the_odd_one_weighs_most(window, options, odd):
    weights = unusual(people(towards(window, 20, *options), odd))
    assert weights.argmax() == odd
    assert weights[odd] > 3 * np.median(weights)
    others = np.delete(weights, odd)
    assert others.max() < 2.5 * np.median(weights)


def test_light_does_not_count():
    """A brighter frame, and for the eyes one of more contrast."""
    usual = unusual(people())
    brighter = unusual(people(lambda face: face + 20))
    assert brighter[ODD] < 1.5 * usual[ODD]


def test_what_is_around_the_face_does_not_count():
    away = 1 - np.maximum(crop_window(eye_window), crop_window(mouth_window))
    away = (away > 1 - module.SEEN / 2).astype(float)  # of any window, nothing
    away = cv2.erode(away[..., 0], np.ones((9, 9)))[..., None]
    assert away.mean() > 0.3
    usual, painted = (unusual(people(change)) for change in (None, lambda f: f + away * (20 - f)))
    np.testing.assert_allclose(painted, usual, rtol=1e-6)


def test_a_slow_change_of_the_gaze_is_usual_and_a_blink_is_not():
    """A look that lasts is what is around it, if not in most of the video; one frame is a blink."""
    look = towards(eye_window, 20, module.TIGHT_EYE)

    def weights(changed):
        images = people().images.astype(float)
        for i in changed:
            images[i] = look(images[i])
        return unusual(FaceSet(np.rint(images).astype(np.uint8), CROP.margin))

    lasting, blink = weights(range(COUNT // 3)), weights([10])
    assert lasting[5] < 1.5 * np.median(lasting)
    assert blink[10] > 3 * np.median(blink)


def test_faces_are_read_in_blocks_without_a_trace(monkeypatch):
    faces = people(towards(mouth_window, 20))
    whole = unusual(faces)
    monkeypatch.setattr(module, "BLOCK", 7)
    np.testing.assert_array_equal(unusual(faces), whole)


def test_no_face_weighs_more_than_the_limits_allow():
    weights = unusual(people(lambda face: 255 - face))
    low, high = module.LIMITS
    assert weights.max() / weights.min() <= (high / low) ** max(
        module.EYE_EXPONENT, module.MOUTH_EXPONENT
    )
