"""Alignment against known transforms, against brute force, and there and back on drawn images."""

import math

import cv2
import numpy as np
import pytest

from swap.faces.align import (
    TEMPLATE,
    CropDefinition,
    _parabola_weights,
    crop_matrix,
    paste,
    smooth_landmarks,
    umeyama,
    warp_crop,
)


def similarity(scale, degrees, x, y):
    c, s = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    return np.array([[c, -s, x], [s, c, y]])


def apply(matrix, points):
    return points @ matrix[:, :2].T + matrix[:, 2]


def pattern(x, y):
    """A smooth picture known at every real position, (..., 3) in [0, 1]."""
    return np.stack(
        [
            0.5 + 0.4 * np.sin(0.23 * x + 0.11 * y),
            0.5 + 0.4 * np.cos(0.17 * x - 0.19 * y),
            0.5 + 0.2 * np.sin(0.29 * y) + 0.2 * np.cos(0.13 * x),
        ],
        -1,
    )


def drawn(height, width, matrix=None):
    """`pattern` sampled at the pixel centres, or where `matrix` sends them."""
    y, x = np.mgrid[:height, :width].astype(float)
    if matrix is not None:
        x, y = apply(matrix, np.stack([x, y], -1).reshape(-1, 2)).T.reshape(2, height, width)
    return pattern(x, y).astype(np.float32)


def inverse(matrix):
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


@pytest.mark.parametrize("degrees", [0, 37, 90, 179, -120])
def test_umeyama_recovers_a_known_similarity(degrees):
    points = np.random.default_rng(0).normal(size=(7, 2)) * 30
    truth = similarity(1.7, degrees, -12.3, 45.6)
    np.testing.assert_allclose(umeyama(points, apply(truth, points)), truth, atol=1e-10)


def test_umeyama_is_the_least_squares_minimum():
    # For similarities of the plane without reflection the problem is linear in (a, b, tx, ty).
    rng = np.random.default_rng(1)
    src, dst = rng.normal(size=(5, 2)), rng.normal(size=(5, 2))
    zero, one = np.zeros(5), np.ones(5)
    rows = np.concatenate(
        [
            np.stack([src[:, 0], -src[:, 1], one, zero], 1),
            np.stack([src[:, 1], src[:, 0], zero, one], 1),
        ]
    )
    a, b, x, y = np.linalg.lstsq(rows, dst.T.ravel(), rcond=None)[0]
    np.testing.assert_allclose(umeyama(src, dst), [[a, -b, x], [b, a, y]], atol=1e-12)


def test_umeyama_never_reflects():
    points = np.random.default_rng(2).normal(size=(6, 2))
    matrix = umeyama(points, points * [-1, 1])
    a, b = matrix[:, :2]
    assert np.linalg.det(matrix[:, :2]) > 0
    assert a @ b == pytest.approx(0, abs=1e-12)
    assert a @ a == pytest.approx(b @ b)


@pytest.mark.parametrize(
    ("src", "dst"),
    [
        (np.ones((5, 2)), TEMPLATE),
        (TEMPLATE, np.ones((5, 2))),
        (TEMPLATE * np.nan, TEMPLATE),
        (TEMPLATE[:4], TEMPLATE),
        (TEMPLATE[:1], TEMPLATE[:1]),
    ],
)
def test_umeyama_says_what_is_wrong(src, dst):
    with pytest.raises(ValueError, match="umeyama"):
        umeyama(src, dst)


def test_crop_matrix_puts_the_template_where_the_definition_says():
    definition = CropDefinition(face_side=3.0, centre_y=0.5, margin=1.5)
    landmarks = apply(similarity(20, 15, 100, 80), TEMPLATE)
    for margin, side in ((True, 4.5), (False, 3.0)):
        matrix = crop_matrix(landmarks, 90, definition, margin)
        # pixels per eye distance, and the middle of 90 pixels is 44.5
        expected = (TEMPLATE - [0, 0.5]) * 90 / side + 44.5
        np.testing.assert_allclose(apply(matrix, landmarks), expected, atol=1e-9)


def test_a_crop_of_another_size_shows_the_same_square():
    landmarks = apply(similarity(20, 15, 100, 80), TEMPLATE)
    small = crop_matrix(landmarks, 64, CropDefinition())
    large = crop_matrix(landmarks, 256, CropDefinition())
    # the outer edges of the corner pixels coincide: 4 (u + 1/2) = v + 1/2
    np.testing.assert_allclose(4 * (apply(small, landmarks) + 0.5), apply(large, landmarks) + 0.5)


