"""The random warp: its maps against Umeyama's, against OpenCV, and against the 2017 code."""

import cv2
import numpy as np
import pytest

from swap.data.fused import Part, warp_and_colour
from swap.data.warp import (
    GRID,
    UNIFORMS,
    Augmentation,
    Draws,
    face_squares,
    pixel_centres,
    placements,
    random_warp,
    sampling_maps,
)
from swap.errors import UserError
from swap.faces.align import CropDefinition, crop_matrix, umeyama

MARGIN = 4 / 3
SIZE = 64
STILL = Augmentation(rotation=0, zoom=0, shift=0, mirror=0, noise=0)


def draws_of(count, seed=0):
    return Draws.take(np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1]), count)


def draws_with(**uniform):
    """One face's draws, all at the middle of their range but those named, in [-1, 1)."""
    names = ["angle", "zoom", "x", "y", "mirror"]
    values = np.zeros((1, UNIFORMS))
    values[0, 4] = 0.999
    for name, value in uniform.items():
        values[0, names.index(name)] = value
    return Draws(values, np.zeros((1, GRID, GRID), np.complex64))


def smooth(count, side=112, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 9, 9, 3), np.uint8)
    return np.stack([cv2.resize(c, (side, side), interpolation=cv2.INTER_CUBIC) for c in coarse])


def as_pairs(points):
    return np.stack([points.real, points.imag], -1)


def test_without_draws_both_are_the_face_square():
    faces = smooth(3)
    inputs, targets = random_warp(faces, draws_of(3), SIZE, margin=MARGIN, augmentation=STILL)
    assert (inputs == targets).all()
    assert (inputs == face_squares(faces, SIZE, margin=MARGIN)).all()


def test_the_face_square_is_the_middle_of_the_crop_by_pixel_centres():
    # 96 stored pixels hold a square of 72, from edge 11.5 to 83.5; at size 72 the sampling is a
    # copy, at 36 and 24 the mean of the middle pixels of each cell.
    faces = smooth(2, side=96)
    assert (face_squares(faces, 72, margin=MARGIN) == faces[:, 12:84, 12:84]).all()
    assert (face_squares(faces, 24, margin=MARGIN) == faces[:, 13:84:3, 13:84:3]).all()
    blocks = faces[:, 12:84, 12:84].reshape(2, 36, 2, 36, 2, 3).mean((2, 4))
    assert abs(face_squares(faces, 36, margin=MARGIN) - blocks).max() <= 1


def test_the_face_square_is_that_of_the_alignment():
    """A stored crop's square shows what a crop without margin, cut straight from the frame, does:
    both sizes' pixel centres fall on the same points of the frame."""
    landmarks = np.array([[210, 190], [260, 180], [240, 215], [220, 245], [262, 238]], float)
    definition = CropDefinition(margin=1.5)
    stored = crop_matrix(landmarks, 96, definition)
    square = np.r_[crop_matrix(landmarks, 50, definition, margin=False), [[0, 0, 1]]]
    to_stored = stored @ np.linalg.inv(square)
    x, y = np.meshgrid(np.arange(96), np.arange(96))
    ramps = np.stack([2 * x, 2 * y, x + y], -1).astype(np.uint8)[None]
    shown = face_squares(ramps, 50, margin=1.5)[0].astype(float)
    at = np.stack(np.meshgrid(np.arange(50), np.arange(50), 1), -1).reshape(50, 50, 3) @ to_stored.T
    expected = np.stack([2 * at[..., 0], 2 * at[..., 1], at.sum(-1)], -1)
    assert abs(shown - expected).max() < 0.6


@pytest.mark.parametrize("augmentation", [Augmentation(noise=0), Augmentation(noise=0, mirror=1)])
def test_zero_noise_gives_equal_input_and_target(augmentation):
    inputs, targets = random_warp(
        smooth(20), draws_of(20), SIZE, margin=MARGIN, augmentation=augmentation
    )
    assert abs(inputs.astype(int) - targets).max() <= 1
    assert (inputs != targets).mean() < 0.01


