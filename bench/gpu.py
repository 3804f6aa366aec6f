"""What the benches of the GPU share; they are ``bench step`` and ``bench layers`` with --backend gpu.

    python -m bench step --backend gpu [--presets lite original] [--batch 64] [--precisions fp32 tf32 fp16]
                         [--ways implicit warpgroup copied] [--vs torch]                        bench/gpu_step.py
    python -m bench layers --backend gpu [--preset original] [--batch 64] [--precisions ...] [--ways ...]
                         [--vs torch] [--tune]                                           bench/gpu_layers.py

Each contestant has a process of its own, asked in turn; what it answers is the median of RUNS runs after WARM to warm
up, timed by events of the device. PyTorch gets its best: channels_last, cudnn.benchmark, fused Adam, autocast and a
gradient scaler for fp16; eager, compiled, and compiled with graphs ("reduce-overhead").

Ceilings of this card are measured first: copying 1 GiB (GB/s, both ways), and a product of 8192 x 8192 matrices by
cuBLAS in each precision (TFLOP/s); shares of them stand beside the figures.

Results are written to bench/results/NAME_<device>.json unless --json names another file. Where there is no GPU: one
sentence, exit status 2.
"""

import argparse
import json
import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.arguments import count, file_to_write
from bench.rivals import has_torch
from nn.gpu.modes import PRECISIONS, WAYS

TRIED = ("implicit", "warpgroup", "copied")  # where no others are named
RIVALS = ("torch eager", "torch compile", "torch graphs")
WARM, RUNS = 5, 20
RESULTS = Path(__file__).parent / "results"


def on_gpu(argv: list[str]) -> bool:
    """Whether the arguments ask for the backend gpu."""
    joined = " ".join(argv)
    return "--backend gpu" in joined or "--backend=gpu" in joined


def parser_of(name: str, about: str) -> argparse.ArgumentParser:
    """The options that both have."""
    parser = argparse.ArgumentParser(prog=f"bench {name}", description=about.split("\n")[0])
    parser.add_argument("--backend", choices=["gpu"])
    parser.add_argument("--batch", type=count, default=64, help="faces a side")
    parser.add_argument("--rounds", type=count, default=5)
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(TRIED))
    parser.add_argument("--vs", choices=["torch"])
    parser.add_argument("--json", type=file_to_write)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser


def missing(vs: str | None) -> bool:
    """Whether there is no GPU, or no PyTorch that sees it where it is asked for; says so in one sentence."""
    from nn.backend import why_no_gpu

    if reason := why_no_gpu():
        print(f"bench: {reason}", file=sys.stderr)
        return True
    if not vs:
        return False
    if not has_torch():
        return True
    import torch

    if not torch.cuda.is_available():
        print("bench: this build of PyTorch sees no GPU", file=sys.stderr)
        return True
    return False


def ways_of(precision: str, ways: list[str]) -> list[str]:
    """Those of the ways that differ in a precision: some are for some precisions alone."""
    alone = {"pipelined": ("tf32",), "warpgroup": ("tf32", "fp16"), "copied": ("tf32", "fp16")}
    return [way for way in ways if precision in alone.get(way, PRECISIONS)]


def ceilings() -> dict[str, float]:
    """What this card does at best: GB/s of a copy, TFLOP/s of a product in each precision."""
    import cupy

    from nn.gpu import device

    found = {"copy_gb_per_s": _copy_speed()}
    side = 8192
    a, b = (cupy.random.standard_normal((side, side), dtype=np.float32) for _ in range(2))
    out = cupy.empty((side, side), np.float32)
    for precision in PRECISIONS:
        ms = events(lambda p=precision: device.product(a, b, out, precision=p))
        found[f"{precision}_tflops"] = 2 * side**3 / ms / 1e9
    print(", ".join(f"{name} {value:,.1f}" for name, value in found.items()), flush=True)
    return found


def _copy_speed() -> float:
    """GB/s, read and written, of copying 1 GiB."""
    import cupy

    source = cupy.zeros(2**28, np.float32)
    target = cupy.empty_like(source)
    return 2 * source.nbytes / events(lambda: cupy.copyto(target, source)) / 1e6


def events(run: Callable[[], Any]) -> float:
    """Milliseconds on the card of one call: the median of RUNS, after WARM."""
    import cupy

    for _ in range(WARM):
        run()
    times = []
    for _ in range(RUNS):
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        run()
        end.record()
        end.synchronize()
        times.append(cupy.cuda.get_elapsed_time(start, end))
    return statistics.median(times)


def torch_events(run: Callable[[], Any]) -> float:
    """The same of PyTorch's stream."""
    import torch

    for _ in range(WARM):
        run()
    times = []
    for _ in range(RUNS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def set_torch(precision: str) -> None:
    """PyTorch's precision, and its search for the fastest convolution."""
    import torch

    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"


def taken(free_before: int) -> float:
    """MiB that were taken from the card since."""
    import cupy

    return (free_before - cupy.cuda.runtime.memGetInfo()[0]) / 2**20


def write(name: str, path: Path | None, found: dict[str, Any]) -> None:
    """Results as JSON, under the name of the card."""
    from nn.gpu import device

    card = device.machine()
    slug = re.sub(r"[^a-z0-9]+", "_", card.name.lower()).strip("_")
    path = path or RESULTS / f"{name}_{slug}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"device": card.name} | found, indent=1) + "\n")
    print(f"written to {path}")
