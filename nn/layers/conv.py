"""Conv2d: a small kernel slid over the picture. The mathematics is in ``nn/reference/conv.py``."""

from numbers import Integral
from typing import Any

import numpy as np

from nn.init import make_weight
from nn.layer import Layer, LayerSpec, Sample, Saved, register
from nn.parameter import Parameter
from nn.reference.conv import conv2d_out_size

Padding = int | str | tuple[int, int] | tuple[int, int, int, int]


class Conv2d(Layer):
    """Convolution of x (N, H, W, C) with weight (KH, KW, C, K) plus bias (K): y (N, OH, OW, K).

    kernel_size, stride   one number or (rows, columns)
    padding               pixels of zeros: one number, (rows, columns), (top, bottom, left, right),
                          or "same": OH = ceil(H / SH), the odd pixel going to the bottom and the right
                          as in TensorFlow and so in the 2017 network; PyTorch's padding of 2 for a
                          5x5 kernel of stride 2 lies half a stride elsewhere.
    precision             "fast": a backend may compute in fewer multiplications and with some more rounding;
                          "exact": only sums of products
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        stride: int | tuple[int, int] = 1,
        padding: Padding = 0,
        bias: bool = True,
        precision: str = "fast",
        init: str = "glorot",
        rng: np.random.Generator | int | None = None,
        dtype: Any = np.float32,
    ) -> None:
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = _pair(kernel_size, "kernel_size")
        self.stride = _pair(stride, "stride")
        self.padding = _borders(padding)
        if precision not in ("fast", "exact"):
            raise ValueError(f'precision is "fast" or "exact", found {precision!r}')
        self.precision = precision
        shape = (*self.kernel_size, in_channels, out_channels)
        self.weight = Parameter(make_weight(init, shape, rng, dtype))
        self.bias = Parameter(np.zeros(out_channels, dtype)) if bias else None

    def pads(self, height: int, width: int) -> tuple[int, int, int, int]:
        """(top, bottom, left, right) for an input of height x width pixels."""
        if self.padding == "same":
            rows = _same(height, self.kernel_size[0], self.stride[0])
            columns = _same(width, self.kernel_size[1], self.stride[1])
            return (*rows, *columns)
        return self.padding

    def _forward(self, x: np.ndarray) -> tuple[np.ndarray, Saved]:
        return self.ops.conv2d_forward(
            x,
            self.weight.value,
            self.bias and self.bias.value,
            stride=self.stride,
            padding=self.pads(*x.shape[1:3]),
            precision=self.precision,
        )

    def _backward(self, dy: np.ndarray, saved: Saved, need_dx: bool) -> np.ndarray | None:
        db = self.bias and self.bias.grad
        return self.ops.conv2d_backward(dy, saved, self.weight.grad, db, need_dx=need_dx)

    def out_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) != 4 or shape[3] != self.in_channels:
            raise ValueError(f"{self!r} takes (N, H, W, {self.in_channels}), found {shape}")
        padding = self.pads(*shape[1:3])
        try:
            oh, ow = conv2d_out_size(shape, self.weight.shape, self.stride, padding)
        except ValueError as error:
            raise ValueError(f"{self!r}: {error}") from error
        return shape[0], oh, ow, self.out_channels

    def macs(self, shape: tuple[int, ...]) -> int:
        n, oh, ow, k = self.out_shape(shape)
        return n * oh * ow * k * self.in_channels * self.kernel_size[0] * self.kernel_size[1]

    def __repr__(self) -> str:
        kh, kw = self.kernel_size
        stride = "" if self.stride == (1, 1) else f", stride={self.stride}"
        return f"Conv2d({self.in_channels}, {self.out_channels}, {kh}x{kw}{stride})"


def _whole(value: Any, least: int) -> tuple[int, ...]:
    """One number twice, or several as they are; () where they are not whole numbers >= least."""
    numbers = tuple(value) if isinstance(value, tuple | list) else (value, value)
    good = all(isinstance(v, Integral) and v >= least for v in numbers)
    return tuple(int(v) for v in numbers) if good else ()


def _pair(value: Any, name: str) -> tuple[int, int]:
    pair = _whole(value, 1)
    if len(pair) != 2:
        raise ValueError(f"{name} is one or two whole numbers >= 1, found {value!r}")
    return pair


def _borders(padding: Padding) -> tuple[int, int, int, int] | str:
    if isinstance(padding, str) and padding == "same":
        return padding
    numbers = _whole(padding, 0)
    if len(numbers) == 2:
        rows, columns = numbers
        return rows, rows, columns, columns
    if len(numbers) != 4:
        raise ValueError(
            f'padding is one, two or four whole numbers >= 0, or "same"; found {padding!r}'
        )
    return numbers


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _torch(layer: Conv2d) -> Any:
    import torch

    w = torch.tensor(layer.weight.value, requires_grad=True)
    b = torch.tensor(layer.bias.value, requires_grad=True) if layer.bias else None

    def f(x: Any) -> Any:
        top, bottom, left, right = layer.pads(*x.shape[1:3])
        x = torch.nn.functional.pad(x.permute(0, 3, 1, 2), (left, right, top, bottom))
        y = torch.nn.functional.conv2d(
            x, w.permute(3, 2, 0, 1).contiguous(), b, stride=layer.stride
        )
        return y.permute(0, 2, 3, 1)

    f.parameters = {"weight": w} | ({"bias": b} if layer.bias else {})
    return f


def _sample(c: int, k: int, kernel: Any, shape: tuple[int, ...], **options: Any) -> Sample:
    return Sample(
        {"in_channels": c, "out_channels": k, "kernel_size": kernel, **options}, (*shape, c)
    )


register(
    LayerSpec(
        kind="layer",
        make=Conv2d,
        samples=(
            _sample(2, 3, 3, (2, 5, 4), padding=1),
            _sample(3, 2, 5, (2, 6, 6), stride=2, padding="same"),
            _sample(2, 2, 5, (1, 7, 5), stride=2, padding="same"),
            _sample(1, 2, (3, 2), (2, 6, 5), stride=(2, 1), padding=(1, 0)),
            _sample(2, 1, (2, 4), (1, 4, 4), padding=(1, 2, 0, 3), bias=False),
            _sample(3, 4, 1, (2, 3, 3), init="he"),
            _sample(2, 2, 2, (2, 7, 7), stride=3),
            _sample(1, 1, 4, (1, 4, 4)),
            _sample(2, 2, (5, 3), (1, 9, 9), stride=(2, 3), padding="same"),
        ),
        bench=_sample(64, 128, 3, (16, 16, 16), padding=1),
        torch=_torch,
        op="conv2d",
        linear=True,
        deep=(
            # Every sum longer than a block: over K in dx, over the taps and C in y, over places in dw.
            _sample(70, 600, 3, (2, 41, 38), stride=2, padding="same"),
            # A border wider than the kernel: dx is no convolution then.
            _sample(5, 3, (2, 1), (2, 6, 7), padding=(3, 2, 4, 1)),
            # Many small pictures: a task has several.
            _sample(3, 5, 3, (203, 3, 4), stride=2, padding=1),
            # Channels in whole vectors, where a backend may compute 3x3 kernels in tiles: whole ones and cut ones.
            _sample(64, 128, 3, (3, 16, 16), padding="same"),
            _sample(32, 16, 3, (5, 11, 9), padding=1),
            _sample(16, 48, 3, (4, 13, 8), padding=(2, 0, 1, 2), bias=False),
            _sample(160, 32, 3, (7, 7, 7)),
            _sample(48, 16, 3, (9, 6, 10), padding=(3, 0, 4, 1)),
            # 5x5 of stride 2: whole tiles, cut ones, odd borders.
            _sample(16, 32, 5, (4, 32, 16), stride=2, padding="same"),
            _sample(8, 16, 5, (5, 13, 19), stride=2, padding=(2, 1, 1, 2)),
            _sample(12, 48, (6, 5), (6, 21, 12), stride=2, padding=(0, 3, 5, 0), bias=False),
            _sample(4, 16, (5, 6), (9, 9, 18), stride=2),
            _sample(48, 16, (6, 5), (6, 21, 12), stride=2, padding=(0, 3, 5, 0)),
            _sample(16, 80, (5, 6), (9, 9, 18), stride=2, bias=False),
            _sample(32, 128, 5, (17, 7, 8), stride=2, padding="same"),
            _sample(32, 144, 6, (20, 7, 8), stride=2, padding=2),
            _sample(16, 16, 6, (17, 13, 13), stride=2),
            _sample(160, 32, 5, (18, 8, 7), stride=2, padding="same"),
            # Few channels on one side: in, out; strides, cut borders, odd numbers of outputs.
            _sample(3, 32, 5, (5, 21, 17), stride=2, padding="same"),
            _sample(3, 40, (5, 4), (33, 19, 23), stride=(2, 1), padding=(1, 0, 2, 3)),
            _sample(1, 16, 7, (3, 28, 28), padding=3, bias=False),
            _sample(16, 3, 5, (3, 34, 37), padding="same"),
            _sample(24, 2, (3, 7), (2, 9, 40), padding=(1, 0, 3, 5)),
            _sample(8, 3, 5, (2, 40, 33), padding=2, bias=False),
            _sample(5, 7, 3, (2, 12, 35)),
            _sample(16, 3, (1, 40), (1, 4, 80)),
            # Few outputs of many channels: each number of them, kernel rows of whole vectors and of parts, rows as long
            # as a tile's places, shorter and longer; blocks of rows, more of them than parts; strides, odd borders.
            _sample(16, 1, 5, (2, 9, 9), padding=2),
            _sample(8, 2, 5, (3, 7, 6), padding=(2, 1, 0, 3)),
            _sample(24, 3, 3, (2, 6, 5), padding=1),
            _sample(16, 3, 5, (2, 5, 4), padding=2, bias=False),
            _sample(24, 4, (3, 2), (2, 8, 10), stride=(1, 3), padding=(4, 0, 6, 1)),
            _sample(64, 3, 1, (2, 4, 6)),
            _sample(64, 7, 1, (1, 5, 8), bias=False),
            _sample(32, 8, 3, (3, 12, 13), stride=2, padding="same"),
            _sample(16, 5, 3, (37, 9, 8), padding="same"),
            _sample(64, 6, 5, (2, 61, 40), padding=2),
            # Few on both sides: groups of places, too few of them for a tile, more outputs than inputs.
            _sample(5, 1, 1, (1, 1, 40)),
            _sample(2, 8, 3, (2, 5, 33), padding=1),
            _sample(8, 6, (2, 3), (2, 6, 41)),
            # Few inputs: rows long enough for places that share what they see, and for tall tiles.
            _sample(3, 32, 5, (2, 9, 29), padding=2),
            _sample(4, 20, 3, (2, 8, 37), padding=1, bias=False),
            # Fewer products along the rows: one group of taps and two, a last four that overlaps, strips that do.
            _sample(32, 48, 5, (2, 18, 21), padding=2),
            _sample(16, 32, 7, (2, 17, 18), padding=3, bias=False),
            _sample(3, 64, 7, (3, 41, 38), stride=2, padding=3),
            _sample(3, 16, 3, (2, 37, 35), padding=1),
            _sample(5, 32, (2, 9), (2, 30, 31), stride=2, padding=4),
            _sample(20, 32, (2, 8), (2, 19, 30), stride=(1, 3)),
            _sample(64, 32, 3, (2, 33, 34), stride=2, padding=1),
            _sample(16, 32, (3, 6), (40, 19, 9), padding=(0, 2, 1, 4)),
            # Nothing gathered: one pixel at a time, in long rows and in short ones; parts of vectors on both sides.
            _sample(64, 96, 1, (3, 12, 40)),
            _sample(24, 40, 1, (3, 5, 9), bias=False),
            _sample(64, 32, 1, (2, 17, 33), stride=2),
            _sample(20, 20, 3, (2, 33, 31), padding=1),
            _sample(9, 27, (4, 1), (2, 13, 12), stride=(2, 1), padding=(2, 1, 0, 0)),
            _sample(1, 6, 5, (9, 28, 28)),
        ),
    )
)
