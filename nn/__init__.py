"""A neural-network engine without autograd: every backward pass is written by hand and proved.

import nn
net = nn.Sequential(nn.Dense(4, 8), nn.Tanh(), nn.Dense(8, 1))
y, cache = net.forward(x)
loss, loss_cache = nn.MSE().forward(y, target)
net.zero_grad()
net.backward(nn.MSE().backward(1.0, loss_cache), cache)
"""

from nn.backend import get_backend
from nn.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from nn.layer import REGISTRY, Layer, LayerSpec, Sample, register
from nn.layers import (
    Conv2d,
    ConvBlock,
    Dense,
    Flatten,
    LeakyReLU,
    PixelShuffle,
    ReLU,
    Reshape,
    Sigmoid,
    Tanh,
)
from nn.losses import MAE, MSE, BCEWithLogits, Loss
from nn.optim import SGD, Adam, Optimizer
from nn.parameter import Arena, Parameter
from nn.sequential import Sequential
from nn.summary import summary

# The function and the package it stands in have one name; the function is what is meant.
from nn.trace import Trace, explain, trace

__all__ = [
    "MAE",
    "MSE",
    "REGISTRY",
    "SGD",
    "Adam",
    "Arena",
    "BCEWithLogits",
    "CheckpointError",
    "Conv2d",
    "ConvBlock",
    "Dense",
    "Flatten",
    "Layer",
    "LayerSpec",
    "LeakyReLU",
    "Loss",
    "Optimizer",
    "Parameter",
    "PixelShuffle",
    "ReLU",
    "Reshape",
    "Sample",
    "Sequential",
    "Sigmoid",
    "Tanh",
    "Trace",
    "explain",
    "get_backend",
    "load_checkpoint",
    "register",
    "save_checkpoint",
    "summary",
    "trace",
]
