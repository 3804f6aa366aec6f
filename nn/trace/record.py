"""Runs one step through a model and keeps every tensor of it.

A model is a chain of layers, or several chains that share some of them: the face swapper is two, one encoder in both.

    chain     x --layer--> y = x of the next --layer--> ... --> loss
              dx <--layer-- dy = dx of the next <-- ...     <-- dloss = 1

A layer that stands in two chains is called twice in a step, with two caches. Each call has its own share of the
gradient, and the parameter's gradient is their sum: that is what ``Trace.gradient`` adds up.
"""

import os
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nn.layer import Layer
from nn.layers import ConvBlock, LeakyReLU, PixelShuffle
from nn.losses import Loss
from nn.sequential import Sequential

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nn.trace.terms import Terms

SHORT = {"weight": "w", "bias": "b"}  # a parameter's name in the equations


@dataclass(frozen=True, eq=False)
class Call:
    """One layer at work, once, in one chain: x -> y on the way forward, dy -> dx on the way back.

    chain        the chain's name; "" where the model is one chain
    name         the layer's name, the same in every chain that it stands in
    parameters   {"w": ..., "b": ...}: the values as they were in this step
    grads        what this call alone adds to each parameter's gradient, by the same names
    """

    chain: str
    name: str
    layer: Layer
    x: np.ndarray
    y: np.ndarray
    dy: np.ndarray
    dx: np.ndarray
    parameters: dict[str, np.ndarray]
    grads: dict[str, np.ndarray]

    @property
    def label(self) -> str:
        """``a:encoder.conv1``, or the name alone where there is one chain."""
        return f"{self.chain}:{self.name}" if self.chain else self.name


@dataclass(frozen=True, eq=False)
class End:
    """The end of a chain: its loss, a number, and dy, where the way back begins."""

    chain: str
    loss: Loss
    y: np.ndarray
    target: np.ndarray
    value: float
    dy: np.ndarray


@dataclass(frozen=True, eq=False)
class Trace:
    """A step: its calls, chain by chain in the order of the forward pass, and the end of each chain."""

    calls: tuple[Call, ...]
    ends: tuple[End, ...]

    @property
    def chains(self) -> tuple[str, ...]:
        return tuple(end.chain for end in self.ends)

    @property
    def loss(self) -> float:
        """The sum of the chains' losses."""
        return sum(end.value for end in self.ends)

    @property
    def names(self) -> tuple[str, ...]:
        """Every layer once, in the order of its first call."""
        return tuple(dict.fromkeys(call.name for call in self.calls))

    def calls_of(self, name: str) -> list[Call]:
        """The calls of one layer: one for each chain that it stands in."""
        return [call for call in self.calls if call.name == name]

    def chain(self, name: str) -> list[Call]:
        """The calls of one chain, in the order of the forward pass."""
        return [call for call in self.calls if call.chain == name]

    def gradient(self, name: str, parameter: str) -> np.ndarray:
        """The gradient of a layer's parameter, "w" or "b": the sum of its calls' shares."""
        return sum(call.grads[parameter] for call in self.calls_of(name))

    def explain(self, number: str) -> "Terms":
        """As ``nn.explain(trace, number)``."""
        from nn.trace.terms import explain

        return explain(self, number)

    def print(self) -> None:
        """A table in the terminal: every layer's tensors with shape, range, share of zeros, and how large the
        gradient is beside the weight."""
        from nn.trace.table import print_trace

        print_trace(self)

    def plot(self, file: str | os.PathLike | None = None) -> "Figure":
        """The step as a matplotlib figure: sizes of activations and gradients layer by layer; written where a
        file is named."""
        from nn.trace.plot import plot_trace

        return plot_trace(self, file)

    def html(self, file: str | os.PathLike, *, megabytes: float = 15.0) -> None:
        """One page that needs nothing else: walks the step layer by layer, with every number to be clicked at.

        Exact where that fits into ``megabytes``. Where it does not, the page sums dw and db itself and, if need be,
        keeps fewer digits, and says so. Raises ValueError, and writes nothing, where two digits do not fit.
        """
        from nn.trace.page import write_page

        write_page(self, file, megabytes=megabytes)


