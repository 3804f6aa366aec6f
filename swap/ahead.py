"""The first step on a machine compiles some thirty kernels, one after the other. Here a second process takes half.

While the process that trains compiles the way there, the other compiles the way back. Where the first arrives, it finds
these kernels in Numba's cache on the disk; whichever the second has not come to, it compiles itself, as it would have
anyway. So nothing depends on the second process: it may fail, be killed, or come too late.

    python -m swap.ahead PRESET BATCH      what the second process runs
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import nn
from nn.layers.conv_block import ConvBlock, fuse
from swap.memory import available_memory
from swap.model import FACE_SIZE, PRESETS, Preset, SwapModel

MEMORY = (
    3 * 2**30
)  # bytes, at least, that must be there; the second process takes less than one of them
SMALL = {name: preset for name, preset in PRESETS.items() if name != "original"}


@contextmanager
def compiling_ahead(preset: Preset, batch_size: int, *, wanted: bool = True) -> Iterator[None]:
    """While inside, the kernels of the way back are compiled by a second process, where that is worth it.

    It is not where this machine has compiled them before, has one core only or little memory, nor for `original`,
    whose parameters would be held twice. batch_size: faces a side.
    """
    child = _start(preset, batch_size) if wanted and _is_worth_it(preset) else None
    try:
        yield
    finally:
        if child is not None:
            child.kill()
            child.wait()


def _is_worth_it(preset: Preset) -> bool:
    there = available_memory()
    enough = there is None or there > MEMORY
    return SMALL.get(preset.name) == preset and _cores() > 1 and enough and not is_compiled()


def _cores() -> int:
    """Those that this process may use, as far as the system says."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def is_compiled() -> bool:
    """Whether Numba's cache has Adam's kernel, the last one of a step, from any process before."""
    from nn.cpu.optim import _adam

    return any(Path(_adam.stats.cache_path).glob("optim._adam-*.nbi"))


def _start(preset: Preset, batch_size: int) -> subprocess.Popen | None:
    environment = os.environ | {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    silent = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    command = [sys.executable, "-m", "swap.ahead", preset.name, str(batch_size)]
    try:
        return subprocess.Popen(command, env=environment, start_new_session=True, **silent)
    except OSError:
        return None


def compile_way_back(preset: Preset, batch_size: int) -> None:
    """Adam and the backward pass of every layer, on zeros of the right shapes.

    First those that share no kernel with the way there, which the other process is compiling at the same time.
    """
    model = SwapModel(preset)
    arena = nn.Arena(model.named_parameters())
    nn.Adam(arena, 1e-3).step()
    shape, passes = (2 * batch_size, FACE_SIZE, FACE_SIZE, 3), []
    for network in (model.encoder, model.decoders["a"]):
        for i, layer in enumerate(fuse([layer for _, layer in network.layers])):
            out = layer.out_shape(shape)
            first = network is model.encoder and i == 0
            passes.append((isinstance(layer, ConvBlock) and not first, layer, shape, out, first))
            shape = out
        shape = (batch_size, *shape[1:])  # a decoder sees its own side only
    for _, layer, shape, out, first in sorted(passes, key=lambda p: p[0]):
        _backward(layer, shape, out, need_dx=not first)


def _backward(
    layer: nn.Layer, shape: tuple[int, ...], out: tuple[int, ...], *, need_dx: bool
) -> None:
    """The backward pass of a layer with weights, with a cache that no forward pass made."""
    from nn.cpu import conv2d_backward, conv_block_backward, dense_backward
    from nn.reference.conv import Conv2dCache
    from nn.reference.conv_block import ConvBlockCache
    from nn.reference.dense import DenseCache

    if not isinstance(layer, ConvBlock | nn.Conv2d | nn.Dense):
        return
    x, y = np.zeros(shape, np.float32), np.zeros(out, np.float32)
    if isinstance(layer, nn.Dense):
        w, b, cache = layer.weight, layer.bias, DenseCache(x, layer.weight.value)
        dense_backward(y, cache, w.grad, b.grad, need_dx=need_dx)
        return
    conv = layer.conv if isinstance(layer, ConvBlock) else layer
    w, b = conv.weight, conv.bias
    cache = Conv2dCache(x, w.value, conv.stride, conv.pads(*shape[1:3]), conv.precision)
    if isinstance(layer, ConvBlock):
        cache = ConvBlockCache(*cache, y, layer.negative_slope, layer.factor)
        conv_block_backward(y, cache, w.grad, b.grad, need_dx=need_dx)
    else:
        conv2d_backward(y, cache, w.grad, b.grad, need_dx=need_dx)


if __name__ == "__main__":
    compile_way_back(PRESETS[sys.argv[1]], int(sys.argv[2]))
