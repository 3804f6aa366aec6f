"""The loss on codes: its moments against NumPy's, its gradient against the complex step, and what it leads to."""

import numpy as np
import pytest

from nn.backend import get_backend
from swap.match import KEEP, CodeMatch

D = 7


@pytest.fixture(params=["reference", "cpu"])
def ops(request):
    return get_backend(request.param)


def codes(rng, n=6):
    spread = rng.standard_normal((2, D, D)).astype(np.float32)
    return {
        side: (rng.standard_normal((n, D)) @ spread[i] + i).astype(np.float32)
        for i, side in enumerate("ab")
    }


def distance(z_a, z_b, tau, nu):
    """M of two batches by its definition, for real and complex codes."""
    mean = [z.sum(0) / len(z) for z in (z_a, z_b)]
    centred = [z - m for z, m in zip((z_a, z_b), mean, strict=True)]
    cov = [c.T @ c / len(c) for c in centred]
    return ((mean[0] - mean[1]) ** 2).sum() / tau + ((cov[0] - cov[1]) ** 2).sum() / nu


def test_the_first_step_is_the_loss_of_that_batch_and_its_gradient(rng, ops):
    z = codes(rng)
    value, gradient = CodeMatch("ab", D, ops).gradient(z)
    a, b = (z[side].astype(np.float64) for side in "ab")
    cov = [np.cov(v.T, bias=True) for v in (a, b)]
    tau, nu = np.mean([np.trace(c) for c in cov]), np.mean([(c**2).sum() for c in cov])
    assert value == pytest.approx(distance(a, b, tau, nu), rel=1e-4)
    for side, own in (("a", a), ("b", b)):
        expected = np.empty_like(own)
        for index in np.ndindex(own.shape):
            stepped = {"a": a.astype(complex), "b": b.astype(complex)}
            stepped[side][index] += 1e-200j
            expected[index] = distance(stepped["a"], stepped["b"], tau, nu).imag / 1e-200
        scale = np.abs(expected).max()
        np.testing.assert_allclose(gradient[side], expected, atol=1e-4 * scale, rtol=0)


def test_the_moments_are_averages_of_all_batches_the_latest_counting_most(rng, ops):
    match = CodeMatch("ab", D, ops)
    batches = [codes(rng) for _ in range(5)]
    for z in batches:
        match.gradient(z)
    weights = (1 - KEEP) * KEEP ** np.arange(len(batches))[::-1]
    for side in "ab":
        mean = sum(w * z[side].mean(0) for w, z in zip(weights, batches, strict=True))
        cov = sum(w * np.cov(z[side].T, bias=True) for w, z in zip(weights, batches, strict=True))
        arrays = match.arrays()
        np.testing.assert_allclose(arrays[f"mean/{side}"], mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(arrays[f"covariance/{side}"], cov, rtol=1e-4, atol=1e-5)


def test_equal_codes_are_left_alone_and_size_does_not_matter(rng, ops):
    z = codes(rng)["a"]
    value, gradient = CodeMatch("ab", D, ops).gradient({"a": z, "b": z.copy()})
    assert value == 0
    assert not gradient["a"].any()
    both = codes(rng)
    small, _ = CodeMatch("ab", D, ops).gradient(both)
    large, _ = CodeMatch("ab", D, ops).gradient({s: 100 * v for s, v in both.items()})
    assert large == pytest.approx(small, rel=1e-4)


def test_following_the_gradient_brings_the_moments_together(rng, ops):
    z = codes(rng, 40)
    first, _ = CodeMatch("ab", D, ops).gradient(z)
    for _ in range(200):
        _, gradient = CodeMatch("ab", D, ops).gradient(z)
        z = {side: v - 2 * gradient[side] for side, v in z.items()}
    last, _ = CodeMatch("ab", D, ops).gradient(z)
    assert last < 0.05 * first


def test_it_goes_on_from_its_arrays(rng, ops):
    whole, before, after = (CodeMatch("ab", D, ops) for _ in range(3))
    one, two = codes(rng), codes(rng)
    before.gradient(one)
    for name, array in after.arrays().items():
        array[...] = before.arrays()[name]
    whole.gradient(one)
    expected = whole.gradient(two)
    found = after.gradient(two)
    assert found[0] == expected[0]
    for side in "ab":
        np.testing.assert_array_equal(found[1][side], expected[1][side])
