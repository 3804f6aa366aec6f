"""Each convolution and dense layer of a preset, forward and backward: milliseconds, GFLOP/s, error, beside PyTorch.

    python -m bench layers [--presets lite] [--batch 16] [--rounds 7] [--vs torch] [--unrecorded]
                           [--json FILE]

A step's batch: the encoder sees both sides at once, a decoder its own. Backward is the gradient of the input, the
weights and the bias together; of the first layer, whose input is no layer's output, that of weights and bias, as in
training. GFLOP/s counts the multiplications and additions that the definition has, and Winograd's way makes fewer, so
that the fraction of the ceiling may exceed 1: the ceiling is what the register tile (``nn/cpu/simd.py``) reaches on all
threads with its numbers in the L1 cache, measured between the rounds. The error is the largest of y and all gradients
in float32 against the reference in float64, relative to the largest entry.

Layers are timed as a training step runs them: ours repeat what was recorded (nn/record.py); with --unrecorded they are
called. PyTorch's backward pass is called without its recording of gradients. Where a convolution pads more on one side
than on the other, which PyTorch's does not do, its forward pass pads first and its backward pass cuts off, as in a
network of PyTorch's. Of contiguous and channels_last the faster counts.

--presets others: layers of other networks (SHAPES and DENSE below), a batch of 64 of 28 x 28 and of 16 of the rest.

With --backend gpu: on the card, see the top of bench/gpu.py.
"""

import argparse
import json
import statistics
import sys
import time
from functools import partial
from typing import Any

import numpy as np

from bench import gpu_layers
from bench.arguments import count, file_to_write, preset_name
from bench.ceiling import ceiling
from bench.gpu import on_gpu
from bench.rivals import KINDS, UNRECORDED, answer, answers, has_torch, size_of

CEILING = "ceiling"
OTHERS = "others"
# Layers of a classifier of digits, a stack in the manner of VGG, a residual network, and odd ones:
# kernel, stride, padding, shape of the input (N, H, W, C), outputs, whether it is its network's first layer.
SHAPES = (
    (5, 1, 0, (64, 28, 28, 1), 6, True),
    (3, 1, "same", (64, 28, 28, 1), 32, True),
    (3, 1, "same", (64, 14, 14, 32), 64, False),
    (3, 1, "same", (16, 64, 64, 3), 64, True),
    (3, 1, "same", (16, 64, 64, 64), 64, False),
    (3, 1, "same", (16, 32, 32, 64), 128, False),
    (3, 1, "same", (16, 16, 16, 128), 256, False),
    (3, 1, "same", (16, 8, 8, 256), 512, False),
    (7, 2, 3, (16, 64, 64, 3), 64, True),
    (3, 2, 1, (16, 32, 32, 64), 64, False),
    (1, 1, 0, (16, 32, 32, 64), 128, False),
    (1, 1, 0, (16, 32, 32, 256), 64, False),
    (1, 2, 0, (16, 32, 32, 64), 128, False),
    (7, 1, "same", (16, 32, 32, 32), 32, False),
    (5, 1, "same", (16, 32, 32, 32), 48, False),
    (3, 1, "same", (16, 33, 31, 20), 20, False),
)
DENSE = ((64, 3136, 128), (64, 128, 10), (256, 784, 512))  # examples, inputs, outputs
AWAKE = 0.2  # seconds of work before anything is timed: threads of a virtual machine are slow to wake at first