def test_crop_definition_round_trip_and_refusals():
    definition = CropDefinition(3.0, 0.5, 1.5)
    assert CropDefinition.from_dict(definition.to_dict()) == definition
    good = definition.to_dict()
    for bad in (
        None,
        [],
        {},
        {**good, "more": 1},
        {**good, "face_side": "3"},
        {**good, "face_side": 0},
        {**good, "face_side": math.nan},
        {**good, "margin": 0.9},
        {**good, "margin": True},
    ):
        with pytest.raises(ValueError, match="crop definition"):
            CropDefinition.from_dict(bad)


@pytest.mark.parametrize(
    ("scale", "tolerance"), [(1.0, 2e-3), (1.7, 2e-3), (0.8, 2e-3), (0.3, 2e-2)]
)
def test_warp_crop_samples_at_the_right_place(scale, tolerance):
    matrix = similarity(scale, 12, -20.37 * scale, 3.81)
    crop = warp_crop(drawn(200, 240), matrix, 64)
    truth = drawn(64, 64, inverse(matrix))
    y, x = np.mgrid[:64, :64]
    source = apply(inverse(matrix), np.stack([x, y], -1).reshape(-1, 2)).reshape(64, 64, 2)
    inside = ((source > 6) & (source < [233, 193])).all(-1)
    assert inside.sum() > 1500
    # tolerances are those of the sampling; a shift of 0.05 source pixels would show as 0.004
    assert np.abs(crop - truth)[inside].mean() < tolerance


def test_warp_crop_does_not_alias():
    checks = ((np.indices((240, 240)).sum(0) % 2) * 255).astype(np.uint8)
    crop = warp_crop(np.repeat(checks[..., None], 3, 2), similarity(1 / 4, 0, -0.375, -0.375), 60)
    assert np.abs(crop.astype(int) - 127).max() <= 2


@pytest.mark.parametrize("size", [256, 96])
def test_paste_of_a_drawn_crop_gives_the_frame_back_to_sub_pixel(size):
    # The crop is drawn from the formula, so that only `paste` can misplace anything.
    landmarks = apply(similarity(31.7, -9, 121.3, 80.7), TEMPLATE)
    matrix = crop_matrix(landmarks, size, CropDefinition())
    crop = drawn(size, size, inverse(matrix))
    frame = drawn(200, 240)
    out = paste(np.zeros_like(frame), crop, matrix, np.ones((size, size), np.float32))
    y, x = np.mgrid[:200, :240]
    position = apply(matrix, np.stack([x, y], -1).reshape(-1, 2)).reshape(200, 240, 2)
    inside = ((position > 4) & (position < size - 5)).all(-1)
    moved = drawn(200, 240, np.array([[1, 0, 0.03], [0, 1, 0.03]]))
    assert np.abs(out - frame)[inside].mean() < np.abs(moved - frame)[inside].mean()


def test_crop_and_paste_give_an_uint8_frame_back():
    frame = np.rint(drawn(200, 240) * 255).astype(np.uint8)
    matrix = crop_matrix(apply(similarity(50, 11, 118.6, 75.2), TEMPLATE), 256, CropDefinition())
    before = frame.copy()
    out = paste(frame, warp_crop(frame, matrix, 256), matrix, np.ones((256, 256)))
    assert out.dtype == np.uint8
    assert (frame == before).all()
    error = np.mean((out.astype(float) - frame) ** 2)
    assert 10 * math.log10(255**2 / error) > 50


def test_paste_blends_by_the_mask_and_leaves_the_rest_bit_for_bit():
    frame = np.random.default_rng(3).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    matrix = similarity(1, 0, -40, -30)
    mask = np.zeros((64, 64))
    mask[16:48, 16:48] = 0.25
    out = paste(frame, np.ones((64, 64, 3), np.float32), matrix, mask)
    expected = frame.astype(float)
    expected[46:78, 56:88] += 0.25 * (255 - expected[46:78, 56:88])
    assert np.abs(out - expected).max() <= 0.5 + 1e-3
    untouched = np.ones((120, 160), bool)
    untouched[46:78, 56:88] = False
    assert (out[untouched] == frame[untouched]).all()


