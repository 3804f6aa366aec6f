"""Backward passes of the reference backend against the complex step, and linear ones as adjoints."""

import numpy as np
import pytest
from hypothesis import example, given

import nn
from nn.check import check_case, check_gradients, make_case
from nn.layer import REGISTRY, LayerSpec, Sample
from tests.nn.helpers import (
    CASES,
    conv2d_samples,
    dense_samples,
    each_backend,
    each_case,
    pixel_shuffle_samples,
    reshape_samples,
    spec_and_sample,
)


def assert_passed(spec, sample, seed=0):
    checks = check_gradients(spec, sample, seed=seed)
    assert [c for c in checks if not c.passed] == []
    return checks


@each_case
@pytest.mark.parametrize("seed", [0, 1])
def test_every_entry_equals_the_complex_step(spec, sample, seed):
    checks = assert_passed(spec, sample, seed)
    case = make_case(spec, sample, seed=seed)
    assert {c.tensor for c in checks} == set(case.tensors())
    assert all(c.entries == case.tensors()[c.tensor].size > 0 for c in checks)


@given(conv2d_samples())
@example(
    Sample({"in_channels": 2, "out_channels": 2, "kernel_size": (5, 6), "padding": 1}, (1, 3, 4, 2))
)
@example(Sample({"in_channels": 1, "out_channels": 3, "kernel_size": 1, "stride": 3}, (2, 7, 6, 1)))
@example(
    Sample({"in_channels": 2, "out_channels": 1, "kernel_size": 2, "padding": 3}, (1, 1, 1, 2))
)
def test_conv2d_of_any_shape(sample):
    assert_passed(REGISTRY["Conv2d"], sample)


@given(dense_samples())
def test_dense_of_any_shape(sample):
    assert_passed(REGISTRY["Dense"], sample)


@given(pixel_shuffle_samples())
def test_pixel_shuffle_of_any_shape(sample):
    assert_passed(REGISTRY["PixelShuffle"], sample)


@given(reshape_samples())
def test_reshape_of_any_shape(sample):
    assert_passed(REGISTRY["Reshape"], sample)


def adjoint_error(spec: LayerSpec, sample: Sample, backend: str) -> float:
    """|<A x, dy> - <x, A^T dy>| over sum |A x| |dy|, no bias: A is forward, A^T is backward."""
    case = make_case(spec, sample, backend=backend)
    for name, p in case.parameters().items():
        if name == "bias":
            p.value[...] = 0
    y, _ = case.forward()
    dx = case.gradients()["x"]
    return abs(np.vdot(y, case.dy) - np.vdot(case.x, dx)) / np.vdot(np.abs(y), np.abs(case.dy))


@each_backend
@pytest.mark.parametrize(
    ("spec", "sample"), [pytest.param(*c, id=c[0].name) for c in CASES if c[0].linear]
)
def test_linear_layers_keep_the_adjoint_identity(spec, sample, backend):
    assert adjoint_error(spec, sample, backend) <= 1e-12


@each_backend
@given(case=spec_and_sample())
def test_adjoint_identity_of_any_shape(case, backend):
    assert adjoint_error(*case, backend) <= 1e-12


def test_each_linear_flag_is_true():
    """A layer is called linear exactly where f(x + z) = f(x) + f(z) without biases."""
    for spec, sample in CASES:
        if spec.kind == "loss":
            continue
        case = make_case(spec, sample)
        for name, p in case.parameters().items():
            p.value *= name != "bias"
        z = make_case(spec, sample, seed=1).x
        f = lambda x, case=case: case.module.forward(x)[0]  # noqa: E731
        assert np.allclose(f(case.x + z), f(case.x) + f(z), rtol=1e-12) == spec.linear


# The check itself: it must see what others miss.


class _Wrong(nn.Dense):
    """Dense with a backward pass that is changed by ``fault``."""

    def __init__(self, fault, **options):
        super().__init__(3, 4, rng=1, dtype=np.float64, **options)
        self.fault = fault
        self.backend = "reference"

    def _backward(self, dy, cache, need_dx):
        return self.fault(self, dy, super()._backward(dy, cache, need_dx))


FAULTS = {
    "dx is 0.05 % too large": lambda layer, dy, dx: dx * 1.0005,
    "dx is rounded to float32": lambda layer, dy, dx: dx.astype(np.float32).astype(np.float64),
    "one entry of dx is missing": lambda layer, dy, dx: (
        dx * (np.arange(dx.size).reshape(dx.shape) != 5)
    ),
    "|dy| for dy": lambda layer, dy, dx: np.abs(dy) @ layer.weight.value.T,
    "dx is NaN": lambda layer, dy, dx: dx * np.nan,
    "dx is transposed": lambda layer, dy, dx: dx.T,
    "nothing is returned": lambda layer, dy, dx: None,
    "db is a mean": lambda layer, dy, dx: (layer.bias.grad.__itruediv__(2), dx)[1],
    "dw is 0": lambda layer, dy, dx: (layer.weight.grad.fill(0), dx)[1],
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_wrong_backward_is_rejected(fault, rng):
    layer = _Wrong(fault)
    case = make_case(REGISTRY["Dense"], Sample({"in_features": 3, "out_features": 4}, (5, 3)))
    case = type(case)(layer, case.x, case.dy)
    checks = check_case(case, "Wrong", Sample({}, case.x.shape))
    assert sum(not c.passed for c in checks) == 1
    healthy = type(case)(_Wrong(lambda layer, dy, dx: dx), case.x, case.dy)
    assert all(c.passed for c in check_case(healthy, "Right", Sample({}, case.x.shape)))


def test_the_worst_entry_is_named():
    def fault(layer, dy, dx):
        layer.weight.grad[2, 1] += 0.25
        return dx

    case = make_case(REGISTRY["Dense"], Sample({"in_features": 3, "out_features": 4}, (5, 3)))
    checks = check_case(type(case)(_Wrong(fault), case.x, case.dy), "Wrong", Sample({}, (5, 3)))
    (bad,) = (c for c in checks if not c.passed)
    assert (bad.tensor, bad.index) == ("weight", (2, 1))
    assert bad.analytic - bad.numeric == pytest.approx(0.25)
    assert bad.entries == 12


def test_a_forward_that_drops_the_imaginary_part_is_named():
    class Abs(nn.Layer):
        def _forward(self, x):
            return np.abs(x), x

        def _backward(self, dy, cache, need_dx):
            return dy * np.sign(cache)

    case = make_case(REGISTRY["ReLU"], Sample({}, (3, 2)))
    with pytest.raises(ValueError, match=r"Abs.*imaginary"):
        check_case(type(case)(Abs(), case.x, case.dy), "Abs", Sample({}, (3, 2)))
