"""What every layer and loss promises on every backend, whatever it computes."""

import numpy as np
import pytest

import nn
from nn.check import make_case
from nn.layer import REGISTRY, Sample
from tests.nn.helpers import (
    CASES,
    SPECS,
    each,
    each_backend,
    each_case,
    each_fast_backend,
    each_layer,
    each_loss,
)

each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def arrays_in(cache) -> list[np.ndarray]:
    if isinstance(cache, np.ndarray):
        return [cache]
    if isinstance(cache, (tuple, list)):
        return [a for item in cache for a in arrays_in(item)]
    return []


@each_backend
@each_case
def test_backward_changes_neither_dy_nor_x_nor_weights_nor_cache(spec, sample, backend):
    case = make_case(spec, sample, dtype=np.float32, backend=backend)
    y, cache = case.forward()
    held = [case.x, *arrays_in(cache), *(p.value for p in case.parameters().values())]
    held += [np.asarray(y), np.asarray(case.dy)] + ([case.target] if spec.kind == "loss" else [])
    before = [a.copy() for a in held]
    dx = case.module.backward(case.dy, cache)
    again = case.module.backward(case.dy, cache)
    for array, copy in zip(held, before, strict=True):
        np.testing.assert_array_equal(array, copy)
    np.testing.assert_array_equal(dx, again)


@each_backend
@each_case
def test_forward_changes_neither_x_nor_weights(spec, sample, backend):
    case = make_case(spec, sample, dtype=np.float32, backend=backend)
    held = [*case.tensors().values()] + ([case.target] if spec.kind == "loss" else [])
    before = [a.copy() for a in held]
    case.forward()
    for array, copy in zip(held, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@each_backend
@each_dtype
@each_case
def test_dtype_in_is_dtype_out(spec, sample, backend, dtype):
    case = make_case(spec, sample, dtype=dtype, backend=backend)
    y, _ = case.forward()
    assert y.dtype == dtype
    if spec.kind == "loss":
        assert np.shape(y) == ()
    else:
        assert y.shape == case.module.out_shape(case.x.shape)
    for name, gradient in case.gradients().items():
        assert gradient.dtype == dtype
        assert gradient.shape == case.tensors()[name].shape


@each_backend
@each_case
def test_two_runs_are_equal_to_the_bit(spec, sample, backend):
    first = make_case(spec, sample, dtype=np.float32, backend=backend)
    second = make_case(spec, sample, dtype=np.float32, backend=backend)
    assert first.forward()[0].tobytes() == second.forward()[0].tobytes()
    for one, other in zip(first.gradients().values(), second.gradients().values(), strict=True):
        assert one.tobytes() == other.tobytes()


@each_fast_backend
@pytest.mark.parametrize("spec", [s for s in SPECS if s.kind != "loss"], ids=lambda s: s.name)
def test_two_runs_of_realistic_size_are_equal_to_the_bit(spec, backend):
    """Sums that several threads share must not depend on who was first."""
    case = make_case(spec, spec.bench, dtype=np.float32, backend=backend)
    first, second = case.gradients(), case.gradients()
    for name in first:
        assert first[name].tobytes() == second[name].tobytes()


@each_backend
@each_case
def test_backward_is_linear_in_dy_and_zero_at_zero(spec, sample, backend):
    case = make_case(spec, sample, backend=backend, integers=True, dtype=np.float32)
    dy = case.dy
    with_dy = lambda d: type(case)(case.module, case.x, d, case.target).gradients()  # noqa: E731
    one, two, zero = with_dy(dy), with_dy(dy * -2), with_dy(dy * 0)
    for name in one:
        np.testing.assert_array_equal(two[name], one[name] * -2)
        assert not np.any(zero[name])


@each_backend
@each_layer
def test_gradients_are_added(spec, sample, backend):
    case = make_case(spec, sample, dtype=np.float32, backend=backend, integers=True)
    once = case.gradients()
    _, cache = case.forward()
    case.module.backward(case.dy, cache)
    for name, p in case.parameters().items():
        np.testing.assert_array_equal(p.grad, 2 * once[name], err_msg=name)
        assert np.any(once[name])
    case.module.zero_grad()
    assert not any(np.any(p.grad) for p in case.module.parameters())


@each_backend
@each_layer
def test_without_need_dx_the_rest_is_the_same(spec, sample, backend):
    case = make_case(spec, sample, dtype=np.float32, backend=backend)
    whole = case.gradients()
    case.module.zero_grad()
    _, cache = case.forward()
    assert case.module.backward(case.dy, cache, need_dx=False) is None
    for name, p in case.parameters().items():
        np.testing.assert_array_equal(p.grad, whole[name], err_msg=name)


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
@each_layer
def test_an_empty_batch_and_a_batch_of_one(spec, sample, backend):
    for n in (0, 1):
        smaller = Sample(sample.kwargs, (n, *sample.shape[1:]))
        case = make_case(spec, smaller, dtype=np.float32, backend=backend)
        y, _ = case.forward()
        assert y.shape == case.module.out_shape(smaller.shape)
        assert y.shape[0] == n
        gradients = case.gradients()
        assert gradients["x"].shape == smaller.shape
        if n == 0:
            assert not any(np.any(g) for g in gradients.values())


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


def two_uses(spec, sample, backend):
    """One layer, two inputs of different batch sizes, and what separate backwards add up to."""
    case = make_case(spec, sample, dtype=np.float32, backend=backend, integers=True)
    larger = Sample(sample.kwargs, (sample.shape[0] + 1, *sample.shape[1:]))
    other = make_case(spec, larger, dtype=np.float32, backend=backend, integers=True, seed=1)
    a, b = case, type(case)(case.module, other.x, other.dy)
    separate = [a.gradients(), b.gradients()]
    expected = [separate[0]["x"], separate[1]["x"]]
    expected += [separate[0][name] + separate[1][name] for name in case.parameters()]
    return case.module, (a.x, a.dy), (b.x, b.dy), expected


@each_backend
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@each_layer
def test_one_layer_used_twice_in_a_step(spec, sample, backend, order):
    layer, a, b, expected = two_uses(spec, sample, backend)
    found = gradients_of_two_uses(layer, a, b, order)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


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


# The documented conventions at kinks


@each_backend
@pytest.mark.parametrize(
    ("layer", "slope"),
    [(nn.ReLU(), 0), (nn.LeakyReLU(0.25), 0.25), (nn.LeakyReLU(0.0), 0)],
    ids=str,
)
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_slope_at_zero_is_that_of_the_left_side(backend, layer, slope, zero):
    x = np.full((2, 3), zero, np.float32)
    y, cache = layer.to(backend).forward(x)
    np.testing.assert_array_equal(y, 0)
    np.testing.assert_array_equal(layer.backward(np.full_like(x, 4), cache), 4 * slope)


@each_backend
def test_slope_of_mae_is_zero_where_output_is_target(backend):
    y = np.array([[1.0, 2.0, 3.0, 4.0]], np.float32)
    loss, cache = nn.MAE().to(backend).forward(y, y + np.float32([[0, 1, -1, 0]]))
    assert loss == 0.5
    np.testing.assert_array_equal(nn.MAE().to(backend).backward(1.0, cache), [[0, -0.25, 0.25, 0]])


def test_the_registry_is_complete():
    """Every public layer and loss has a spec with samples; a layer that lost some would show here."""
    public = {
        name
        for name in nn.__all__
        if isinstance(value := getattr(nn, name), type)
        and issubclass(value, (nn.Layer, nn.Loss))
        and value not in (nn.Layer, nn.Loss, nn.Sequential)
    }
    assert public == set(REGISTRY)
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
