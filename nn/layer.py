"""The contract that every layer keeps, and the registry of all of them. Chains of layers: ``nn/sequential.py``.

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

from nn.backend import DEFAULT, GPU, choose, get_backend, is_array, on_gpu
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
        if not is_array(x):
            raise ValueError(f"{self!r} takes an array, found {type(x).__name__}")
        if on_gpu(x) and self.backend != GPU:
            raise ValueError(f"{self!r} runs on {self.backend}, but its input lies on the GPU")
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
        """Runs this layer and its children on ``backend`` ("auto": the fastest here) from now on; returns self.

        Parameters and gradients move to where it computes, an arena of theirs as a whole. DeviceError where it is "gpu"
        and there is none. (On the GPU, layers take NumPy arrays, too, and answer with such.)
        """
        backend = choose(backend)
        self.backend = backend
        for _, p in self.own_parameters():
            p.to(backend)
        for _, child in self.children():
            child.to(backend)
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


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
    near_kink  of what has kinks inside: ``near_kink(layer, x)`` says which numbers of y come from so near a kink that
               rounding may decide their slope; a random dy is 0 there
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
    near_kink: Callable[[Any, np.ndarray], np.ndarray] | None = None
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
