"""Flags: the drawing against the published figures, the cloth against its formula, the pictures.

The hashes of GOLDEN change with every change of what is drawn; print new ones with
``python -m tests.swap.studio.test_flags``.
"""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace

import cv2
import numpy as np
import pytest

from swap.errors import UserError
from swap.faces.align import CropDefinition, crop_matrix, warp_crop
from swap.studio.flags import (
    DISTANCE,
    FRAME,
    HOIST,
    Params,
    cloth_points,
    draw,
    landmarks,
    picture,
    render,
    walk,
)
from swap.studio.flags.cloth import BAND, light_on, normals, surface, waves
from swap.studio.flags.drawings import HEADING, SUBJECTS, TEXELS, flat, linear, sums
from swap.studio.flags.shade import box_mean, levels

GOLDEN = {
    "drawing": "50f9180c0a51ed33f277aef9ea1fd4e7441dd5d5fffc9bbe2d1f6855bc620ab3",
    "australia 1": "fdb88cf7744ccbb56dc5e64828e136571cb023dbceac01f9c24b0482486855ca",
    "usa 1": "90bbda855585639c0506887463929f7b533ca155321736d95240e8a82919396f",
    "usa 7": "60e5248e6ec47e81cd9645bdcd9af9952dd2441de0e2f062f7a2fea2fe79aad4",
    "walk": "f7add65b8cbb09e29c5e42a56d88fb3b6d55dfcd838dd104b54e6cf5a7b6eb7c",
}


def golden():
    """Hashes of pictures of both flags, and of a drawing."""
    out = {"drawing": hashlib.sha256(flat("usa").tobytes()).hexdigest()}
    for subject, index in (("australia", 1), ("usa", 1), ("usa", 7)):
        both = picture(subject, draw(3, index), 96)
        data = b"".join(part.tobytes() for part in both)
        out[f"{subject} {index}"] = hashlib.sha256(data).hexdigest()
    out["walk"] = hashlib.sha256(repr(walk(50, 9)).encode()).hexdigest()
    return out


def colours(subject):
    """The flag without its heading, as rows of SUBJECTS' colours: 0 white, 1 red, 2 blue."""
    drawn = flat(subject)[:, round(HEADING * TEXELS) :].astype(np.int64)
    known = linear(SUBJECTS[subject].colours[:3])
    return np.abs(drawn[:, :, None] - known).sum(axis=3).argmin(axis=2)


def areas(subject):
    """In square hoists, of white, red, blue; half covered texels count by their share."""
    drawn = flat(subject)[:, round(HEADING * TEXELS) :].reshape(-1, 3)
    known = np.array(linear(SUBJECTS[subject].colours[:3])).T
    return np.linalg.solve(known, drawn.sum(0) / TEXELS**2)


def star_area(points, diameter, inner):
    return points * (diameter / 2) ** 2 * inner * np.sin(np.pi / points)


def white_spots(picked):
    count, _, _, centres = cv2.connectedComponentsWithStats(picked.astype(np.uint8), connectivity=4)
    return (centres[1:count] + 0.5) / TEXELS


def test_american_areas_follow_from_the_executive_order():
    stars = 50 * star_area(5, 0.0616, 0.5 * (3 - np.sqrt(5)))
    union, beside = 0.76 * 7 / 13, 1.9 - 0.76
    white = 3 / 13 * beside + 3 / 13 * 1.9 + stars
    red = 4 / 13 * beside + 3 / 13 * 1.9
    np.testing.assert_allclose(areas("usa"), [white, red, union - stars], atol=2e-4)


def test_there_are_fifty_stars_where_the_order_puts_them_and_thirteen_stripes():
    drawn = colours("usa")
    union = drawn[: round(7 / 13 * TEXELS), : int(0.76 * TEXELS)]
    centres = white_spots(union == 0)
    assert len(centres) == 50
    expected = [
        (0.063 * column, 0.054 * row)
        for row in range(1, 10)
        for column in range(1, 12)
        if (row + column) % 2 == 0
    ]
    gaps = np.linalg.norm(centres[:, None] - expected, axis=2)
    # The order rounds to thousandths what this adds up over eleven columns.
    assert gaps.min(axis=1).max() < 0.005
    assert len(set(gaps.argmin(axis=1))) == 50
    for column, stripes in ((-5, 13), (20, 6)):
        line = drawn[drawn.shape[0] - round(TEXELS * stripes / 13) :, column]
        assert np.flatnonzero(np.diff(line)).size == stripes - 1
        assert line[-1] == 1
    assert drawn[3, -5] == 1


