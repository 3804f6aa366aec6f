"""The contract that every layer keeps, chains of layers, and the registry of all of them.

    y, cache = layer.forward(x)         dx = layer.backward(dy, cache)

What lives across steps (parameters) is on the object. What lives for one call is in the cache, and
the caller holds it. That is why one encoder can run on A and on B in the same step and take both
gradients back in either order: there are two caches, and ``backward`` adds into ``param.grad``.
(With the cache kept in one slot on the object, the same program runs, learns a little, and its
gradient is wrong.)
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from nn.backend import DEFAULT, get_backend
from nn.parameter import Parameter

Saved = Any  # what one layer's _forward keeps for its _backward: a small named tuple, mostly


class Cache(NamedTuple):
    """What lives for one call: what the layer saved, and the shape and dtype that dy must have."""

    out_shape: tuple[int, ...]
    out_dtype: np.dtype
    saved: Saved


class Layer:
    """Base of all layers. A subclass gives ``_forward``, ``_backward`` and ``out_shape``.

    Parameters are attributes of type Parameter; children are attributes of type Layer.
    """

    backend: str = DEFAULT

    @property
    def ops(self) -> ModuleType:
        """The functions of this layer's backend."""
        return get_backend(self.backend)

    def forward(self, x: np.ndarray, *, train: bool = True) -> tuple[np.ndarray, Cache | None]:
        """y and the cache that ``backward`` needs; with ``train=False`` the cache is None and memory is freed.

        Raises ValueError naming the layer where x has the wrong shape or dtype.
        """
        self.check_input(x)
        y, saved = self._forward(x)
        return y, (Cache(y.shape, y.dtype, saved) if train else None)

    def backward(
        self, dy: np.ndarray, cache: Cache | None, *, need_dx: bool = True
    ) -> np.ndarray | None:
        """Adds parameter gradients into ``param.grad`` and returns dx (None if ``need_dx`` is false).

        Never writes to dy or to the cache. Raises ValueError where cache is None, or dy is not of y's shape and dtype.
        """
        if cache is None:
            raise ValueError(
                f"{self!r} has no cache to go backward with: its forward ran with train=False"
            )
        if dy.shape != cache.out_shape or dy.dtype != cache.out_dtype:
            raise ValueError(
                f"{self!r} gave {cache.out_shape} {cache.out_dtype}, so its dy must be the same, "
                f"found {dy.shape} {dy.dtype}"
            )
        return self._backward(dy, cache.saved, need_dx)

    def _forward(self, x: np.ndarray) -> tuple[np.ndarray, Saved]:
        raise TypeError(f"{type(self).__name__} defines no forward pass")

    def _backward(self, dy: np.ndarray, saved: Saved, need_dx: bool) -> np.ndarray | None:
        raise TypeError(f"{type(self).__name__} defines no backward pass")

    def check_input(self, x: np.ndarray) -> None:
        """Raises ValueError, in one sentence, where x cannot enter this layer."""
        if not isinstance(x, np.ndarray):
            raise ValueError(f"{self!r} takes an array, found {type(x).__name__}")
        if x.dtype.kind not in "fc":  # whole numbers would round slopes and gradients to 0
            raise ValueError(f"{self!r} takes floating-point numbers, found {x.dtype}")
        for name, p in self.own_parameters():
            if x.dtype != p.value.dtype:
                raise ValueError(
                    f"{self!r} holds {p.value.dtype} in {name}, but its input is {x.dtype}"
                )
        self.out_shape(x.shape)

    def out_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of y for an x of ``shape``, batch included; ValueError where it does not fit."""
        return shape

    def macs(self, shape: tuple[int, ...]) -> int:
        """Multiply-adds of one forward pass for an x of ``shape``; a backward pass costs twice that."""
        return 0

    def own_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(attribute name, Parameter) of this layer alone."""
        for name, value in vars(self).items():
            if isinstance(value, Parameter):
                yield name, value

    def children(self) -> Iterator[tuple[str, "Layer"]]:
        """(attribute name, Layer) of the layers this one is made of."""
        for name, value in vars(self).items():
            if isinstance(value, Layer):
                yield name, value

    def parameters(self) -> list[Parameter]:
        """All parameters, children's included, in order."""
        return [p for _, p in self.named_parameters()]

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """(path, Parameter), such as ``("encoder.conv1.weight", ...)``, children's included, in order."""
        for name, p in self.own_parameters():
            yield prefix + name, p
        for name, child in self.children():
            yield from child.named_parameters(f"{prefix}{name}.")

    def zero_grad(self) -> None:
        """Every gradient = 0; call it once a step, before the first backward."""
        for p in self.parameters():
            p.zero_grad()

    def to(self, backend: str) -> "Layer":
        """Runs this layer and its children on ``backend`` from now on; returns self."""
        get_backend(backend)
        self.backend = backend
        for _, child in self.children():
            child.to(backend)
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Sequential(Layer):
    """Layers one after the other: y = fn(... f2(f1(x))). Its cache is the list of their caches.

    Give layers, or (name, layer) pairs; an unnamed one is called by its kind and position, ``conv2d1``.
    """

    def __init__(self, *layers: "Layer | tuple[str, Layer]") -> None:
        self.layers: list[tuple[str, Layer]] = []
        for position, item in enumerate(layers, start=1):
            name, layer = (
                item
                if isinstance(item, tuple)
                else (f"{type(item).__name__.lower()}{position}", item)
            )
            if name in (n for n, _ in self.layers):
                raise ValueError(f"two layers of one Sequential are named {name!r}")
            self.layers.append((name, layer))

    def children(self) -> Iterator[tuple[str, Layer]]:
        yield from self.layers

    def forward(self, x: np.ndarray, *, train: bool = True) -> tuple[np.ndarray, Cache | None]:
        caches = []
        for _, layer in self.layers:
            x, cache = layer.forward(x, train=train)
            caches.append(cache)
        return x, (Cache(x.shape, x.dtype, caches) if train else None)

    def _backward(self, dy: np.ndarray, saved: list[Cache], need_dx: bool) -> np.ndarray | None:
        first = 0 if need_dx else self._first_trained()
        for i in range(len(self.layers) - 1, first - 1, -1):
            dy = self.layers[i][1].backward(dy, saved[i], need_dx=need_dx or i > first)
        return dy if need_dx else None

    def _first_trained(self) -> int:
        """Index of the first layer with parameters: nothing below it needs a gradient."""
        for i, (_, layer) in enumerate(self.layers):
            if layer.parameters():
                return i
        return len(self.layers)

    def check_input(self, x: np.ndarray) -> None:
        if self.layers:
            self.layers[0][1].check_input(x)

    def out_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        for _, layer in self.layers:
            shape = layer.out_shape(shape)
        return shape

    def macs(self, shape: tuple[int, ...]) -> int:
        total = 0
        for _, layer in self.layers:
            total += layer.macs(shape)
            shape = layer.out_shape(shape)
        return total

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, key: int | str) -> Layer:
        return dict(self.layers)[key] if isinstance(key, str) else self.layers[key][1]

    def __repr__(self) -> str:
        return f"Sequential({', '.join(f'{name}={layer!r}' for name, layer in self.layers)})"


