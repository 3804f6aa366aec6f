"""Activations on the GPU. The equations stand in ``nn/reference/activation.py``; kernels: activation.cu."""

from nn.gpu import device
from nn.gpu.device import Array, on_card
from nn.reference.activation import ActivationCache, LeakyReLUCache


def _run(kernel: str, *args: Array) -> Array:
    """A new array like the first argument, filled by a kernel that takes the arguments and then it."""
    args = tuple(device.contiguous(a) if device.owns(a) else a for a in args)
    out = device.empty(args[0].shape, args[0].dtype)
    device.each("activation.cu", kernel, out.size, (*args, out), real=device.real(out.dtype))
    return out


@on_card
def relu_forward(x: Array) -> tuple[Array, ActivationCache]:
    """y = x where x > 0, else 0."""
    y = _run("leaky_relu", x, x.dtype.type(0))
    return y, ActivationCache(y)


@on_card
def relu_backward(dy: Array, cache: ActivationCache) -> Array:
    """dx = dy where x > 0, else 0."""
    return _run("leaky_relu_backward", dy, cache.y, dy.dtype.type(0))


@on_card
def leaky_relu_forward(x: Array, *, negative_slope: float) -> tuple[Array, LeakyReLUCache]:
    """y = x where x > 0, else s x with s = negative_slope >= 0."""
    y = _run("leaky_relu", x, x.dtype.type(negative_slope))
    return y, LeakyReLUCache(y, negative_slope)


@on_card
def leaky_relu_backward(dy: Array, cache: LeakyReLUCache) -> Array:
    """dx = dy where x > 0, else s dy."""
    return _run("leaky_relu_backward", dy, cache.y, dy.dtype.type(cache.negative_slope))


@on_card
def sigmoid_forward(x: Array) -> tuple[Array, ActivationCache]:
    """y = 1 / (1 + exp(-x)), without overflow."""
    y = _run("sigmoid", x)
    return y, ActivationCache(y)


@on_card
def sigmoid_backward(dy: Array, cache: ActivationCache) -> Array:
    """dx = dy y (1 - y)."""
    return _run("sigmoid_backward", dy, cache.y)


@on_card
def tanh_forward(x: Array) -> tuple[Array, ActivationCache]:
    """y = tanh(x)."""
    y = _run("tanh_forward", x)
    return y, ActivationCache(y)


@on_card
def tanh_backward(dy: Array, cache: ActivationCache) -> Array:
    """dx = dy (1 - y²)."""
    return _run("tanh_backward", dy, cache.y)
