"""PixelShuffle: channels become pixels. The mathematics is in ``nn/reference/pixel_shuffle.py``."""

from typing import Any

import numpy as np

from nn.layer import Layer, LayerSpec, Sample, Saved, register


class PixelShuffle(Layer):
    """x (N, H, W, R R C) -> y (N, H R, W R, C) with R = factor."""

    def __init__(self, factor: int) -> None:
        if factor < 1:
            raise ValueError(f"the factor of PixelShuffle is at least 1, found {factor}")
        self.factor = factor

    def _forward(self, x: np.ndarray) -> tuple[np.ndarray, Saved]:
        return self.ops.pixel_shuffle_forward(x, factor=self.factor)

    def _backward(self, dy: np.ndarray, saved: Saved, need_dx: bool) -> np.ndarray | None:
        return self.ops.pixel_shuffle_backward(dy, saved) if need_dx else None

    def out_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        r = self.factor
        if len(shape) != 4 or shape[3] % (r * r):
            raise ValueError(f"{self!r} takes (N, H, W, {r * r} C), found {shape}")
        return shape[0], shape[1] * r, shape[2] * r, shape[3] // (r * r)

    def __repr__(self) -> str:
        return f"PixelShuffle({self.factor})"


def _torch(layer: PixelShuffle) -> Any:
    import torch

    def f(x: Any) -> Any:
        n, h, w, channels = x.shape
        r = layer.factor
        # PyTorch reads the channel axis as (c, i, j), we as (i, j, c).
        x = (
            x.reshape(n, h, w, r * r, channels // (r * r))
            .transpose(3, 4)
            .reshape(n, h, w, channels)
        )
        y = torch.nn.functional.pixel_shuffle(x.permute(0, 3, 1, 2), r)
        return y.permute(0, 2, 3, 1)

    f.parameters = {}
    return f


register(
    LayerSpec(
        kind="layer",
        make=PixelShuffle,
        samples=(
            Sample({"factor": 2}, (2, 3, 2, 8)),
            Sample({"factor": 3}, (1, 2, 1, 9)),
            Sample({"factor": 1}, (2, 2, 2, 3)),
        ),
        bench=Sample({"factor": 2}, (16, 32, 32, 128)),
        torch=_torch,
        op="pixel_shuffle",
        linear=True,
    )
)
