"""A training step: both sides through the shared encoder, both decoders, backward, Adam.

    python -m bench step [--presets c16 c32 c64 c128] [--batch 16] [--rounds 7] [--vs torch] [--warp]
                         [--unrecorded] [--threads 1 2 ...] [--json FILE]

cN is the topology of 2017 with N filters in the first convolution and a code of 8 N, whatever the presets are; names of
presets may be given as well.

With --backend gpu: on the card, see the top of bench/gpu.py.

With --vs torch, PyTorch's step of the same network stands beside it: each in a process of its own, asked in
turn, one call to warm up before each timed one; of contiguous and channels_last the faster counts; fused
Adam, denormals flushed. Times are medians (and minima) of the rounds; these machines are noisy, so trust the ratio.

--warp: with the random warp of every face, as the trainer makes it; for PyTorch the same maps through OpenCV's remap,
ahead of the step on a thread of its own, as a loader for PyTorch would do it.

--unrecorded: beside it our step with Python between its kernels, as it is before it is recorded (nn/record.py).

--threads: with so many threads each, for how the time falls with their number; otherwise with all that there are.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from bench import gpu_step
from bench.arguments import count, file_to_write, preset_name
from bench.gpu import on_gpu
from bench.rivals import KINDS, UNRECORDED, answer, answers, has_torch, size_of


def main(argv: list[str]) -> int:
    """Prints a table; 2 where torch is asked for and missing."""
    parser = argparse.ArgumentParser(prog="bench step", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--presets", nargs="+", type=preset_name, default=["c16", "c32", "c64", "c128"]
    )
    parser.add_argument("--batch", type=count, default=16, help="faces a side")
    parser.add_argument("--rounds", type=count, default=7)
    parser.add_argument("--vs", choices=["torch"])
    parser.add_argument("--warp", action="store_true", help="warp included")
    parser.add_argument(
        "--unrecorded", action="store_true", help="our step as Python calls it, beside it"
    )
    parser.add_argument("--threads", type=count, nargs="+", default=[None], metavar="N")
    parser.add_argument("--json", type=file_to_write)
    parser.add_argument("--worker", choices=[*KINDS, UNRECORDED], help=argparse.SUPPRESS)
    if on_gpu(argv):
        return gpu_step.main(argv)
    options = parser.parse_args(argv)
    if options.worker:
        return work(options.worker, options.presets[0], options.batch, options.warp)
    if options.vs and not has_torch():
        return 2
    kinds = (KINDS if options.vs else KINDS[:1]) + (UNRECORDED,) * options.unrecorded
    results = [
        compare(p, options.batch, options.rounds, kinds, options.warp, threads)
        for p in options.presets
        for threads in options.threads
    ]
    for row in results:
        name = f"{row['preset']} x{row['threads']}" if "threads" in row else row["preset"]
        line = f"{name:9} ours {row['ours_ms']:7.1f} ms (min {row['ours_min_ms']:.1f}), "
        line += f"{row['faces_per_second']:,.0f} faces/s, peak {row['peak_mib']:,.0f} MiB"
        if options.vs:
            line += (
                f"; torch {row['torch_ms']:.1f} ms (min {row['torch_min_ms']:.1f}), "
                f"peak {row['torch_peak_mib']:,.0f} MiB; ratio {row['ratio']:.2f}"
            )
        if options.unrecorded:
            line += f"; unrecorded {row['unrecorded_ms']:.1f} ms"
        print(line)
    if options.json:
        options.json.write_text(json.dumps({"results": results}, indent=1) + "\n")
    return 0


def compare(
    preset: str,
    batch: int,
    rounds: int,
    kinds: tuple[str, ...],
    warp: bool,
    threads: int | None = None,
) -> dict[str, Any]:
    """One preset: every kind in its own process, asked in turn."""
    command = ["step", "--presets", preset, "--batch", str(batch)] + ["--warp"] * warp
    answers(
        command, KINDS[:1], 0, threads
    )  # compiles what is not yet; the memory of that is not a step's
    found = answers(command, kinds, rounds, threads)
    times = {kind: [a["ms"] for a in given] for kind, given in found.items()}
    peaks = {kind: given[-1]["peak_mib"] for kind, given in found.items()}
    ours = float(np.median(times["ours"]))
    row = {
        "preset": preset,
        "warp": warp,
        "ours_ms": ours,
        "ours_min_ms": min(times["ours"]),
        "faces_per_second": 2 * batch / ours * 1000,
        "peak_mib": peaks["ours"],
    }
    if threads:
        row["threads"] = threads
    if UNRECORDED in kinds:
        row["unrecorded_ms"] = float(np.median(times[UNRECORDED]))
    if rivals := [kind for kind in kinds if kind.startswith("torch")]:
        best = min(rivals, key=lambda kind: np.median(times[kind]))
        theirs = float(np.median(times[best]))
        row |= {
            "torch_ms": theirs,
            "torch_min_ms": min(times[best]),
            "torch_peak_mib": peaks[best],
            "torch_layout": best,
            "ratio": theirs / ours,
        }
    return row


def work(kind: str, preset: str, batch: int, warp: bool) -> int:
    """Answers each line of standard input with the time of one step, after one to warm up."""
    ours = not kind.startswith("torch")
    step = (
        our_step(preset, batch, recorded=kind != UNRECORDED)
        if ours
        else torch_step(preset, batch, "last" in kind)
    )
    coming = _ahead(batch, fused=ours) if warp else repeat(None)

    def once() -> dict[str, float]:
        step(next(coming))
        begin = time.perf_counter()
        step(next(coming))
        took = time.perf_counter() - begin
        return {"ms": took * 1000, "peak_mib": peak_bytes() / 2**20}

    return answer(once)


def _ahead(batch: int, *, fused: bool) -> Iterator[Any]:
    """Warped batches of noise: as the trainer makes them, or by OpenCV's remap on a thread ahead of the step."""
    from bench.warp import by_opencv, noise_sets
    from swap.data import WAITING, Batches, Prefetcher

    batches = Batches(*noise_sets(), 0, batch)
    if fused:
        for _, drawn in Prefetcher(batches.drawn, **WAITING):
            yield partial(batches.made, drawn)
    for _, made in Prefetcher(partial(by_opencv, batches)):
        yield made