def test_paste_of_a_much_finer_crop_does_not_alias_or_shift():
    fine = np.indices((512, 512)).sum(0) % 2
    crop = np.repeat(fine[..., None], 3, 2).astype(np.float32)
    matrix = similarity(8, 0, -160, -160)
    out = paste(np.zeros((120, 120, 3), np.float32), crop, matrix, np.ones((512, 512)))
    assert np.abs(out[24:80, 24:80] - 0.5).max() < 0.01
    half = np.zeros((512, 512, 3), np.float32)
    half[:, 256:] = 1
    out = paste(np.zeros((120, 120, 3), np.float32), half, matrix, np.ones((512, 512)))
    # the edge at crop 255.5 is at frame 51.9375: pixel 52 is 0.5625 covered
    assert out[60, 52, 0] == pytest.approx(0.5625, abs=0.1)
    assert out[60, 49, 0] == pytest.approx(0, abs=0.05)
    assert out[60, 55, 0] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("shift", [(-5000, 0), (-150, -110), (-40, 30), (0, 5000)])
def test_paste_at_and_beyond_the_edge(shift):
    frame = np.full((120, 160, 3), 10, np.uint8)
    matrix = similarity(1, 5, *shift)
    out = paste(frame, np.ones((64, 64, 3), np.float32), matrix, np.ones((64, 64)))
    y, x = np.mgrid[:120, :160]
    position = apply(matrix, np.stack([x, y], -1).reshape(-1, 2)).reshape(120, 160, 2)
    inside = ((position > 0.1) & (position < 62.9)).all(-1)
    outside = ((position < -1.1) | (position > 64.1)).any(-1)
    assert (out[inside] == 255).all()
    assert (out[outside] == 10).all()


@pytest.mark.parametrize("degrees", [0, 33, 90])
def test_paste_touches_all_that_the_crop_covers(degrees):
    # the whole frame at once, where `paste` works on the part that it computed
    matrix = similarity(1.2, degrees, 20, -10)
    out = paste(np.zeros((90, 110, 3), np.float32), np.ones((40, 40, 3)), matrix, np.ones((40, 40)))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    covered = cv2.warpAffine(np.ones((40, 40), np.float32), matrix, (110, 90), flags=flags)
    assert 300 < covered.sum() < 1200
    np.testing.assert_allclose(out[..., 0], covered, atol=1e-5)


@pytest.mark.parametrize("scale", [0.3, 1.2, 2.6, 7])
def test_paste_touches_all_that_the_mask_covers(scale):
    # corners of next to nothing make `paste` compute the whole crop
    rng = np.random.default_rng(5)
    matrix = similarity(scale, 33, 20, -10)
    crop = drawn(40, 40)
    mask = np.zeros((40, 40), np.float32)
    mask[9:17, 14:31] = rng.uniform(0.5, 1, (8, 17))
    cornered = mask.copy()
    cornered[[0, 0, -1, -1], [0, -1, 0, -1]] = 1e-9
    frame = rng.uniform(0, 1, (90, 110, 3)).astype(np.float32)
    out = paste(frame, crop, matrix, mask)
    assert (out != frame).any()
    np.testing.assert_allclose(out, paste(frame, crop, matrix, cornered), atol=0.01)
    assert (paste(frame, crop, matrix, np.zeros((40, 40))) == frame).all()


def test_a_matrix_that_is_no_similarity_is_refused():
    image = np.zeros((9, 9, 3), np.uint8)
    for bad in (np.zeros((2, 3)), similarity(1, 0, 0, 0) * [[-1], [1]]):
        with pytest.raises(ValueError, match="similarity"):
            warp_crop(image, bad, 4)


# ---- smoothing


def path_of(centre):
    """Landmarks (n, 5, 2) of a face of eye distance 50 whose centre moves along (n, 2)."""
    return TEMPLATE * 50 + np.asarray(centre)[:, None]


def test_smoothing_keeps_constant_acceleration_exactly():
    t = np.arange(40.0)
    points = path_of(np.stack([3 + 2 * t + 0.1 * t**2, 100 - t], 1))
    np.testing.assert_allclose(smooth_landmarks(points, np.arange(40)), points, atol=1e-9)


