"""PyTorch in float64 as a second oracle: layers, losses and ten steps of each optimizer."""

import numpy as np
import pytest
from hypothesis import given

from nn import SGD, Adam, Arena, Parameter
from nn.check import make_case
from nn.layer import REGISTRY
from tests.nn.helpers import (
    conv2d_samples,
    each_backend,
    each_case,
    pixel_shuffle_samples,
    relative_error,
)

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[oracle]'")
pytestmark = pytest.mark.oracle


def torch_run(case, spec):
    """y and every gradient of <dy, y> as PyTorch sees it, under the names of ``case.tensors()``."""
    f = spec.torch(case.module)
    x = torch.tensor(case.x, requires_grad=True)
    if case.target is not None:
        y = f(x, torch.tensor(case.target))
        (y * case.dy).backward()
        return y.detach().numpy(), {"y": x.grad.numpy()}
    y = f(x)
    y.backward(torch.tensor(case.dy))
    gradients = {"x": x.grad} | {name: p.grad for name, p in f.parameters.items()}
    return y.detach().numpy(), {name: g.numpy() for name, g in gradients.items()}


def assert_equal_to_torch(spec, sample, backend, seed=0):
    case = make_case(spec, sample, backend=backend, seed=seed)
    y, _ = case.forward()
    found = case.gradients()
    expected_y, expected = torch_run(case, spec)
    assert relative_error(np.asarray(y), expected_y) <= 1e-10
    assert set(found) == set(expected)
    for name in expected:
        assert relative_error(found[name], expected[name]) <= 1e-10, name


@each_backend
@each_case
def test_layers_and_losses(spec, sample, backend):
    assert_equal_to_torch(spec, sample, backend)


@each_backend
@given(sample=conv2d_samples(channels=4, size=9))
def test_conv2d_of_any_shape(sample, backend):
    assert_equal_to_torch(REGISTRY["Conv2d"], sample, backend)


@each_backend
@given(sample=pixel_shuffle_samples())
def test_pixel_shuffle_of_any_shape(sample, backend):
    assert_equal_to_torch(REGISTRY["PixelShuffle"], sample, backend)


@each_backend
@pytest.mark.parametrize("name", ["ReLU", "LeakyReLU", "MAE"])
def test_the_conventions_at_kinks_are_those_of_pytorch(name, backend):
    """Whole numbers in -3 .. 3: many lie on the kink itself."""
    spec = REGISTRY[name]
    case = make_case(spec, spec.samples[1], backend=backend, integers=True)
    assert np.any(case.x == (0 if case.target is None else case.target))
    _, expected = torch_run(case, spec)
    for key, gradient in case.gradients().items():
        np.testing.assert_allclose(gradient, expected[key], rtol=1e-14, atol=0)


STEPS = 10


def trajectories(make_ours, make_torch, backend):
    """The weights after each of ten steps, ours and PyTorch's, from equal weights and gradients."""
    rng = np.random.default_rng(3)
    start, gradients = rng.standard_normal(37), rng.standard_normal((STEPS, 37))
    p = Parameter(start.copy())
    ours = make_ours(Arena([("w", p)])).to(backend)
    w = torch.tensor(start, requires_grad=True)
    theirs = make_torch([w])
    for gradient in gradients:
        p.grad[...] = gradient
        ours.step()
        w.grad = torch.tensor(gradient)
        theirs.step()
        yield p.value.copy(), w.detach().numpy().copy()


SGD_OPTIONS = [
    {},
    {"momentum": 0.9},
    {"momentum": 0.5, "nesterov": True},
    {"weight_decay": 0.1},
    {"momentum": 0.9, "weight_decay": 0.1},
    {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
]


@each_backend
@pytest.mark.parametrize("options", SGD_OPTIONS, ids=str)
@pytest.mark.parametrize("learning_rate", [0.1, 1e-3])
def test_ten_steps_of_sgd(options, learning_rate, backend):
    pairs = trajectories(
        lambda arena: SGD(arena, learning_rate, **options),
        lambda w: torch.optim.SGD(w, learning_rate, **options),
        backend,
    )
    for step, (ours, theirs) in enumerate(pairs, start=1):
        assert relative_error(ours, theirs) <= 1e-10, step


ADAM_OPTIONS = [
    {},
    {"beta1": 0.5},
    {"beta1": 0.0, "beta2": 0.9},
    {"beta2": 0.0},
    {"eps": 1e-3},
    {"eps": 0.5, "beta1": 0.8, "beta2": 0.99},
    {"weight_decay": 0.1},
    {"beta1": 0.5, "eps": 1e-7, "weight_decay": 0.01},
]


@each_backend
@pytest.mark.parametrize("options", ADAM_OPTIONS, ids=str)
@pytest.mark.parametrize("learning_rate", [0.1, 5e-5])
def test_ten_steps_of_adam(options, learning_rate, backend):
    betas = options.get("beta1", 0.9), options.get("beta2", 0.999)
    rest = {k: v for k, v in options.items() if not k.startswith("beta")}
    pairs = trajectories(
        lambda arena: Adam(arena, learning_rate, **options),
        lambda w: torch.optim.Adam(w, learning_rate, betas=betas, **rest),
        backend,
    )
    for step, (ours, theirs) in enumerate(pairs, start=1):
        assert relative_error(ours, theirs) <= 1e-10, step