def test_map_directions():
    """Each draw moves the face as its name says: seen on a marked point of the face."""

    def place(augmentation, **uniform):
        """Where in the output (x, y, in square units) the face point (0.2, -0.1) appears."""
        _, where = sampling_maps(draws_with(**uniform), 400, augmentation)
        nearest = np.argmin(abs(where[0] - (0.2 - 0.1j)))
        return pixel_centres(400).ravel()[nearest]

    def assert_near(found, x, y):
        assert abs(found - (x + 1j * y)) < 0.003, found

    assert_near(place(STILL), 0.2, -0.1)
    assert_near(place(Augmentation(), x=1), 0.25, -0.1)
    assert_near(place(Augmentation(), y=-1), 0.2, -0.15)
    assert_near(place(Augmentation(), zoom=1), 0.21, -0.105)
    assert_near(place(Augmentation(), mirror=-0.5), -0.2, -0.1)
    assert_near(place(Augmentation(), mirror=-0.5, x=1), -0.25, -0.1)  # moved, then mirrored
    cos, sin = np.cos(np.deg2rad(10)), np.sin(np.deg2rad(10))
    assert_near(place(Augmentation(), angle=1), 0.2 * cos + 0.1 * sin, -0.1 * cos + 0.2 * sin)


def test_the_mirrored_face_is_the_flipped_picture():
    faces = smooth(4)
    draws = draws_of(4)
    draws.uniform[:, 4] = 0
    settings = [Augmentation(mirror=chance, noise=0) for chance in (0, 1)]
    pairs = [random_warp(faces, draws, SIZE, margin=MARGIN, augmentation=s) for s in settings]
    for straight, mirrored in zip(*pairs, strict=True):
        assert abs(straight[:, :, ::-1].astype(int) - mirrored).max() <= 1


def test_mirror_probability():
    draws = draws_of(4000)
    for chance in (0.0, 0.3, 1.0):
        _, where = sampling_maps(draws, 2, Augmentation(mirror=chance))
        share = (where[:, 0, 0].real > where[:, 0, 1].real).mean()
        assert abs(share - chance) <= 4 * np.sqrt(chance * (1 - chance) / 4000)


def test_target_is_umeyamas_similarity_of_the_jittered_points():
    augmentation = Augmentation(rotation=0, zoom=0, shift=0, mirror=0)
    draws = draws_of(20)
    _, targets = sampling_maps(draws, SIZE, augmentation)
    side = np.linspace(-0.5, 0.5, GRID)
    grid = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    output = as_pairs(pixel_centres(SIZE)).reshape(-1, 2)
    for normal, target in zip(draws.normal, targets, strict=True):
        jittered = grid + as_pairs(normal).reshape(-1, 2) * augmentation.noise
        forward = np.r_[umeyama(jittered, grid), [[0, 0, 1]]]
        expected = np.c_[output, np.ones(len(output))] @ np.linalg.inv(forward)[:2].T
        np.testing.assert_allclose(as_pairs(target).reshape(-1, 2), expected, atol=2e-6)


