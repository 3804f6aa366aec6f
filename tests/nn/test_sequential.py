"""A chain runs a convolution together with what stands behind it, and nobody can tell but by the clock."""

import copy

import numpy as np
import pytest

import nn


def chain(rng, activation=None, shuffle=True):
    layers = [
        ("first", nn.Conv2d(3, 16, 5, stride=2, padding="same", rng=rng)),
        ("bend", activation or nn.LeakyReLU(0.25)),
        ("second", nn.Conv2d(16, 64, 3, padding=1, rng=rng)),
        ("bend2", nn.ReLU()),
        *([("shuffle", nn.PixelShuffle(2))] if shuffle else []),
        ("third", nn.Conv2d(16 if shuffle else 64, 2, 3, rng=rng)),
    ]
    return nn.Sequential(*layers)


def by_hand(net, x, dy):
    """y, dx and every gradient of the layers, called one after the other."""
    net.zero_grad()
    caches = []
    for _, layer in net.layers:
        x, cache = layer.forward(x)
        caches.append(cache)
    y = x
    for (_, layer), cache in zip(reversed(net.layers), reversed(caches), strict=True):
        dy = layer.backward(dy, cache)
    return y, dy, {name: p.grad.copy() for name, p in net.named_parameters()}


def at_once(net, x, dy):
    net.zero_grad()
    y, cache = net.forward(x)
    dx = net.backward(dy, cache)
    return y, dx, {name: p.grad.copy() for name, p in net.named_parameters()}


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("shuffle", [True, False])
def test_a_chain_is_its_layers_one_by_one(backend, shuffle):
    rng = np.random.default_rng(0)
    net = chain(rng, shuffle=shuffle)
    for p in net.parameters():
        p.value, p.grad = p.value.astype(np.float64), p.grad.astype(np.float64)
        p.value += 0.1 * rng.standard_normal(p.shape)
    net.to(backend)
    x = rng.standard_normal((3, 15, 14, 3))
    dy = rng.standard_normal(net.out_shape(x.shape))
    one, many = at_once(net, x, dy), by_hand(net, x, dy)
    np.testing.assert_allclose(one[0], many[0], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(one[1], many[1], rtol=1e-12, atol=1e-12)
    assert one[2].keys() == many[2].keys()
    for name, gradient in many[2].items():
        np.testing.assert_allclose(one[2][name], gradient, rtol=1e-12, atol=1e-11)
        assert np.abs(gradient).max() > 0


def test_names_and_parameters_are_those_of_the_layers():
    net = chain(np.random.default_rng(0))
    assert [name for name, _ in net.named_parameters()] == [
        "first.weight", "first.bias", "second.weight", "second.bias", "third.weight", "third.bias",
    ]  # fmt: skip
    assert net["second"] is net.layers[2][1]


def test_what_is_fused_and_what_is_not():
    kinds = lambda net: [type(block).__name__ for block in net._blocks]  # noqa: E731
    rng = np.random.default_rng(0)
    assert kinds(chain(rng)) == ["ConvBlock", "ConvBlock", "Conv2d"]
    assert kinds(chain(rng, activation=nn.Tanh())) == ["Conv2d", "Tanh", "ConvBlock", "Conv2d"]
    alone = nn.Sequential(nn.ReLU(), nn.Conv2d(1, 4, 1), nn.PixelShuffle(2), nn.Dense(3, 3))
    assert kinds(alone) == ["ReLU", "Conv2d", "PixelShuffle", "Dense"]


def test_a_copy_shares_nothing_with_the_original():
    net = chain(np.random.default_rng(0))
    twin = copy.deepcopy(net)
    x = np.random.default_rng(1).standard_normal((2, 8, 8, 3)).astype(np.float32)
    before = net.forward(x)[0]
    for p in twin.parameters():
        p.value[...] = 0
    np.testing.assert_array_equal(net.forward(x)[0], before)
    assert not twin.forward(x)[0].any()


def test_an_arena_moves_the_weights_of_blocks_too():
    net = chain(np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((2, 8, 8, 3)).astype(np.float32)
    before = net.forward(x)[0]
    arena = nn.Arena(net.named_parameters())
    np.testing.assert_array_equal(net.forward(x)[0], before)
    y, cache = net.forward(x)
    net.backward(np.ones_like(y), cache)
    assert np.count_nonzero(arena.grads) > arena.size // 2
