"""Why gradients of a wide network in float32 may differ from PyTorch's, or from the exact way's, by a thousandth.

A leaky ReLU multiplies the gradient by 1 or by its slope, whichever side of 0 its input lies on. Where that is nearer
to 0 than rounding, rounding decides, and Winograd's way rounds several times as much as the direct one. This shows
that the kink is all of it: at the places concerned the input is within the stated error of 0, and with the signs of the
truth every gradient is within the stated error of the truth.
"""

import numpy as np
import pytest

from nn.cpu import conv_block as fast
from nn.reference import conv_block as reference

STATED = 3e-6  # of the largest entry (nn/cpu/README.md)
SLOPE = 0.1
# Kernel, stride and padding of Winograd's two ways, and of the one along the rows.
WAYS = {
    "winograd": (3, (1, 1), (1, 1, 1, 1), 32),
    "phases": (5, (2, 2), (1, 2, 1, 2), 32),
    "lines": (5, (2, 2), (1, 2, 1, 2), 3),
}


def gradients(module, dy, cache):
    dw, db = np.zeros_like(cache.w), np.zeros(cache.w.shape[3], dy.dtype)
    return [module.conv_block_backward(dy, cache, dw, db), dw, db]


def worst(found, truth):
    """The largest error of all gradients, relative to the largest entry of each."""
    return max(np.abs(a - b).max() / np.abs(b).max() for a, b in zip(found, truth, strict=True))


@pytest.mark.parametrize("way", WAYS)
def test_a_flipped_sign_is_all_of_the_difference(way, rng):
    kernel, stride, padding, channels = WAYS[way]
    x = rng.standard_normal((8, 32, 32, channels), np.float32)
    w = rng.standard_normal((kernel, kernel, channels, 64), np.float32)
    options = {"stride": stride, "padding": padding, "negative_slope": SLOPE}
    double = [a.astype(np.float64) for a in (x, w)]
    z, _ = reference.conv_block_forward(*double, None, **{**options, "negative_slope": 1.0})
    # Each output gets the bias that brings one of its places to the kink, as near as a float32 can: in a wide network
    # there are such places among millions.
    places = [rng.integers(0, size, 64) for size in z.shape[:3]]
    bias = -z[(*places, np.arange(64))].astype(np.float32)
    z += bias

    y, cache = fast.conv_block_forward(x, w, bias, **options)
    true_y, true_cache = reference.conv_block_forward(*double, bias.astype(np.float64), **options)
    flipped = (y > 0) != (true_y > 0)
    assert flipped.any()
    assert np.abs(z[flipped]).max() < STATED * np.abs(z).max()

    dy = rng.standard_normal(y.shape, np.float32)
    truth = gradients(reference, dy.astype(np.float64), true_cache)
    assert worst(gradients(fast, dy, cache), truth) > 100 * STATED
    signs = np.where(flipped, true_y, y).astype(np.float32)
    assert worst(gradients(fast, dy, cache._replace(y=signs)), truth) < STATED
