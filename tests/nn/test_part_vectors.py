"""Gradients of weights whose outputs end within a vector (nn/cpu/direct.py, lines.py): a vector then reads on into the
next place, and behind the last place nothing may be read."""

import mmap

import numpy as np
import pytest

from nn import memory, reference
from nn.cpu import conv, direct, lines
from nn.reference.conv import Conv2dCache

CASES = [  # kernel, stride, padding, shape of x, outputs
    (5, 1, 0, (6, 28, 28, 1), 6),
    (3, 1, 1, (3, 33, 31, 20), 20),
    (3, 1, 1, (2, 16, 16, 3), 4),
    (5, 2, 2, (2, 40, 38, 3), 40),
    (3, 2, 1, (1, 21, 23, 12), 17),
]


def at_the_end_of_its_memory(a: np.ndarray) -> np.ndarray:
    """A copy of ``a`` whose last number ends a mapping, so that the page behind is mostly nobody's."""
    size = -(-a.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    raw = np.frombuffer(mmap.mmap(-1, size), np.uint8)
    copy = raw[size - a.nbytes :].view(a.dtype).reshape(a.shape)
    copy[...] = a
    return copy


@pytest.mark.parametrize("way", [direct, lines], ids=["direct", "lines"])
@pytest.mark.parametrize(("kernel", "stride", "pad", "shape", "outputs"), CASES)
def test_the_gradient_is_that_of_float64(way, kernel, stride, pad, shape, outputs):
    """Neighbouring places hold numbers a thousand times as large as one output's, which none of it may reach."""
    rng = np.random.default_rng(kernel)
    strides, pads = (stride, stride), (pad,) * 4
    x = rng.standard_normal(shape, np.float32)
    w = rng.standard_normal((kernel, kernel, shape[3], outputs), np.float32)
    y, _ = reference.conv2d_forward(x, w, None, stride=strides, padding=pads)
    dy = rng.standard_normal(y.shape, np.float32)
    dy[..., 0] *= 1000
    before = [rng.standard_normal(s).astype(np.float32) for s in (w.shape, outputs)]
    truth = [a.astype(float) for a in before]
    cache = Conv2dCache(x.astype(float), w.astype(float), strides, pads, "exact")
    reference.conv2d_backward(dy.astype(float), cache, *truth, need_dx=False)
    dw, db = (a.copy() for a in before)
    sums = way is lines or direct.sums_bias(w.shape)
    with memory.frame():
        way.weights(x, at_the_end_of_its_memory(dy), dw, strides, pads, db if sums else None)
    # One rounding of the sum of all absolute terms: several hundred times what the other outputs come to.
    bound = np.finfo(np.float32).eps * max(1, np.abs(x).max()) * np.abs(dy).sum((0, 1, 2))
    for mine, wanted in [(dw, truth[0]), (db, truth[1])][: 2 if sums else 1]:
        assert (np.abs(mine - wanted).reshape(-1, outputs).max(0) < bound).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("kernel", "stride", "pad", "shape", "outputs"), CASES)
def test_whole_numbers_are_exact(kernel, stride, pad, shape, outputs, dtype):
    rng = np.random.default_rng(outputs)
    options = {"stride": (stride, stride), "padding": (pad,) * 4, "precision": "exact"}
    w_shape = (kernel, kernel, shape[3], outputs)
    x, w, dw, db = (
        rng.integers(-3, 4, s).astype(dtype) for s in (shape, w_shape, w_shape, outputs)
    )
    results = []
    for module in (conv, reference):
        y, cache = module.conv2d_forward(x, w, None, **options)
        dy = np.random.default_rng(1).integers(-3, 4, y.shape).astype(dtype)
        sums = dw.copy(), db.copy()
        module.conv2d_backward(dy, cache, *sums, need_dx=False)
        results.append(sums)
    for mine, wanted in zip(*results, strict=True):
        np.testing.assert_array_equal(mine, wanted)