def test_input_is_the_bilinear_interpolation_of_the_jittered_points():
    """At sizes of whole cells cv2.resize of the control points is the same interpolation."""
    augmentation = Augmentation(rotation=0, zoom=0, shift=0, mirror=0)
    draws = draws_of(5)
    for size in (8, 64, 128):
        cell = size // (GRID - 1)
        inputs, _ = sampling_maps(draws, size, augmentation)
        side = np.linspace(-0.5, 0.5, GRID, dtype=np.float32)
        for normal, mapped in zip(draws.normal, inputs, strict=True):
            points = np.stack(np.meshgrid(side, side), -1) + as_pairs(normal) * np.float32(
                augmentation.noise
            )
            wide = cv2.resize(points, (size + cell,) * 2, interpolation=cv2.INTER_LINEAR)
            expected = wide[cell // 2 : -cell // 2, cell // 2 : -cell // 2]
            np.testing.assert_allclose(as_pairs(mapped), expected, atol=1e-6)


def test_sizes_that_cells_do_not_divide():
    inputs, targets = random_warp(smooth(2), draws_of(2), 50, margin=MARGIN)
    assert inputs.shape == targets.shape == (2, 50, 50, 3)
    # The same draws at another size are the same picture, seen coarser.
    large, _ = random_warp(smooth(2), draws_of(2), 100, margin=MARGIN)
    halved = large.reshape(2, 50, 2, 50, 2, 3).mean((2, 4))
    assert abs(halved - inputs).mean() < 1.5


def mean_shift(inputs, targets):
    """Mean translation from targets' to inputs' sampling points over many draws, with its
    standard error, in output pixels: (2,), (2,)."""
    each = as_pairs(inputs - targets).mean((1, 2)) * SIZE
    return each.mean(0), each.std(0, ddof=1) / np.sqrt(len(each))


def original_maps(normal):
    """The 2017 code's sampling points of a 256-pixel face, without rotation, zoom, shift and
    mirror, written from its description: input and target, (N, 64, 64) complex source pixels."""
    side = np.linspace(128 - 80, 128 + 80, 5, dtype=np.float32)
    regular = np.stack(np.meshgrid(side, side), -1)
    output = np.stack(np.meshgrid(np.arange(64), np.arange(64)), -1).reshape(-1, 2)
    inputs, targets = [], []
    for each in normal:
        points = regular + as_pairs(each) * 5
        inputs.append(cv2.resize(points, (80, 80))[8:72, 8:72].reshape(-1, 2))
        grid = np.stack(np.meshgrid(np.arange(0, 65, 16), np.arange(0, 65, 16)), -1)
        forward = np.r_[umeyama(points.reshape(-1, 2), grid.reshape(-1, 2)), [[0, 0, 1]]]
        targets.append(np.c_[output, np.ones(len(output))] @ np.linalg.inv(forward)[:2].T)
    inputs, targets = (np.array(p).reshape(-1, 64, 64, 2) @ [1, 1j] for p in (inputs, targets))
    return inputs, targets


def test_no_half_pixel_shift_where_the_original_has_one():
    draws = draws_of(500)
    shift, error = mean_shift(
        *sampling_maps(draws, SIZE, Augmentation(rotation=0, zoom=0, shift=0, mirror=0))
    )
    assert (error < 0.03).all()
    assert (abs(shift) < 4 * error).all()
    shift, error = mean_shift(*(points / 160 for points in original_maps(draws.normal)))
    assert (abs(shift - 0.5) < 4 * error).all()


def test_no_shift_between_the_pictures_themselves():
    """The same of the pixels: a least-squares translation (one Lucas-Kanade step) in between."""
    count = 400
    pairs = random_warp(smooth(count), draws_of(count), SIZE, margin=MARGIN)
    inputs, targets = (p.astype(float).mean(-1)[:, 8:-8, 8:-8] for p in pairs)
    found = []
    for image, target in zip(inputs, targets, strict=True):
        slope_y, slope_x = np.gradient((image + target) / 2)
        slopes = np.stack([slope_x.ravel(), slope_y.ravel()], 1)
        found.append(np.linalg.lstsq(slopes, (image - target).ravel(), rcond=None)[0])
    found = np.array(found)
    error = found.std(0, ddof=1) / np.sqrt(count)
    assert (error < 0.05).all()
    assert (abs(found.mean(0)) < 4 * error).all()


def test_one_interpolation_only():
    """Input pixels come straight from the stored crop: a checkerboard of the finest grain keeps
    its contrast, which a second interpolation would halve."""
    board = np.indices((80, 80)).sum(0) % 2 * 255
    faces = np.repeat(board[None, ..., None].astype(np.uint8), 3, -1)
    shifted = Augmentation(rotation=0, zoom=0, shift=0.5, mirror=0, noise=0)
    draws = draws_with(x=2 * 0.25 / 60)  # a quarter of a stored pixel
    inputs, _ = random_warp(faces, draws, 60, margin=MARGIN, augmentation=shifted)
    assert set(np.unique(inputs).tolist()) <= {63, 64, 191, 192}


def test_borders_are_replicated():
    faces = np.full((1, 112, 112, 3), 200, np.uint8)
    wide = Augmentation(shift=1.0)
    inputs, targets = random_warp(faces, draws_with(x=0.9), 32, margin=MARGIN, augmentation=wide)
    assert (inputs == 200).all()
    assert (targets == 200).all()


@pytest.mark.parametrize(
    "wrong", [{"mirror": 1.2}, {"noise": -0.1}, {"zoom": 1.0}, {"rotation": float("nan")}]
)
def test_augmentation_refuses_what_cannot_be(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        Augmentation(**wrong)


def fused(faces, placement, noise, tables, size):
    return warp_and_colour(
        [Part(faces, np.arange(len(faces)), placement, noise, tables, MARGIN)], size
    )[0]


WILD = Augmentation(rotation=170, zoom=0.5, shift=0.6, mirror=0.5, noise=0.2)


@pytest.mark.parametrize(
    "augmentation", [Augmentation(), STILL, WILD], ids=["usual", "still", "wild"]
)
@pytest.mark.parametrize(("count", "side", "size"), [(5, 112, 64), (1, 33, 20), (3, 8, 16)])
def test_the_fused_pass_is_opencvs_sampling_and_a_table(augmentation, count, side, size):
    """Of smooth pictures OpenCV's, whose weights are of 1/32 pixel, differ by a level at most, and rarely."""
    faces, draws = smooth(count, side), draws_of(count, seed=3)
    rng = np.random.default_rng(1)
    tables = rng.random((count, 256, 3)).cumsum(1).astype("f4") / 300
    inputs, targets = random_warp(faces, draws, size, margin=MARGIN, augmentation=augmentation)
    shown, wanted, noise = placements(draws, augmentation)
    plain = np.repeat(np.arange(256, dtype=np.float32)[:, None], 3, axis=1)
    for placement, moved, slow in ((shown, noise, inputs), (wanted, None, targets)):
        levels = fused(faces, placement, moved, plain[None], size)
        off = np.abs(levels - slow)
        steep = np.abs(np.diff(faces.astype(float), axis=2)).max() / 32  # a 1/32 of a pixel there
        assert off.max() <= 1 + steep
        assert off.mean() < 0.3
        coloured = fused(faces, placement, moved, tables, size)
        for n in range(count):
            expected = np.stack([tables[n, levels[n, ..., c].astype(int), c] for c in range(3)], -1)
            np.testing.assert_array_equal(coloured[n], expected)
    if augmentation is not STILL:
        assert not np.array_equal(inputs, targets)


def test_the_fused_pass_samples_exactly_where_the_maps_say():
    """A picture that is its own coordinates: bilinear sampling of a ramp gives the place, to half a level."""
    side = 200
    ramp = np.broadcast_to(np.arange(side), (side, side)).astype(np.uint8)
    faces = np.stack([ramp, ramp.T, 255 - ramp], -1)[None]
    draws, plain = draws_of(1, seed=5), np.repeat(np.arange(256, dtype=np.float32)[:, None], 3, 1)[None]  # fmt: skip
    shown, wanted, noise = placements(draws, Augmentation())
    maps = sampling_maps(draws, SIZE, Augmentation())
    for placement, moved, where in zip((shown, wanted), (noise, None), maps, strict=True):
        seen = fused(faces, placement, moved, plain, SIZE)[0]
        places = where[0] * side / MARGIN + (side - 1) / 2 * (1 + 1j)
        assert np.abs(seen[..., 0] - places.real.clip(0, side - 1)).max() <= 0.501
        assert np.abs(seen[..., 1] - places.imag.clip(0, side - 1)).max() <= 0.501
        assert np.abs(seen[..., 2] - (255 - places.real.clip(0, side - 1))).max() <= 0.501
