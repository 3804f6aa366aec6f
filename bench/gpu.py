"""The step and the layers on a GPU, beside PyTorch in the same precision.

    python -m bench step --backend gpu [--presets lite original] [--batch 64] [--precisions fp32 tf32 fp16] [--vs torch]
    python -m bench layers --backend gpu [--preset original] [--batch 64] [--precisions ...] [--ways ...] [--vs torch]

Each contestant has a process of its own, asked in turn; what it answers is the median of RUNS runs after WARM to warm
up, timed by events of the device. PyTorch gets its best: channels_last, cudnn.benchmark, fused Adam, autocast and a
gradient scaler for fp16; eager, compiled, and compiled with graphs ("reduce-overhead"). Its random warp is grid_sample
on maps that lie on the card already; ours draws its maps on the host in every step, as training does.

    step     ms by the clock over RUNS steps that are waited for together with their losses, ms of the card alone, and
    so
             the share that it idles; faces a second; TFLOP/s counting the definition's multiply-adds, forward and
             backward; the memory that the process took from the card
    layers   forward, input gradient, weight gradient of each convolution and dense layer, by each way of convolving:
             ms, TFLOP/s, GB/s of what must be moved at least, the ratio to PyTorch's (above 1: ours is faster)
    ceilings of this card, measured first: copying 1 GiB (GB/s, both ways), and a product of 8192 x 8192 matrices by
    cuBLAS
             in each precision (TFLOP/s); shares of them stand beside the figures

Results are written to bench/results/NAME_<device>.json unless --json names another file. Where there is no GPU: one
sentence, exit status 2.
"""

import argparse
import json
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.arguments import count, file_to_write, preset_name
from bench.rivals import answer, answers, has_torch, size_of

PRECISIONS = ("fp32", "tf32", "fp16")
WAYS = ("implicit", "pipelined", "im2col")
RIVALS = ("torch eager", "torch compile", "torch graphs")
WARM, RUNS = 5, 20
RESULTS = Path(__file__).parent / "results"


def on_gpu(argv: list[str]) -> bool:
    """Whether the arguments ask for the backend gpu."""
    joined = " ".join(argv)
    return "--backend gpu" in joined or "--backend=gpu" in joined


def _parser(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"bench {name}", description=__doc__.split("\n")[0])
    parser.add_argument("--backend", choices=["gpu"])
    parser.add_argument("--batch", type=count, default=64, help="faces a side")
    parser.add_argument("--rounds", type=count, default=5)
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--vs", choices=["torch"])
    parser.add_argument("--json", type=file_to_write)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser


def _missing(vs: str | None) -> bool:
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


# The whole step


def step_main(argv: list[str]) -> int:
    """``bench step --backend gpu``."""
    parser = _parser("step")
    parser.add_argument("--presets", nargs="+", type=preset_name, default=["lite", "original"])
    parser.add_argument("--warp", action="store_true", help="always included here")
    options = parser.parse_args(argv)
    if options.worker:
        make = our_step if options.worker == "ours" else rival_step
        make(options.presets[0], options.batch, options.precisions[0], options.worker)
        return 0
    if _missing(options.vs):
        return 2
    limits, rows = ceilings(), []
    kinds = ("ours", *(RIVALS if options.vs else ()))
    for preset in options.presets:
        for precision in options.precisions:
            command = [
                "step",
                "--backend",
                "gpu",
                "--presets",
                preset,
                "--batch",
                str(options.batch),
            ]
            found = answers([*command, "--precisions", precision], kinds, options.rounds)
            rows.append(_step_row(preset, options.batch, precision, found, limits))
            print(_step_line(rows[-1]), flush=True)
    _write("step", options.json, {"ceilings": limits, "batch": options.batch, "results": rows})
    return 0


def _step_row(
    preset: str, batch: int, precision: str, found: dict[str, list[dict]], limits: dict[str, float]
) -> dict[str, Any]:
    def middle(kind: str, what: str) -> float:
        return statistics.median(one[what] for one in found[kind])

    row: dict[str, Any] = {"preset": preset, "precision": precision}
    for kind in found:
        row[kind] = {w: middle(kind, w) for w in ("ms", "card_ms", "mib")}
    ours = row["ours"]
    ours["idle"] = max(0.0, 1 - ours["card_ms"] / ours["ms"])
    ours["faces_per_second"] = 2 * batch / ours["ms"] * 1000
    ours["tflops"] = 2 * step_macs(preset, batch) / ours["ms"] / 1e9
    ours["of_gemm"] = ours["tflops"] / limits[f"{precision}_tflops"]
    for kind in list(found)[1:]:
        row[kind]["ratio"] = row[kind]["ms"] / ours["ms"]
    return row


