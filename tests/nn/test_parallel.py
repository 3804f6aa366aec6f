"""Loops on several threads: two that follow each other are never one, and the number of threads changes no bit."""

import ast
from pathlib import Path

import numba
import numpy as np
import pytest

import nn
from nn.layer import REGISTRY

ROOT = Path(nn.__file__).parents[1]
LAYERS = ("Conv2d", "ConvBlock", "Dense", "PixelShuffle", "LeakyReLU", "Sigmoid")


def parallel_loops(source: str) -> dict[str, int]:
    """Of each function that Numba compiles for several threads: how many parallel loops it has."""
    found = {}
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef) and any(
            ast.unparse(decorator) == "kernel" or "parallel=True" in ast.unparse(decorator)
            for decorator in function.decorator_list
        ):
            calls = (node for node in ast.walk(function) if isinstance(node, ast.Call))
            found[function.name] = sum(ast.unparse(call.func) == "prange" for call in calls)
    return found


def test_no_function_has_two_parallel_loops() -> None:
    """Numba may make one loop of two, and cannot see that one reads what the other writes through an address: a sum ran
    before the other thread had made its part, and a gradient was wrong by half while the losses agreed."""
    files = [*ROOT.glob("nn/cpu/*.py"), *ROOT.glob("swap/**/*.py")]
    found = {
        f"{file.name}:{name}": loops
        for file in files
        for name, loops in parallel_loops(file.read_text()).items()
    }
    assert len(found) > 40
    assert {name: loops for name, loops in found.items() if loops != 1} == {}


TWO = """
@kernel
def copied_twice(a, b, c):
    for i in prange(a.size):
        copy_span(b, i, a, i, 1)
    for i in prange(a.size):
        copy_span(c, i, b, a.size - 1 - i, 1)
"""


def test_two_loops_are_counted() -> None:
    assert parallel_loops(TWO) == {"copied_twice": 2}


def passes(layer: nn.Layer, x: np.ndarray, dy: np.ndarray) -> list[np.ndarray]:
    """y, dx and the parameters' gradients."""
    layer.zero_grad()
    y, cache = layer.forward(x)
    dx = layer.backward(dy, cache)
    return [y.copy(), dx.copy(), *(p.grad.copy() for p in layer.parameters())]


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread is all there is")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", LAYERS)
def test_the_number_of_threads_changes_no_bit(name: str, dtype: type) -> None:
    spec, rng = REGISTRY[name], np.random.default_rng(5)
    options = {"dtype": dtype, "rng": 1} if name in ("Conv2d", "ConvBlock", "Dense") else {}
    for sample in (*spec.samples, *spec.deep, spec.bench):
        layer = spec.make(**sample.kwargs, **options)
        x = rng.standard_normal(sample.shape).astype(dtype)
        dy = rng.standard_normal(layer.out_shape(sample.shape)).astype(dtype)
        found = passes(layer, x, dy)
        before = numba.get_num_threads()
        numba.set_num_threads(1)
        try:
            alone = passes(layer, x, dy)
        finally:
            numba.set_num_threads(before)
        for ours, other in zip(found, alone, strict=True):
            assert np.array_equal(ours, other), sample
