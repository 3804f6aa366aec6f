import numpy as np
import pytest

from swap.evaluate import baselines


def linear_world(seed, codes, directions, mean):
    """Pictures mean + code directions, small enough to stay in [0, 1]."""
    made = codes @ directions.reshape(len(directions), -1)
    return (made.reshape(-1, *mean.shape) + mean).astype(np.float32)


def world(factors=5, count=60, side=12):
    rng = np.random.default_rng(1)
    directions = rng.standard_normal((factors, side, side, 3)) * 0.01
    means = 0.3 + 0.4 * rng.random((2, side, side, 3))
    codes = [rng.standard_normal((count, factors)) for _ in range(2)]
    codes = [c - c.mean(0) for c in codes]
    asked = rng.standard_normal((9, factors))
    a, b = (linear_world(0, c, directions, m) for c, m in zip(codes, means, strict=True))
    given, truth = (linear_world(0, asked, directions, m) for m in means)
    return a, b, given, truth


def test_copy_and_mean_are_what_they_say():
    a, b, given, _ = world()
    assert baselines.copy(a, b, given) is given
    made = baselines.mean(a, b, given)
    assert made.shape == given.shape
    np.testing.assert_allclose(made[4], b.astype(float).mean(0), atol=1e-6)


def test_linear_is_right_in_a_linear_world():
    a, b, given, truth = world()
    made = baselines.linear(a, b, given)
    np.testing.assert_allclose(made, truth, atol=2e-5)
    assert np.abs(baselines.mean(a, b, given) - truth).max() > 0.02


def test_linear_uses_no_more_components_than_it_is_given():
    a, b, given, truth = world(factors=8)
    components = baselines.shared_components(a, b, 3)
    assert components.shape == (3, a[0].size)
    made = baselines.linear(a, b, given, components)
    rank = np.linalg.matrix_rank((made - b.mean(0)).reshape(9, -1), tol=1e-3)
    assert rank == 3
    assert np.abs(made - truth).max() > 0.01


def test_nearest_finds_the_planted_twin():
    a, b, given, _ = world()
    twins = np.array([7, 30, 55, 2, 11, 42, 13, 21, 9])
    # Deviations of b's pictures, put on a's mean: the answer is the very picture.
    asked = b[twins] - b.mean(0) + a.mean(0)
    assert len(asked) == len(given)
    np.testing.assert_array_equal(baselines.nearest(a, b, asked), b[twins])


def test_nearest_looks_only_where_it_is_told():
    a, b, *_ = world()
    asked = b[[7, 30]] - b.mean(0) + a.mean(0)
    asked[:, :, 6:] += 5
    weight = np.zeros((12, 12))
    weight[:, :6] = 1
    np.testing.assert_array_equal(baselines.nearest(a, b, asked, weight), b[[7, 30]])


@pytest.mark.parametrize("shape", [(600, 150), (90, 400)])
def test_principal_components_span_what_a_full_decomposition_spans(shape):
    rng = np.random.default_rng(0)
    spectrum = 0.97 ** np.arange(min(shape))
    left, right = (np.linalg.qr(rng.standard_normal((n, len(spectrum))))[0] for n in shape)
    rows = ((left * spectrum) @ right.T).astype(np.float32)
    found = baselines.principal_components(rows, 20)
    np.testing.assert_allclose(found @ found.T, np.eye(20), atol=1e-4)
    # Each is the direction of its rank, up to its sign.
    aligned = np.abs(np.einsum("kp,pk->k", found, right[:, :20]))
    np.testing.assert_allclose(aligned, 1, atol=1e-3)


def test_there_are_no_more_components_than_pictures():
    rows = np.random.default_rng(0).standard_normal((7, 50)).astype(np.float32)
    assert baselines.principal_components(rows, 64).shape == (7, 50)
