"""The book: the mathematics of every layer in plain NumPy, and the oracle the fast backends answer to.

One file per layer; in each, the equation, then ``forward``, then ``backward`` directly below it.
Nothing here is tuned. Everything here is complex-safe: feeding ``x + i h`` and reading the imaginary
part gives the derivative to the last digit (see ``nn.check``), because comparisons look at ``.real``
and nothing takes an absolute value or a conjugate.

Rules shared by every backend
    ``forward`` returns ``(y, cache)``; the cache holds exactly what ``backward`` reads.
    ``backward`` returns ``dx`` and **adds** parameter gradients into the arrays it is given.
    ``dy`` and the cached arrays are never written to.

Sizes: ``N`` batch, ``H W`` input height and width, ``C`` input channels, ``K`` output channels,
``KH KW`` kernel, ``OH OW`` output height and width; dense layers ``I`` inputs, ``O`` outputs.
"""

from nn.reference.activation import (
    leaky_relu_backward,
    leaky_relu_forward,
    relu_backward,
    relu_forward,
    sigmoid_backward,
    sigmoid_forward,
    tanh_backward,
    tanh_forward,
)
from nn.reference.conv import conv2d_backward, conv2d_forward
from nn.reference.conv_block import conv_block_backward, conv_block_forward
from nn.reference.dense import dense_backward, dense_forward
from nn.reference.losses import (
    bce_with_logits_backward,
    bce_with_logits_forward,
    mae_backward,
    mae_forward,
    mse_backward,
    mse_forward,
)
from nn.reference.optim import adam_step, sgd_step
from nn.reference.pixel_shuffle import pixel_shuffle_backward, pixel_shuffle_forward

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
