"""Layers in a chain."""

from collections.abc import Iterator

import numpy as np

from nn.layer import Cache, Layer
from nn.layers.conv_block import fuse


class Sequential(Layer):
    """Layers one after the other: y = fn(... f2(f1(x))). Its cache is the list of their caches.

    Give layers, or (name, layer) pairs; an unnamed one is called by its kind and position, ``conv2d1``.
    A convolution runs together with the activation and the pixel shuffle behind it, as one ConvBlock.
    """

    def __init__(self, *layers: Layer | tuple[str, Layer]) -> None:
        named: list[tuple[str, Layer]] = []
        for position, item in enumerate(layers, start=1):
            name, layer = (
                item
                if isinstance(item, tuple)
                else (f"{type(item).__name__.lower()}{position}", item)
            )
            if name in (n for n, _ in named):
                raise ValueError(f"two layers of one Sequential are named {name!r}")
            named.append((name, layer))
        self.layers = tuple(named)
        self._blocks = fuse([layer for _, layer in self.layers])

    def children(self) -> Iterator[tuple[str, Layer]]:
        yield from self.layers

    def forward(self, x: np.ndarray, *, train: bool = True) -> tuple[np.ndarray, Cache | None]:
        caches = []
        for block in self._blocks:
            x, cache = block.forward(x, train=train)
            caches.append(cache)
        return x, (Cache(x.shape, x.dtype, caches) if train else None)

    def _backward(self, dy: np.ndarray, saved: list[Cache], need_dx: bool) -> np.ndarray | None:
        first = 0 if need_dx else self._first_trained()
        for i in range(len(self._blocks) - 1, first - 1, -1):
            dy = self._blocks[i].backward(dy, saved[i], need_dx=need_dx or i > first)
        return dy if need_dx else None

    def _first_trained(self) -> int:
        """Index of the first block with parameters: nothing below it needs a gradient."""
        for i, block in enumerate(self._blocks):
            if block.parameters():
                return i
        return len(self._blocks)

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
