"""The first step on a machine compiles some thirty kernels, one after the other. Here a second process takes half.

While the process that trains compiles the way there, the other compiles the way back. Where the first arrives, it finds
these kernels in Numba's cache on the disk; whichever the second has not come to, it compiles itself, as it would have
anyway. So nothing depends on the second process: it may fail, be killed, or come too late.

    python -m swap.ahead PRESET BATCH      what the second process runs
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import nn
from nn.layer import Cache, Saved
from nn.layers.conv_block import ConvBlock, fuse
from nn.reference.conv import Conv2dCache
from nn.reference.conv_block import ConvBlockCache
from nn.reference.dense import DenseCache
from swap.memory import available_memory
from swap.model import FACE_SIZE, PRESETS, Preset, SwapModel

MEMORY = 3 * 2**30  # bytes that must be there; the second process takes less than one of them
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

    return any(Path(_adam.compiled.stats.cache_path).glob("optim._adam-*.nbi"))


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
    nn.Adam(nn.Arena(model.named_parameters()), 1e-3).step()
    shape, early, late = (2 * batch_size, FACE_SIZE, FACE_SIZE, 3), [], []
    for network in (model.encoder, model.decoders["a"]):
        for layer in fuse([layer for _, layer in network.layers]):
            first = not early  # the encoder's; its input is no layer's output
            shared = isinstance(layer, ConvBlock) and not first
            (late if shared else early).append((layer, shape, not first))
            shape = layer.out_shape(shape)
        shape = (batch_size, *shape[1:])  # a decoder sees its own side only
    for layer, shape, need_dx in early + late:
        dy, x = np.zeros(layer.out_shape(shape), np.float32), np.zeros(shape, np.float32)
        saved = _saved(layer, x, dy)
        if saved is not None:
            layer.backward(dy, Cache(dy.shape, dy.dtype, saved), need_dx=need_dx)


def _saved(layer: nn.Layer, x: np.ndarray, y: np.ndarray) -> Saved | None:
    """What the forward pass of a layer with weights would have kept; None for a layer that has none."""
    if isinstance(layer, nn.Dense):
        return DenseCache(x, layer.weight.value)
    if not isinstance(layer, ConvBlock | nn.Conv2d):
        return None
    conv = layer.conv if isinstance(layer, ConvBlock) else layer
    pads = conv.pads(*x.shape[1:3])
    cache = Conv2dCache(x, conv.weight.value, conv.stride, pads, conv.precision)
    if conv is layer:
        return cache
    return ConvBlockCache(*cache, y, layer.negative_slope, layer.factor)


def main(argv: list[str]) -> None:
    """See the top of this file; ends with 2 where the arguments are wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m swap.ahead", description=__doc__.split("\n")[0]
    )
    parser.add_argument("preset", choices=list(SMALL))
    parser.add_argument("batch", type=int, help="faces a side")
    options = parser.parse_args(argv)
    if options.batch < 1:
        parser.error(f"batch must be at least 1, not {options.batch}")
    compile_way_back(SMALL[options.preset], options.batch)


if __name__ == "__main__":
    main(sys.argv[1:])
