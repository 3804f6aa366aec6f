"""The plots of speed in the README and in nn/cpu/README.md, from the results under bench/results/.
To be run where the project's folders are.

    python -m bench plots [--results bench/results] [--machine epyc_2_cores]

docs/speed.png                 a step and each layer, times as fast as PyTorch
nn/cpu/pictures/tile.png       the register tile
nn/cpu/pictures/products.png   multiplications for one output, by kernel and way
nn/cpu/pictures/ceiling.png    how much of what the processor can do each layer reaches
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.arguments import read_results
from swap.errors import UserError
from swap.provenance import Mark, SourceType, write_png

# Okabe and Ito's colours ("Color Universal Design", 2008).
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "0.55"
WIDTHS = {"c16": "tiny", "c32": "lite", "c64": "base", "c128": "original"}
KINDS = {
    "first layer": ("Conv2d(3, ", ""),
    "5x5, stride 2": ("5x5, stride=(2, 2)", "Conv2d(3, "),
    "3x3": ("3x3)", ""),
    "last layer": (", 3, 5x5)", ""),
    "dense": ("Dense(", ""),
}


def main(argv: list[str]) -> int:
    """Writes all four; 2 where results are missing."""
    parser = argparse.ArgumentParser(prog="python -m bench plots", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--results", type=Path, default=Path("bench/results"))
    parser.add_argument("--machine", default="epyc_2_cores")
    options = parser.parse_args(argv)
    try:
        draw_all(options.results, options.machine)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except (KeyError, TypeError, AttributeError) as error:
        print(f"{options.results} holds other results than these: {error!r}", file=sys.stderr)
        return 2
    return 0


def draw_all(results: Path, machine: str) -> None:
    """All four pictures."""
    steps, layers = (
        read_results(results / f"{what}_{machine}.json")["results"] for what in ("step", "layers")
    )
    layers = [row for row in layers if row["preset"] in WIDTHS.values()]
    top, page = Path("docs/speed.png"), Path("nn/cpu/pictures")
    plot(top, (9.6, 3.6), 2, lambda a: speed(*a, steps, layers), "Speed beside PyTorch's.")
    plot(page / "tile.png", (7.2, 3.4), 1, tile, "A tile of a matrix product in vector registers.")
    plot(page / "products.png", (7.2, 3.2), 1, products, "Multiplications of ways to convolve.")
    plot(page / "ceiling.png", (7.2, 3.6), 1, lambda a: ceiling(a, layers), "Layers' ceiling.")


def plot(
    path: Path, size: tuple[float, float], panels: int, draw: Callable[[Any], None], says: str
) -> None:
    """One picture, marked as a plot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(1, panels)
    for one in np.atleast_1d(axes):
        one.spines[["top", "right"]].set_visible(False)
    draw(axes)
    canvas.draw()
    mark = Mark(SourceType.PLOT, "latentface bench plots", says)
    write_png(path, np.array(canvas.buffer_rgba())[..., :3], mark)
    print(f"wrote {path}")


def speed(left: Any, right: Any, steps: list[dict[str, Any]], layers: list[dict[str, Any]]) -> None:
    """Left the steps, right every layer and pass; 1 is PyTorch's best."""
    steps = [
        row for row in steps if row["preset"] in WIDTHS and not row["warp"] and "threads" not in row
    ]
    names = [
        f"{WIDTHS[row['preset']]}\n{row['ours_ms']:.0f} | {row['torch_ms']:.0f} ms" for row in steps
    ]
    bars = left.bar(names, [row["ratio"] for row in steps], color=BLUE, width=0.6)
    left.bar_label(bars, fmt="%.2f")
    left.set(ylabel="times as fast as PyTorch's best", title="a training step: ours | PyTorch's")
    right.set(title="each layer and pass", xticks=range(4), xticklabels=WIDTHS.values())
    for way, colour, shift in (("forward", BLUE, -0.12), ("backward", ORANGE, 0.12)):
        here = [row for row in layers if row["pass"].endswith(way)]
        at = [list(WIDTHS.values()).index(row["preset"]) + shift for row in here]
        right.plot(
            at,
            [row["ratio"] for row in here],
            "o",
            color=colour,
            alpha=0.7,
            label=way,
            markersize=5,
        )
    right.legend(frameon=False, loc="upper left")
    for axes in (left, right):
        axes.axhline(1, color=GREY, linewidth=0.8)
        axes.set_ylim(0, None)


