"""Every backend against the reference: the same names, integers, and numbers to rounding."""

import inspect
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given

import nn.reference
from nn.backend import BACKENDS, get_backend
from nn.check import make_case
from nn.layer import REGISTRY, Sample
from tests.nn.helpers import (
    SPECS,
    conv2d_samples,
    dense_samples,
    each,
    each_case,
    each_fast_backend,
    relative_error,
    spec_and_sample,
)

# What is not made of sums and products of the inputs is not exact in integers.
TRANSCENDENTAL = {"Sigmoid", "Tanh", "BCEWithLogits"}
each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
WIDE = {
    "Conv2d": {"channels": 70, "size": 20, "batch": 3},
    "Dense": {"features": 300, "batch": 70},
    "PixelShuffle": {"channels": 20, "size": 12},
}

# Every sum longer than a block of any backend: over K in dx, over the taps and C in y, over places in dw.
DEEP = Sample(
    {"in_channels": 70, "out_channels": 600, "kernel_size": 3, "stride": 2, "padding": "same"},
    (2, 41, 38, 70),
)
WIDER_BORDER_THAN_KERNEL = Sample(
    {"in_channels": 5, "out_channels": 3, "kernel_size": (2, 1), "padding": (3, 2, 4, 1)},
    (2, 6, 7, 5),
)


# The same names


def files(package) -> set[str]:
    return {f.name for f in Path(package.__file__).parent.glob("*.py")}


@each_fast_backend
def test_the_same_files_with_the_same_functions_and_arguments(backend):
    package = get_backend(backend)
    assert sorted(package.__all__) == sorted(nn.reference.__all__)
    assert files(nn.reference) <= files(package)
    for name in nn.reference.__all__:
        book, fast = getattr(nn.reference, name), getattr(package, name)
        assert fast.__module__ == book.__module__.replace("nn.reference", f"nn.{backend}"), name
        assert arguments(fast) == arguments(book), name


def arguments(function) -> list[tuple]:
    """Name, kind and default of each; annotations may differ where a backend has its own caches."""
    signature = inspect.signature(function)
    return [(p.name, p.kind, p.default) for p in signature.parameters.values()]


def test_an_unknown_backend_is_named_with_the_known_ones():
    with pytest.raises(
        ValueError, match=rf"unknown backend 'tpu'; there are {', '.join(BACKENDS)}"
    ):
        get_backend("tpu")


def test_each_op_of_the_registry_is_listed():
    """Nothing in the book stands outside ``__all__``, where the test above would not see it."""
    for file in files(nn.reference) - {"__init__.py"}:
        module = getattr(nn.reference, file.removesuffix(".py"))
        ops = {n for n in vars(module) if n.endswith(("_forward", "_backward", "_step"))}
        assert ops <= set(nn.reference.__all__)


# The same integers


def run(case) -> dict[str, np.ndarray]:
    y, _ = case.forward()
    return {"y or loss": np.asarray(y)} | {f"d{k}": v for k, v in case.gradients().items()}


def assert_equal_integers(spec, sample, backend, dtype):
    """Bit for bit, except that 0 may be -0; and whole numbers, or the test would prove nothing."""
    case = make_case(spec, sample, dtype=dtype, integers=True)
    book, fast = run(case), run(case.to(backend=backend))
    for name in book:
        assert fast[name].dtype == book[name].dtype == dtype, name
        np.testing.assert_array_equal(fast[name], book[name], err_msg=name, strict=True)
    return book


@each_fast_backend
@each_dtype
@each(lambda spec: spec.name not in TRANSCENDENTAL)
def test_equal_to_the_bit_on_small_integers(spec, sample, backend, dtype):
    assert_equal_integers(spec, sample, backend, dtype)


@each_fast_backend
@each_dtype
@pytest.mark.parametrize("slope", [0.0, 0.25, 0.5, 1.0])
def test_leaky_relu_of_exact_slopes(backend, dtype, slope):
    sample = Sample({"negative_slope": slope}, (5, 37))
    assert_equal_integers(REGISTRY["LeakyReLU"], sample, backend, dtype)


@each_fast_backend
@each_dtype
@pytest.mark.parametrize("name", ["MSE", "MAE"])
@pytest.mark.parametrize("shape", [(1, 2), (4, 8), (3, 64, 64, 3), (1000, 1031)])
def test_losses_of_many_integers(backend, dtype, name, shape):
    assert_equal_integers(REGISTRY[name], Sample({}, shape), backend, dtype)


@each_fast_backend
@each_dtype
@given(case=spec_and_sample(**WIDE))
@example(case=(REGISTRY["Conv2d"], REGISTRY["Conv2d"].bench))
@example(case=(REGISTRY["Conv2d"], DEEP))
@example(case=(REGISTRY["Conv2d"], WIDER_BORDER_THAN_KERNEL))
def test_equal_to_the_bit_on_small_integers_of_any_shape(case, backend, dtype):
    book = assert_equal_integers(*case, backend, dtype)
    for values in book.values():
        assert np.array_equal(values, np.round(values))
        assert np.max(np.abs(values), initial=0) < 2**24  # float32 holds every whole number below


# The same numbers, to rounding: the reference in float64 is the truth


LIMIT = {np.float32: 1e-5, np.float64: 1e-12}


def assert_close(spec, sample, backend, dtype):
    case = make_case(spec, sample, dtype=dtype)
    book = run(case.to(backend="reference", dtype=np.float64))
    fast = run(case.to(backend=backend))
    for name in book:
        assert fast[name].dtype == dtype, name
        assert relative_error(fast[name], book[name]) <= LIMIT[dtype], name


