"""The dense layer on the CPU (nn/cpu/dense.py): sizes within its blocks and across them."""

import numpy as np
import pytest

from nn.cpu import dense


# The last four have weights of more than 2 MiB, which are fetched ahead: by many rows and by one, in narrow tiles.
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("n", "inputs", "outputs"),
    [(32, 512, 512), (5, 300, 70), (33, 129, 1041), (1, 4100, 3), (128, 7, 16),
     (34, 1041, 1030), (1, 600, 1041), (9, 70_000, 9), (100, 1000, 530)],
)  # fmt: skip
def test_the_product_is_that_of_float64(n: int, inputs: int, outputs: int, dtype: type) -> None:
    """A sum of I random terms is up to about 4 sqrt(I) large; five roundings of that size are allowed."""
    rng = np.random.default_rng(n)
    x, w, b = (
        rng.standard_normal(s).astype(dtype) for s in ((n, inputs), (inputs, outputs), outputs)
    )
    y, _ = dense.dense_forward(x, w, b)
    truth = x.astype(np.longdouble) @ w.astype(np.longdouble) + b
    assert np.abs(y - truth).max() < 5 * np.finfo(dtype).eps * 4 * inputs**0.5
    alone, _ = dense.dense_forward(x, w, None)
    assert np.abs(alone - (truth - b)).max() < 5 * np.finfo(dtype).eps * 4 * inputs**0.5


# By rows, by columns (few inputs, many outputs, 4 MiB at most), and by the packed product (more than 128 rows); whole
# tiles and such as end within one.
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("n", "inputs", "outputs"),
    [(32, 300, 70), (129, 40, 50), (32, 128, 2048), (33, 130, 3001), (1, 1, 1024), (17, 9, 1025),
     (128, 31, 2047), (40, 256, 2048), (5, 128, 16384)],
)  # fmt: skip
def test_gradients_of_whole_numbers_are_exact(
    n: int, inputs: int, outputs: int, dtype: type
) -> None:
    rng = np.random.default_rng(n)
    x, w, dy, dw, db = (
        rng.integers(-3, 4, shape).astype(dtype)
        for shape in ((n, inputs), (inputs, outputs), (n, outputs), (inputs, outputs), outputs)
    )
    _, cache = dense.dense_forward(x, w, None)
    wanted = dw + x.T @ dy, db + dy.sum(0)
    dx = dense.dense_backward(dy, cache, dw, db)
    np.testing.assert_array_equal(dx, dy @ w.T)
    np.testing.assert_array_equal(dw, wanted[0])
    np.testing.assert_array_equal(db, wanted[1])
    assert dense.dense_backward(dy, cache, dw, None, need_dx=False) is None
    np.testing.assert_array_equal(dw, wanted[0] + x.T @ dy)
