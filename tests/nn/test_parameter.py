"""Parameter and Arena: one flat array, views into it, nothing lost on the way."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nn
from nn import Arena, Parameter

shapes = st.lists(st.lists(st.integers(0, 9), max_size=4).map(tuple), min_size=0, max_size=6)
each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])


def random_parameters(shapes, dtype=np.float32):
    rng = np.random.default_rng(0)
    parameters = [Parameter(rng.standard_normal(s).astype(dtype)) for s in shapes]
    for p in parameters:
        p.grad[...] = rng.standard_normal(p.shape)
    return parameters


def named(parameters):
    return [(f"p{i}", p) for i, p in enumerate(parameters)]


def test_a_parameter_starts_with_a_zero_gradient_of_its_shape_and_dtype():
    p = Parameter(np.ones((2, 3), np.float64), "weight")
    assert (p.shape, p.size, p.grad.dtype) == ((2, 3), 6, np.float64)
    np.testing.assert_array_equal(p.grad, np.zeros((2, 3)))
    p.grad += 1
    view = p.grad
    p.zero_grad()
    assert p.grad is view
    assert not view.any()
    assert repr(p) == "Parameter(weight, (2, 3), float64)"


def test_a_transposed_array_becomes_a_parameter_in_memory_order(rng):
    """As PyTorch's weights are transposed on their way in; kernels take value and grad as flat."""
    theirs = rng.standard_normal((3, 2, 5, 5)).astype(np.float32)
    p = Parameter(theirs.transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(p.value, theirs.transpose(2, 3, 1, 0))
    assert p.value.flags.c_contiguous
    assert p.grad.flags.c_contiguous
    mine = np.zeros((2, 3), np.float32)
    assert Parameter(mine).value is mine  # and no copy is made without need


@given(shapes)
def test_an_arena_keeps_every_number_and_makes_views(shapes):
    parameters = random_parameters(shapes)
    before = [(p.value.copy(), p.grad.copy()) for p in parameters]
    arena = Arena(named(parameters))
    assert arena.size == sum(p.size for p in parameters)
    assert list(arena.parameters.values()) == parameters
    for p, (value, grad) in zip(parameters, before, strict=True):
        np.testing.assert_array_equal(p.value, value, strict=True)
        np.testing.assert_array_equal(p.grad, grad, strict=True)
        if p.size:
            assert np.shares_memory(p.value, arena.values)
            assert np.shares_memory(p.grad, arena.grads)
        assert p.value.flags.c_contiguous
    arena.values[:] = 1
    arena.grads[:] = 2
    assert all((p.value == 1).all() and (p.grad == 2).all() for p in parameters)
    arena.zero_grad()
    assert not any(p.grad.any() for p in parameters)
    arena.values[:] = 0
    for i, p in enumerate(parameters, start=1):
        p.value[...] = i
    for i, p in enumerate(parameters, start=1):  # nobody wrote into a neighbour
        assert (p.value == i).all()
    assert np.count_nonzero(arena.values) == arena.size


@each_dtype
def test_each_parameter_starts_on_a_cache_line(dtype):
    arena = Arena(named(random_parameters([(3,), (16,), (17, 5), (1,), (2, 2)], dtype)))
    assert arena.dtype == arena.values.dtype == arena.grads.dtype == dtype
    for p in arena.parameters.values():
        assert p.value.ctypes.data % 64 == 0
        assert p.grad.ctypes.data % 64 == 0


def test_padding_between_parameters_is_zero():
    arena = Arena(named(random_parameters([(3,), (16,), (17,)])))
    padding = np.ones_like(arena.values)
    for p in arena.parameters.values():
        arena.view(padding, p.name)[...] = 0
    assert padding.sum() == 13 + 0 + 15
    assert not arena.values[padding == 1].any()
    assert not arena.grads[padding == 1].any()


def test_another_flat_array_is_read_through_the_same_layout():
    """As an optimizer's moments are, when a checkpoint names them."""
    arena = Arena(named(random_parameters([(2, 3), (4,)])))
    moments = np.arange(arena.values.size, dtype=np.float32)
    np.testing.assert_array_equal(arena.view(moments, "p0"), [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(arena.view(moments, "p1"), [16, 17, 18, 19])
    arena.view(moments, "p1")[...] = 0
    assert not moments[16:20].any()


def test_a_shared_parameter_is_laid_down_once_under_its_first_name():
    shared, alone = Parameter(np.ones(5, np.float32)), Parameter(np.ones(3, np.float32))
    arena = Arena([("a.weight", shared), ("b.weight", alone), ("c.weight", shared)])
    assert arena.size == 8
    assert list(arena.parameters) == ["a.weight", "b.weight"]
    assert shared.name == "a.weight"


def test_a_layer_used_by_two_models_is_trained_once():
    encoder, a, b = nn.Dense(4, 3, rng=1), nn.Dense(3, 2, rng=2), nn.Dense(3, 2, rng=3)
    models = [nn.Sequential(("encoder", encoder), ("decoder", d)) for d in (a, b)]
    arena = Arena(
        [
            *((f"a.{name}", p) for name, p in models[0].named_parameters()),
            *((f"b.{name}", p) for name, p in models[1].named_parameters()),
        ]
    )
    assert arena.size == (4 * 3 + 3) + 2 * (3 * 2 + 2)
    x = np.ones((1, 4), np.float32)
    for model in models:
        y, cache = model.forward(x)
        model.backward(np.ones_like(y), cache)
    twice = a.weight.value.sum(axis=1) + b.weight.value.sum(axis=1)
    np.testing.assert_allclose(encoder.bias.grad, twice, rtol=1e-6)
    np.testing.assert_array_equal(arena.view(arena.grads, "a.encoder.bias"), encoder.bias.grad)


def test_two_parameters_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two parameters are named 'weight'"):
        Arena([("weight", Parameter(np.zeros(2))), ("weight", Parameter(np.zeros(2)))])


def test_two_dtypes_are_refused():
    mixed = [("a", Parameter(np.zeros(2, np.float32))), ("b", Parameter(np.zeros(2)))]
    with pytest.raises(ValueError, match=r"one dtype.*float32.*float64"):
        Arena(mixed)


def test_a_refused_arena_leaves_its_parameters_alone():
    p = Parameter(np.ones(2, np.float32))
    value, grad = p.value, p.grad
    with pytest.raises(ValueError, match="one dtype"):
        Arena([("a", p), ("b", Parameter(np.zeros(2)))])
    assert p.value is value
    assert p.grad is grad


def test_an_empty_arena():
    arena = Arena([])
    assert (arena.size, arena.values.size) == (0, 0)
    arena.zero_grad()
