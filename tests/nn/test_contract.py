"""What layers and losses refuse, and why one cache a call; what they promise is tested in tests/nn/check."""

import numpy as np
import pytest

import nn
from nn.check import make_case
from nn.layer import REGISTRY, Sample
from tests.nn.helpers import CASES, SPECS, each, each_backend, each_layer, each_loss


@each_backend
@each_layer
def test_without_training_there_is_no_cache(spec, sample, backend):
    case = make_case(spec, sample, dtype=np.float32, backend=backend)
    trained, _ = case.forward()
    y, cache = case.module.forward(case.x, train=False)
    assert cache is None
    np.testing.assert_array_equal(y, trained)
    with pytest.raises(ValueError, match=rf"{spec.name}.*no cache.*train=False"):
        case.module.backward(case.dy, None)


@each_backend
@each_loss
def test_a_loss_of_nothing_or_of_unlike_things_is_refused(spec, sample, backend):
    loss = spec.make().to(backend)
    y = np.zeros((2, 3), np.float32)
    for target in (np.zeros((3, 2), np.float32), np.zeros((2, 3)), np.zeros((2, 1), np.float32)):
        with pytest.raises(ValueError, match=rf"{spec.name}.*like with like"):
            loss.forward(y, target)
    with pytest.raises(ValueError, match=rf"{spec.name}.*empty batch"):
        loss.forward(y[:0], y[:0])


# One layer used twice in a step


class OneSlot(nn.Layer):
    """What this engine does not do: the layer keeps one cache, that of the latest forward."""

    def __init__(self, inner):
        self.inner = inner

    def _forward(self, x):
        y, self.cache = self.inner.forward(x)
        return y, ()

    def _backward(self, dy, cache, need_dx):
        return self.inner.backward(dy, self.cache, need_dx=need_dx)


def gradients_of_two_uses(layer, a, b, order):
    """Both forwards, then both backwards in ``order``: [dx of a, dx of b, parameter gradients]."""
    layer.zero_grad()
    caches = [layer.forward(x)[1] for x, _ in (a, b)]
    dx = [None, None]
    for i in order:
        dx[i] = layer.backward((a, b)[i][1], caches[i])
    return [*dx, *(p.grad.copy() for p in layer.parameters())]


@pytest.mark.parametrize("name", ["Dense", "Conv2d"])
def test_with_one_slot_the_same_step_is_silently_wrong(name):
    """The reason for the rule, and proof that the test above can fail."""
    sample = Sample({"in_features": 3, "out_features": 2}, (4, 3))
    if name == "Conv2d":
        sample = Sample({"in_channels": 2, "out_channels": 3, "kernel_size": 3}, (2, 5, 4, 2))
    case = make_case(REGISTRY[name], sample)
    other = make_case(REGISTRY[name], sample, seed=1)
    uses = (case.x, case.dy), (other.x, other.dy)
    right = gradients_of_two_uses(case.module, *uses, (0, 1))
    wrong = gradients_of_two_uses(OneSlot(case.module), *uses, (0, 1))
    dw, wrong_dw = right[2], wrong[2]
    assert np.linalg.norm(wrong_dw - dw) > 0.1 * np.linalg.norm(dw)


# Input that does not fit


@each_layer
def test_what_is_not_an_array_of_real_numbers_is_refused(spec, sample):
    layer = spec.make(**sample.kwargs)
    with pytest.raises(ValueError, match=rf"{spec.name}.*array.*list"):
        layer.forward([1.0, 2.0])
    with pytest.raises(ValueError, match=rf"{spec.name}.*int64"):
        layer.forward(np.ones(sample.shape, np.int64))


@pytest.mark.parametrize("spec", [s for s in SPECS if s.kind == "loss"], ids=lambda s: s.name)
def test_a_loss_of_whole_numbers_is_refused(spec):
    y = np.ones((2, 3), np.int64)
    with pytest.raises(ValueError, match=rf"{spec.name}.*int64"):
        spec.make().forward(y, y)


