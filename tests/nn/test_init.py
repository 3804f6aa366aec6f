"""Initial weights: their moments against the formula, and that a seed decides them.

Bounds. The sample mean of n numbers of standard deviation s is off by about s / sqrt(n), the sample
variance by s² sqrt((k - 1) / n) with the kurtosis k (1.8 uniform, 3 normal). Five of these are allowed:
a right initializer exceeds that once in 1.7 million draws; a fan taken wrong exceeds it by hundreds.
"""

import math

import numpy as np
import pytest

import nn
from nn.init import fans, glorot_uniform, he_normal, make_weight

SHAPES = [(300, 500), (5, 5, 40, 64), (3, 1, 120, 400)]
SIGMAS = 5


def assert_moments(w, variance, kurtosis):
    w = w.astype(np.float64)
    assert abs(w.mean()) <= SIGMAS * math.sqrt(variance / w.size)
    assert abs(w.var() / variance - 1) <= SIGMAS * math.sqrt((kurtosis - 1) / w.size)
    # the shape of the distribution; the sample kurtosis of a normal is off by about sqrt(24 / n)
    assert abs(np.mean(w**4) / w.var() ** 2 - kurtosis) <= SIGMAS * math.sqrt(24 / w.size)


def test_fans_by_hand():
    assert fans((300, 500)) == (300, 500)
    assert fans((5, 5, 3, 64)) == (75, 1600)
    assert fans((3, 1, 2, 7)) == (6, 21)


@pytest.mark.parametrize("shape", SHAPES)
def test_glorot(shape, rng):
    w = glorot_uniform(rng, shape)
    limit = math.sqrt(6 / sum(fans(shape)))
    assert w.dtype == np.float32
    assert w.shape == shape
    assert_moments(w, limit**2 / 3, 1.8)
    assert np.abs(w).max() <= limit * (1 + 1e-6)
    assert w.max() > 0.999 * limit
    assert w.min() < -0.999 * limit


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("slope", [0.0, 0.1, 1.0])
def test_he(shape, slope, rng):
    w = he_normal(rng, shape, negative_slope=slope)
    assert w.dtype == np.float32
    assert w.shape == shape
    assert_moments(w, 2 / ((1 + slope**2) * fans(shape)[0]), 3)


def test_he_keeps_the_size_of_signals_through_relu(rng):
    """What the formula is for: after ten layers the mean square is still of the order of 1."""
    x = rng.standard_normal((64, 512)).astype(np.float32)
    for seed in range(10):
        layer = nn.Dense(512, 512, init="he", rng=seed).to("reference")
        x, _ = nn.ReLU().to("reference").forward(layer.forward(x)[0])
    assert 0.25 < 2 * np.mean(x**2) < 4


@pytest.mark.parametrize("init", ["glorot", "he"])
@pytest.mark.parametrize("shape", [(6, 7), (3, 3, 4, 5)])
def test_the_seed_decides(init, shape):
    draw = lambda rng: make_weight(init, shape, rng, np.float32)  # noqa: E731
    assert draw(7).tobytes() == draw(7).tobytes()
    assert draw(7).tobytes() != draw(8).tobytes()
    # without one, two layers of one shape must not start alike
    assert draw(None).tobytes() != draw(None).tobytes()
    generator = np.random.default_rng(7)
    assert draw(generator).tobytes() != draw(generator).tobytes()  # it moves on


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layers_start_from_the_initializer_and_a_zero_bias(dtype):
    dense = nn.Dense(6, 7, init="he", rng=5, dtype=dtype)
    conv = nn.Conv2d(4, 5, 3, rng=5, dtype=dtype)
    np.testing.assert_array_equal(dense.weight.value, make_weight("he", (6, 7), 5, dtype))
    np.testing.assert_array_equal(conv.weight.value, make_weight("glorot", (3, 3, 4, 5), 5, dtype))
    for layer in (dense, conv):
        assert layer.weight.value.dtype == layer.bias.value.dtype == dtype
        assert not layer.bias.value.any()


def test_an_unknown_initializer_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="'zeros'; there are glorot, he"):
        make_weight("zeros", (2, 2), 0, np.float32)
