"""Apple and kiwi: the same bytes, poses where plain NumPy puts them, light from where it stands.

After a wanted change of the pictures, print the new hashes of `GOLDEN`:

    python -c "from tests.swap.studio.test_fruit import GOLDEN, digest; print(*map(digest, GOLDEN))"
"""

import hashlib
from dataclasses import asdict, replace

import cv2
import numpy as np
import pytest

from swap.errors import UserError
from swap.faces.align import CropDefinition, crop_matrix
from swap.studio.fruit import FRAME, SUBJECTS, Params, draw, landmarks, picture, render, walk

TURNED = Params(yaw=31, pitch=-12, roll=9, spin=-24, light_x=40, light_y=25, warmth=0.5)
GOLDEN = {
    ("apple", Params(), 96): "0a8a8ea834349ced38551ac14138bca1ed58c89a8877ec842400f3ab7bc7d301",
    ("apple", TURNED, (60, 80)): "c1c74a32d6db0276d4da11cc303ed1547f1f025c74988bff00c7d7bf593164da",
    ("kiwi", Params(), 96): "7de18faf5f89dac2a45166c608ab4fe5a6e57993eed483980a3e6bd575d1c737",
    ("kiwi", TURNED, (60, 80)): "0161f5c6dbe82536be2fb9d24720aad0d0f89218b9e69fd800d23854250dfea0",
}
BOTH = sorted(SUBJECTS)


def digest(case):
    """sha256 of a picture and its mask."""
    rgb, mask = picture(*case)
    return hashlib.sha256(rgb.tobytes() + mask.tobytes()).hexdigest()


def face_crop(subject, params, size, margin=False):
    points = landmarks(subject, params, FRAME)
    return picture(subject, params, size, view=crop_matrix(points, size, CropDefinition(), margin))


def about(axis, degrees):
    """Rodrigues' formula, about a unit vector."""
    k = np.array(axis, float)
    cross = np.array([[0, -k[2], k[1]], [k[2], 0, -k[0]], [-k[1], k[0], 0]])
    a = np.radians(degrees)
    return np.eye(3) + np.sin(a) * cross + (1 - np.cos(a)) * cross @ cross


def projected(point, p, radius=64.0, distance=8.0):
    """Pixel in the frame of a point of the fruit's own space: the camera looks at its centre."""
    turn = about([0, 0, 1], -p.roll) @ about([0, 1, 0], p.yaw) @ about([1, 0, 0], 50 + p.pitch)
    x, y, z = turn @ about([0, 1, 0], p.spin) @ np.array(point)
    zoom = radius * p.scale * distance / (distance - z)
    return np.array([159.5 + 128 * p.x + zoom * x, 119.5 - 128 * p.y - zoom * y])


def centroid(chosen):
    rows, columns = np.nonzero(chosen)
    assert len(rows) > 20
    return np.array([columns.mean(), rows.mean()])


POSES = [
    Params(yaw=40),
    Params(yaw=-40),
    Params(pitch=25),
    Params(pitch=-20),
    Params(roll=25),
    Params(roll=-25, yaw=20, x=0.2),
    Params(spin=50, y=0.1),
    Params(spin=-50, pitch=10, scale=0.8),
]


@pytest.mark.parametrize("case", GOLDEN, ids=lambda c: f"{c[0]}-{c[2]}")
def test_the_pictures_have_the_bytes_that_they_have_everywhere(case):
    assert digest(case) == GOLDEN[case]
    assert digest(case) == digest(case)


