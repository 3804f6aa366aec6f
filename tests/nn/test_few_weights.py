"""Gradients of few 3x3 weights (nn/cpu/few_weights.py): against the reference in float64, on one thread and on all."""

import numba
import numpy as np
import pytest

from nn.cpu import conv, few_weights, winograd
from nn.reference import conv as reference

# Shape of x, outputs, padding: outputs in one group, in two of which one is part-filled, of one vector; tiles that hang
# over; parts of unequal size, and a last block of fewer tiles.
SHAPES = [
    ((64, 12, 12, 16), 32, (1, 1, 1, 1)),
    ((9, 33, 30, 32), 48, (1, 1, 1, 1)),
    ((40, 14, 15, 32), 16, (2, 0, 1, 0)),
    ((3, 64, 61, 16), 128, (0, 0, 0, 0)),
    ((17, 25, 23, 32), 80, (0, 2, 2, 1)),
]


def gradients(module, dtype, shape, outputs, padding):
    rng = np.random.default_rng(outputs)
    x = rng.standard_normal(shape, np.float32)
    w = rng.standard_normal((3, 3, shape[3], outputs), np.float32)
    y, cache = module.conv2d_forward(x.astype(dtype), w.astype(dtype), None, padding=padding)
    dy = rng.standard_normal(y.shape, np.float32).astype(dtype)
    dw = np.ones(w.shape, dtype)
    return dw, module.conv2d_backward(dy, cache, dw, None)


def test_the_shapes_are_for_it():
    for shape, outputs, (top, bottom, left, right) in SHAPES:
        high, wide = shape[1] + top + bottom - 2, shape[2] + left + right - 2
        tiles = shape[0] * -(-high // winograd.TILE) * -(-wide // winograd.TILE)
        assert few_weights.fits((3, 3, shape[3], outputs), tiles, np.dtype(np.float32))
    assert not few_weights.fits((3, 3, 64, 64), 4096, np.dtype(np.float32))
    assert not few_weights.fits((3, 3, 16, 16), 511, np.dtype(np.float32))


@pytest.mark.parametrize(("shape", "outputs", "padding"), SHAPES)
def test_gradients_are_those_of_the_definition(shape, outputs, padding):
    """Within the error that is stated of Winograd's way, relative to the largest entry (nn/cpu/README.md)."""
    found = gradients(conv, np.float32, shape, outputs, padding)
    truth = gradients(reference, np.float64, shape, outputs, padding)
    for ours, other in zip(found, truth, strict=True):
        np.testing.assert_allclose(ours, other, rtol=0, atol=3e-6 * np.abs(other).max())


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread is all there is")
@pytest.mark.parametrize(("shape", "outputs", "padding"), SHAPES)
def test_the_number_of_threads_changes_no_bit(shape, outputs, padding):
    found = gradients(conv, np.float32, shape, outputs, padding)
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        alone = gradients(conv, np.float32, shape, outputs, padding)
    finally:
        numba.set_num_threads(before)
    for ours, other in zip(found, alone, strict=True):
        assert np.array_equal(ours, other)