def peak_bytes() -> int:
    """The most memory that this process ever had (resident). Linux counts it anew for a new program in VmHWM, while
    getrusage hands on what the process that started it had."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def our_step(preset: str, batch: int, *, recorded: bool = True) -> Any:
    """The step of ``swap.train.Trainer``, on a fixed batch where none is given."""
    import nn
    from swap.host import HostStep
    from swap.model import SwapModel

    model = SwapModel(size_of(preset))
    arena = nn.Arena(model.named_parameters())
    adam = nn.Adam(arena, 5e-5)
    host = HostStep(model, arena, batch)
    host.pictures[...] = np.random.default_rng(0).random(host.pictures.shape, dtype=np.float32)

    def step(drawn: Any = None) -> None:
        made = host.pictures if drawn is None else drawn(host.pictures)
        if recorded:
            host.gradients(made)
        else:
            arena.zero_grad()
            model.backpropagate({"a": made[:2], "b": made[2:]})
        adam.step()

    return step


def torch_networks(preset: str) -> tuple[Any, list[Any]]:
    """The encoder and both decoders in PyTorch, weights as PyTorch draws them."""
    from torch import nn as tnn

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
    return encoder, decoders


def torch_step(preset: str, batch: int, channels_last: bool) -> Any:
    """The same network, loss and optimizer in PyTorch."""
    import torch
    from torch import nn as tnn

    torch.set_flush_denormal(True)
    encoder, decoders = torch_networks(preset)
    both = tnn.ModuleList([encoder, *decoders])
    layout = torch.channels_last if channels_last else torch.contiguous_format
    both.to(memory_format=layout)
    adam = torch.optim.Adam(both.parameters(), 5e-5, fused=True)
    x = torch.rand(2 * batch, 3, 64, 64).to(memory_format=layout)

    def step(warped: Any = None) -> None:
        adam.zero_grad(set_to_none=True)
        shown, targets = x, x.split(batch)
        if warped is not None:
            a, target_a, b, target_b = (torch.from_numpy(w).permute(0, 3, 1, 2) for w in warped)
            shown = torch.cat([a, b]).contiguous(memory_format=layout)
            targets = [t.contiguous(memory_format=layout) for t in (target_a, target_b)]
        codes = encoder(shown).split(batch)
        loss = sum(
            (decoder(code) - target).abs().mean()
            for decoder, code, target in zip(decoders, codes, targets, strict=True)
        )
        loss.backward()
        adam.step()

    return step
