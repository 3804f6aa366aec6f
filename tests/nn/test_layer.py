"""Sequential, names of parameters, and the registry."""

import numpy as np
import pytest

import nn
from nn.layer import REGISTRY, Layer, LayerSpec, Sample, register
from tests.nn.helpers import each_backend


@pytest.fixture
def net():
    return nn.Sequential(
        ("first", nn.Dense(5, 7, rng=1, dtype=np.float64)),
        nn.Tanh(),
        nn.Sequential(nn.Dense(7, 6, rng=2, dtype=np.float64), nn.Reshape((2, 3))),
        nn.Flatten(),
        nn.Dense(6, 2, rng=3, dtype=np.float64),
    ).to("reference")


@pytest.fixture
def x(rng):
    return rng.standard_normal((3, 5))


def test_sequential_is_its_layers_one_after_the_other(net, x):
    y, cache = net.forward(x)
    expected = x
    for _, layer in net.layers:
        expected, _ = layer.forward(expected)
    np.testing.assert_array_equal(y, expected)
    assert len(cache.saved) == len(net) == 5
    assert net.out_shape((3, 5)) == y.shape == (3, 2)


def test_sequential_backward_is_the_chain_rule(net, x, rng):
    """Against a complex step through the whole chain."""
    y, cache = net.forward(x)
    dy = rng.standard_normal(y.shape)
    dx = net.backward(dy, cache)
    gradients = {name: p.grad.copy() for name, p in net.named_parameters()}
    for p in net.parameters():
        p.value = p.value.astype(complex)
    z, h = x.astype(complex), 1e-100
    tensors = {"x": z} | {name: p.value for name, p in net.named_parameters()}
    for name, tensor in tensors.items():
        for index in np.ndindex(tensor.shape):
            there = tensor[index]
            tensor[index] += 1j * h
            numeric = np.sum(dy * net.forward(z)[0].imag) / h
            tensor[index] = there
            analytic = dx[index] if name == "x" else gradients[name][index]
            assert analytic == pytest.approx(numeric, rel=1e-11, abs=1e-13), (name, index)


def test_without_need_dx_nothing_below_the_first_weights_runs(net, x, rng):
    class Untouchable(nn.ReLU):
        def _backward(self, dy, cache, need_dx):
            raise AssertionError("no gradient is needed here")

    guarded = nn.Sequential(Untouchable(), nn.Flatten(), net).to("reference")
    y, cache = guarded.forward(x)
    dy = rng.standard_normal(y.shape)
    assert guarded.backward(dy, cache, need_dx=False) is None
    found = [p.grad.copy() for p in net.parameters()]
    net.zero_grad()
    _, cache = net.forward(np.maximum(x, 0))
    net.backward(dy, cache)
    for one, p in zip(found, net.parameters(), strict=True):
        np.testing.assert_array_equal(one, p.grad)
    assert any(one.any() for one in found)


def test_without_weights_and_need_dx_nothing_runs():
    net = nn.Sequential(nn.ReLU(), nn.Tanh())
    y, cache = net.forward(np.ones((2, 2), np.float32))
    assert net.backward(y, cache, need_dx=False) is None


def test_without_training_no_layer_keeps_a_cache(net, x):
    y, cache = net.forward(x, train=False)
    assert cache is None
    np.testing.assert_array_equal(y, net.forward(x)[0])
    with pytest.raises(ValueError, match=r"Sequential.*no cache"):
        net.backward(y, cache)


@each_backend
def test_one_network_used_twice_in_a_step(net, x, rng, backend):
    net.to(backend)
    xs, dys = (x, rng.standard_normal((4, 5))), (rng.standard_normal((n, 2)) for n in (3, 4))
    dys = tuple(dys)
    separate = []
    for one, dy in zip(xs, dys, strict=True):
        net.zero_grad()
        dx = net.backward(dy, net.forward(one)[1])
        separate.append([dx, *(p.grad.copy() for p in net.parameters())])
    for order in ((0, 1), (1, 0)):
        net.zero_grad()
        caches = [net.forward(one)[1] for one in xs]
        for i in order:
            np.testing.assert_array_equal(net.backward(dys[i], caches[i]), separate[i][0])
        for p, a, b in zip(net.parameters(), separate[0][1:], separate[1][1:], strict=True):
            np.testing.assert_allclose(p.grad, a + b, rtol=1e-12, atol=1e-14)


def test_parameters_are_named_by_their_path(net):
    assert [name for name, _ in net.named_parameters("net.")] == [
        "net.first.weight",
        "net.first.bias",
        "net.sequential3.dense1.weight",
        "net.sequential3.dense1.bias",
        "net.dense5.weight",
        "net.dense5.bias",
    ]
    assert net["first"] is net[0]
    assert net["dense5"] is net[4] is net[-1]


