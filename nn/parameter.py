"""Parameters, and the arena that holds them all.

A ``Parameter`` is a value and the gradient that backward passes add to. An ``Arena`` lays all values of
a model one after the other in one flat array and all gradients in another; each Parameter then is a
view into them. So zeroing every gradient is one fill, an optimizer is one pass, a checkpoint is one
table, and the gradients of several machines would be one sum.
"""

import weakref
from collections.abc import Iterable

import numpy as np

from nn.backend import GPU, assign, is_array, on_gpu, put
from nn.record import call

ALIGNMENT = 16  # numbers: 64 bytes of float32, one cache line and one AVX-512 vector


class Parameter:
    """A trained array: ``value`` and ``grad``, of one shape and dtype.

    Backward passes add to ``grad``; nothing but ``zero_grad`` sets it back to 0.
    """

    __slots__ = ("arena", "grad", "name", "value")

    def __init__(self, value: np.ndarray, name: str = "") -> None:
        if not is_array(value) or isinstance(value, np.ndarray):
            value = np.asarray(value, order="C")  # kernels walk through both in this order
        self.value = value
        self.grad = np.zeros_like(value)
        self.name = name
        self.arena: weakref.ref[Arena] | None = None

    def to(self, backend: str) -> None:
        """Moves value and grad to where ``backend`` computes; with all of its arena, where it lies in one."""
        arena = self.arena and self.arena()
        if arena is not None and arena.holds(self):
            arena.to(backend)
        else:
            self.value, self.grad = put(self.value, backend), put(self.grad, backend)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def size(self) -> int:
        return self.value.size

    def zero_grad(self) -> None:
        """grad = 0."""
        self.grad[...] = 0

    def __repr__(self) -> str:
        return f"Parameter({self.name or 'unnamed'}, {self.shape}, {self.value.dtype})"


class Arena:
    """All parameters in two flat arrays, ``values`` (P) and ``grads`` (P).

    Takes (name, Parameter) pairs, ``Arena(model.named_parameters())``, and writes the names into the
    parameters. They keep their identity and their numbers; their ``value`` and ``grad`` become views. Each
    starts on a cache line; the few numbers of padding between two stay 0 for ever, since their gradient
    is 0. One parameter given twice (a layer used in two places) is laid down once, under its first name.

    Raises ValueError where the parameters are not all of one dtype or two carry the same name.
    """

    def __init__(self, named: Iterable[tuple[str, Parameter]]) -> None:
        first_name: dict[int, str] = {}
        unique: list[Parameter] = []
        for name, p in named:
            if id(p) in first_name:
                continue
            if name in first_name.values():
                raise ValueError(f"two parameters are named {name!r}")
            first_name[id(p)] = p.name = name
            unique.append(p)
        dtypes = {p.value.dtype for p in unique}
        if len(dtypes) > 1:
            raise ValueError(f"an arena holds one dtype, found {sorted(map(str, dtypes))}")
        self.dtype = dtypes.pop() if dtypes else np.dtype(np.float32)
        self.parameters: dict[str, Parameter] = {p.name: p for p in unique}
        self.offsets: dict[str, int] = {}
        end = 0
        for p in unique:
            self.offsets[p.name] = end
            end += -(-p.size // ALIGNMENT) * ALIGNMENT
        self.values = _aligned_zeros(end, self.dtype)
        self.grads = _aligned_zeros(end, self.dtype)
        for p in unique:
            value, grad = self.view(self.values, p.name), self.view(self.grads, p.name)
            assign(value, p.value)
            assign(grad, p.grad)
            p.value, p.grad, p.arena = value, grad, weakref.ref(self)

    def holds(self, parameter: Parameter) -> bool:
        """Whether a parameter's numbers lie here still; those of one that was given another value do not."""
        name = parameter.name
        return self.parameters.get(name) is parameter and all(
            found.shape == view.shape and _address(found) == _address(view)
            for found, view in (
                (parameter.value, self.view(self.values, name)),
                (parameter.grad, self.view(self.grads, name)),
            )
        )

    def to(self, backend: str) -> "Arena":
        """Moves both arrays to where ``backend`` computes, and the parameters' views with them; returns self.

        A parameter that was given another value since is left alone.
        """
        if on_gpu(self.values) == (backend == GPU):
            return self
        held = [p for p in self.parameters.values() if self.holds(p)]
        self.values, self.grads = put(self.values, backend), put(self.grads, backend)
        for p in held:
            p.value, p.grad = self.view(self.values, p.name), self.view(self.grads, p.name)
        return self

    def view(self, flat: np.ndarray, name: str) -> np.ndarray:
        """The part of any flat array (P) laid out like this arena that belongs to parameter ``name``."""
        p, start = self.parameters[name], self.offsets[name]
        return flat[start : start + p.size].reshape(p.shape)

    def zero_grad(self) -> None:
        """Every gradient = 0."""
        # All bytes of 0 are 0, and bytes fill memory faster.
        call(self.grads.view(np.uint8).fill, 0)

    @property
    def size(self) -> int:
        """Numbers that are trained, padding not counted."""
        return sum(p.size for p in self.parameters.values())


def _address(array: np.ndarray) -> int:
    interface = getattr(array, "__cuda_array_interface__", None) or array.__array_interface__
    return interface["data"][0]


def _aligned_zeros(size: int, dtype: np.dtype) -> np.ndarray:
    line = 64 // dtype.itemsize
    raw = np.zeros(size + line, dtype)
    start = (-raw.ctypes.data % 64) // dtype.itemsize
    return raw[start : start + size]
