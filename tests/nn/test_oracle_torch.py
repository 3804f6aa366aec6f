"""PyTorch in float64 at random shapes of convolution and at kinks; the rest of it is in tests/nn/check."""

import numpy as np
import pytest
from hypothesis import given

from nn.check import make_case
from nn.check.oracle import torch_outcome
from nn.check.properties import outcome
from nn.check.shapes import conv2d_samples
from nn.layer import REGISTRY
from tests.nn.helpers import each_backend, relative_error

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[oracle]'")
pytestmark = pytest.mark.oracle


@each_backend
@given(sample=conv2d_samples(channels=4, size=9))
def test_conv2d_of_any_shape(sample, backend):
    spec = REGISTRY["Conv2d"]
    case = make_case(spec, sample, backend=backend)
    found, expected = outcome(case), torch_outcome(spec, case)
    assert set(found) == set(expected)
    for name in expected:
        assert relative_error(found[name], expected[name]) <= 1e-10, name


@each_backend
@pytest.mark.parametrize("name", ["ReLU", "LeakyReLU", "MAE"])
def test_the_conventions_at_kinks_are_those_of_pytorch(name, backend):
    """Whole numbers in -3 .. 3: many lie on the kink itself."""
    spec = REGISTRY[name]
    case = make_case(spec, spec.samples[1], backend=backend, integers=True)
    assert np.any(case.x == (0 if case.target is None else case.target))
    expected = torch_outcome(spec, case)
    for key, values in outcome(case).items():
        np.testing.assert_allclose(values, expected[key], rtol=1e-14, atol=0)
