"""The ledger of a model: for every layer its output shape, parameters, multiply-adds and bytes.

bytes of activations   what one forward pass keeps for its backward, layer by layer: the size of y
multiply-adds          of one forward pass; a backward pass costs twice that, except that the first
                       layer needs no dx
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nn.layer import Layer
from nn.sequential import Sequential


@dataclass(frozen=True)
class Row:
    """One layer of a summary; sizes are for the batch given to ``summary``."""

    name: str
    layer: Layer
    out_shape: tuple[int, ...]
    parameters: int
    macs: int
    activation_bytes: int


@dataclass(frozen=True)
class Summary:
    """The rows, and their sums; ``str()`` gives the table."""

    rows: tuple[Row, ...]

    @property
    def parameters(self) -> int:
        return sum(r.parameters for r in self.rows)

    @property
    def macs(self) -> int:
        return sum(r.macs for r in self.rows)

    @property
    def activation_bytes(self) -> int:
        return sum(r.activation_bytes for r in self.rows)

    def __str__(self) -> str:
        head = ("layer", "kind", "output", "parameters", "multiply-adds", "MiB kept")
        lines = [head] + [
            (
                r.name,
                repr(r.layer),
                "x".join(map(str, r.out_shape)),
                f"{r.parameters:,}",
                f"{r.macs:,}",
                f"{r.activation_bytes / 2**20:.2f}",
            )
            for r in self.rows
        ]
        lines.append(
            (
                "total",
                "",
                "",
                f"{self.parameters:,}",
                f"{self.macs:,}",
                f"{self.activation_bytes / 2**20:.2f}",
            )
        )
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        left = {0, 1, 2}
        text = [
            "  ".join(
                cell.ljust(w) if i in left else cell.rjust(w)
                for i, (cell, w) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        rule = "-" * max(map(len, text))
        return "\n".join([text[0], rule, *text[1:-1], rule, text[-1]])


def summary(model: Layer, in_shape: tuple[int, ...]) -> Summary:
    """The ledger of ``model`` for an input of ``in_shape``, batch included; ValueError where it does not fit."""
    itemsize = next((p.value.itemsize for p in model.parameters()), np.dtype(np.float32).itemsize)
    rows = []
    shape = in_shape
    for name, layer in _leaves("", model):
        out = layer.out_shape(shape)
        parameters = sum(p.size for p in layer.parameters())
        kept = math.prod(out) * itemsize
        rows.append(Row(name, layer, out, parameters, layer.macs(shape), kept))
        shape = out
    return Summary(tuple(rows))


def _leaves(prefix: str, layer: Layer) -> Iterator[tuple[str, Layer]]:
    if isinstance(layer, Sequential):
        for name, child in layer.children():
            yield from _leaves(f"{prefix}.{name}" if prefix else name, child)
    else:
        yield prefix or type(layer).__name__.lower(), layer