def _step_line(row: dict[str, Any]) -> str:
    ours = row["ours"]
    line = (
        f"{row['preset']:9} {row['precision']}  ours {ours['ms']:.2f} ms (card {ours['card_ms']:.2f}, "
        f"idle {100 * ours['idle']:.1f} %), {ours['faces_per_second']:,.0f} faces/s, {ours['tflops']:.1f} TFLOP/s "
        f"({100 * ours['of_gemm']:.0f} % of GEMM), {ours['mib']:,.0f} MiB"
    )
    for kind in (k for k in row if k.startswith("torch")):
        rival = row[kind]
        line += (
            f"; {kind} {rival['ms']:.2f} ms, {rival['mib']:,.0f} MiB, ratio {rival['ratio']:.2f}"
        )
    return line


def step_macs(preset: str, batch: int) -> int:
    """Multiply-adds of a step: forward, and backward twice that but for the first layer's input."""
    from bench.layers import layers

    macs = 0
    for name, layer, shape, first in layers(preset, batch):
        times = 2 if first else 3
        macs += times * layer.macs(shape) * (2 if name.startswith("decoder") else 1)
    return macs


def our_step(preset: str, batch: int, precision: str, _: str) -> None:
    """Answers with the times of our step, as ``Trainer`` makes it."""
    import cupy

    import nn
    from bench.warp import noise_sets
    from nn.gpu import modes
    from swap.card import CardStep
    from swap.data import Batches
    from swap.model import SwapModel

    free = cupy.cuda.runtime.memGetInfo()[0]
    modes.set_precision(precision)
    model = SwapModel(size_of(preset))
    adam = nn.Adam(nn.Arena(model.named_parameters()), 5e-5).to("gpu")
    model.to("gpu")
    step = CardStep(model, adam, Batches(*noise_sets(), 0, batch), None)
    drawn = [step.draw(number) for number in range(RUNS)]  # ahead, as the prefetcher does
    number = iter(range(10**9))

    def once() -> None:
        step.step(drawn[next(number) % RUNS], 5e-5)

    def ask() -> dict[str, float]:
        for _ in range(WARM):
            once()
        begin = time.perf_counter()
        for _ in range(RUNS):
            once()
        ms = (time.perf_counter() - begin) / RUNS * 1000
        return {"ms": ms, "card_ms": _events(step.launch_alone), "mib": _taken(free)}

    answer(ask)


def rival_step(preset: str, batch: int, precision: str, kind: str) -> None:
    """Answers with the times of PyTorch's step: warp by grid_sample, both sides, Adam."""
    import torch

    from bench.step import torch_networks
    from bench.warp import noise_sets

    free = torch.cuda.mem_get_info()[0]
    _set_torch(precision)
    encoder, decoders = torch_networks(preset)
    nets = torch.nn.ModuleList([encoder, *decoders]).cuda().to(memory_format=torch.channels_last)
    adam = torch.optim.Adam(nets.parameters(), 5e-5, fused=True)
    scaler = torch.amp.GradScaler("cuda", enabled=precision == "fp16")
    faces = [
        torch.from_numpy(s.images[: 2 * batch].copy()).cuda().permute(0, 3, 1, 2).contiguous()
        for s in noise_sets()
    ]
    index = [torch.randint(len(f), (batch,), device="cuda") for f in faces]
    maps = [torch.rand(batch, 64, 64, 2, device="cuda") * 2 - 1 for _ in range(4)]

    def warped(side: int, which: int) -> Any:
        pictures = faces[side][index[side]].float() / 255
        found = torch.nn.functional.grid_sample(
            pictures, maps[2 * side + which], padding_mode="border", align_corners=False
        )
        return found.contiguous(memory_format=torch.channels_last)

    def loss_of() -> Any:
        inputs, targets = ([warped(side, which) for side in (0, 1)] for which in (0, 1))
        with torch.autocast("cuda", torch.float16, enabled=precision == "fp16"):
            codes = encoder(torch.cat(inputs)).split(batch)
            return sum(
                (decoder(code).float() - target).abs().mean()
                for decoder, code, target in zip(decoders, codes, targets, strict=True)
            )

    if kind == "torch compile":
        loss_of = torch.compile(loss_of)
    if kind == "torch graphs":
        loss_of = torch.compile(loss_of, mode="reduce-overhead")

    def once() -> float:
        if kind == "torch graphs":
            torch.compiler.cudagraph_mark_step_begin()
        adam.zero_grad(set_to_none=True)
        loss = loss_of()
        scaler.scale(loss).backward()
        scaler.step(adam)
        scaler.update()
        return loss.item()

    def ask() -> dict[str, float]:
        for _ in range(WARM):
            once()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin = time.perf_counter()
        start.record()
        for _ in range(RUNS):
            once()
        end.record()
        torch.cuda.synchronize()
        ms = (time.perf_counter() - begin) / RUNS * 1000
        mib = (free - torch.cuda.mem_get_info()[0]) / 2**20
        return {"ms": ms, "card_ms": start.elapsed_time(end) / RUNS, "mib": mib}

    answer(ask)


