"""The exact functions against NumPy's, which are right to an ulp or so."""

import numpy as np
import pytest

from swap.studio import exact

RNG = np.random.default_rng(12)
ANGLES = np.concatenate(
    [
        RNG.uniform(-7, 7, 4000),
        RNG.uniform(-1e3, 1e3, 4000),
        RNG.uniform(-1e-6, 1e-6, 100),
        np.arange(-40, 41) * np.pi / 4,
        [0.0, 1e5, -1e5],
    ]
)
POSITIVE = np.concatenate(
    [np.exp(RNG.uniform(-40, 40, 4000)), RNG.uniform(0.9, 1.1, 4000), [1.0, 2.0, 0.5, 1e3, 1e-300]]
)


def values(function, *arguments):
    return np.array([function(*map(float, row)) for row in zip(*arguments, strict=True)])


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_sine_and_cosine(name):
    # Relative even beside a zero: the reduction keeps the bits that the angle has there.
    np.testing.assert_allclose(
        values(getattr(exact, name), ANGLES), getattr(np, name)(ANGLES), rtol=1e-12
    )


def test_tangent():
    np.testing.assert_allclose(values(exact.tan, ANGLES), np.tan(ANGLES), rtol=1e-12)


def test_angle_of_a_point_in_every_quadrant_and_on_the_axes():
    y = np.concatenate([RNG.normal(size=4000), RNG.normal(size=4000) * 1e-5, [0, 0, 1, -1, 1, 1]])
    x = np.concatenate([RNG.normal(size=8000), [1, -1, 0, 0, 1, -1]])
    np.testing.assert_allclose(values(exact.atan2, y, x), np.arctan2(y, x), rtol=1e-12)
    np.testing.assert_allclose(values(exact.atan2, x, y), np.arctan2(x, y), rtol=1e-12)
    assert exact.atan2(0.0, 0.0) == 0


def test_exponential():
    x = np.concatenate([RNG.uniform(-700, 700, 4000), RNG.uniform(-1, 1, 4000), [0, 1e-9, -1e-9]])
    np.testing.assert_allclose(values(exact.exp, x), np.exp(x), rtol=1e-12)
    assert exact.exp(-1e3) == 0
    assert exact.exp(1e3) == np.inf


def test_logarithm():
    np.testing.assert_allclose(values(exact.log, POSITIVE), np.log(POSITIVE), rtol=1e-12)
    assert exact.log(0.0) == -np.inf
    assert np.isnan(exact.log(-1.0))
    assert exact.log(np.inf) == np.inf


def test_power():
    x, y = np.exp(RNG.uniform(-7, 7, 6000)), RNG.uniform(-8, 8, 6000)
    np.testing.assert_allclose(values(exact.power, x, y), x**y, rtol=1e-12)
    assert exact.power(0.0, 2.4) == 0
    assert exact.power(0.0, 0.0) == 1
    assert exact.power(0.0, -1.0) == np.inf
    assert exact.power(3.0, 0.0) == 1