@pytest.mark.parametrize("params", POSES)
def test_the_core_of_the_kiwi_lies_where_its_pose_puts_it(params):
    rgb, mask = picture("kiwi", replace(params, light_x=-50, light_y=15), FRAME)
    red, green, blue = rgb.astype(float).transpose(2, 0, 1)
    pale = (mask == 255) & (blue > 0.62 * green) & (abs(red / green - 0.96) < 0.1) & (green > 90)
    pale = cv2.morphologyEx(pale.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, _, stats, centres = cv2.connectedComponentsWithStats(pale)
    largest = 1 + stats[1:, cv2.CC_STAT_AREA].argmax()
    core = projected([0.027, 0.56, -0.019], params)
    np.testing.assert_allclose(centres[largest], core, atol=3.0)


@pytest.mark.parametrize("params", POSES)
def test_the_leaf_of_the_apple_lies_where_its_pose_puts_it(params):
    rgb, mask = picture("apple", replace(params, light_x=0), FRAME)
    red, green, blue = rgb.astype(float).transpose(2, 0, 1)
    leaf = (mask > 200) & (green > 1.15 * red) & (green > 1.15 * blue)
    middle = projected([0.20, 0.88, 0.085], params)
    np.testing.assert_allclose(centroid(leaf), middle, atol=4.5)


@pytest.mark.parametrize("subject", BOTH)
def test_the_bright_side_faces_the_light(subject):
    def sides(light_x, light_y=30.0):
        rgb, mask = picture(subject, Params(light_x=light_x, light_y=light_y, pitch=-25), 96)
        grey = np.where(mask == 255, rgb.mean(2), np.nan)
        return np.nanmean(grey[:, :44]), np.nanmean(grey[:, 52:])

    left, right = sides(-65)
    mirrored = sides(65)
    # The apple's own sides differ in colour, so compare each side under both lights.
    assert left > 1.1 * mirrored[0]
    assert mirrored[1] > 1.1 * right
    bare = np.full(2, 9.0)
    shadow = [
        render(subject, Params(light_x=a, light_y=25), FRAME).astype(int)
        - render(subject, Params(light_x=a, light_y=25, x=bare[0]), FRAME)
        for a in (-65, 65)
    ]
    # The shadow falls to the other side.
    floor = [s[150:190, [40, 280]].mean((0, 2)) for s in shadow]
    assert floor[0][1] < floor[0][0] - 5
    assert floor[1][0] < floor[1][1] - 5


def test_strength_and_warmth_of_the_light():
    def mean(**light):
        rgb, mask = picture("kiwi", Params(**light), 64)
        return rgb[mask == 255].mean(0)

    assert mean(light=1.2).mean() > 1.06 * mean(light=0.8).mean()
    warm, cold = mean(warmth=1.0), mean(warmth=-1.0)
    assert warm[0] / warm[2] > 1.15 * cold[0] / cold[2]


@pytest.mark.parametrize("subject", BOTH)
@pytest.mark.parametrize("index", range(3))
def test_the_mask_is_where_the_picture_shows_more_than_backdrop_and_shadow(subject, index):
    params = draw(4, index)
    rgb, mask = picture(subject, params, FRAME)
    bare = render(subject, replace(params, x=9.0), FRAME)
    outside, inside = mask == 0, mask == 255
    # A shadow darkens all channels alike; it never brightens.
    assert (rgb[outside] <= bare[outside].astype(int) + 1).all()
    tint = rgb[outside].astype(float) / bare[outside]
    assert np.ptp(tint, axis=1).max() < 0.08
    top = np.nonzero(mask.any(1))[0][0]
    high = rgb[: top - 20].astype(int) - bare[: top - 20]
    assert np.abs(high).max() <= 2
    difference = np.abs(rgb.astype(int) - bare).max(2)
    assert (difference[inside] > 12).mean() > 0.97
    assert 0.10 < inside.mean() < 0.35


@pytest.mark.parametrize("subject", BOTH)
def test_a_view_shows_what_a_warp_of_a_large_picture_shows(subject):
    large = render(subject, TURNED, (4 * FRAME[0], 4 * FRAME[1]))
    a, s = np.radians(20), 0.7
    view = np.array([[s * np.cos(a), -s * np.sin(a), 20.0], [s * np.sin(a), s * np.cos(a), -25.0]])
    # A pixel of the frame is four of the large picture.
    fine = np.column_stack([view[:, :2] / 4, view @ [-0.375, -0.375, 1]])
    twice = np.array([[2.0, 0, 0.5], [0, 2.0, 0.5]])
    finer = np.column_stack([2 * fine[:, :2], 2 * fine[:, 2] + twice[:, 2]])
    warped = cv2.resize(
        cv2.warpAffine(
            large, finer, (288, 288), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
        ),
        (144, 144),
        interpolation=cv2.INTER_AREA,
    )
    direct = render(subject, TURNED, 144, view=view)
    window = np.s_[24:136, 8:136]  # the rest shows what is outside of the large picture
    error = (direct[window].astype(float) - warped[window]) ** 2
    assert 10 * np.log10(255**2 / error.mean()) > 36


@pytest.mark.parametrize("subject", BOTH)
def test_the_face_square_just_holds_the_fruit(subject):
    widest = 0
    for index in range(40):
        params = draw(9, index)
        _, mask = face_crop(subject, params, 96)
        assert not mask[[0, -1]].any()
        assert not mask[:, [0, -1]].any()
        rows, columns = np.nonzero(mask)
        widest = max(widest, np.ptp(rows), np.ptp(columns))
    assert widest > 0.84 * 96


def test_landmarks_follow_place_and_size_only():
    start = landmarks("apple", Params(), FRAME)
    assert start.dtype == np.float32
    np.testing.assert_array_equal(start, landmarks("kiwi", Params(yaw=50, roll=20, spin=9), FRAME))
    moved = landmarks("apple", Params(x=0.25, y=-0.125), FRAME)
    np.testing.assert_allclose(moved - start, np.tile([32, 16], (5, 1)), atol=1e-3)
    larger = landmarks("apple", Params(scale=1.5), FRAME)
    np.testing.assert_allclose(np.ptp(larger, axis=0), 1.5 * np.ptp(start, axis=0), rtol=1e-4)
    half = landmarks("apple", Params(), (120, 160))
    np.testing.assert_allclose((half + 0.5) * 2, start + 0.5, atol=1e-3)


def test_both_fruits_stand_alike():
    for index in range(12):
        params = draw(2, index)
        apple, kiwi = (face_crop(s, params, 64)[1] > 127 for s in BOTH)
        assert (apple & kiwi).sum() > 0.84 * (apple | kiwi).sum()
        assert np.abs(centroid(apple) - centroid(kiwi)).max() < 7


def test_pose_and_light_show_alike_on_both_fruits():
    poses = [draw(3, index) for index in range(100)]
    seen, inside = [], 0
    for subject in BOTH:
        crops, masks = zip(*(face_crop(subject, params, 32) for params in poses), strict=True)
        crops = np.array(crops) / 255.0
        # Every picture as a network sees it: less the subject's mean, over its deviation.
        seen.append((crops - crops.mean(0)) / (crops.std(0) + 0.02))
        inside = np.maximum(inside, np.array(masks) / 255.0)
    apple, kiwi = seen
    for c in range(3):
        a, k = apple[..., c], kiwi[..., c]
        together = (inside * a * k).sum()
        assert together > 0.6 * np.sqrt((inside * a * a).sum() * (inside * k * k).sum())


def test_a_walk_is_smooth_bounded_and_a_function_of_its_seed():
    steps = walk(400, 7)
    assert steps == walk(400, 7)
    assert steps[:5] != walk(400, 8)[:5]
    values = np.array([list(asdict(p).values()) for p in steps])
    np.testing.assert_array_equal(values * 4096, np.round(values * 4096))
    names = list(asdict(steps[0]))
    for name, largest, fastest in (
        ("yaw", 55, 4),
        ("spin", 6, 4),
        ("roll", 22, 2),
        ("x", 0.22, 0.02),
    ):
        column = values[:, names.index(name)]
        assert np.abs(column).max() <= largest
        assert np.abs(np.diff(column)).max() < fastest
        assert np.abs(np.diff(column, 2)).max() < fastest / 4
        assert np.ptp(column) > 0.6 * largest


def test_draws_depend_on_seed_and_index_and_cover_the_range():
    assert draw(1, 5) == draw(1, 5)
    assert len({draw(s, i) for s in range(3) for i in range(50)}) == 150
    values = np.array([list(asdict(draw(1, i)).values()) for i in range(400)])
    np.testing.assert_array_equal(values * 4096, np.round(values * 4096))
    yaw = values[:, 0]
    assert yaw.min() < -55 < 55 < yaw.max()
    assert np.abs(np.corrcoef(values.T) - np.eye(values.shape[1])).max() < 0.2


@pytest.mark.parametrize("subject", BOTH)
def test_every_parameter_changes_the_picture(subject):
    base = render(subject, Params(), 64).astype(int)
    for name in asdict(Params()):
        other = replace(
            Params(), **{name: getattr(Params(), name) + (0.2 if name in "x y" else 0.5)}
        )
        assert np.abs(render(subject, other, 64) - base).max() > 0, name


def test_bad_input_is_refused():
    with pytest.raises(KeyError):
        render("pear", Params(), 32)
    with pytest.raises(UserError, match="yaw"):
        render("apple", Params(yaw=float("nan")), 32)
    with pytest.raises(UserError, match="scale"):
        landmarks("kiwi", Params(scale=0), 32)
    for view in (np.zeros((2, 3)), np.eye(3), np.array([[1.0, 0, 0], [0, 2.0, 0]])):
        with pytest.raises(UserError, match="view"):
            render("kiwi", Params(), 32, view=view)
