"""ReLU, LeakyReLU, Sigmoid, Tanh. The mathematics is in ``nn/reference/activation.py``."""

from typing import Any

import numpy as np

from nn.layer import Layer, LayerSpec, Sample, Saved, register


class ReLU(Layer):
    """y = x where x > 0, else 0; slope 0 at x = 0."""

    def _forward(self, x: np.ndarray) -> tuple[np.ndarray, Saved]:
        return self.ops.relu_forward(x)

    def _backward(self, dy: np.ndarray, saved: Saved, need_dx: bool) -> np.ndarray | None:
        return self.ops.relu_backward(dy, saved) if need_dx else None


class LeakyReLU(Layer):
    """y = x where x > 0, else negative_slope x; slope negative_slope at x = 0."""

    def __init__(self, negative_slope: float = 0.1) -> None:
        if negative_slope < 0:
            raise ValueError(f"the slope of LeakyReLU is at least 0, found {negative_slope}")
        self.negative_slope = negative_slope

    def _forward(self, x: np.ndarray) -> tuple[np.ndarray, Saved]:
        return self.ops.leaky_relu_forward(x, negative_slope=self.negative_slope)

    def _backward(self, dy: np.ndarray, saved: Saved, need_dx: bool) -> np.ndarray | None:
        return self.ops.leaky_relu_backward(dy, saved) if need_dx else None

    def __repr__(self) -> str:
        return f"LeakyReLU({self.negative_slope})"


class Sigmoid(Layer):
    """y = 1 / (1 + exp(-x))."""

    def _forward(self, x: np.ndarray) -> tuple[np.ndarray, Saved]:
        return self.ops.sigmoid_forward(x)

    def _backward(self, dy: np.ndarray, saved: Saved, need_dx: bool) -> np.ndarray | None:
        return self.ops.sigmoid_backward(dy, saved) if need_dx else None


class Tanh(Layer):
    """y = tanh(x)."""

    def _forward(self, x: np.ndarray) -> tuple[np.ndarray, Saved]:
        return self.ops.tanh_forward(x)

    def _backward(self, dy: np.ndarray, saved: Saved, need_dx: bool) -> np.ndarray | None:
        return self.ops.tanh_backward(dy, saved) if need_dx else None


def _torch(name: str) -> Any:
    def build(layer: Layer) -> Any:
        import torch

        extra = (layer.negative_slope,) if isinstance(layer, LeakyReLU) else ()
        f = lambda x: getattr(torch.nn.functional, name)(x, *extra)  # noqa: E731
        f.parameters = {}
        return f

    return build


_SHAPES = (Sample({}, (3, 4)), Sample({}, (2, 3, 1, 5)))
_BENCH = Sample({}, (32, 32, 32, 64))
_DEEP = (Sample({}, (257, 1031)), Sample({}, (3, 5, 7, 11)))

register(
    LayerSpec(
        "activation",
        ReLU,
        _SHAPES,
        _BENCH,
        _torch("relu"),
        "relu",
        kinks=(0.0,),
        slopes=lambda _: (0, 0, 1),
        deep=_DEEP,
    )
)
register(
    LayerSpec(
        "activation",
        LeakyReLU,
        (*_SHAPES, Sample({"negative_slope": 0.3}, (7,)), Sample({"negative_slope": 0.0}, (2, 2))),
        _BENCH,
        _torch("leaky_relu"),
        "leaky_relu",
        kinks=(0.0,),
        slopes=lambda layer: (layer.negative_slope, layer.negative_slope, 1),
        deep=(*_DEEP, *(Sample({"negative_slope": s}, (5, 37)) for s in (0.0, 0.25, 0.5, 1.0))),
    )
)
register(
    LayerSpec("activation", Sigmoid, _SHAPES, _BENCH, _torch("sigmoid"), "sigmoid", deep=_DEEP)
)
register(LayerSpec("activation", Tanh, _SHAPES, _BENCH, _torch("tanh"), "tanh", deep=_DEEP))