def main(argv: list[str]) -> int:
    """Prints a table; 2 where torch is asked for and missing."""
    parser = argparse.ArgumentParser(prog="bench layers", description=__doc__.split("\n")[0])
    parser.add_argument("--presets", nargs="+", type=_network, default=["lite"])
    parser.add_argument("--batch", type=count, default=16, help="faces a side")
    parser.add_argument("--rounds", type=count, default=7)
    parser.add_argument("--vs", choices=["torch"])
    parser.add_argument(
        "--unrecorded", action="store_true", help="our layers called, not repeated from a recording"
    )
    parser.add_argument("--json", type=file_to_write)
    parser.add_argument("--worker", choices=[*KINDS, UNRECORDED], help=argparse.SUPPRESS)
    if on_gpu(argv):
        return gpu_layers.main(argv)
    options = parser.parse_args(argv)
    if options.worker:
        preset, batch = options.presets[0], options.batch
        if options.worker.startswith("torch"):
            passes = torch_passes(preset, batch, "last" in options.worker)
        else:
            passes = our_passes(preset, batch, recorded=options.worker != UNRECORDED)
        return answer(partial(time_all, passes))
    if options.vs and not has_torch():
        return 2
    ours = UNRECORDED if options.unrecorded else KINDS[0]
    kinds = (ours, *KINDS[1:]) if options.vs else (ours,)
    rows = [
        row for p in options.presets for row in compare(p, options.batch, options.rounds, kinds)
    ]
    for row in rows:
        line = f"{row['preset']:8} {row['pass']:84} {row['ours_ms']:7.2f} ms {row['gflops']:6.0f} GFLOP/s "
        line += f"({row['of_ceiling']:.2f} of the ceiling)  error {row['error']:.0e}"
        if options.vs:
            line += f"  torch {row['torch_ms']:7.2f} ms  ratio {row['ratio']:.2f}"
        print(line)
    if options.vs:
        ratios = [row["ratio"] for row in rows]
        print(f"ratio: median {statistics.median(ratios):.2f}, lowest {min(ratios):.2f}")
    if options.json:
        options.json.write_text(json.dumps({"results": rows}, indent=1) + "\n")
    return 0


def compare(preset: str, batch: int, rounds: int, kinds: tuple[str, ...]) -> list[dict[str, Any]]:
    """Every pass of one preset: every kind in its own process, asked in turn."""
    found = answers(["layers", "--presets", preset, "--batch", str(batch)], kinds, rounds)
    ceiling = statistics.median(a.pop(CEILING) for a in found[kinds[0]])
    work = {}
    for name, layer, shape, first in layers(preset, batch):
        macs = layer.macs(shape)
        work |= {f"{name} forward": macs, f"{name} backward": macs if first else 2 * macs}
    wrong = errors(preset, batch)
    rows = []
    for name, macs in work.items():
        times = {k: statistics.median(a[name] for a in found[k]) for k in kinds}
        gflops = 2 * macs / times[kinds[0]] / 1e6
        row = {"preset": preset, "pass": name, "ours_ms": times[kinds[0]], "gflops": gflops}
        row |= {"of_ceiling": gflops / ceiling, "error": wrong[name.rpartition(" ")[0]]}
        if len(kinds) > 1:
            row["torch_ms"] = min(times[k] for k in kinds[1:])
            row["ratio"] = row["torch_ms"] / row["ours_ms"]
        rows.append(row)
    return rows


def _network(text: str) -> str:
    if text == OTHERS:
        return text
    try:
        return preset_name(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, or {OTHERS}") from error


def layers(preset: str, batch: int) -> list[tuple[str, Any, tuple[int, ...], bool]]:
    """(name, layer, shape of its input, whether it is the first) of every convolution and dense layer; both decoders
    are one."""
    import nn
    from swap.model import SwapModel

    if preset == OTHERS:
        return others()
    model = SwapModel(size_of(preset))
    found = []
    shape = (2 * batch, 64, 64, 3)
    for part, network in (("encoder", model.encoder), ("decoder", model.decoders["a"])):
        if part == "decoder":
            shape = (batch, *shape[1:])
        for _, layer in network.layers:
            if isinstance(layer, nn.Conv2d | nn.Dense):
                found.append((f"{part} {layer!r} of {shape}", layer, shape, not found))
            shape = layer.out_shape(shape)
    return found


def others() -> list[tuple[str, Any, tuple[int, ...], bool]]:
    """The same of layers that no preset has."""
    import nn

    found = []
    for kernel, stride, padding, shape, outputs, first in SHAPES:
        layer = nn.Conv2d(shape[3], outputs, kernel, stride=stride, padding=padding)
        found.append((f"{layer!r} of {shape}", layer, shape, first))
    for examples, inputs, outputs in DENSE:
        layer = nn.Dense(inputs, outputs)
        found.append((f"{layer!r} of {examples}", layer, (examples, inputs), False))
    return found


def time_all(passes: dict[str, Any]) -> dict[str, float]:
    """Every pass once, after so many that the machine has woken from the pause between two turns."""
    begin = time.perf_counter()
    while time.perf_counter() - begin < AWAKE:
        for run in passes.values():
            run()
    return {name: timed(run) for name, run in passes.items()}


def timed(run: Any) -> float:
    """Milliseconds of the faster of two calls, after one to warm up; GFLOP/s of the ceiling."""
    if run is ceiling:
        return ceiling()
    run()
    best = np.inf
    for _ in range(2):
        begin = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - begin)
    return best * 1000