def test_smoothing_equals_the_savitzky_golay_filter_where_all_weights_are_equal():
    # Savitzky and Golay's table for a parabola over 7 points, which a huge sigma approaches.
    table = np.array([-2, 3, 6, 7, 6, 3, -2]) / 21
    np.testing.assert_allclose(_parabola_weights(3, 3, 1e6), table, atol=1e-9)


@pytest.mark.parametrize(("before", "after"), [(6, 6), (0, 6), (2, 1)])
def test_smoothing_is_the_weighted_fit_of_a_parabola(before, after):
    t = np.arange(-before, after + 1)
    y = np.random.default_rng(7).normal(size=len(t))
    # polyfit multiplies residuals by w, so w is the square root of the Gaussian
    fit = np.polyfit(t, y, 2, w=np.exp(-(t**2) / (2 * 2.0**2)) ** 0.5)
    assert _parabola_weights(before, after, 2.0) @ y == pytest.approx(fit[2])


def test_smoothing_removes_jitter_and_keeps_motion():
    rng = np.random.default_rng(4)
    t = np.arange(400) / 25
    angle = np.radians(8) * np.sin(2 * np.pi * 0.5 * t)
    nod = np.stack([200 + 0 * t, 150 + 15 * np.sin(2 * np.pi * 1.5 * t)], 1)
    turned = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], 1)
    truth = np.einsum("nij,kj->nki", turned.reshape(-1, 2, 2), TEMPLATE * 50) + nod[:, None]
    noisy = truth + rng.normal(size=truth.shape) * 1.0
    smooth = smooth_landmarks(noisy, np.arange(400))

    def rolls(points):
        return np.unwrap([np.arctan2(m[0, 1], m[0, 0]) for m in map(crop_of, points)])

    def crop_of(points):
        return crop_matrix(points, 256, CropDefinition())

    before, after = (np.diff(rolls(p), 2).std() for p in (noisy, smooth))
    assert after < 0.35 * before
    assert (rolls(smooth) - rolls(truth)).std() < 0.75 * (rolls(noisy) - rolls(truth)).std()
    assert (smooth.mean(1) - truth.mean(1)).std() < (noisy.mean(1) - truth.mean(1)).std()
    # the noise-free motion loses less than 2 %
    kept = np.ptp(smooth_landmarks(truth, np.arange(400)).mean(1)[:, 1]) / np.ptp(nod[:, 1])
    assert 0.98 < kept < 1.001


@pytest.mark.parametrize("cut", ["jump", "gap"])
def test_smoothing_never_reaches_across_a_cut(cut):
    rng = np.random.default_rng(5)
    first = path_of(np.full((20, 2), 100.0) + rng.normal(size=(20, 2)))
    second = path_of(np.full((20, 2), 100.0) + rng.normal(size=(20, 2)))
    frames = np.arange(40)
    if cut == "jump":
        second = second + 30.0
    else:
        frames = np.r_[np.arange(20), np.arange(21, 41)]
    together = smooth_landmarks(np.concatenate([first, second]), frames)
    apart = [smooth_landmarks(part, np.arange(20)) for part in (first, second)]
    np.testing.assert_allclose(together, np.concatenate(apart), atol=1e-9)
    assert np.abs(together - np.concatenate([first, second])).max() > 0.1


def test_smoothing_of_every_third_frame_and_of_few():
    points = path_of(np.random.default_rng(6).normal(size=(30, 2)) + 100)
    third = smooth_landmarks(points, 3 * np.arange(30))
    np.testing.assert_array_equal(third, smooth_landmarks(points, np.arange(30)))
    for n in (0, 1, 2, 3):
        np.testing.assert_allclose(
            smooth_landmarks(points[:n], np.arange(n)), points[:n], atol=1e-9
        )
    with pytest.raises(ValueError, match="rise"):
        smooth_landmarks(points[:2], np.array([1, 1]))
    with pytest.raises(ValueError, match="expected"):
        smooth_landmarks(points[:2], np.arange(3))


def test_opencv_interpolates_where_this_module_says():
    # Pixel centres at integers, also in resize: the premise of every formula here.
    ramp = np.repeat(np.arange(8, dtype=np.float32)[None], 8, 0)
    shifted = cv2.warpAffine(ramp, np.array([[1.0, 0, 0.5], [0, 1, 0]]), (8, 8))
    assert shifted[4, 4] == pytest.approx(3.5)
    halved = cv2.resize(ramp, (4, 4), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(halved[0], [0.5, 2.5, 4.5, 6.5])
