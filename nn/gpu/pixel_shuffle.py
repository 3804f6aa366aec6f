"""Pixel shuffle on the GPU. The equations stand in ``nn/reference/pixel_shuffle.py``; kernel: pixel_shuffle.cu."""

from nn.gpu import device
from nn.gpu.device import Array, on_card
from nn.reference.pixel_shuffle import PixelShuffleCache


def _move(source: Array, target: Array, w: int, run: int, r: int, forward: bool) -> None:
    args = (device.contiguous(source), target, w, run, r, forward)
    device.each("pixel_shuffle.cu", "shuffle", target.size, args, real=device.real(target.dtype))


@on_card
def pixel_shuffle_forward(x: Array, *, factor: int) -> tuple[Array, PixelShuffleCache]:
    """x (N, H, W, R R C) -> y (N, H R, W R, C) with R = factor, and the cache."""
    n, h, w, channels = x.shape
    c = channels // (factor * factor)
    y = device.empty((n, h * factor, w * factor, c), x.dtype)
    _move(x, y, w, factor * c, factor, True)
    return y, PixelShuffleCache(factor)


@on_card
def pixel_shuffle_backward(dy: Array, cache: PixelShuffleCache) -> Array:
    """dy (N, H R, W R, C) -> dx (N, H, W, R R C)."""
    r = cache.factor
    n, rh, rw, c = dy.shape
    dx = device.empty((n, rh // r, rw // r, r * r * c), dy.dtype)
    _move(dy, dx, rw // r, r * c, r, False)
    return dx
