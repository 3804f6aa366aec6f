"""Whole models: the derivative of everything at once, and many steps of training beside PyTorch.

A model's spec (kind "model") makes a *problem*: a model with its batch, in float64.

    problem.model                    the Layer whose parameters are trained
    problem.parts                    its networks by name
    problem.loss(forward)            the loss, where ``forward(network, x)`` is called for every pass through a network
    problem.backpropagate()          the loss, once the gradient of it has been added to every parameter
    problem.train(steps)             losses (steps, ...) of that many steps of training; ``spec.torch(problem, steps)``
                                     is the same by PyTorch, from equal weights and batches

The derivative is that of the complex step along a random direction of signs, u = +-1 in every parameter of a part at
once: <gradient, u> = Im loss(w + i h u) / h. Complex weights are made one layer at a time, so that the largest model
needs no second copy of itself.
"""

import zlib
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Any

import numpy as np

from nn.backend import host
from nn.check.complex_step import STEP
from nn.check.finding import Finding, compare
from nn.layer import REGISTRY, Layer, LayerSpec, Sample
from nn.parameter import Parameter
from nn.sequential import Sequential

TRAINED_STEPS = 50


def load_models() -> None:
    """Registers the models of every installed package that has some: the entry points "nn.specs" name their modules.

    Raises ValueError naming the package where one cannot be imported.
    """
    for entry in entry_points(group="nn.specs"):
        try:
            entry.load()
        except ImportError as error:
            raise ValueError(f"the models of {entry.value} cannot be loaded: {error}") from error


def directions(spec: LayerSpec, sample: Sample, backend: str, seed: int) -> Iterator[Finding]:
    """The derivative of the loss along one direction in each part of the model."""
    problem = spec.make(**sample.kwargs, seed=seed)
    problem.model.to(backend)
    problem.model.zero_grad()
    loss = problem.backpropagate()
    inner = {name: _inner(part, name, seed) for name, part in problem.parts.items()}
    problem.model.to("reference")
    expected_loss = np.real(problem.loss(lambda network, x: network.forward(x, train=False)[0]))
    yield compare("loss", np.asarray(loss), np.asarray(expected_loss))
    for name, part in problem.parts.items():
        signs = {id(p): _signs(p, name, path, seed) for path, p in part.named_parameters()}
        slope = np.imag(problem.loss(lambda n, x, s=signs: through(n, x.astype(complex), s))) / STEP
        found, scale = inner[name]
        error = abs(found - slope) / scale
        note = (
            ""
            if error <= 1e-11
            else f"along a random direction is {found:.10g}, and should be {slope:.10g}"
        )
        worst = float(error) if np.isfinite(error) else np.inf
        entries = sum(p.size for p in part.parameters())
        yield Finding(
            f"gradient of {name}", worst, found=found, expected=slope, entries=entries, note=note
        )


def through(
    network: Layer, x: np.ndarray, signs: dict[int, Callable[[], np.ndarray]]
) -> np.ndarray:
    """y of a network whose parameters p stand at p + i STEP u, u = ``signs[id(p)]()`` where there is one."""
    if isinstance(network, Sequential):
        for _, layer in network.layers:
            x = through(layer, x, signs)
        return x
    real = [(p, p.value) for _, p in network.own_parameters()]
    try:
        for p, value in real:
            p.value = value.astype(np.complex128)
            if id(p) in signs:
                p.value.imag[...] = signs[id(p)]()
                p.value.imag *= STEP
        return network.forward(x, train=False)[0]
    finally:
        for p, value in real:
            p.value = value


def training(spec: LayerSpec, sample: Sample, backend: str, seed: int) -> Iterator[Finding]:
    """The losses of many steps of training against PyTorch's from equal weights and batches."""
    problem = spec.make(**sample.kwargs, seed=seed)
    problem.model.to(backend)
    expected = spec.torch(spec.make(**sample.kwargs, seed=seed), TRAINED_STEPS)
    yield compare(f"losses of {TRAINED_STEPS} steps", problem.train(TRAINED_STEPS), expected)


def torch_network(network: Sequential) -> tuple[Callable[[Any], Any], list[Any]]:
    """The same chain of layers in PyTorch, with the weights as they are now: f(x NHWC) and its parameters."""
    functions = [REGISTRY[type(layer).__name__].torch(layer) for _, layer in network.layers]
    parameters = [p for f in functions for p in f.parameters.values()]

    def apply(x: Any) -> Any:
        for f in functions:
            x = f(x)
        return x

    return apply, parameters


def _signs(p: Parameter, part: str, path: str, seed: int) -> Callable[[], np.ndarray]:
    """u of a parameter, made anew whenever it is asked for."""

    def make() -> np.ndarray:
        rng = np.random.default_rng([seed, zlib.crc32(f"{part}.{path}".encode())])
        bits = rng.integers(0, 256, (p.size + 7) // 8, np.uint8)
        return (2.0 * np.unpackbits(bits)[: p.size] - 1).reshape(p.shape)

    return make


def _inner(part: Layer, name: str, seed: int) -> tuple[float, float]:
    """<gradient, u>, and the sum of its terms' sizes."""
    found = scale = 0.0
    for path, p in part.named_parameters():
        grad = host(p.grad)
        found += float(np.vdot(grad, _signs(p, name, path, seed)()))
        scale += float(np.sum(np.abs(grad)))
    return found, scale or 1.0
