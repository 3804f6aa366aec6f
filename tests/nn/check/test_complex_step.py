"""The complex step: it must see what other checks miss, and say where."""

import numpy as np
import pytest

import nn
from nn.check import (
    check_case,
    check_directions,
    check_gradients,
    complex_step_gradients,
    make_case,
)
from nn.check.complex_step import TOLERANCE
from nn.layer import REGISTRY, Sample
from tests.nn.helpers import CASES, each_case


@each_case
@pytest.mark.parametrize("seed", [1, 2])
def test_every_entry_of_every_gradient_is_compared(spec, sample, seed):
    findings = check_gradients(spec, sample, seed=seed)
    assert [f for f in findings if not f.within(TOLERANCE)] == []
    case = make_case(spec, sample, seed=seed)
    assert {f.tensor for f in findings} == {f"d{name}" for name in case.tensors()}
    assert all(f.entries == case.tensors()[f.tensor[1:]].size > 0 for f in findings)


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


def test_the_step_is_the_derivative_of_what_is_known():
    """tanh' = 1 - tanh², to the last digit."""
    case = make_case(REGISTRY["Tanh"], Sample({}, (40,)))
    gradient = complex_step_gradients(case)["x"]
    np.testing.assert_allclose(gradient, case.dy / np.cosh(case.x) ** 2, rtol=1e-14)


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
    "one entry of dx is NaN": lambda layer, dy, dx: np.where(
        np.arange(dx.size).reshape(dx.shape) == 5, np.nan, dx
    ),
    "dx is transposed": lambda layer, dy, dx: dx.T,
    "nothing is returned": lambda layer, dy, dx: None,
    "db is a mean": lambda layer, dy, dx: (layer.bias.grad.__itruediv__(2), dx)[1],
    "dw is 0": lambda layer, dy, dx: (layer.weight.grad.fill(0), dx)[1],
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_wrong_backward_is_rejected(fault):
    layer = _Wrong(fault)
    case = make_case(REGISTRY["Dense"], Sample({"in_features": 3, "out_features": 4}, (5, 3)))
    case = type(case)(layer, case.x, case.dy)
    assert sum(not f.within(TOLERANCE) for f in check_case(case)) == 1
    healthy = type(case)(_Wrong(lambda layer, dy, dx: dx), case.x, case.dy)
    assert all(f.within(TOLERANCE) for f in check_case(healthy))


def test_the_worst_entry_is_named():
    def fault(layer, dy, dx):
        layer.weight.grad[2, 1] += 0.25
        return dx

    case = make_case(REGISTRY["Dense"], Sample({"in_features": 3, "out_features": 4}, (5, 3)))
    findings = check_case(type(case)(_Wrong(fault), case.x, case.dy))
    (bad,) = (f for f in findings if not f.within(TOLERANCE))
    assert (bad.tensor, bad.index) == ("dweight", (2, 1))
    assert bad.found - bad.expected == pytest.approx(0.25)
    assert bad.entries == 12
    assert "dweight[2, 1]" in bad.sentence()


@pytest.mark.parametrize("name", ["Dense", "Conv2d", "BCEWithLogits"])
def test_one_wrong_entry_of_a_large_gradient_shows_along_a_random_direction(name, monkeypatch):
    spec = REGISTRY[name]
    sample = Sample(spec.bench.kwargs, (2, *spec.bench.shape[1:]))
    right = check_directions(spec, sample)
    assert all(f.within(TOLERANCE) for f in right)
    backward = spec.make.backward

    def wrong(self, *arguments, **named):
        dx = backward(self, *arguments, **named)
        dx.reshape(-1)[-7] *= 1.001
        return dx

    monkeypatch.setattr(spec.make, "backward", wrong)
    assert sum(not f.within(TOLERANCE) for f in check_directions(spec, sample)) == 2


def test_a_forward_that_drops_the_imaginary_part_is_named():
    class Abs(nn.Layer):
        def _forward(self, x):
            return np.abs(x), x

        def _backward(self, dy, cache, need_dx):
            return dy * np.sign(cache)

    case = make_case(REGISTRY["ReLU"], Sample({}, (3, 2)))
    with pytest.raises(ValueError, match=r"Abs.*imaginary"):
        check_case(type(case)(Abs(), case.x, case.dy))
