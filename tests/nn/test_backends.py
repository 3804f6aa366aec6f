"""Every backend has the reference's names, and memory of its own; what it computes is tested in tests/nn/check."""

import inspect
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

import nn.reference
from nn.backend import BACKENDS, KNOWN, get_backend
from nn.check import make_case
from nn.check.properties import LAYOUTS, outcome
from nn.check.shapes import conv2d_samples, dense_samples
from nn.layer import REGISTRY, Sample
from tests.nn.helpers import SPECS, each_fast_backend


def files(package) -> set[str]:
    return {f.name for f in Path(package.__file__).parent.glob("*.py")}


@pytest.mark.parametrize("backend", [b for b in KNOWN if b != "reference"])
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


@each_fast_backend
@pytest.mark.parametrize("name", ["Conv2d", "Dense"])
def test_weights_that_came_transposed_are_trained(name, backend):
    """A gradient added to a copy of ``grad`` would be lost without a sound."""
    case = make_case(REGISTRY[name], REGISTRY[name].samples[0], dtype=np.float32, integers=True)
    expected = outcome(case)
    case.module.weight = nn.Parameter(np.asfortranarray(case.module.weight.value))
    found = outcome(case.to(backend=backend))
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
    """Whole numbers: without a rounding where precision is "exact"; else off by 1e-5, three times what is stated of the
    ways with fewer products, of what the terms come to without their signs."""
    case = make_case(REGISTRY["Conv2d"], sample, dtype=np.float32, integers=True)
    expected, signed = outcome(case), case.module.weight.value
    case.module.weight.value = np.abs(signed)
    sizes = outcome(type(case)(case.module, np.abs(case.x), np.abs(case.dy)))
    case.module.weight.value = signed
    case = case.to(backend=backend)
    layout = LAYOUTS["channels outermost"]
    for precision in ("exact", "fast"):
        case.module.precision = precision
        found = outcome(type(case)(case.module, layout(case.x), layout(case.dy)))
        for key in expected:
            bound = 1e-5 * sizes[key].max(initial=0) if precision == "fast" else 0
            assert found[key].shape == expected[key].shape, key
            assert np.abs(found[key] - expected[key]).max(initial=0) <= bound, (key, precision)


@each_fast_backend
@given(sample=dense_samples(features=40, batch=20))
def test_dense_of_any_shape_and_layout(sample, backend):
    case = make_case(REGISTRY["Dense"], sample, dtype=np.float32, integers=True)
    expected = outcome(case)
    case = case.to(backend=backend)
    layout = LAYOUTS["first axis innermost"]
    found = outcome(type(case)(case.module, layout(case.x), layout(case.dy)))
    for key in expected:
        np.testing.assert_array_equal(found[key], expected[key], err_msg=key)