@each_fast_backend
@each_dtype
@each_case
def test_equal_to_rounding(spec, sample, backend, dtype):
    assert_close(spec, sample, backend, dtype)


@each_fast_backend
@each_dtype
@pytest.mark.parametrize(
    "name", ["ReLU", "LeakyReLU", "Sigmoid", "Tanh", "MSE", "MAE", "BCEWithLogits"]
)
@pytest.mark.parametrize("shape", [(1, 1), (3, 5, 7, 11), (257, 1031)])
def test_elementwise_layers_and_losses_of_many_sizes(backend, dtype, name, shape):
    assert_close(REGISTRY[name], Sample({}, shape), backend, dtype)


@each_fast_backend
@each_dtype
@given(case=spec_and_sample(**WIDE))
@example(case=(REGISTRY["Conv2d"], DEEP))
@example(case=(REGISTRY["Conv2d"], WIDER_BORDER_THAN_KERNEL))
@example(case=(REGISTRY["Dense"], Sample({"in_features": 1500, "out_features": 530}, (300, 1500))))
def test_equal_to_rounding_of_any_shape(case, backend, dtype):
    assert_close(*case, backend, dtype)


@each_fast_backend
@each_dtype
@pytest.mark.parametrize("name", ["Sigmoid", "Tanh", "BCEWithLogits"])
def test_far_from_zero_nothing_overflows(backend, dtype, name):
    """Logits of thousands, where exp alone is 0 or inf, give the limits and no NaN or warning."""
    case = make_case(REGISTRY[name], Sample({}, (4, 5)), dtype=dtype)
    case.x[...] = np.linspace(-2000, 2000, 20).reshape(4, 5)
    with np.errstate(all="raise", under="ignore"):
        book, fast = run(case), run(case.to(backend=backend))
    for key in book:
        assert np.all(np.isfinite(book[key]))
        assert relative_error(fast[key], book[key]) <= LIMIT[dtype], key


# Memory that is laid out otherwise


LAYOUTS = {
    "every second item": lambda a: np.repeat(a, 2, axis=0)[::2],
    "every second number of the last axis": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "backwards": lambda a: a[::-1].copy()[::-1],
    "first axis innermost": lambda a: np.asfortranarray(a),
    "channels outermost": lambda a: np.moveaxis(np.moveaxis(a, -1, 0).copy(), 0, -1),
}


@each_fast_backend
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@each_case
def test_any_memory_layout(spec, sample, backend, layout):
    case = make_case(spec, sample, dtype=np.float32)
    for name in ("reference", backend):
        plain = case.to(backend=name)
        x, dy = layout(plain.x), plain.dy if spec.kind == "loss" else layout(plain.dy)
        target = None if plain.target is None else layout(plain.target)
        expected, found = run(plain), run(type(plain)(plain.module, x, dy, target))
        for key in expected:
            assert relative_error(found[key], expected[key]) <= 1e-6, (name, key)


@each_fast_backend
@pytest.mark.parametrize("name", ["Conv2d", "Dense"])
def test_weights_that_came_transposed_are_trained(name, backend):
    """A gradient added to a copy of ``grad`` would be lost without a sound."""
    case = make_case(REGISTRY[name], REGISTRY[name].samples[0], dtype=np.float32, integers=True)
    expected = run(case)
    case.module.weight = nn.Parameter(np.asfortranarray(case.module.weight.value))
    found = run(case.to(backend=backend))
    for key in expected:
        np.testing.assert_array_equal(found[key], expected[key], err_msg=key)


@each_fast_backend
@pytest.mark.parametrize("spec", [s for s in SPECS if s.kind != "loss"], ids=lambda s: s.name)
def test_an_output_stays_as_it_is_while_anything_looks_at_it(spec, backend):
    """However a backend recycles its memory: views of y and dx outlive y, dx and the cache."""
    small = spec.samples[0]
    large = Sample(small.kwargs, (200 * small.shape[0], *small.shape[1:]))
    case = make_case(spec, large, dtype=np.float32, backend=backend)
    views, copies = [], []
    for n in range(3):
        other = make_case(spec, large, dtype=np.float32, seed=n)
        y, cache = case.module.forward(other.x)
        dx = case.module.backward(other.dy, cache)
        views += [y.reshape(-1)[1:], memoryview(dx), dx[..., :1].T]
        copies += [np.array(v) for v in views[-3:]]
        del y, dx, cache
    for view, copy in zip(views, copies, strict=True):
        np.testing.assert_array_equal(np.asarray(view), copy)


@each_fast_backend
@given(sample=conv2d_samples(channels=40, size=12))
def test_convolution_of_any_shape_and_layout(sample, backend):
    case = make_case(REGISTRY["Conv2d"], sample, dtype=np.float32, integers=True)
    expected = run(case)
    case = case.to(backend=backend)
    layout = LAYOUTS["channels outermost"]
    found = run(type(case)(case.module, layout(case.x), layout(case.dy)))
    for key in expected:
        np.testing.assert_array_equal(found[key], expected[key], err_msg=key)


@each_fast_backend
@given(sample=dense_samples(features=40, batch=20))
def test_dense_of_any_shape_and_layout(sample, backend):
    case = make_case(REGISTRY["Dense"], sample, dtype=np.float32, integers=True)
    expected = run(case)
    case = case.to(backend=backend)
    layout = LAYOUTS["first axis innermost"]
    found = run(type(case)(case.module, layout(case.x), layout(case.dy)))
    for key in expected:
        np.testing.assert_array_equal(found[key], expected[key], err_msg=key)
