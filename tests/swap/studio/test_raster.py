"""The z-buffer against a slow one written with NumPy from the definition."""

import numpy as np
import pytest

from swap.studio.raster import NOTHING, fill, fill_cut
from swap.studio.resolve import encoding, gather, resolve
from swap.studio.shade import HAIR, SKIN


def slowly(points, triangles, shape):
    """Signed areas at every sample, one triangle at a time, in float64."""
    depth, seen = np.zeros(shape), np.full(shape, NOTHING)
    y, x = np.mgrid[: shape[0], : shape[1]]
    edge = np.inf * np.ones(shape)
    for row, corners in enumerate(triangles):
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = points[corners].astype(float)
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area >= 0:  # y runs downwards: counter-clockwise on the picture is negative here
            continue
        w0 = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
        w1 = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
        w2 = 1 - w0 - w1
        inner = np.minimum(np.minimum(w0, w1), w2)
        edge = np.minimum(edge, np.abs(inner))
        z = w0 * az + w1 * bz + w2 * cz
        nearer = (inner >= 0) & (z > depth)
        depth[nearer], seen[nearer] = z[nearer], row
    return depth, seen, edge > 1e-4


@pytest.fixture
def scene():
    rng = np.random.default_rng(3)
    points = rng.uniform(-10, 60, (90, 3)).astype(np.float32)
    points[:, 2] = rng.uniform(1, 2, 90)
    return points, rng.integers(0, 90, (60, 3)).astype(np.int32)


def draw(points, triangles, two_sided=False, shape=(48, 40)):
    depth, seen = np.zeros(shape, np.float32), np.full(shape, NOTHING, np.int32)
    fill(points, triangles, depth, seen, 0, two_sided)
    return depth, seen


def test_fill_agrees_with_the_definition_away_from_edges(scene):
    depth, seen = draw(*scene)
    expected_depth, expected_seen, sure = slowly(*scene, depth.shape)
    assert 0.3 < (expected_seen[sure] != NOTHING).mean() < 1
    assert (seen == expected_seen)[sure].all()
    np.testing.assert_allclose(depth[sure], expected_depth[sure], atol=1e-4)


def test_two_sided_draws_what_faces_away_too(scene):
    points, triangles = scene
    both = draw(points, triangles, two_sided=True)[0]
    front, back = draw(points, triangles)[0], draw(points, triangles[:, ::-1].copy())[0]
    np.testing.assert_allclose(both, np.maximum(front, back), atol=1e-5)


def test_triangles_that_share_an_edge_leave_no_hole():
    grid = np.stack(np.meshgrid(np.linspace(2.3, 36.9, 9), np.linspace(1.7, 40.2, 8)), -1)
    points = np.concatenate([grid.reshape(-1, 2), np.ones((72, 1))], 1).astype(np.float32)
    rows = np.arange(72).reshape(8, 9)
    p, q, r, s = rows[:-1, :-1], rows[1:, :-1], rows[1:, 1:], rows[:-1, 1:]
    quads = [np.stack(c, -1).reshape(-1, 3) for c in ((p, q, r), (p, r, s))]
    _, seen = draw(points, np.concatenate(quads).astype(np.int32))
    assert (seen[2:41, 3:37] != NOTHING).all()
    assert (seen[:, :3] == NOTHING).all()
    assert (seen[:2] == NOTHING).all()


def test_fill_cut_without_holes_is_fill_and_with_holes_follows_the_texture(scene):
    points, triangles = scene
    depth, seen = np.zeros((48, 40), np.float32), np.full((48, 40), NOTHING, np.int32)
    corners = np.random.default_rng(4).uniform(0, 1, (len(triangles), 3, 2)).astype(np.float32)
    least = np.full(len(triangles), 128, np.uint8)
    full = np.full((8, 8), 128, np.uint8)
    fill_cut(points, triangles, corners, least, full, depth, seen, 0, True)
    assert (seen == draw(points, triangles, two_sided=True)[1]).all()
    depth[:], seen[:] = 0, NOTHING
    fill_cut(points, triangles, corners, least, full, depth, seen, 0, False)
    assert (seen == draw(points, triangles)[1]).all()

    square = np.array([[0, 0, 1], [0, 32, 1], [32, 32, 1], [32, 0, 1]], np.float32)
    two = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    corners = (square[two][..., :2] / 32).astype(np.float32)
    checks = np.indices((8, 8)).sum(0) % 2
    depth[:], seen[:] = 0, NOTHING
    fill_cut(square, two, corners, least[:2], (255 * checks).astype(np.uint8), depth, seen, 0, True)
    shown = seen[:32, :32] != NOTHING
    assert (shown[1::4, 1::4] == (checks == 1)).all()


def test_every_sample_is_shaded_once_with_those_of_its_kind():
    rng = np.random.default_rng(5)
    material = np.array([SKIN, SKIN, HAIR, SKIN], np.uint8)
    small = np.array([False, False, False, True])
    seen = rng.integers(-1, 4, (12, 16)).astype(np.int32)
    depth = rng.choice([0.07, 0.0701, 0.08], seen.shape).astype(np.float32)
    place, triangle, pixel, count, whole = gather(seen, depth, material, small, 2)
    assert count.sum() == (seen >= 0).sum()
    assert (np.diff(pixel) >= 0).all()
    assert (whole == (count > 2)).all()
    assert (count[small[triangle]] == 1).all()
    for p in range(48):
        block = seen[p // 8 * 2 :, p % 8 * 2 :][:2, :2].ravel()
        near = depth[p // 8 * 2 :, p % 8 * 2 :][:2, :2].ravel()
        here = pixel == p
        assert (material[triangle[here]] == HAIR).sum() == (block == 2).any()
        big = (block == 0) | (block == 1)
        groups = len({z > 0.075 for z in near[big]})
        assert (triangle[here] < 2).sum() == groups
        middle = (place[here] * count[here, None]).sum(0)
        rows, columns = np.nonzero(block.reshape(2, 2) >= 0)
        expected = [columns.sum() + len(rows) * (p % 8 * 2), rows.sum() + len(rows) * (p // 8 * 2)]
        np.testing.assert_allclose(middle, expected, atol=1e-4)


def test_a_pixel_is_the_mean_of_its_samples_and_the_backdrop_in_srgb():
    colour = np.array([[0.5, 0.1, 0.0, 1.0], [0.2, 0.3, 0.05, 0.0]], np.float32)
    wall = np.full((2, 3), 0.25)
    to_frame = np.array([[0.0, 0.0, 0.5], [0.0, 0.0, 0.42]])
    pixel, count = np.array([0, 2], np.int32), np.array([4, 1], np.uint8)
    rgb, mask = resolve(colour, pixel, count, 2, 1, 3, to_frame, wall, encoding())

    def srgb(x):
        return np.rint(255 * np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055))

    np.testing.assert_array_equal(rgb[0, 0], srgb(colour[0, :3]))
    np.testing.assert_array_equal(rgb[0, 1], srgb(np.full(3, 0.25 * 1.12)))
    np.testing.assert_array_equal(rgb[0, 2], srgb((colour[1, :3] + 3 * 0.28) / 4))
    np.testing.assert_array_equal(mask, [[255, 0, 0]])