def _set_torch(precision: str) -> None:
    import torch

    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"


# Layer by layer


def layers_main(argv: list[str]) -> int:
    """``bench layers --backend gpu``."""
    parser = _parser("layers")
    parser.add_argument("--preset", type=preset_name, default="original")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS[:2]))
    options = parser.parse_args(argv)
    if options.worker:
        make = our_layers if options.worker in WAYS else rival_layers
        times = make(options.preset, options.batch, options.precisions[0], options.worker)
        answer(lambda: {name: run() for name, run in times.items()})
        return 0
    if _missing(options.vs):
        return 2
    limits, rows = ceilings(), []
    kinds = (*options.ways, *(RIVALS[:1] if options.vs else ()))
    work = passes_of(options.preset, options.batch)
    for precision in options.precisions:
        command = ["layers", "--backend", "gpu", "--preset", options.preset]
        command += ["--batch", str(options.batch), "--precisions", precision]
        found = answers(command, kinds, options.rounds)
        for name, (flop, moved) in work.items():
            row: dict[str, Any] = {"pass": name, "precision": precision}
            for kind in kinds:
                ms = statistics.median(one[name] for one in found[kind])
                row[kind] = {"ms": ms, "tflops": flop / ms / 1e9, "gb_per_s": moved / ms / 1e6}
                row[kind]["of_gemm"] = row[kind]["tflops"] / limits[f"{precision}_tflops"]
                row[kind]["of_copy"] = row[kind]["gb_per_s"] / limits["copy_gb_per_s"]
            if options.vs:
                best = min(row[way]["ms"] for way in options.ways)
                row["ratio"] = row[RIVALS[0]]["ms"] / best
            rows.append(row)
            print(_layer_line(row, options.ways), flush=True)
        if options.vs:
            ratios = [row["ratio"] for row in rows if row["precision"] == precision]
            print(
                f"{precision}: ratio median {statistics.median(ratios):.2f}, lowest {min(ratios):.2f}"
            )
    _write("layers", options.json, {"ceilings": limits, "batch": options.batch, "results": rows})
    return 0


def _layer_line(row: dict[str, Any], ways: list[str]) -> str:
    parts = [
        f"{way} {row[way]['ms']:.3f} ms {row[way]['tflops']:.1f} TFLOP/s ({100 * row[way]['of_gemm']:.0f} %) "
        f"{row[way]['gb_per_s']:.0f} GB/s ({100 * row[way]['of_copy']:.0f} %)"
        for way in ways
    ]
    rival = (
        f"  torch {row[RIVALS[0]]['ms']:.3f} ms  ratio {row['ratio']:.2f}" if "ratio" in row else ""
    )
    return f"{row['precision']} {row['pass']:60} {'; '.join(parts)}{rival}"


def passes_of(preset: str, batch: int) -> dict[str, tuple[int, int]]:
    """Operations, and bytes that must be moved at least, of each pass of each layer, by name."""
    from bench.layers import layers

    found = {}
    for name, layer, shape, first in layers(preset, batch):
        flop = 2 * layer.macs(shape)
        numbers = {
            "x": int(np.prod(shape)),
            "y": int(np.prod(layer.out_shape(shape))),
            "w": layer.weight.size,
        }
        moved = 4 * sum(numbers.values())
        for kind in ("forward", *(() if first else ("dx",)), "dw"):
            found[f"{name} {kind}"] = (flop, moved)
    return found


def our_layers(preset: str, batch: int, precision: str, way: str) -> dict[str, Callable[[], float]]:
    """Milliseconds of each pass of each layer, measured when called."""
    from bench.layers import layers
    from nn.gpu import conv, dense_backward, device, modes

    modes.set_precision(precision)
    modes.set_way(way)
    rng, times = np.random.default_rng(0), {}
    for name, layer, shape, first in layers(preset, batch):
        layer.to("gpu")
        x = device.upload(rng.standard_normal(shape, np.float32))
        y, cache = layer.forward(x)
        dy = device.upload(rng.standard_normal(y.shape, np.float32))
        saved, dw = cache.saved, layer.weight.grad
        times[f"{name} forward"] = lambda layer=layer, x=x: _events(lambda: layer.forward(x))
        if hasattr(saved, "stride"):
            back = {
                "dx": lambda dy=dy, s=saved: conv.input_gradient(dy, s),
                "dw": lambda dy=dy, s=saved, dw=dw: conv.weight_gradient(dy, s, dw),
            }
        else:
            back = {
                "dx": lambda dy=dy, w=saved.w, x=x: device.product(
                    dy,
                    w,
                    device.empty(x.shape, x.dtype),
                    b_turned=True,
                    precision=modes.precision(),
                ),
                "dw": lambda dy=dy, s=saved, dw=dw: dense_backward(dy, s, dw, None, need_dx=False),
            }
        for kind, run in back.items():
            if kind == "dw" or not first:
                times[f"{name} {kind}"] = lambda run=run: _events(run)
    return times