def trace(
    model: Layer | Mapping[str, Layer],
    x: np.ndarray | Mapping[str, np.ndarray],
    loss: Loss,
    target: np.ndarray | Mapping[str, np.ndarray] | None = None,
) -> Trace:
    """Runs x through the model, the loss, and all the way back; returns the record. Gradients stay as they were.

    model    a layer, mostly a Sequential; or {chain: layer}, chains that may share layers; or a model with a method
             ``chains()`` that gives those, as swap.model.SwapModel does
    x        (N, ...), or one for each chain
    target   what the loss compares with; where None, x itself: an autoencoder

    Layers run one by one, so a convolution is seen apart from the activation behind it.
    Raises ValueError where chains, inputs and targets do not fit each other.
    """
    if hasattr(model, "chains"):
        model = model.chains()
    many = isinstance(model, Mapping)
    target = x if target is None else target
    if not many:
        model, x, target = {"": model}, {"": x}, {"": target}
    for what, given in (("x", x), ("target", target)):
        if not isinstance(given, Mapping) or set(given) != set(model):
            raise ValueError(f"{what} has one array for each of the chains {', '.join(model)}")
    named = _names(model)
    parameters = {id(p): p for layer in model.values() for p in layer.parameters()}.values()
    kept = [(p, p.grad.copy()) for p in parameters]
    values = {
        id(p): p.value.copy() for p, _ in kept
    }  # a step taken later must not change the record
    try:
        calls, ends = [], []
        for chain in model:
            some, end = _run(chain, named[chain], x[chain], loss, target[chain], values)
            calls += some
            ends.append(end)
    finally:
        for p, grad in kept:
            p.grad[...] = grad
    return Trace(tuple(calls), tuple(ends))


def _run(
    chain: str,
    layers: list[tuple[str, Layer]],
    x: np.ndarray,
    loss: Loss,
    target: np.ndarray,
    values: dict[int, np.ndarray],
) -> tuple[list[Call], End]:
    """One chain, forward and back."""
    first, way = x, []
    for name, layer in layers:
        y, cache = layer.forward(x)
        way.append((name, layer, x, y, cache))
        x = y
    if x.shape != target.shape:
        what = "the target" if target is not first else "x, the target where none is given,"
        raise ValueError(f"the model makes {x.shape}, and {what} is {target.shape}")
    value, cache = loss.forward(x, target)
    dy = loss.backward(1.0, cache)
    end = End(chain, loss, x, target, float(value), dy)
    calls = []
    for name, layer, x, y, cache in reversed(way):
        layer.zero_grad()
        dx = layer.backward(dy, cache)
        own = {SHORT.get(n, n): p for n, p in layer.own_parameters()}
        parameters = {n: values[id(p)] for n, p in own.items()}
        grads = {n: p.grad.copy() for n, p in own.items()}
        calls.append(Call(chain, name, layer, x, y, dy, dx, parameters, grads))
        dy = dx
    return calls[::-1], end


def _names(model: Mapping[str, Layer]) -> dict[str, list[tuple[str, Layer]]]:
    """For each chain its layers with their names: one name for one layer, whatever chains it stands in."""
    names: dict[Hashable, str] = {}
    chains: dict[str, list[tuple[str, Layer]]] = {}
    for chain, whole in model.items():
        seen: set[Hashable] = set()
        chains[chain] = []
        for name, layer, who in _leaves("", whole):
            if who in seen:
                raise ValueError(f"{name} stands twice in one chain; a trace tells layers by name")
            seen.add(who)
            if who not in names:
                names[who] = f"{chain}.{name}" if name in names.values() else name
            chains[chain].append((names[who], layer))
    return chains


def _leaves(prefix: str, layer: Layer) -> Iterator[tuple[str, Layer, Hashable]]:
    """The layers of a chain that are no chains themselves: name, layer, and what it is told by."""
    if isinstance(layer, Sequential):
        for name, child in layer.children():
            yield from _leaves(f"{prefix}.{name}" if prefix else name, child)
    elif isinstance(layer, ConvBlock):
        conv, block = layer.conv, prefix or "convblock"
        yield f"{block}.conv", conv, id(conv)
        if layer.negative_slope != 1:
            activation = LeakyReLU(layer.negative_slope).to(layer.backend)
            yield f"{block}.activation", activation, (id(conv), "activation")
        if layer.factor != 1:
            shuffle = PixelShuffle(layer.factor).to(layer.backend)
            yield f"{block}.shuffle", shuffle, (id(conv), "shuffle")
    else:
        yield prefix or type(layer).__name__.lower(), layer, id(layer)
