"""Flatten and Reshape: the same numbers under another shape.

    forward     y = x.reshape(N, ...)
    backward    dx = dy.reshape(x's shape)

No arithmetic, no copy; the cache is the shape of x. So there is nothing here for a backend to do.
"""

import math
from typing import Any

import numpy as np

from nn.layer import Layer, LayerSpec, Sample, Saved, register
from nn.record import contiguous


class Reshape(Layer):
    """x (N, ...) -> y (N, *shape), in memory order."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = tuple(shape)

    def _forward(self, x: np.ndarray) -> tuple[np.ndarray, Saved]:
        return contiguous(x).reshape(self.out_shape(x.shape)), x.shape

    def _backward(self, dy: np.ndarray, saved: Saved, need_dx: bool) -> np.ndarray | None:
        return contiguous(dy).reshape(saved) if need_dx else None

    def out_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) < 1 or math.prod(shape[1:]) != math.prod(self.shape):
            raise ValueError(
                f"{self!r} takes {math.prod(self.shape)} numbers an item, found shape {shape}"
            )
        return (shape[0], *self.shape)

    def __repr__(self) -> str:
        return f"Reshape({self.shape})"


class Flatten(Layer):
    """x (N, ...) -> y (N, product of the rest), in memory order (H, W, C for pictures)."""

    def _forward(self, x: np.ndarray) -> tuple[np.ndarray, Saved]:
        return contiguous(x).reshape(self.out_shape(x.shape)), x.shape

    def _backward(self, dy: np.ndarray, saved: Saved, need_dx: bool) -> np.ndarray | None:
        return contiguous(dy).reshape(saved) if need_dx else None

    def out_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) < 1:
            raise ValueError(f"{self!r} takes (N, ...), found shape {shape}")
        return shape[0], math.prod(shape[1:])


def _torch(layer: Layer) -> Any:
    def f(x: Any) -> Any:
        return x.reshape(layer.out_shape(tuple(x.shape)))

    f.parameters = {}
    return f


register(
    LayerSpec(
        kind="layer",
        make=Reshape,
        samples=(Sample({"shape": (2, 3)}, (4, 6)), Sample({"shape": (2, 1, 4)}, (1, 4, 2))),
        bench=Sample({"shape": (4, 4, 256)}, (32, 4096)),
        torch=_torch,
        linear=True,
    )
)
register(
    LayerSpec(
        kind="layer",
        make=Flatten,
        samples=(Sample({}, (3, 2, 2, 2)), Sample({}, (1, 5))),
        bench=Sample({}, (32, 4, 4, 256)),
        torch=_torch,
        linear=True,
    )
)
