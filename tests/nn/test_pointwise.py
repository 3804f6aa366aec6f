"""1x1 kernels of stride 1 (nn/cpu/pointwise.py) against the reference: whole numbers, so that every bit is known."""

import numpy as np
import pytest

import nn
from nn.cpu import conv, pointwise
from nn.reference import conv as reference

# Blocks that end within a tile, the last tile of channels that overlaps, half a panel and part of a vector of outputs,
# results of 6 MiB and more (y, then dx), more blocks than parts.
SHAPES = [
    ((2, 16, 16, 64), 128),
    ((1, 17, 31, 20), 32),
    ((3, 11, 13, 9), 48),
    ((1, 300, 1, 8), 16),
    ((2, 23, 29, 250), 33),
    ((1, 16, 17, 12), 17),
    ((16, 32, 32, 16), 128),
    ((7, 37, 64, 96), 16),
    ((1, 128, 1, 256), 256),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "outputs"), SHAPES)
def test_whole_numbers_are_exact(shape, outputs, dtype):
    rng = np.random.default_rng(outputs)
    x, w, b, dy, dw, db = (
        rng.integers(-3, 4, s).astype(dtype)
        for s in (
            shape, (1, 1, shape[3], outputs), outputs, (*shape[:3], outputs),
            (1, 1, shape[3], outputs), outputs,
        )
    )  # fmt: skip
    results = []
    for module in (conv, reference):
        y, cache = module.conv2d_forward(x, w, b)
        found_dw, found_db, alone = dw.copy(), db.copy(), dw.copy()
        dx = module.conv2d_backward(dy, cache, found_dw, found_db)
        assert module.conv2d_backward(dy, cache, alone, None, need_dx=False) is None
        results.append((y, dx, found_dw, found_db, alone))
    for mine, wanted in zip(*results, strict=True):
        np.testing.assert_array_equal(mine, wanted)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_behind_an_activation(dtype):
    """A ConvBlock of one pass and its layers one after the other, on whole numbers and a slope of 1/4."""
    rng = np.random.default_rng(0)
    shape = (3, 19, 21, 40)
    x = rng.integers(-3, 4, shape).astype(dtype)
    dy = rng.integers(-3, 4, (3, 19, 21, 64)).astype(dtype)
    results = []
    for backend in ("cpu", "reference"):
        layer = nn.ConvBlock(40, 64, 1, negative_slope=0.25).to(backend)
        for parameter, seed in zip(layer.parameters(), (1, 2), strict=True):
            drawn = np.random.default_rng(seed).integers(-3, 4, parameter.shape)
            parameter.value, parameter.grad = drawn.astype(dtype), np.zeros(drawn.shape, dtype)
        y, cache = layer.forward(x)
        results.append([y, layer.backward(dy, cache), *(p.grad for p in layer.parameters())])
    for mine, wanted in zip(*results, strict=True):
        np.testing.assert_array_equal(mine, wanted)


def test_what_it_is_for():
    one = (1, 1), (0, 0, 0, 0)
    assert pointwise.fits((1, 1, 64, 128), *one, 1024)
    assert not pointwise.fits((1, 1, 64, 128), (2, 2), one[1], 1024)
    assert not pointwise.fits((1, 1, 64, 128), one[0], (0, 1, 0, 0), 1024)
    assert not pointwise.fits((1, 1, 4, 128), *one, 1024)
    assert not pointwise.fits((1, 1, 512, 512), *one, 1024)
    assert not pointwise.fits((3, 3, 64, 64), *one, 1024)
    assert pointwise.fits_backward(64, np.dtype(np.float32))
    assert not pointwise.fits_backward(33, np.dtype(np.float32))