def tile(axes: Any) -> None:
    """What one round of the sum does: 8 numbers of a, each in all lanes, times two vectors of b."""
    from matplotlib.patches import Rectangle

    def box(x: float, y: float, colour: str, alpha: float) -> None:
        axes.add_patch(
            Rectangle((x, y), 0.92, 0.84, facecolor=colour, alpha=alpha, edgecolor="none")
        )

    rows, lanes = 8, 16
    for i in range(rows):
        box(0, -i, ORANGE, 0.9)
        for j in range(2 * lanes):
            box(3 + j + (j >= lanes) * 0.6, -i, BLUE, 0.35 + 0.3 * (j >= lanes))
    for j in range(2 * lanes):
        box(3 + j + (j >= lanes) * 0.6, 2.2, GREEN, 0.9)
    text = {"ha": "center", "va": "center", "fontsize": 9}
    axes.text(0.45, 1.55, "8 of a", color=ORANGE, **text)
    axes.text(19.3, 3.6, "two vectors of b", color=GREEN, **text)
    axes.text(
        19.3,
        -8.1,
        "8 x 32 sums, in 16 registers from the first round to the last",
        color=BLUE,
        **text,
    )
    axes.text(19.3, -9.4, "a round: 40 numbers loaded, 256 multiply-adds", color="0.2", **text)
    axes.set(xlim=(-1.5, 36.5), ylim=(-10, 4.2), aspect="equal")
    axes.axis("off")


def products(axes: Any) -> None:
    """For one output and one input channel, as the definition has it and as it is computed."""
    from nn.cpu import lines

    def along(kw: int, stride: int) -> float:
        return kw * len(lines.matrices(kw, stride).g) / 4

    ways = {
        "3x3\nsquares of 4x4": (9, 36 / 16),
        "5x5, stride 2\nsquares, by phases": (25, 121 / 16),
        "5x5, stride 2\nalong the rows": (25, along(5, 2)),
        "5x5\nalong the rows": (25, along(5, 1)),
        "7x7\nalong the rows": (49, along(7, 1)),
    }
    at = np.arange(len(ways))
    for shift, which, colour, label in (
        (-0.2, 0, GREY, "as it is written"),
        (0.2, 1, BLUE, "as it is computed"),
    ):
        bars = axes.bar(
            at + shift, [w[which] for w in ways.values()], 0.38, color=colour, label=label
        )
        axes.bar_label(bars, fmt="%.3g")
    axes.set(xticks=at, xticklabels=ways, ylabel="multiplications")
    axes.tick_params(axis="x", labelsize=8)
    axes.legend(frameon=False, loc="upper left")


def ceiling(axes: Any, layers: list[dict[str, Any]]) -> None:
    """Operations of the definition a second, over what the register tile reaches; above 1 thanks to Winograd."""
    for i, (has, not_has) in enumerate(KINDS.values()):
        for way, colour, shift in (("forward", BLUE, -0.12), ("backward", ORANGE, 0.12)):
            found = [
                row["of_ceiling"]
                for row in layers
                if has in row["pass"]
                and not (not_has and not_has in row["pass"])
                and row["pass"].endswith(way)
            ]
            label = way if i == 0 else None
            axes.plot(
                np.full(len(found), i + shift),
                found,
                "o",
                color=colour,
                alpha=0.7,
                label=label,
                markersize=5,
            )
    axes.axhline(1, color=GREY, linewidth=0.8)
    axes.set(
        xticks=range(len(KINDS)), xticklabels=KINDS, ylabel="share of the ceiling", ylim=(0, None)
    )
    axes.legend(frameon=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
