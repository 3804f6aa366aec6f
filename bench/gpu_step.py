"""The swapper's step on a GPU, beside PyTorch's in the same precision; the options: bench/gpu.py.

    ms       by the clock, over RUNS steps as training makes them: drawn on a thread beside, each begun before the one
             before it is waited for, all losses read
    card     ms of the card alone, by its events; what is missing to ms is the card's idle time
    faces a second; TFLOP/s counting the definition's multiply-adds, forward and backward, and their share of what
    cuBLAS reaches; the memory that the process took from the card

PyTorch's random warp is grid_sample on maps that lie on the card already; ours draws its maps on the host in every
step, as training does. PyTorch's losses are read once, after all steps.
"""

import statistics
import time
from typing import Any

from bench.arguments import preset_name
from bench.gpu import (
    RIVALS,
    RUNS,
    WARM,
    WAYS,
    ceilings,
    events,
    missing,
    parser_of,
    set_torch,
    taken,
    ways_of,
    write,
)
from bench.rivals import answer, answers, size_of


def main(argv: list[str]) -> int:
    """``bench step --backend gpu``."""
    parser = parser_of("step", __doc__)
    parser.add_argument("--presets", nargs="+", type=preset_name, default=["lite", "original"])
    parser.add_argument("--warp", action="store_true", help="always included here")
    options = parser.parse_args(argv)
    if options.worker:
        make = our_step if options.worker in WAYS else rival_step
        make(options.presets[0], options.batch, options.precisions[0], options.worker)
        return 0
    if missing(options.vs):
        return 2
    limits, rows = ceilings(), []
    for preset in options.presets:
        for precision in options.precisions:
            command = ["step", "--backend", "gpu", "--presets", preset]
            command += ["--batch", str(options.batch), "--precisions", precision]
            kinds = (*ways_of(precision, options.ways), *(RIVALS if options.vs else ()))
            found = answers(command, kinds, options.rounds)
            rows.append(row_of(preset, options.batch, precision, found, limits))
            print(line_of(rows[-1]), flush=True)
            result = {"ceilings": limits, "batch": options.batch, "results": rows}
            write("step", options.json, result)  # after each, so that what ends early is not lost
    return 0


def row_of(
    preset: str, batch: int, precision: str, found: dict[str, list[dict]], limits: dict[str, float]
) -> dict[str, Any]:
    """Medians, and what follows from them; "ours" is the fastest of our ways."""

    def middle(kind: str, what: str) -> float:
        return statistics.median(one[what] for one in found[kind])

    row: dict[str, Any] = {"preset": preset, "precision": precision}
    for kind in found:
        row[kind] = {w: middle(kind, w) for w in ("ms", "card_ms", "mib")}
    best = min((way for way in found if way in WAYS), key=lambda way: row[way]["ms"])
    ours = row["ours"] = {"way": best} | row[best]
    ours["idle"] = max(0.0, 1 - ours["card_ms"] / ours["ms"])
    ours["faces_per_second"] = 2 * batch / ours["ms"] * 1000
    ours["tflops"] = 2 * step_macs(preset, batch) / ours["ms"] / 1e9
    ours["of_gemm"] = ours["tflops"] / limits[f"{precision}_tflops"]
    for kind in (k for k in found if k not in WAYS):
        row[kind]["ratio"] = row[kind]["ms"] / ours["ms"]
    return row


def line_of(row: dict[str, Any]) -> str:
    """The row for people."""
    ours = row["ours"]
    ways = ", ".join(f"{way} {row[way]['ms']:.2f} ms" for way in WAYS if way in row)
    line = (
        f"{row['preset']:9} {row['precision']}  ours {ours['ms']:.2f} ms (card {ours['card_ms']:.2f}, "
        f"idle {100 * ours['idle']:.1f} %; {ways}), {ours['faces_per_second']:,.0f} faces/s, "
        f"{ours['tflops']:.1f} TFLOP/s ({100 * ours['of_gemm']:.0f} % of GEMM), {ours['mib']:,.0f} MiB"
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


def our_step(preset: str, batch: int, precision: str, way: str) -> None:
    """Answers with the times of our step, as ``Trainer`` makes it."""
    import cupy

    import nn
    from bench.warp import noise_sets
    from nn.gpu import modes
    from swap.card import CardStep
    from swap.data import Batches
    from swap.data.prefetch import WAITING, Prefetcher
    from swap.model import SwapModel

    free = cupy.cuda.runtime.memGetInfo()[0]
    modes.set_precision(precision)
    modes.set_way(way)
    model = SwapModel(size_of(preset))
    adam = nn.Adam(nn.Arena(model.named_parameters()), 5e-5).to("gpu")
    model.to("gpu")
    step = CardStep(model, adam, Batches(*noise_sets(), 0, batch), None)

    def steps(number: int) -> float:
        """Milliseconds a step."""
        start = time.perf_counter()
        for done in range(number):
            step.begin(next(drawn)[1], 5e-5)
            if done:
                step.finish()
        step.finish()
        return (time.perf_counter() - start) / number * 1000

    def ask() -> dict[str, float]:
        steps(WARM)
        ms = steps(RUNS)
        return {"ms": ms, "card_ms": events(step.launch_alone), "mib": taken(free)}

    with Prefetcher(step.draw, **WAITING) as drawn:
        answer(ask)


def rival_step(preset: str, batch: int, precision: str, kind: str) -> None:
    """Answers with the times of PyTorch's step: warp by grid_sample, both sides, Adam."""
    import torch

    from bench.step import torch_networks
    from bench.warp import noise_sets

    free = torch.cuda.mem_get_info()[0]
    set_torch(precision)
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

    def once() -> Any:
        if kind == "torch graphs":
            torch.compiler.cudagraph_mark_step_begin()
        adam.zero_grad(set_to_none=True)
        loss = loss_of()
        scaler.scale(loss).backward()
        scaler.step(adam)
        scaler.update()
        return loss.detach().clone()

    def ask() -> dict[str, float]:
        for _ in range(WARM):
            once()
        torch.cuda.synchronize()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin = time.perf_counter()
        start.record()
        losses = [once() for _ in range(RUNS)]
        end.record()
        torch.stack(losses).tolist()
        ms = (time.perf_counter() - begin) / RUNS * 1000
        mib = (free - torch.cuda.mem_get_info()[0]) / 2**20
        return {"ms": ms, "card_ms": start.elapsed_time(end) / RUNS, "mib": mib}

    answer(ask)
