"""The step of the swapper as a trace shows it, against the step that trains."""

import numpy as np
import pytest

import nn
from swap.model import Looks, SwapModel, get_preset
from swap.step import trace_step


@pytest.fixture
def model() -> SwapModel:
    model = SwapModel(get_preset("tiny"), seed=3)
    rng = np.random.default_rng(0)
    shape = (64, 64, 3)
    mean, scale, prior = (rng.random(shape, "f4") for _ in range(3))
    model.looks["a"] = Looks(mean, 1 + scale, prior - 0.5)
    return model


def faces() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {"a": rng.random((3, 64, 64, 3), "f4"), "b": rng.random((2, 64, 64, 3), "f4")}


def test_the_traced_gradients_are_those_that_train(model: SwapModel):
    """In float64: in float32 the two round differently, and a unit whose input is nearly 0 may be on in one of them and
    off in the other, which changes gradients by far more than rounding does."""
    for p in model.parameters():
        p.value, p.grad = p.value.astype(float), np.zeros(p.shape)
    x = {side: pictures.astype(float) for side, pictures in faces().items()}
    trace = trace_step(model, x)
    model.zero_grad()
    losses = model.backpropagate({side: (x[side], x[side]) for side in x})
    assert {e.chain: e.value for e in trace.ends} == pytest.approx(losses, rel=1e-12)
    for name, p in model.named_parameters():
        layer, _, kind = name.rpartition(".")
        traced = trace.gradient(layer, kind[0])
        assert np.abs(traced - p.grad).max() <= 1e-11 * np.abs(p.grad).max(), name


def test_numbers_of_both_sides_and_of_the_prior_are_explained(model: SwapModel):
    trace = nn.trace(model, faces(), nn.MAE())
    terms = nn.explain(trace, "encoder.conv2d1.dw[1,2,0,5]")
    assert set(terms.parts) == {"a", "b"}
    assert terms.right
    shifted = nn.explain(trace, "prior_a.y[0,3,4,1]")
    assert shifted.start is not None
    assert shifted.right
    assert "prior_b" not in trace.names  # a prior of nothing is not there
