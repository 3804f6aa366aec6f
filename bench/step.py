"""A training step: both sides through the shared encoder, both decoders, backward, Adam. Warp excluded.

    python -m bench step [--presets c16 c32 c64 c128] [--batch 16] [--rounds 7] [--vs torch] [--json FILE]

cN is the topology of 2017 with N filters in the first convolution and a code of 8 N, whatever the presets are; names of
presets may be given as well.

With --vs torch, PyTorch's step of the same network stands beside it: each in a process of its own, asked in
turn, one call to warm up before each timed one; of contiguous and channels_last the faster counts; fused
Adam, denormals flushed. Times are medians (and minima) of the rounds; these machines are noisy, so trust the ratio.
"""

import argparse
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.rivals import KINDS, answer, answers, has_torch, json_file, preset_name, size_of


def main(argv: list[str]) -> int:
    """Prints a table; 2 where torch is asked for and missing."""
    parser = argparse.ArgumentParser(prog="bench step", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--presets", nargs="+", type=preset_name, default=["c16", "c32", "c64", "c128"]
    )
    parser.add_argument("--batch", type=int, default=16, help="faces a side")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--vs", choices=["torch"])
    parser.add_argument("--json", type=json_file)
    parser.add_argument("--worker", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.worker:
        return work(options.worker, options.presets[0], options.batch)
    if options.vs and not has_torch():
        return 2
    kinds = KINDS if options.vs else KINDS[:1]
    results = [compare(p, options.batch, options.rounds, kinds) for p in options.presets]
    for row in results:
        line = f"{row['preset']:9} ours {row['ours_ms']:7.1f} ms (min {row['ours_min_ms']:.1f}), "
        line += f"{row['faces_per_second']:,.0f} faces/s, peak {row['peak_mib']:,.0f} MiB"
        if options.vs:
            line += (
                f"; torch {row['torch_ms']:.1f} ms (min {row['torch_min_ms']:.1f}), "
                f"peak {row['torch_peak_mib']:,.0f} MiB; ratio {row['ratio']:.2f}"
            )
        print(line)
    if options.json:
        options.json.write_text(json.dumps({"results": results}, indent=1) + "\n")
    return 0


def compare(preset: str, batch: int, rounds: int, kinds: tuple[str, ...]) -> dict[str, Any]:
    """One preset: every kind in its own process, asked in turn."""
    found = answers(["step", "--presets", preset, "--batch", str(batch)], kinds, rounds)
    times = {kind: [a["ms"] for a in given] for kind, given in found.items()}
    peaks = {kind: given[-1]["peak_mib"] for kind, given in found.items()}
    ours = float(np.median(times["ours"]))
    row = {
        "preset": preset,
        "ours_ms": ours,
        "ours_min_ms": min(times["ours"]),
        "faces_per_second": 2 * batch / ours * 1000,
        "peak_mib": peaks["ours"],
    }
    if len(kinds) > 1:
        best = min(kinds[1:], key=lambda kind: np.median(times[kind]))
        theirs = float(np.median(times[best]))
        row |= {
            "torch_ms": theirs,
            "torch_min_ms": min(times[best]),
            "torch_peak_mib": peaks[best],
            "torch_layout": best,
            "ratio": theirs / ours,
        }
    return row


def work(kind: str, preset: str, batch: int) -> int:
    """Answers each line of standard input with the time of one step, after one to warm up."""
    step = our_step(preset, batch) if kind == "ours" else torch_step(preset, batch, "last" in kind)

    def once() -> dict[str, float]:
        step()
        begin = time.perf_counter()
        step()
        took = time.perf_counter() - begin
        return {"ms": took * 1000, "peak_mib": peak_bytes() / 2**20}

    return answer(once)


def peak_bytes() -> int:
    """The most memory that this process ever had (resident). Linux counts it anew for a new program in VmHWM, while
    getrusage hands on what the process that started it had."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def our_step(preset: str, batch: int) -> Any:
    """The step of ``swap.train.Trainer`` on a fixed batch."""
    import nn
    from swap.model import SwapModel

    model = SwapModel(size_of(preset))
    arena = nn.Arena(model.named_parameters())
    adam = nn.Adam(arena, 5e-5)
    rng = np.random.default_rng(0)
    faces = {s: rng.random((batch, 64, 64, 3), dtype=np.float32) for s in "ab"}

    def step() -> None:
        arena.zero_grad()
        model.backpropagate({s: (x, x) for s, x in faces.items()})
        adam.step()

    return step


def torch_step(preset: str, batch: int, channels_last: bool) -> Any:
    """The same network, loss and optimizer in PyTorch."""
    import torch
    from torch import nn as tnn

    torch.set_flush_denormal(True)
    c, d = size_of(preset).width, size_of(preset).code

    def conv(i: int, o: int) -> list[tnn.Module]:
        # "same" for stride 2 pads one pixel more below and on the right
        layers = (tnn.ZeroPad2d((1, 2, 1, 2)), tnn.Conv2d(i, o, 5, stride=2))
        return [*layers, tnn.LeakyReLU(0.1, inplace=True)]

    def up(i: int, o: int) -> list[tnn.Module]:
        layers = (tnn.Conv2d(i, 4 * o, 3, padding=1), tnn.LeakyReLU(0.1, inplace=True))
        return [*layers, tnn.PixelShuffle(2)]

    encoder = tnn.Sequential(
        *conv(3, c),
        *conv(c, 2 * c),
        *conv(2 * c, 4 * c),
        *conv(4 * c, 8 * c),
        tnn.Flatten(),
        tnn.Linear(128 * c, d),
        tnn.Linear(d, 128 * c),
        tnn.Unflatten(1, (8 * c, 4, 4)),
        *up(8 * c, 4 * c),
    )
    decoders = [
        tnn.Sequential(
            *up(4 * c, 2 * c),
            *up(2 * c, c),
            *up(c, c // 2),
            tnn.Conv2d(c // 2, 3, 5, padding=2),
            tnn.Sigmoid(),
        )
        for _ in range(2)
    ]
    both = tnn.ModuleList([encoder, *decoders])
    layout = torch.channels_last if channels_last else torch.contiguous_format
    both.to(memory_format=layout)
    adam = torch.optim.Adam(both.parameters(), 5e-5, fused=True)
    x = torch.rand(2 * batch, 3, 64, 64).to(memory_format=layout)

    def step() -> None:
        adam.zero_grad(set_to_none=True)
        codes = encoder(x).split(batch)
        loss = sum(
            (decoder(code) - target).abs().mean()
            for decoder, code, target in zip(decoders, codes, x.split(batch), strict=True)
        )
        loss.backward()
        adam.step()

    return step