def test_australian_stars_stand_where_the_schedule_puts_them():
    drawn = colours("australia")
    rest = drawn == 0
    rest[: TEXELS // 2, :TEXELS] = False
    centres = white_spots(rest)
    # to the right of the hoist, and up from the bottom edge, in widths of the flag
    schedule = {
        "commonwealth": (0.5, 0.25),
        "alpha": (1.5, 1 / 6),
        "beta": (1.5 - 0.25, 0.5 + 1 / 16),
        "gamma": (1.5, 1 - 1 / 6),
        "delta": (1.5 + 2 / 9, 0.5 + 31 / 240),
        "epsilon": (1.6, 0.5 - 1 / 24),
    }
    assert len(centres) == 6
    for x, up in schedule.values():
        assert np.linalg.norm(centres - [x, 1 - up], axis=1).min() < 1.5 / TEXELS
    # each points up: its highest texel is half of its outer diameter above its centre
    for name, outer in (("commonwealth", 3 / 10), ("beta", 1 / 7), ("epsilon", 1 / 12)):
        x, up = schedule[name]
        column = drawn[:, round(x * TEXELS)] == 0
        column[: TEXELS // 2 if name == "commonwealth" else 0] = False
        near = np.flatnonzero(column)
        near = near[np.abs(near / TEXELS - (1 - up)) < outer]
        assert abs(near.min() / TEXELS - (1 - up - outer / 2)) < 5 / TEXELS
    stars = (
        star_area(7, 3 / 10, 4 / 9) + 4 * star_area(7, 1 / 7, 4 / 9) + star_area(5, 1 / 12, 4 / 9)
    )
    below = np.count_nonzero(rest) / TEXELS**2
    assert below == pytest.approx(stars, rel=0.01)


def drawn_union_jack(height):
    """As heralds and SVG files build it: broad lines along the diagonals, the red ones clipped."""
    unit = height / 30
    canvas = np.full((height, 2 * height), 2, np.uint8)

    def band(mask, x0, y0, x1, y1, wide, value):
        along = np.array([x1 - x0, y1 - y0], float)
        along /= np.linalg.norm(along)
        across = np.array([-along[1], along[0]]) * wide / 2
        ends = np.array([[x0, y0], [x1, y1]]) + np.outer([-1, 1], along) * 10
        corners = [ends[0] + across, ends[1] + across, ends[1] - across, ends[0] - across]
        fixed = np.rint((np.array(corners) * unit - 0.5) * 256).astype(np.int32)
        cv2.fillPoly(mask, [fixed], value, shift=8)

    for x0, x1 in ((0, 60), (60, 0)):
        band(canvas, x0, 0, x1, 30, 6, 0)
    clip = np.zeros_like(canvas)
    for triangle in (
        [(30, 15), (60, 15), (60, 30)],
        [(30, 15), (30, 30), (0, 30)],
        [(30, 15), (0, 15), (0, 0)],
        [(30, 15), (30, 0), (60, 0)],
    ):
        cv2.fillPoly(clip, [np.rint(np.array(triangle) * unit).astype(np.int32)], 1)
    red = np.zeros_like(canvas)
    for x0, x1 in ((0, 60), (60, 0)):
        band(red, x0, 0, x1, 30, 4, 1)
    canvas[(red & clip) == 1] = 1
    for wide, value in ((10, 0), (6, 1)):
        band(canvas, 30, 0, 30, 30, wide, value)
        band(canvas, 0, 15, 60, 15, wide, value)
    return canvas


def test_the_union_jack_is_the_heralds_and_turns_into_itself():
    jack = colours("australia")[: TEXELS // 2, :TEXELS]
    assert (jack == drawn_union_jack(TEXELS * 2)[2::4, 2::4]).mean() > 0.985
    shares = flat("australia")[: TEXELS // 2, round(HEADING * TEXELS) :][:, :TEXELS].astype(int)
    assert (np.abs(shares - shares[::-1, ::-1]).max(axis=2) > 9000).mean() < 2e-3
    assert (jack != jack[:, ::-1]).mean() > 0.03  # and into nothing else: it is no mirror image


def test_a_box_mean_is_the_mean_of_the_box():
    table, out = sums("usa"), np.empty(3)
    woven = np.diff(np.diff(table, axis=0), axis=1) / 65535
    box_mean(table, 300.0, 200.0, 20.0, 12.0, out)
    np.testing.assert_allclose(out, woven[194:206, 290:310].mean((0, 1)), rtol=1e-9)
    box_mean(table, 300.25, 200.0, 1.0, 1.0, out)
    at = woven[199:201, 299:301]
    np.testing.assert_allclose(out, 0.5 * (0.25 * at[:, 0] + 0.75 * at[:, 1]).sum(0), rtol=1e-9)


def test_levels_are_the_nearest_in_srgb():
    x = np.arange(65536) / 65535
    srgb = 255 * np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)
    assert np.abs(levels() - srgb).max() < 0.53


def by_formula(subject, p, u, v):
    """Frame x, y of cloth coordinates by the module's formula, finely integrated, and by OpenCV's
    rotations.
    """
    fly = SUBJECTS[subject].fly
    rows = waves(p)
    s = (np.arange(4000) + 0.5) / 4000
    rise = np.clip(s / 0.14, 0, 1)
    envelope = (3 * rise**2 - 2 * rise**3) * (0.72 + 0.28 * s)
    turns = rows[:, 1:2] * s + rows[:, 2:3] * v - rows[:, 3:4]
    each = np.sin(2 * np.pi * turns)
    theta = envelope * (rows[:, :1] * each).sum(0)
    fall = np.radians(p.droop) * (0.4 + 1.1 * s - 0.4 * s**2)
    delta = fall * (0.92 + 0.16 * v) + 0.07 * rows[0, 0] * envelope * each[0]
    part = (s < u) * fly / 4000
    point = [
        (np.cos(theta) * np.cos(delta) * part).sum(),
        0.5 - v - (np.sin(delta) * part).sum(),
        (np.sin(theta) * np.cos(delta) * part).sum(),
    ]
    # The middle is that of the mean row over all phases, which are independent of each other.
    phases = np.sin(2 * np.pi * np.arange(64) / 64)[:, None]
    steady = [np.cos(envelope * a * phases).mean(0) for a in rows[:, 0]]
    far = (np.prod(steady, axis=0) * np.cos(fall)).sum()
    middle = np.array([far, -np.sin(fall).sum(), 0]) * fly / 8000
    turn = np.eye(3)
    for angle, axis in ((p.yaw, (0, 1, 0)), (p.pitch, (1, 0, 0)), (-p.roll, (0, 0, 1))):
        turn = cv2.Rodrigues(np.radians(angle) * np.array(axis, float))[0] @ turn
    x, y, z = turn @ (np.array(point) - middle)
    scale = HOIST * p.scale * DISTANCE / (DISTANCE - z)
    return np.array([159.5 + HOIST * p.x + scale * x, 119.5 - HOIST * p.y - scale * y])


@pytest.mark.parametrize("index", range(3))
def test_the_mesh_lies_where_the_formula_puts_it(index):
    p = draw(12, index)
    points = cloth_points("usa", p)[..., :2]
    for r, c in ((0, 0), (0, 84), (36, 84), (18, 42), (9, 70), (36, 20)):
        expected = by_formula("usa", p, c / 84, r / 36)
        assert np.linalg.norm(points[r, BAND + c] - expected) < 0.6, (r, c)


def test_yaw_turns_the_fly_away_and_pitch_the_top_near():
    def nearness(**turn):
        return cloth_points("usa", Params(**{"yaw": 0, "pitch": 0, **turn}))[..., 2]

    still = nearness()
    assert (nearness(yaw=30)[:, -1] < still[:, -1]).all()
    assert (nearness(pitch=10)[0] > still[0]).all()
    rolled = cloth_points("usa", Params(roll=15))
    hoist = rolled[-1, BAND] - rolled[0, BAND]
    assert hoist[0] < -10  # clockwise: the lower end of the hoist swings to the left


def test_the_picture_shows_the_drawing_where_the_mesh_lies():
    p = Params(wind=0.2, flutter=0.1, yaw=-15, roll=4, light_x=0, x=0.1, y=-0.05)
    tall = render("australia", p, (960, 1280)).astype(int)
    spots, labels, _, centres = cv2.connectedComponentsWithStats(
        (tall.min(axis=2) > 100).astype(np.uint8)
    )
    x, y = (cloth_points("australia", p)[27, BAND + 21, :2] + 0.5) * 4 - 0.5  # u 1/4, v 3/4
    label = labels[round(y), round(x)]
    assert 0 < label < spots
    assert np.linalg.norm(centres[label] - [x, y]) < 4
    tall = render("usa", p, (960, 1280)).astype(int)
    reddish = tall[..., 0] - tall[..., 2]
    # the lower right corner of the union: blue to its left, the seventh stripe, red, to its right
    corner = by_formula("usa", p, 0.76 / 1.9, 6.5 / 13)
    x, y = (corner + 0.5) * 4 - 0.5
    row = reddish[round(y), round(x) - 30 : round(x) + 30]
    assert (row[:22] < 0).all()
    assert (row[38:] > 30).all()


@pytest.mark.parametrize("subject", ["australia", "usa"])
def test_folds_are_brighter_on_the_side_of_the_sun(subject):
    p = Params(yaw=0, pitch=0, flutter=0.2, light_y=15)
    points = cloth_points(subject, p)
    inner = (slice(3, -3, 3), slice(BAND + 6, -6, 3))
    x, y = np.rint((points[inner][..., :2] + 0.5) * 4 - 0.5).astype(int).reshape(-1, 2).T
    left, right = (
        render(subject, replace(p, light_x=a), (960, 1280)).astype(float) for a in (-60, 60)
    )
    brighter = np.log((left[y, x].sum(1) + 20) / (right[y, x].sum(1) + 20))
    cloth = surface(waves(p), np.radians(p.droop), SUBJECTS[subject].fly)[0]
    to_left = np.gradient(cloth[..., 2], axis=1)[inner].ravel()  # rising towards the viewer
    assert np.corrcoef(brighter, to_left)[0, 1] > 0.8


def test_a_fold_before_the_sun_casts_a_shadow_and_hides_the_sky():
    # a flat cloth with one deep bay, sun from the left: the bay's left wall shades what is behind
    x = np.linspace(0, 2, 81)
    z = -0.5 * np.exp(-(((x - 1) / 0.16) ** 2))
    y = np.linspace(0.5, -0.5, 11)
    grid = np.stack(np.broadcast_arrays(x, y[:, None], z), -1)
    sun = np.array([-0.8, 0.1, 0.6])
    light = light_on(grid, normals(grid), sun / np.linalg.norm(sun), np.array([1.0, 0, 5]))
    middle = light[5]
    assert middle[36:40, 0].max() < 0.05  # the bay's left wall lies in its own shadow
    assert middle[41, 0] < 0.2 * middle[5, 0]
    assert middle[40, 1] < 0.5 * middle[5, 1]
    assert middle[44:52, 0].max() > 1.2 * middle[5, 0]  # its right wall faces the sun


def test_thin_cloth_lit_from_behind_glows_and_the_canvas_does_not():
    p = Params(yaw=0, pitch=0, wind=0.05, droop=0, light_y=8)
    points = cloth_points("usa", p)

    def at(light_x, row, column):
        tall = render("usa", replace(p, light_x=light_x), (960, 1280)).astype(float)
        x, y = np.rint((points[row, column, :2] + 0.5) * 4 - 0.5).astype(int)
        return tall[y - 1 : y + 2, x - 1 : x + 2].mean()

    # the lowest white stripe and the heading beside it
    behind = at(180, 32, BAND + 3) / at(180, 32, 1)
    before = at(0, 32, BAND + 3) / at(0, 32, 1)
    assert behind > 1.2 * before


@pytest.mark.parametrize("subject", ["australia", "usa"])
def test_the_mask_is_the_cloth(subject):
    p = draw(8, 2)
    mask = picture(subject, p, FRAME)[1]
    points = cloth_points(subject, p)[..., :2]
    fine = np.zeros((FRAME[0] * 8, FRAME[1] * 8), np.uint8)
    place = np.rint(((points + 0.5) * 8 - 0.5) * 16).astype(np.int32)
    for r in range(36):
        for c in range(points.shape[1] - 1):
            quad = [place[r, c], place[r, c + 1], place[r + 1, c + 1], place[r + 1, c]]
            cv2.fillConvexPoly(fine, np.array(quad), 255, shift=4)
    expected = cv2.resize(fine, FRAME[::-1], interpolation=cv2.INTER_AREA).astype(float)
    assert 0.08 < mask.mean() / 255 < 0.3
    assert np.abs(mask - expected).mean() < 0.6
    assert set(np.unique(mask[expected == 0])) <= {0, 28}


def test_both_flags_have_the_same_shape():
    for index in range(6):
        p = draw(4, index)
        first, second = (picture(s, p, 96)[1] / 255 for s in SUBJECTS)
        assert np.minimum(first, second).sum() > 0.93 * np.maximum(first, second).sum()


def test_a_view_is_a_warp_of_the_frame():
    p = draw(2, 5)
    matrix = crop_matrix(landmarks("usa", p), 128, CropDefinition())
    turn = cv2.getRotationMatrix2D((64, 64), 20, 1.0)
    matrix = turn @ np.vstack([matrix, [0, 0, 1]])
    big = render("usa", p, (960, 1280))
    to_frame = np.array([[0.25, 0, -0.375], [0, 0.25, -0.375], [0, 0, 1]])
    # light is averaged, not its code values
    light = linear(np.arange(256)).astype(np.float32)[big] / 65535
    warped = np.clip(warp_crop(light, matrix @ to_frame, 128, cv2.INTER_LINEAR), 0, 1)
    expected = levels()[np.rint(warped * 65535).astype(int)].astype(float)
    error = render("usa", p, 128, view=matrix) - expected
    inside = cv2.warpAffine(np.ones(big.shape[:2]), matrix @ to_frame, (128, 128)) > 0.99
    assert 10 * np.log10(255**2 / (error[inside] ** 2).mean()) > 34


def test_another_size_is_the_same_frame():
    p = draw(2, 6)
    small = render("australia", p, (120, 160)).astype(float)
    large = render("australia", p, (240, 320))
    mean = cv2.resize(large, (160, 120), interpolation=cv2.INTER_AREA)
    assert 10 * np.log10(255**2 / ((small - mean) ** 2).mean()) > 38
    np.testing.assert_allclose(
        (landmarks("usa", p, 120) + 0.5 + [20, 0]) * 2 - 0.5, landmarks("usa", p), atol=1e-3
    )


def test_the_face_square_holds_the_cloth_and_follows_its_place_only():
    for p in [draw(6, i) for i in range(250)] + walk(250, 6):
        marks = landmarks("australia", p)
        matrix = crop_matrix(marks, 100, CropDefinition(), False)
        points = cloth_points("australia", p)[..., :2].reshape(-1, 2)
        inside = points @ matrix[:, :2].T + matrix[:, 2]
        assert inside.min() >= -0.5
        assert inside.max() <= 99.5
        assert abs(matrix[0, 1]) < 1e-6
    still = landmarks("usa", Params())
    np.testing.assert_array_equal(still, landmarks("usa", Params(yaw=40, phase_1=7, droop=20)))
    assert landmarks("usa", Params(x=0.1))[0, 0] > still[0, 0]
    assert landmarks("usa", Params(y=0.1))[0, 1] < still[0, 1]


def test_walks_and_draws_are_pure_smooth_and_in_4096ths():
    steps = walk(400, 7)
    assert steps == walk(400, 7)
    assert steps[:9] != walk(400, 8)[:9]
    assert draw(1, 2) == draw(1, 2)
    assert len({draw(1, i) for i in range(20)} | {draw(2, 1)}) == 21
    rows = np.array([list(asdict(p).values()) for p in [*steps, draw(5, 5)]])
    assert (rows * 4096 == np.rint(rows * 4096)).all()
    names = list(asdict(steps[0]))
    bound = {"yaw": 5, "light_x": 8, "droop": 1.5, "wind": 0.05, "x": 0.012, "scale": 0.01}
    for name, most in bound.items():
        change = np.diff(rows[:400, names.index(name)])
        assert 0 < np.abs(change).max() < most, name
        assert np.abs(np.diff(change)).max() < 0.4 * most, name
    for name in ("phase_1", "phase_2", "phase_3"):
        change = np.diff(rows[:400, names.index(name)])
        assert 3 < change.min() <= change.max() < 35, name
        assert np.abs(np.diff(change)).max() < 1


def test_a_whole_turn_of_a_phase_changes_nothing_visible():
    p = draw(9, 1)
    turned = replace(p, phase_1=p.phase_1 + 360, phase_3=p.phase_3 - 720)
    apart = np.abs(render("usa", p, 64).astype(int) - render("usa", turned, 64))
    assert apart.max() <= 1


def test_bad_arguments_are_named():
    with pytest.raises(KeyError):
        render("mars", Params())
    with pytest.raises(KeyError):
        landmarks("mars", Params())
    with pytest.raises(UserError, match="size"):
        render("usa", Params(), (0, 5))
    with pytest.raises(UserError, match="view"):
        render("usa", Params(), 8, view=np.eye(3))
    with pytest.raises(UserError, match="reflection"):
        render("usa", Params(), 8, view=np.array([[1.0, 0, 0], [0, -1, 0]]))


def test_the_bytes_are_those_of_every_machine():
    assert golden() == GOLDEN
    other = os.environ | {
        "NPY_DISABLE_CPU_FEATURES": _numpy_features(),
        "OPENBLAS_CORETYPE": "Prescott",
        "NUMBA_CPU_NAME": "generic",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F",
    }
    command = [sys.executable, "-m", "tests.swap.studio.test_flags"]
    done = subprocess.run(command, env=other, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == GOLDEN


def _numpy_features():
    """Those of this processor that NumPy can be told to leave alone."""
    features = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    return " ".join(features)


if __name__ == "__main__":
    print(json.dumps(golden(), indent=4))