def rival_layers(preset: str, batch: int, precision: str, _: str) -> dict[str, Callable[[], float]]:
    """The same by PyTorch: cuDNN's convolutions in channels_last, cuBLAS's products."""
    import torch

    import nn
    from bench.layers import layers

    _set_torch(precision)
    kind = torch.float16 if precision == "fp16" else torch.float32
    times: dict[str, Callable[[], float]] = {}

    def put(name: str, run: Callable[[], Any]) -> None:
        times[name] = lambda: _torch_events(run)

    for name, layer, shape, first in layers(preset, batch):
        if isinstance(layer, nn.Dense):
            x, w = (torch.randn(s, device="cuda", dtype=kind) for s in (shape, layer.weight.shape))
            b, dy = torch.zeros(w.shape[1], device="cuda", dtype=kind), torch.randn_like(x @ w)
            put(f"{name} forward", lambda x=x, w=w, b=b: torch.addmm(b, x, w))
            put(f"{name} dx", lambda dy=dy, w=w: dy @ w.T)
            put(f"{name} dw", lambda dy=dy, x=x: x.T @ dy)
            continue
        top, bottom, left, right = layer.pads(*shape[1:3])
        size = (shape[0], shape[3], shape[1] + top + bottom, shape[2] + left + right)
        last = torch.channels_last
        x = torch.randn(size, device="cuda", dtype=kind).contiguous(memory_format=last)
        w = torch.randn(
            (layer.out_channels, shape[3], *layer.kernel_size), device="cuda", dtype=kind
        ).contiguous(memory_format=last)
        b, s = torch.zeros(len(w), device="cuda", dtype=kind), list(layer.stride)
        dy = torch.randn_like(torch.conv2d(x, w, b, s))

        def back(mask: list[bool], x: Any = x, w: Any = w, dy: Any = dy, s: Any = s) -> Any:
            return torch.ops.aten.convolution_backward(
                dy, x, w, None, s, [0, 0], [1, 1], False, [0, 0], 1, mask
            )

        put(f"{name} forward", lambda x=x, w=w, b=b, s=s: torch.conv2d(x, w, b, s))
        if not first:
            put(f"{name} dx", lambda back=back: back([True, False, False]))
        put(f"{name} dw", lambda back=back: back([False, True, False]))
    return times


# Measuring


def ceilings() -> dict[str, float]:
    """What this card does at best: GB/s of a copy, TFLOP/s of a product in each precision."""
    import cupy

    from nn.gpu import device

    found = {"copy_gb_per_s": _copy_speed()}
    side = 8192
    a, b = (cupy.random.standard_normal((side, side), dtype=np.float32) for _ in range(2))
    out = cupy.empty((side, side), np.float32)
    for precision in PRECISIONS:
        ms = _events(lambda p=precision: device.product(a, b, out, precision=p))
        found[f"{precision}_tflops"] = 2 * side**3 / ms / 1e9
    print(", ".join(f"{name} {value:,.1f}" for name, value in found.items()), flush=True)
    return found


def _copy_speed() -> float:
    """GB/s, read and written, of copying 1 GiB."""
    import cupy

    source = cupy.zeros(2**28, np.float32)
    target = cupy.empty_like(source)
    return 2 * source.nbytes / _events(lambda: cupy.copyto(target, source)) / 1e6


def _events(run: Callable[[], Any]) -> float:
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


def _torch_events(run: Callable[[], Any]) -> float:
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


def _taken(free_before: int) -> float:
    """MiB that were taken from the card since."""
    import cupy

    return (free_before - cupy.cuda.runtime.memGetInfo()[0]) / 2**20


def _write(name: str, path: Path | None, found: dict[str, Any]) -> None:
    from nn.gpu import device

    card = device.machine()
    slug = re.sub(r"[^a-z0-9]+", "_", card.name.lower()).strip("_")
    path = path or RESULTS / f"{name}_{slug}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"device": card.name} | found, indent=1) + "\n")
    print(f"written to {path}")
