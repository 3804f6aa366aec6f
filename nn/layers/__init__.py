"""Layers as objects: what holds parameters and picks the backend. Importing this fills the registry."""

from nn.layers.activation import LeakyReLU, ReLU, Sigmoid, Tanh
from nn.layers.conv import Conv2d
from nn.layers.conv_block import ConvBlock
from nn.layers.dense import Dense
from nn.layers.pixel_shuffle import PixelShuffle
from nn.layers.shape import Flatten, Reshape

__all__ = [
    "Conv2d",
    "ConvBlock",
    "Dense",
    "Flatten",
    "LeakyReLU",
    "PixelShuffle",
    "ReLU",
    "Reshape",
    "Sigmoid",
    "Tanh",
]
