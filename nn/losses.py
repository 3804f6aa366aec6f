"""MSE, MAE, BCEWithLogits: how far an output is from its target. The mathematics is in ``nn/reference/losses.py``.

loss, cache = MAE().forward(y, target)      dy = MAE().backward(1.0, cache)
"""

from typing import Any

import numpy as np

from nn.backend import DEFAULT, choose, get_backend
from nn.layer import LayerSpec, Sample, register


class Loss:
    """Base of the losses: mean over all numbers of y and target, which have one shape (N, ...)."""

    backend: str = DEFAULT
    op: str

    def forward(self, y: np.ndarray, target: np.ndarray) -> tuple[np.generic, Any]:
        """The loss (a scalar of y's dtype) and the cache; ValueError where shapes or dtypes differ."""
        if y.shape != target.shape or y.dtype != target.dtype:
            raise ValueError(
                f"{self!r} compares like with like: the output is {y.shape} {y.dtype}, "
                f"the target {target.shape} {target.dtype}"
            )
        if y.dtype.kind not in "fc":  # whole numbers would round the gradient to 0
            raise ValueError(f"{self!r} takes floating-point numbers, found {y.dtype}")
        if y.size == 0:
            raise ValueError(f"{self!r} is a mean, and an empty batch {y.shape} has none")
        return getattr(get_backend(self.backend), f"{self.op}_forward")(y, target)

    def backward(self, dloss: float, cache: Any) -> np.ndarray:
        """dy, given the gradient of whatever follows the loss (1.0 where nothing does)."""
        return getattr(get_backend(self.backend), f"{self.op}_backward")(dloss, cache)

    def to(self, backend: str) -> "Loss":
        """Runs on ``backend`` ("auto": the fastest here) from now on; returns self."""
        self.backend = choose(backend)
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class MSE(Loss):
    """Mean squared error."""

    op = "mse"


class MAE(Loss):
    """Mean absolute error; slope 0 where y = target."""

    op = "mae"


class BCEWithLogits(Loss):
    """Binary cross-entropy of sigmoid(y) against a target in [0, 1]; y are logits."""

    op = "bce_with_logits"


def _torch(name: str) -> Any:
    def build(loss: Loss) -> Any:
        import torch

        return getattr(torch.nn.functional, name)

    return build


def _sign(loss: Loss) -> tuple[float, float, float]:
    return -1, 0, 1


_SHAPES = (Sample({}, (3, 4)), Sample({}, (2, 3, 1, 5)), Sample({}, (1, 1)))
_BENCH = Sample({}, (32, 64, 64, 3))
_DEEP = tuple(Sample({}, shape) for shape in ((1, 2), (4, 8), (3, 64, 64, 3), (1000, 1031)))

register(LayerSpec("loss", MSE, _SHAPES, _BENCH, _torch("mse_loss"), MSE.op, deep=_DEEP))
register(
    LayerSpec(
        "loss",
        MAE,
        _SHAPES,
        _BENCH,
        _torch("l1_loss"),
        MAE.op,
        kinks=(0.0,),
        slopes=_sign,
        deep=_DEEP,
    )
)
register(
    LayerSpec(
        "loss",
        BCEWithLogits,
        _SHAPES,
        _BENCH,
        _torch("binary_cross_entropy_with_logits"),
        BCEWithLogits.op,
        deep=_DEEP,
    )
)
