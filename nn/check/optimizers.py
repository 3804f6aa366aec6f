"""Optimizers: trajectories against loops over single numbers, and what every optimizer promises.

A trajectory is STEPS steps from random weights, with a random gradient and another learning rate each time: a state
that is not kept, a bias correction that counts wrongly or a rate that sits in the wrong place shows within three.

The definitions are written with Python's numbers, one weight at a time, from the papers:
Sutskever et al. 2013 for momentum and Nesterov (in PyTorch's form, the rate outside the velocity), Kingma and Ba,
arXiv:1412.6980, Algorithm 1, for Adam.
"""

import math
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from nn.backend import assign, host
from nn.check.finding import Finding, compare, identical
from nn.layer import LayerSpec, Sample
from nn.parameter import Arena, Parameter

STEPS = 10
RATES = (1.0, 0.5, 2.0, 1.0, 0.25)  # of the learning rate, in turn

Trajectory = list[dict[str, np.ndarray]]


def problem(
    spec: LayerSpec, sample: Sample, seed: int, dtype: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Starting weights (P) and gradients (STEPS, P), some of them 0, whose sizes span nine powers of ten."""
    rng = np.random.default_rng([seed, zlib.crc32(f"{spec.name} {sample}".encode())])
    size = int(np.prod(sample.shape))
    gradients = rng.standard_normal((STEPS, size)) * 10.0 ** rng.integers(-6, 3, size)
    gradients[:, : size // 8] = 0
    return rng.standard_normal(size).astype(dtype), gradients.astype(dtype)


def make(
    spec: LayerSpec, sample: Sample, start: np.ndarray, backend: str
) -> tuple[Parameter, Arena, Any]:
    """The optimizer over an arena with one parameter, whose weights are ``start``."""
    p = Parameter(start.copy())
    arena = Arena([("w", p)])
    return p, arena, spec.make(arena, **sample.kwargs).to(backend)


def trajectory(
    spec: LayerSpec, sample: Sample, backend: str, seed: int, dtype: Any = np.float64
) -> Trajectory:
    """The weights "w" and the state ("velocity", or "m" and "v") after each step."""
    start, gradients = problem(spec, sample, seed, dtype)
    p, arena, optimizer = make(spec, sample, start, backend)
    rate = optimizer.learning_rate
    path = []
    for step, gradient in enumerate(gradients):
        assign(p.grad, gradient)
        optimizer.learning_rate = rate * RATES[step % len(RATES)]
        optimizer.step()
        state = {name: host(arena.view(flat, "w").copy()) for name, flat in optimizer.state.items()}
        path.append({"w": host(p.value.copy())} | state)
    return path


def sgd(optimizer: Any, w: float, gradients: list[float], rates: list[float]) -> list[dict]:
    """g = dw + decay w;   v = mu v + g;   w -= rate v, or rate (g + mu v) with Nesterov, or rate g without mu."""
    path, v = [], 0.0
    for dw, rate in zip(gradients, rates, strict=True):
        g = dw + optimizer.weight_decay * w
        v = optimizer.momentum * v + g
        w -= rate * (g + optimizer.momentum * v if optimizer.nesterov else v)
        path.append({"w": w} | ({"velocity": v} if optimizer.momentum else {}))
    return path


def adam(optimizer: Any, w: float, gradients: list[float], rates: list[float]) -> list[dict]:
    """m, v: averages of g and g² with weights b1 and b2; w -= rate (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)."""
    path, m, v = [], 0.0, 0.0
    b1, b2 = optimizer.beta1, optimizer.beta2
    for t, (dw, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        g = dw + optimizer.weight_decay * w
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)
        w -= rate * m_hat / (math.sqrt(v_hat) + optimizer.eps)
        path.append({"w": w, "m": m, "v": v})
    return path


DEFINITIONS: dict[str, Callable[..., list[dict]]] = {"SGD": sgd, "Adam": adam}


def definition(spec: LayerSpec, sample: Sample, backend: str, seed: int) -> Iterator[Finding]:
    """Every weight and every state after every step, one number at a time."""
    start, gradients = problem(spec, sample, seed, np.float64)
    _, _, optimizer = make(spec, sample, start, backend)
    rates = [optimizer.learning_rate * RATES[step % len(RATES)] for step in range(STEPS)]
    by_weight = [
        DEFINITIONS[spec.name](optimizer, float(w), [float(g) for g in column], rates)
        for w, column in zip(start, gradients.T, strict=True)
    ]
    for step, found in enumerate(trajectory(spec, sample, backend, seed)):
        for name, values in found.items():
            expected = np.array([path[step][name] for path in by_weight])
            past = [np.abs([path[i][name] for path in by_weight]) for i in range(step + 1)]
            scale = np.max([*past, np.abs(start)] if name == "w" else past, axis=0)
            yield _each_relative(f"{name} after step {step + 1}", values, expected, scale)


def reference_equal(spec: LayerSpec, sample: Sample, backend: str, seed: int) -> Iterator[Finding]:
    """In float64, the reference's trajectory."""
    yield from _beside(spec, sample, backend, seed, np.float64)


def single_precision(spec: LayerSpec, sample: Sample, backend: str, seed: int) -> Iterator[Finding]:
    """In float32, the trajectory of float64 from the same numbers."""
    yield from _beside(spec, sample, backend, seed, np.float32)


def _beside(
    spec: LayerSpec, sample: Sample, backend: str, seed: int, dtype: Any
) -> Iterator[Finding]:
    path = trajectory(spec, sample, backend, seed, dtype)
    book = trajectory(spec, sample, "reference", seed)
    for step, (found, expected) in enumerate(zip(path, book, strict=True), start=1):
        for name in expected:
            yield compare(f"{name} after step {step}", found[name], expected[name])


def contract(spec: LayerSpec, sample: Sample, backend: str, seed: int) -> Iterator[Finding]:
    """The gradient is not written to; padding stays 0; the dtype stays; a second run gives the same bytes; a weight
    without a gradient, a decay or a state stays where it is; arrays keep their identity."""
    for dtype in (np.float32, np.float64):
        start, gradients = problem(spec, sample, seed, dtype)
        ends = []
        for _ in range(2):
            p, arena, optimizer = make(spec, sample, start, backend)
            value, grad, states = p.value, p.grad, dict(optimizer.state)
            for gradient in gradients:
                assign(grad, gradient)
                optimizer.step()
                yield identical("gradient after the step", grad, gradient)
            yield _says("steps", optimizer.steps == len(gradients), f"are {optimizer.steps}")
            same = p.value is value and p.grad is grad and optimizer.state.keys() == states.keys()
            same = same and all(optimizer.state[name] is a for name, a in states.items())
            yield _says("arrays", same, "were replaced by others")
            for name, flat in {"w": arena.values, **optimizer.state}.items():
                padding = flat[p.size :]
                yield identical(f"padding of {name}", padding, np.zeros(len(padding), dtype))
            still = slice(0, len(start) // 8)  # the gradient is 0 there
            if not optimizer.weight_decay:
                yield identical("w without a gradient", p.value[still], start[still])
            ends.append(host(arena.values.copy()))
        yield identical("w of a second run", ends[1], ends[0])


def _says(what: str, true: bool, otherwise: str) -> Finding:
    return Finding(what, 0.0 if true else np.inf, entries=1, note="" if true else otherwise)


def _each_relative(
    name: str, found: np.ndarray, expected: np.ndarray, scale: np.ndarray
) -> Finding:
    """Sizes differ by powers of ten from weight to weight: each is compared with the largest that it ever had, whose
    rounding it still carries where it has come down to nearly 0."""
    scale = np.where(scale == 0, 1, scale)
    finding = compare(name, found / scale, expected / scale)
    if finding.index:
        index = finding.index
        return Finding(name, finding.worst, index, float(found[index]), float(expected[index]),
                       expected.size)  # fmt: skip
    return finding