@each(lambda spec: spec.kind != "loss" and spec.make(**spec.samples[0].kwargs).parameters())
def test_another_dtype_than_the_weights_is_refused(spec, sample):
    layer = spec.make(**sample.kwargs)
    with pytest.raises(ValueError, match=rf"{spec.name}.*float32 in \w+.*float64"):
        layer.forward(np.zeros(sample.shape, np.float64))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Dense(3, 2), (4, 2)),
        (nn.Dense(3, 2), (3,)),
        (nn.Dense(3, 2), (4, 1, 3)),
        (nn.Conv2d(3, 2, 3), (1, 8, 8, 2)),
        (nn.Conv2d(3, 2, 3), (8, 8, 3)),
        (nn.Conv2d(3, 2, 3), (1, 2, 8, 3)),
        (nn.Conv2d(3, 2, 3), (1, 8, 2, 3)),
        (nn.Conv2d(1, 1, 3, stride=2, padding=(0, 0, 1, 1)), (1, 2, 1, 1)),
        (nn.PixelShuffle(2), (1, 2, 2, 6)),
        (nn.PixelShuffle(2), (2, 2, 4)),
        (nn.Reshape((2, 3)), (4, 5)),
        (nn.Reshape((2, 3)), ()),
        (nn.Flatten(), ()),
    ],
    ids=str,
)
def test_a_wrong_shape_is_named_with_the_layer(layer, shape):
    with pytest.raises(ValueError, match=type(layer).__name__) as error:
        layer.forward(np.zeros(shape, np.float32))
    assert str(shape) in str(error.value) or "does not fit" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv2d(1, 1, 0), "kernel_size"),
        (lambda: nn.Conv2d(1, 1, 2.5), "kernel_size"),
        (lambda: nn.Conv2d(1, 1, (3, 3, 3)), "kernel_size"),
        (lambda: nn.Conv2d(1, 1, 3, stride=0), "stride"),
        (lambda: nn.Conv2d(1, 1, 3, stride="2"), "stride"),
        (lambda: nn.Conv2d(1, 1, 3, padding="valid"), "padding"),
        (lambda: nn.Conv2d(1, 1, 3, padding=-1), "padding"),
        (lambda: nn.Conv2d(1, 1, 3, padding=(1, 2, 3)), "padding"),
        (lambda: nn.Conv2d(1, 1, 3, padding=(0, 0, 0, -1)), "padding"),
        (lambda: nn.Conv2d(1, 1, 3, padding=(0, 0, 0, 0.5)), "padding"),
        (lambda: nn.Conv2d(1, 1, 3, init="zeros"), "initializer"),
        (lambda: nn.Dense(1, 1, init="zeros"), "initializer"),
        (lambda: nn.PixelShuffle(0), "factor"),
        (lambda: nn.LeakyReLU(-0.1), "slope"),
    ],
)
def test_a_wrong_option_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_options_may_be_numpy_integers():
    plain, other = (nn.Conv2d(1, 2, n(3), stride=n(2), padding=n(1)) for n in (int, np.int64))
    assert repr(plain) == repr(other)
    assert plain.pads(5, 5) == other.pads(5, 5)


def test_the_registry_is_complete():
    """Every public layer, loss and optimizer has a spec with samples; one that lost some would show here."""
    public = {
        name
        for name in nn.__all__
        if isinstance(value := getattr(nn, name), type)
        and issubclass(value, (nn.Layer, nn.Loss, nn.Optimizer))
        and value not in (nn.Layer, nn.Loss, nn.Optimizer, nn.Sequential)
    }
    assert public == {spec.name for spec in REGISTRY.values() if spec.kind != "model"}
    assert all(len(spec.samples) >= 2 for spec in SPECS)
    assert len(CASES) >= 37


@each_backend
def test_dy_of_another_shape_or_dtype_is_refused_by_name(backend):
    layer = nn.Conv2d(2, 3, 3, padding=1, rng=0).to(backend)
    y, cache = layer.forward(np.zeros((1, 4, 4, 2), np.float32))
    for dy in (np.zeros((1, 4, 4, 5), np.float32), np.zeros((2, *y.shape[1:]), np.float32)):
        with pytest.raises(ValueError, match=r"Conv2d.*\(1, 4, 4, 3\).*found"):
            layer.backward(dy, cache)
    with pytest.raises(ValueError, match=r"Conv2d.*float32.*float64"):
        layer.backward(np.zeros(y.shape), cache)
    assert not layer.weight.grad.any()
    assert not layer.bias.grad.any()
