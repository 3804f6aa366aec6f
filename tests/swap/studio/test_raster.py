"""The z-buffer against a slow one written with NumPy from the definition."""

import numpy as np
import pytest

from swap.studio.raster import NOTHING, average, fill, fill_cut


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
    least = np.full(len(triangles), 0.5, np.float32)
    full = np.ones((8, 8, 1), np.float32)
    fill_cut(points, triangles, corners, least, full, depth, seen, 0)
    assert (seen == draw(points, triangles, two_sided=True)[1]).all()

    square = np.array([[0, 0, 1], [0, 32, 1], [32, 32, 1], [32, 0, 1]], np.float32)
    two = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    corners = (square[two][..., :2] / 32).astype(np.float32)
    checks = np.indices((8, 8)).sum(0)[..., None] % 2
    depth[:], seen[:] = 0, NOTHING
    fill_cut(square, two, corners, least[:2], checks.astype(np.float32), depth, seen, 0)
    shown = seen[:32, :32] != NOTHING
    assert (shown[1::4, 1::4] == (checks[..., 0] == 1)).all()


def test_average_is_the_mean_over_blocks():
    samples = np.random.default_rng(5).random((12, 18, 3), np.float32)
    expected = samples.reshape(4, 3, 6, 3, 3).mean((1, 3))
    np.testing.assert_allclose(average(samples, 3), expected, rtol=1e-6)