def our_passes(preset: str, batch: int, *, recorded: bool) -> dict[str, Any]:
    """Forward and backward of every layer."""
    from nn.memory import OwnPool
    from nn.record import Recorded

    rng, pool = np.random.default_rng(0), OwnPool()
    passes = {CEILING: ceiling}
    for name, layer, shape, first in layers(preset, batch):
        x = rng.standard_normal(shape, np.float32)
        y, cache = layer.forward(x)
        dy = rng.standard_normal(y.shape, np.float32)
        forward = partial(layer.forward, x)
        backward = partial(layer.backward, dy, cache, need_dx=not first)
        passes[f"{name} forward"] = Recorded(forward, pool) if recorded else forward
        passes[f"{name} backward"] = Recorded(backward, pool) if recorded else backward
    return passes


def torch_passes(preset: str, batch: int, channels_last: bool) -> dict[str, Any]:
    """The same in PyTorch."""
    import torch

    import nn

    torch.set_flush_denormal(True)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    passes = {}
    for name, layer, shape, first in layers(preset, batch):
        w, b = (torch.from_numpy(p.value.copy()) for p in (layer.weight, layer.bias))
        if isinstance(layer, nn.Dense):
            x, w = torch.rand(shape), w.T.contiguous()
            dy = torch.rand(shape[0], len(w))
            passes[f"{name} forward"] = partial(torch.nn.functional.linear, x, w, b)
            passes[f"{name} backward"] = lambda x=x, w=w, dy=dy: (dy @ w, dy.T @ x, dy.sum(0))
            continue
        x = torch.rand(shape[0], shape[3], *shape[1:3]).to(memory_format=layout)
        w = w.permute(3, 2, 0, 1).contiguous(memory_format=layout)
        conv = TorchConv(w, b, layer.stride, layer.pads(*shape[1:3]))
        dy = torch.rand_like(conv.forward(x))
        passes[f"{name} forward"] = partial(conv.forward, x)
        passes[f"{name} backward"] = partial(conv.backward, conv.padded(x), dy, not first)
    return passes


class TorchConv:
    """A convolution of PyTorch's whose padding (top, bottom, left, right) may differ from side to side."""

    def __init__(self, w: Any, b: Any, stride: tuple[int, int], pads: tuple[int, ...]) -> None:
        top, bottom, left, right = pads
        self.w, self.b, self.stride = w, b, stride
        self.even = top == bottom and left == right
        self.inside = [top, left] if self.even else [0, 0]
        self.around = (left, right, top, bottom)

    def padded(self, x: Any) -> Any:
        import torch

        return x if self.even else torch.nn.functional.pad(x, self.around)

    def forward(self, x: Any) -> Any:
        import torch

        return torch.conv2d(self.padded(x), self.w, self.b, self.stride, self.inside)

    def backward(self, padded: Any, dy: Any, need_dx: bool) -> Any:
        import torch

        dx, dw, db = torch.ops.aten.convolution_backward(
            dy, padded, self.w, [len(self.w)], self.stride, self.inside, [1, 1], False, [0, 0], 1,
            [need_dx, True, True],
        )  # fmt: skip
        if need_dx and not self.even:
            dx = torch.nn.functional.pad(dx, tuple(-p for p in self.around))
        return dx, dw, db


def errors(preset: str, batch: int) -> dict[str, float]:
    """The largest error of y and the gradients of every layer, by its name; on four pictures of the batch."""
    from nn.check.finding import compare

    rng, found = np.random.default_rng(1), {}
    for name, layer, shape, _ in layers(preset, batch):
        x = rng.standard_normal((min(4, shape[0]), *shape[1:]), np.float32)
        results = []
        for backend, dtype in (("reference", np.float64), ("cpu", np.float32)):
            layer.to(backend)
            for p in layer.parameters():
                p.value, p.grad = p.value.astype(dtype), np.zeros(p.shape, dtype)
            y, cache = layer.forward(x.astype(dtype))
            dy = np.random.default_rng(2).standard_normal(y.shape).astype(np.float32).astype(dtype)
            results.append([y, layer.backward(dy, cache), *(p.grad for p in layer.parameters())])
        found[name] = max(compare("", b, a).worst for a, b in zip(*results, strict=True))
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
