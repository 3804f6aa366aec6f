"""Dense: y = x weight + bias. The mathematics is in ``nn/reference/dense.py``."""

from typing import Any

import numpy as np

from nn.init import make_weight
from nn.layer import Layer, LayerSpec, Sample, Saved, register
from nn.parameter import Parameter


class Dense(Layer):
    """y = x weight + bias for x (N, I): weight (I, O), bias (O), y (N, O).

    init is "glorot" or "he"; rng is a generator or a seed.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        init: str = "glorot",
        rng: np.random.Generator | int | None = None,
        dtype: Any = np.float32,
    ) -> None:
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(make_weight(init, (in_features, out_features), rng, dtype))
        self.bias = Parameter(np.zeros(out_features, dtype)) if bias else None

    def _forward(self, x: np.ndarray) -> tuple[np.ndarray, Saved]:
        return self.ops.dense_forward(x, self.weight.value, self.bias and self.bias.value)

    def _backward(self, dy: np.ndarray, saved: Saved, need_dx: bool) -> np.ndarray | None:
        db = self.bias and self.bias.grad
        return self.ops.dense_backward(dy, saved, self.weight.grad, db, need_dx=need_dx)

    def out_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) != 2 or shape[1] != self.in_features:
            raise ValueError(f"{self!r} takes (N, {self.in_features}), found {shape}")
        return shape[0], self.out_features

    def macs(self, shape: tuple[int, ...]) -> int:
        return shape[0] * self.in_features * self.out_features

    def __repr__(self) -> str:
        return f"Dense({self.in_features}, {self.out_features})"


def _torch(layer: Dense) -> Any:
    import torch

    w = torch.tensor(layer.weight.value, requires_grad=True)
    b = torch.tensor(layer.bias.value, requires_grad=True) if layer.bias else None
    f = lambda x: torch.nn.functional.linear(x, w.T, b)  # noqa: E731
    f.parameters = {"weight": w} | ({"bias": b} if layer.bias else {})
    return f


register(
    LayerSpec(
        kind="layer",
        make=Dense,
        samples=(
            Sample({"in_features": 3, "out_features": 2}, (4, 3)),
            Sample({"in_features": 1, "out_features": 5, "init": "he"}, (2, 1)),
            Sample({"in_features": 7, "out_features": 1, "bias": False}, (1, 7)),
        ),
        bench=Sample({"in_features": 4096, "out_features": 256}, (32, 4096)),
        torch=_torch,
        op="dense",
        linear=True,
        deep=tuple(
            Sample({"in_features": i, "out_features": o, "bias": n != 7}, (n, i))
            for n, i, o in (
                (300, 1500, 530),
                (1, 700, 3),
                (7, 33, 530),
                (16, 5, 16),
                (33, 1025, 31),
                (64, 512, 96),
                (100, 40, 1100),
            )
        ),
    )
)
