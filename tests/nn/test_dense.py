"""The dense layer on the CPU (nn/cpu/dense.py): sizes within its blocks and across them."""

import numpy as np
import pytest

from nn.cpu import dense


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("n", "inputs", "outputs"), [(32, 512, 512), (5, 300, 70), (33, 129, 1041), (1, 4100, 3), (128, 7, 16)]
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
