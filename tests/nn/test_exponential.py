"""e^x in single precision, the way the CPU backend computes it, against double precision."""

import numpy as np
from numba import njit

from nn.cpu.exponential import exp_single


@njit(error_model="numpy")
def all_of(x):
    y = np.empty_like(x)
    for i in range(x.size):
        y[i] = exp_single(x[i])
    return y


def test_no_result_is_wrong_by_more_than_the_docstring_says():
    highest, lowest = np.float32(-1e-9).view(np.uint32), np.float32(-87.3).view(np.uint32)
    x = np.arange(highest, lowest, 37, dtype=np.uint32).view(np.float32)
    assert np.abs(all_of(x) / np.exp(x.astype(np.float64)) - 1).max() < 0.9e-7


def test_the_ends():
    x = np.array([0, -0.0, -1e-40, -88, -1e30, -np.inf, np.nan], np.float32)
    y = all_of(x)
    np.testing.assert_array_equal(y[:3], 1)
    assert (y[3:6] > 0).all()
    assert (y[3:6] < 1.3e-38).all()
    assert np.isnan(y[6])
