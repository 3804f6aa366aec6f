"""The GPU backend: what ``nn.reference`` does, on one NVIDIA card, through CuPy.

The same files, names and arguments; read the equations there. Kernels are the ``.cu`` files beside the modules that
load them. On top of them stand ``device.py`` (the one door to the card), ``modes.py`` (how exactly it multiplies),
``ends.py`` (what stands before and after products) and ``im2col.py`` (the first way to convolve); README.md leads
through them.

Importing this imports no CuPy: that happens when something is first computed.
"""

from nn.gpu.activation import (
    leaky_relu_backward,
    leaky_relu_forward,
    relu_backward,
    relu_forward,
    sigmoid_backward,
    sigmoid_forward,
    tanh_backward,
    tanh_forward,
)
from nn.gpu.conv import conv2d_backward, conv2d_forward
from nn.gpu.conv_block import conv_block_backward, conv_block_forward
from nn.gpu.dense import dense_backward, dense_forward
from nn.gpu.losses import (
    bce_with_logits_backward,
    bce_with_logits_forward,
    mae_backward,
    mae_forward,
    mse_backward,
    mse_forward,
)
from nn.gpu.optim import adam_step, sgd_step
from nn.gpu.pixel_shuffle import pixel_shuffle_backward, pixel_shuffle_forward

__all__ = [
    "adam_step",
    "bce_with_logits_backward",
    "bce_with_logits_forward",
    "conv2d_backward",
    "conv2d_forward",
    "conv_block_backward",
    "conv_block_forward",
    "dense_backward",
    "dense_forward",
    "leaky_relu_backward",
    "leaky_relu_forward",
    "mae_backward",
    "mae_forward",
    "mse_backward",
    "mse_forward",
    "pixel_shuffle_backward",
    "pixel_shuffle_forward",
    "relu_backward",
    "relu_forward",
    "sgd_step",
    "sigmoid_backward",
    "sigmoid_forward",
    "tanh_backward",
    "tanh_forward",
]
