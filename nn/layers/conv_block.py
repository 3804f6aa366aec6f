"""ConvBlock: convolution, activation and pixel shuffle in one pass. Mathematics: ``nn/reference/conv_block.py``."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

from nn.layer import REGISTRY, Layer, LayerSpec, Sample, Saved, register
from nn.layers.activation import LeakyReLU, ReLU
from nn.layers.conv import Conv2d
from nn.layers.pixel_shuffle import PixelShuffle
from nn.parameter import Parameter


class ConvBlock(Layer):
    """x (N, H, W, C) -> y (N, OH R, OW R, K / R²): shuffle(leaky(conv(x)), R).

    negative_slope   s of leaky(z) = z where z > 0, else s z; s = 0 is ReLU, s = 1 no activation
    factor           R of the pixel shuffle; 1 is none
    The other arguments are those of Conv2d, whose parameters it holds. A Sequential makes such blocks by itself of
    layers that follow each other: there, write them one by one.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        negative_slope: float = 0.1,
        factor: int = 1,
        **options: Any,
    ) -> None:
        conv = Conv2d(in_channels, out_channels, kernel_size, **options)
        self._hold(conv, LeakyReLU(negative_slope), PixelShuffle(factor))

    @classmethod
    def of(cls, conv: Conv2d, activation: Layer, shuffle: PixelShuffle) -> "ConvBlock":
        """The block of these layers; it shares their parameters."""
        block = cls.__new__(cls)
        block._hold(conv, activation, shuffle)
        return block

    def _hold(self, conv: Conv2d, activation: Layer, shuffle: PixelShuffle) -> None:
        self.conv = conv
        self.negative_slope = 0.0 if isinstance(activation, ReLU) else activation.negative_slope
        self.factor = shuffle.factor
        self._shuffle = shuffle

    @property
    def backend(self) -> str:
        """The convolution's: a chain moves its layers, and this stands for them."""
        return self.conv.backend

    @backend.setter
    def backend(self, value: str) -> None:
        self.conv.backend = value

    @property
    def precision(self) -> str:
        """The convolution's."""
        return self.conv.precision

    @precision.setter
    def precision(self, value: str) -> None:
        self.conv.precision = value

    def own_parameters(self) -> Iterator[tuple[str, Parameter]]:
        yield from self.conv.own_parameters()

    def children(self) -> Iterator[tuple[str, Layer]]:
        yield from ()

    def _forward(self, x: np.ndarray) -> tuple[np.ndarray, Saved]:
        conv = self.conv
        return self.ops.conv_block_forward(
            x,
            conv.weight.value,
            conv.bias and conv.bias.value,
            stride=conv.stride,
            padding=conv.pads(*x.shape[1:3]),
            precision=conv.precision,
            negative_slope=self.negative_slope,
            factor=self.factor,
        )

    def _backward(self, dy: np.ndarray, saved: Saved, need_dx: bool) -> np.ndarray | None:
        conv = self.conv
        db = conv.bias and conv.bias.grad
        return self.ops.conv_block_backward(dy, saved, conv.weight.grad, db, need_dx=need_dx)

    def out_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        # ValueErrors name the layer that was written: the convolution, mostly.
        return self._shuffle.out_shape(self.conv.out_shape(shape))

    def macs(self, shape: tuple[int, ...]) -> int:
        return self.conv.macs(shape)

    def __repr__(self) -> str:
        return f"ConvBlock({self.conv!r}, slope {self.negative_slope}, factor {self.factor})"


def fuse(layers: list[Layer]) -> list[Layer]:
    """The same chain with blocks: a Conv2d, the ReLU or LeakyReLU behind it, the PixelShuffle behind that if any."""
    chain: list[Layer] = []
    i = 0
    while i < len(layers):
        kinds = [type(layer) for layer in layers[i : i + 3]]
        if kinds[0] is Conv2d and kinds[1:2] in ([ReLU], [LeakyReLU]):
            shuffles = kinds[2:] == [PixelShuffle]
            shuffle = layers[i + 2] if shuffles else PixelShuffle(1)
            chain.append(ConvBlock.of(layers[i], layers[i + 1], shuffle))
            i += 3 if shuffles else 2
        else:
            chain.append(layers[i])
            i += 1
    return chain


def _near_kink(layer: ConvBlock, x: np.ndarray) -> np.ndarray:
    """Where y comes from a z within 0.05 of 0."""
    linear = copy.deepcopy(layer).to("reference")
    linear.negative_slope = 1.0
    y, _ = linear.forward(x, train=False)
    return np.abs(y) < 0.05


def _torch(layer: ConvBlock) -> Any:
    import torch

    conv = REGISTRY["Conv2d"].torch(layer.conv)
    shuffle = REGISTRY["PixelShuffle"].torch(layer._shuffle)

    def f(x: Any) -> Any:
        return shuffle(torch.nn.functional.leaky_relu(conv(x), layer.negative_slope))

    f.parameters = conv.parameters
    return f


def _sample(c: int, k: int, kernel: Any, shape: tuple[int, ...], **options: Any) -> Sample:
    """A slope that is a power of 2, so that whole numbers stay exact."""
    sizes = {"in_channels": c, "out_channels": k, "kernel_size": kernel}
    return Sample(sizes | {"negative_slope": 0.25} | options, (*shape, c))


register(
    LayerSpec(
        kind="layer",
        make=ConvBlock,
        samples=(
            _sample(2, 3, 3, (2, 5, 4), padding=1),
            _sample(2, 8, 3, (2, 3, 4), padding="same", factor=2),
            _sample(1, 9, 2, (1, 3, 3), factor=3, bias=False),
            _sample(3, 2, 5, (2, 6, 6), stride=2, padding="same", negative_slope=0.0),
            _sample(2, 4, 1, (3, 2, 2), negative_slope=0.5, factor=2),
        ),
        bench=_sample(32, 64, 3, (16, 16, 16), padding=1, factor=2),
        torch=_torch,
        op="conv_block",
        near_kink=_near_kink,
        deep=(
            # Winograd's way: whole tiles and cut ones, with and without a shuffle, runs that are no whole vectors.
            _sample(64, 128, 3, (3, 16, 16), padding="same", factor=2),
            _sample(16, 32, 3, (5, 11, 9), padding=1, factor=2),
            _sample(16, 48, 3, (4, 13, 8), padding=(2, 0, 1, 2), negative_slope=0.0),
            _sample(16, 144, 3, (4, 6, 9), padding=1, factor=3),
            _sample(48, 16, 3, (9, 6, 10), padding=(3, 0, 4, 1), factor=2),
            _sample(32, 16, 3, (7, 12, 8), padding=0, factor=4, bias=False),
            # By phases.
            _sample(16, 32, 5, (4, 32, 16), stride=2, padding="same"),
            _sample(8, 64, 5, (5, 13, 19), stride=2, padding=(2, 1, 1, 2), factor=2),
            # Few channels in, few out, neither.
            _sample(3, 32, 5, (5, 21, 17), stride=2, padding="same"),
            _sample(3, 12, 3, (4, 18, 20), padding=1, factor=2, negative_slope=0.5),
            _sample(16, 4, 5, (3, 34, 37), padding="same", negative_slope=1.0, factor=2),
            _sample(70, 40, 3, (2, 21, 18), stride=2, padding="same"),
            _sample(40, 8, 3, (2, 9, 7), padding=1, factor=2),
        ),
    )
)
