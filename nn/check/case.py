"""One layer or loss with weights, an input and an upstream gradient: what every check starts from.

A case is a pure function of (seed, layer, sample), so one that failed can be run again by itself.
Its numbers are of two kinds:

    normal      weights, biases, x and dy ~ N(0, 1), and x at least MARGIN away from every kink; where the kinks lie
                inside a layer, dy is 0 for what comes from near them
    integers    all of them whole numbers in -3 .. 3, kinks included: what a layer multiplies and
                adds is then exact, even in float32, so backends must agree bit for bit

The target of a loss lies in (0, 1), where every loss takes it; with integers in -3 .. 3.
"""

import copy
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from nn.backend import host
from nn.layer import Layer, LayerSpec, Sample
from nn.losses import Loss
from nn.parameter import Parameter

MARGIN = 0.05  # of x from a kink


@dataclass(frozen=True)
class Case:
    """A layer on x and dy; or a loss, whose output y is called x here and whose dy is a number."""

    module: Layer | Loss
    x: np.ndarray
    dy: Any
    target: np.ndarray | None = None

    def parameters(self) -> dict[str, Parameter]:
        """The parameters by name; none for a loss."""
        return dict(self.module.named_parameters()) if isinstance(self.module, Layer) else {}

    @property
    def input_name(self) -> str:
        """What the input is called: "x", and "y" for a loss, whose input is another's output."""
        return "x" if self.target is None else "y"

    def tensors(self) -> dict[str, np.ndarray]:
        """Every array that has a gradient, by name: "x" ("y" for a loss), "weight", "bias" ..."""
        return {self.input_name: self.x} | {name: p.value for name, p in self.parameters().items()}

    def forward(self) -> tuple[Any, Any]:
        """y (or the loss) and the cache."""
        arguments = (self.x,) if self.target is None else (self.x, self.target)
        return self.module.forward(*arguments)

    def gradients(self) -> dict[str, np.ndarray]:
        """What one backward pass says, under the names of ``tensors``; every grad starts from 0."""
        parameters = self.parameters()
        for p in parameters.values():
            p.zero_grad()
        _, cache = self.forward()
        dx = self.module.backward(self.dy, cache)
        return {self.input_name: dx} | {name: host(p.grad.copy()) for name, p in parameters.items()}

    def to(self, *, backend: str | None = None, dtype: Any = None) -> "Case":
        """The same case on another backend or in another dtype; nothing is shared with this one."""
        module = copy.deepcopy(self.module)
        case = Case(module, self.x.copy(), copy.copy(self.dy), copy.copy(self.target))
        if backend is not None:
            module.to(backend)
        if dtype is None:
            return case
        for p in case.parameters().values():
            p.value, p.grad = p.value.astype(dtype), p.grad.astype(dtype)
        if case.target is None:
            return Case(module, case.x.astype(dtype), case.dy.astype(dtype))
        return Case(module, case.x.astype(dtype), case.dy, case.target.astype(dtype))


def make_case(
    spec: LayerSpec,
    sample: Sample,
    *,
    seed: int = 0,
    dtype: Any = np.float64,
    backend: str = "reference",
    integers: bool = False,
) -> Case:
    """The case of ``spec`` at ``sample``; dy has the shape of y, and is one number for a loss."""
    rng = np.random.default_rng([seed, zlib.crc32(f"{spec.name} {sample}".encode())])

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        values = rng.integers(-3, 4, shape) if integers else rng.standard_normal(shape)
        return values.astype(dtype)

    module = spec.make(**sample.kwargs).to(backend)
    x = draw(sample.shape)
    if isinstance(module, Loss):
        target = draw(sample.shape) if integers else rng.uniform(0.05, 0.95, x.shape).astype(dtype)
        if not integers:
            x = target + _away_from(x - target, spec.kinks)
        return Case(module, x, float(rng.choice((-3, -2, 2, 3)) / (1 if integers else 7)), target)
    for p in module.parameters():
        p.value = draw(p.shape)
        p.grad = np.zeros_like(p.value)
    if not integers:
        x = _away_from(x, spec.kinks)
    dy = draw(module.out_shape(x.shape))
    if spec.near_kink is not None and not integers:
        dy[spec.near_kink(module, x)] = 0
    return Case(module, x, dy)


def _away_from(x: np.ndarray, kinks: tuple[float, ...]) -> np.ndarray:
    for kink in kinks:
        distance = x - kink
        x = np.where(np.abs(distance) < MARGIN, x + np.copysign(MARGIN, distance), x)
    return x


def describe(sample: Sample) -> str:
    """The options of a sample, ``in_features=3 out_features=2``; empty where it has none."""
    return " ".join(f"{name}={value}" for name, value in sample.kwargs.items()).replace(", ", ",")