def test_a_layer_made_of_layers_finds_their_parameters():
    class Residual(Layer):
        def __init__(self):
            self.scale = nn.Parameter(np.ones(1, np.float32))
            self.inner = nn.Dense(2, 2)

    residual = Residual()
    assert [n for n, _ in residual.named_parameters()] == ["scale", "inner.weight", "inner.bias"]
    residual.inner.weight.grad += 1
    residual.zero_grad()
    assert not residual.inner.weight.grad.any()
    assert residual.to("reference").inner.backend == "reference"


def test_a_layer_without_bias_has_one_parameter():
    for layer in (nn.Dense(2, 3, bias=False), nn.Conv2d(2, 3, 3, bias=False)):
        assert [n for n, _ in layer.named_parameters()] == ["weight"]


def test_two_layers_of_one_name_are_refused():
    with pytest.raises(ValueError, match="named 'a'"):
        nn.Sequential(("a", nn.ReLU()), ("a", nn.Tanh()))


def test_what_does_not_fit_inside_is_named_with_its_layer():
    net = nn.Sequential(nn.Dense(4, 3), nn.Dense(2, 2))
    with pytest.raises(ValueError, match=r"Dense\(2, 2\) takes \(N, 2\), found \(1, 3\)"):
        net.forward(np.zeros((1, 4), np.float32))
    with pytest.raises(ValueError, match=r"Dense\(2, 2\) takes"):
        net.out_shape((1, 4))
    with pytest.raises(ValueError, match=r"Dense\(4, 3\).*array.*list"):
        net.forward([[1.0, 2.0, 3.0, 4.0]])


def test_an_empty_sequential_is_the_identity():
    net = nn.Sequential()
    x = np.ones((2, 3), np.float32)
    y, cache = net.forward(x)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(net.backward(y, cache), x)
    assert (len(net), net.macs((2, 3)), net.out_shape((2, 3))) == (0, 0, (2, 3))


def test_multiply_adds_are_those_of_the_layers():
    conv = nn.Conv2d(3, 8, 5, stride=2, padding="same")
    net = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Dense(4 * 4 * 8, 10))
    assert net.macs((2, 7, 8, 3)) == 2 * (4 * 4 * 8 * 3 * 25 + 4 * 4 * 8 * 10)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [  # worked out by hand: OH = ceil(H / S), the odd pixel at the end, as in TensorFlow
        (64, 5, 2, (1, 2)),
        (7, 5, 2, (2, 2)),
        (5, 3, 1, (1, 1)),
        (5, 2, 1, (0, 1)),
        (4, 1, 2, (0, 0)),
        (1, 5, 3, (2, 2)),
    ],
)
def test_padding_same(size, kernel, stride, expected):
    layer = nn.Conv2d(1, 1, kernel, stride=stride, padding="same")
    assert layer.pads(size, size) == (*expected, *expected)
    assert layer.out_shape((1, size, size, 1))[1:3] == (-(-size // stride),) * 2


@pytest.mark.parametrize(
    ("padding", "expected"),
    [(2, (2, 2, 2, 2)), ((1, 3), (1, 1, 3, 3)), ((1, 2, 3, 4), (1, 2, 3, 4)), (0, (0, 0, 0, 0))],
)
def test_padding_by_numbers(padding, expected):
    assert nn.Conv2d(1, 1, 3, padding=padding).pads(9, 9) == expected


def test_a_layer_without_forward_says_so():
    class Empty(Layer):
        pass

    with pytest.raises(TypeError, match="Empty defines no forward pass"):
        Empty().forward(np.zeros(2))


def test_the_registry_refuses_a_name_twice():
    before = dict(REGISTRY)
    spec = LayerSpec("layer", nn.Dense, (), Sample({}, ()), lambda layer: None)
    with pytest.raises(ValueError, match="Dense is registered already"):
        register(spec)
    assert before == REGISTRY


def test_a_new_layer_can_be_registered(monkeypatch):
    monkeypatch.setattr("nn.layer.REGISTRY", {})

    class Twice(Layer):
        pass

    spec = LayerSpec("layer", Twice, (), Sample({}, ()), lambda layer: None)
    assert register(spec) is spec
    assert spec.name == "Twice"
    assert {"Twice": spec} == nn.layer.REGISTRY


def test_an_unknown_backend_changes_nothing():
    layer = nn.ReLU().to("reference")
    with pytest.raises(ValueError, match="tpu"):
        layer.to("tpu")
    assert layer.backend == "reference"
