"""Each layer's passes on a GPU, beside PyTorch's in the same precision; the options: bench/gpu.py.

Forward, input gradient, weight gradient of each convolution and dense layer, by each way of convolving: ms, TFLOP/s,
GB/s of what must be moved at least, the ratio to PyTorch's (above 1: ours is faster). Each pass is recorded REPEAT
times in one graph, ours as PyTorch's, so that no launch is waited for.

--tune: instead, every pass of every convolution by every tile and in several parts: what ``nn/gpu/plan.py`` should say.
"""

import statistics
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np

from bench.arguments import preset_name
from bench.gpu import (
    RIVALS,
    WARM,
    WAYS,
    ceilings,
    events,
    missing,
    parser_of,
    set_torch,
    torch_events,
    ways_of,
    write,
)
from bench.rivals import answer, answers

REPEAT = 10
PARTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)


def main(argv: list[str]) -> int:
    """``bench layers --backend gpu``."""
    parser = parser_of("layers", __doc__)
    parser.add_argument("--preset", type=preset_name, default="original")
    parser.add_argument("--tune", action="store_true")
    options = parser.parse_args(argv)
    if options.worker:
        make = our_layers if options.worker in WAYS else rival_layers
        times = make(options.preset, options.batch, options.precisions[0], options.worker)
        answer(lambda: {name: run() for name, run in times.items()})
        return 0
    if missing(options.vs):
        return 2
    if options.tune:
        return tune(options)
    limits, rows = ceilings(), []
    work = passes_of(options.preset, options.batch)
    for precision in options.precisions:
        command = ["layers", "--backend", "gpu", "--preset", options.preset]
        command += ["--batch", str(options.batch), "--precisions", precision]
        ways = ways_of(precision, options.ways)
        kinds = (*ways, *(RIVALS[:1] if options.vs else ()))
        found = answers(command, kinds, options.rounds)
        for name, (flop, moved) in work.items():
            row = row_of(name, precision, {k: [o[name] for o in found[k]] for k in kinds}, limits)
            for kind in kinds:
                row[kind] |= rates_of(row[kind]["ms"], flop, moved, precision, limits)
            rows.append(row)
            print(line_of(row), flush=True)
        if options.vs:
            ratios = [row["ratio"] for row in rows if row["precision"] == precision]
            middle, least = statistics.median(ratios), min(ratios)
            print(f"{precision}: ratio median {middle:.2f}, lowest {least:.2f}")
        result = {"ceilings": limits, "batch": options.batch, "results": rows}
        write("layers", options.json, result)
    return 0


def row_of(
    name: str, precision: str, found: dict[str, list[float]], limits: dict[str, float]
) -> dict[str, Any]:
    """The median of each contestant, and the ratio of PyTorch's to the best of ours."""
    row: dict[str, Any] = {"pass": name, "precision": precision}
    for kind, times in found.items():
        row[kind] = {"ms": statistics.median(times)}
    if RIVALS[0] in found:
        best = min(row[way]["ms"] for way in found if way in WAYS)
        row["ratio"] = row[RIVALS[0]]["ms"] / best
    return row


def rates_of(
    ms: float, flop: int, moved: int, precision: str, limits: dict[str, float]
) -> dict[str, float]:
    """TFLOP/s and GB/s, and which part of the card's ceilings they are."""
    tflops, speed = flop / ms / 1e9, moved / ms / 1e6
    return {
        "tflops": tflops,
        "gb_per_s": speed,
        "of_gemm": tflops / limits[f"{precision}_tflops"],
        "of_copy": speed / limits["copy_gb_per_s"],
    }