@dataclass(frozen=True)
class Sample:
    """One way to build a layer, and one input shape (batch included) to try it on."""

    kwargs: dict[str, Any]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class LayerSpec:
    """What everything else knows of a layer, loss or optimizer: tests, ``nn check``, the bench and the summary read
    only this.

    kind       "layer", "activation", "loss" or "optimizer"
    make       the class
    op         its functions in a backend: op_forward and op_backward, or op_step; "" where it needs none
    samples    small ones: every option, odd and even sizes
    linear     y is linear in x (biases apart), so the adjoint identity <A x, dy> = <x, A^T dy> must hold
    kinks      values of x (for a loss: of y - target) where the slope jumps; random inputs keep away from them
    bench      a sample of realistic size
    deep       sizes beyond every block of a fast backend's loops, and other corners of its paths
    slopes     of what has kinks: ``slopes(layer)`` gives the documented slope just below, at and just above one
    torch      builds the same function in PyTorch, given the layer: ``torch(layer) -> f(x_nhwc) -> y_nhwc``
               with weights taken from the layer; for a loss ``f(y, target)``; for an optimizer, given it and a list
               of PyTorch parameters, PyTorch's optimizer
    """

    kind: str
    make: type
    samples: tuple[Sample, ...]
    bench: Sample
    torch: Callable[[Any], Callable[..., Any]]
    op: str = ""
    linear: bool = False
    kinks: tuple[float, ...] = field(default=())
    slopes: Callable[[Any], tuple[float, float, float]] | None = None
    deep: tuple[Sample, ...] = ()

    @property
    def name(self) -> str:
        return self.make.__name__


REGISTRY: dict[str, LayerSpec] = {}


def register(spec: LayerSpec) -> LayerSpec:
    """Puts a spec into the registry; ValueError where the name is taken."""
    if spec.name in REGISTRY:
        raise ValueError(f"{spec.name} is registered already")
    REGISTRY[spec.name] = spec
    return spec
