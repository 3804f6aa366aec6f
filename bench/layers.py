"""Each convolution and dense layer of a preset, forward and backward: milliseconds, GFLOP/s, error, beside PyTorch.

    python -m bench layers [--preset lite] [--batch 16] [--rounds 7] [--vs torch] [--json FILE]

A step's batch: the encoder sees both sides at once, a decoder its own. Backward is the gradient of the input, the
weights and the bias together; GFLOP/s counts the multiplications and additions that the definition has (Winograd's
way makes fewer). The error is the largest of y and all gradients in float32 against the reference in float64, relative
to the largest entry. PyTorch's convolutions get pictures that are padded already, and its backward pass is called
without its recording of gradients; of contiguous and channels_last the faster counts.

With --backend gpu: on the card, see the top of bench/gpu.py.
"""

import argparse
import json
import statistics
import sys
import time
from typing import Any

import numpy as np

from bench import gpu
from bench.gpu import on_gpu
from bench.rivals import KINDS, answer, answers, has_torch, json_file, preset_name, size_of


def main(argv: list[str]) -> int:
    """Prints a table; 2 where torch is asked for and missing."""
    parser = argparse.ArgumentParser(prog="bench layers", description=__doc__.split("\n")[0])
    parser.add_argument("--preset", type=preset_name, default="lite")
    parser.add_argument("--batch", type=int, default=16, help="faces a side")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--vs", choices=["torch"])
    parser.add_argument("--json", type=json_file)
    parser.add_argument("--worker", choices=KINDS, help=argparse.SUPPRESS)
    if on_gpu(argv):
        return gpu.layers_main(argv)
    options = parser.parse_args(argv)
    if options.worker:
        make = our_passes if options.worker == "ours" else torch_passes
        passes = make(options.preset, options.batch, "last" in options.worker)
        return answer(lambda: {name: timed(run) for name, run in passes.items()})
    if options.vs and not has_torch():
        return 2
    kinds = KINDS if options.vs else KINDS[:1]
    command = ["layers", "--preset", options.preset, "--batch", str(options.batch)]
    found = answers(command, kinds, options.rounds)
    work = {}
    for name, layer, shape in layers(options.preset, options.batch):
        work |= {f"{name} forward": layer.macs(shape), f"{name} backward": 2 * layer.macs(shape)}
    wrong = errors(options.preset, options.batch)
    rows = []
    for name in work:
        times = {k: statistics.median(a[name] for a in found[k]) for k in kinds}
        row = {
            "pass": name,
            "ours_ms": times["ours"],
            "gflops": 2 * work[name] / times["ours"] / 1e6,
        }
        row |= {"error": wrong[name.rpartition(" ")[0]]}
        if options.vs:
            row["torch_ms"] = min(times[k] for k in kinds[1:])
            row["ratio"] = row["torch_ms"] / row["ours_ms"]
        rows.append(row)
        line = f"{name:44} {row['ours_ms']:7.2f} ms {row['gflops']:6.0f} GFLOP/s  error {row['error']:.0e}"
        print(
            line
            + (f"  torch {row['torch_ms']:7.2f} ms  ratio {row['ratio']:.2f}" if options.vs else "")
        )
    if options.vs:
        ratios = [row["ratio"] for row in rows]
        print(f"ratio: median {statistics.median(ratios):.2f}, lowest {min(ratios):.2f}")
    if options.json:
        options.json.write_text(json.dumps({"results": rows}, indent=1) + "\n")
    return 0


def layers(preset: str, batch: int) -> list[tuple[str, Any, tuple[int, ...]]]:
    """(name, layer, shape of its input) of every convolution and dense layer, both decoders being one."""
    import nn
    from swap.model import SwapModel

    model = SwapModel(size_of(preset))
    found = []
    shape = (2 * batch, 64, 64, 3)
    for part, network in (("encoder", model.encoder), ("decoder", model.decoders["a"])):
        if part == "decoder":
            shape = (batch, *shape[1:])
        for _, layer in network.layers:
            if isinstance(layer, nn.Conv2d | nn.Dense):
                found.append((f"{part} {layer!r} of {shape}", layer, shape))
            shape = layer.out_shape(shape)
    return found


def timed(run: Any) -> float:
    """Milliseconds of the faster of two calls, after one to warm up."""
    run()
    best = np.inf
    for _ in range(2):
        begin = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - begin)
    return best * 1000


def our_passes(preset: str, batch: int, _: bool) -> dict[str, Any]:
    """Forward and backward of every layer."""
    rng = np.random.default_rng(0)
    passes = {}
    for name, layer, shape in layers(preset, batch):
        x = rng.standard_normal(shape, np.float32)
        y, cache = layer.forward(x)
        dy = rng.standard_normal(y.shape, np.float32)
        passes[f"{name} forward"] = lambda layer=layer, x=x: layer.forward(x)
        passes[f"{name} backward"] = lambda layer=layer, dy=dy, c=cache: layer.backward(dy, c)
    return passes


def torch_passes(preset: str, batch: int, channels_last: bool) -> dict[str, Any]:
    """The same in PyTorch."""
    import torch

    import nn

    torch.set_flush_denormal(True)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    passes = {}
    for name, layer, shape in layers(preset, batch):
        w, b = (torch.from_numpy(p.value.copy()) for p in (layer.weight, layer.bias))
        if isinstance(layer, nn.Dense):
            x, w = torch.rand(shape), w.T.contiguous()
            dy = torch.rand(shape[0], len(w))
            passes[f"{name} forward"] = lambda x=x, w=w, b=b: torch.nn.functional.linear(x, w, b)
            passes[f"{name} backward"] = lambda x=x, w=w, dy=dy: (dy @ w, dy.T @ x, dy.sum(0))
            continue
        top, bottom, left, right = layer.pads(*shape[1:3])
        size = (shape[0], shape[3], shape[1] + top + bottom, shape[2] + left + right)
        x = torch.rand(size).to(memory_format=layout)
        w = w.permute(3, 2, 0, 1).contiguous(memory_format=layout)
        dy = torch.rand_like(torch.nn.functional.conv2d(x, w, b, stride=layer.stride))
        passes[f"{name} forward"] = lambda x=x, w=w, b=b, s=layer.stride: torch.conv2d(x, w, b, s)
        passes[f"{name} backward"] = lambda x=x, w=w, dy=dy, s=layer.stride: (
            torch.ops.aten.convolution_backward(
                dy, x, w, [len(w)], s, [0, 0], [1, 1], False, [0, 0], 1, [True, True, True]
            )
        )
    return passes


def errors(preset: str, batch: int) -> dict[str, float]:
    """The largest error of y and the gradients of every layer, by its name; on four pictures of the batch."""
    from nn.check.finding import compare

    rng, found = np.random.default_rng(1), {}
    for name, layer, shape in layers(preset, batch):
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