def line_of(row: dict[str, Any]) -> str:
    """The row for people."""
    parts = [
        f"{way} {row[way]['ms']:.3f} ms {row[way]['tflops']:.1f} TFLOP/s ({100 * row[way]['of_gemm']:.0f} %) "
        f"{row[way]['gb_per_s']:.0f} GB/s ({100 * row[way]['of_copy']:.0f} %)"
        for way in WAYS
        if way in row
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
        times[f"{name} forward"] = lambda layer=layer, x=x: repeated(lambda: layer.forward(x))
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
                times[f"{name} {kind}"] = lambda run=run: repeated(run)
    return times


def rival_layers(preset: str, batch: int, precision: str, _: str) -> dict[str, Callable[[], float]]:
    """The same by PyTorch: cuDNN's convolutions in channels_last, cuBLAS's products."""
    import torch

    import nn
    from bench.layers import layers

    set_torch(precision)
    kind = torch.float16 if precision == "fp16" else torch.float32
    times: dict[str, Callable[[], float]] = {}

    def put(name: str, run: Callable[[], Any]) -> None:
        times[name] = lambda: torch_repeated(run)

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


def repeated(run: Callable[[], Any]) -> float:
    """Milliseconds on the card of one run, of REPEAT that are one graph."""
    from nn.gpu import device

    def body() -> None:
        for _ in range(REPEAT):
            run()

    return events(device.machine().record(body)) / REPEAT


def torch_repeated(run: Callable[[], Any]) -> float:
    """The same of PyTorch's graph."""
    import torch

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(WARM):
            run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(REPEAT):
            run()
    return torch_events(graph.replay) / REPEAT


# What plan.py should say


def tune(options: Any) -> int:
    """Every pass by every tile and in several parts; beside what ``plan`` chooses, and how much better the best is."""
    from nn.gpu import conv, modes

    rows = []
    for precision in options.precisions:
        for way in ways_of(precision, options.ways):
            with modes.using(precision=precision, way=way):
                for name, run, chosen in convolutions(options.preset, options.batch):
                    times = {}
                    for label, arrange in plans(way):
                        with patch.object(conv, "arrange", arrange):
                            times[label] = repeated(run)
                    now = repeated(run)
                    best = min(times, key=times.get)
                    rows.append(
                        {"pass": name, "precision": precision, "way": way, "now": now} | times
                    )
                    print(
                        f"{precision} {way:9} {name:60} now {now:.4f} ms {chosen()}; best {times[best]:.4f} ms {best}",
                        flush=True,
                    )
            write("tune", options.json, {"batch": options.batch, "results": rows})
    return 0


def convolutions(preset: str, batch: int) -> Any:
    """(name, run, what plan chooses) of each pass of each convolution."""
    from bench.layers import layers
    from nn.gpu import conv, device

    rng = np.random.default_rng(0)
    for name, layer, shape, first in layers(preset, batch):
        if len(shape) != 4:
            continue
        layer.to("gpu")
        x = device.upload(rng.standard_normal(shape, np.float32))
        y, cache = layer.forward(x)
        dy, saved = device.upload(rng.standard_normal(y.shape, np.float32)), cache.saved
        passes = {
            "forward": lambda layer=layer, x=x: layer.forward(x),
            "dx": lambda dy=dy, s=saved: conv.input_gradient(dy, s),
            "dw": lambda dy=dy, s=saved, dw=layer.weight.grad: conv.weight_gradient(dy, s, dw),
        }
        for kind, run in passes.items():
            if kind != "dx" or not first:
                yield f"{name} {kind}", run, lambda run=run: chosen_by(run)


def chosen_by(run: Callable[[], Any]) -> str:
    """The tiles and parts that plan chooses while a pass runs."""
    from nn.gpu import conv

    said = []

    def arrange(*args: Any, **named: Any) -> Any:
        found = before(*args, **named)
        said.append(label_of(found.tile, found.parts))
        return found

    before = conv.arrange
    with patch.object(conv, "arrange", arrange):
        run()
    return "; ".join(said)


def label_of(tile: Any, parts: int) -> str:
    """ "128 x 64, 3 parts"."""
    return f"{tile.rows} x {tile.columns}, {parts} parts"


def plans(way: str) -> Any:
    """(label, arrange) of every tile, and of several numbers of parts."""
    from nn.gpu import plan

    tiles = (plan.VAST, plan.WIDE, plan.HALF, plan.SLIM)
    if way not in ("warpgroup", "copied"):
        tiles = (plan.LARGE, plan.SMALL, plan.TALL)
    for tile in tiles:
        for parts in PARTS:

            def arrange(
                rows: int,
                columns: int,
                depth: int,
                *,
                step: int,
                t: Any = tile,
                p: int = parts,
                **_: Any,
            ) -> Any:
                return plan.Arrangement(t, *plan.cut(depth, p, step))

            yield label_of(tile, parts), arrange
