"""The CPU backend: what ``nn.reference`` does, compiled by Numba for all cores.

The same files, names and arguments; read the equations there. On top of them stand ``simd.py`` (a matrix
product in vector registers), ``gemm.py`` (the same in cache-sized blocks) and ways to convolve; README.md leads through
them. No BLAS runs inside a training step: two thread pools on the same cores would wait for each other.
"""

import os

# How long threads wait for the next parallel loop before they sleep. A step has some hundred loops, one right after the
# other, and waking a thread costs more than many of them: a short wait makes a step of `lite` a quarter faster on an
# idle machine. A long one makes it several times slower on a machine that does anything else, because threads then
# wait on the core that the last one still needs. OpenMP reads this when Numba first loads it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
# How hard LLVM tries. The kernels are written out as vectors already: the highest level makes no step faster and takes
# a tenth longer to compile. Numba reads this when it is first loaded.
os.environ.setdefault("NUMBA_OPT", "2")

from nn.cpu.activation import (
    leaky_relu_backward,
    leaky_relu_forward,
    relu_backward,
    relu_forward,
    sigmoid_backward,
    sigmoid_forward,
    tanh_backward,
    tanh_forward,
)
from nn.cpu.conv import conv2d_backward, conv2d_forward
from nn.cpu.conv_block import conv_block_backward, conv_block_forward
from nn.cpu.dense import dense_backward, dense_forward
from nn.cpu.losses import (
    bce_with_logits_backward,
    bce_with_logits_forward,
    mae_backward,
    mae_forward,
    mse_backward,
    mse_forward,
)
from nn.cpu.optim import adam_step, sgd_step
from nn.cpu.pixel_shuffle import pixel_shuffle_backward, pixel_shuffle_forward

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
