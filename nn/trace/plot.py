"""A trace as a picture: how large activations and gradients are, layer by layer."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nn.trace.record import Call, Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#7F7F7F"  # told apart with any kind of colour vision


def plot_trace(trace: Trace, file: str | os.PathLike | None = None) -> "Figure":
    """Two panels beside each other, a row for each layer: deviation of y and of dy; |dw| / |w|. Returns the figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    calls = trace.calls
    figure = Figure(figsize=(9, 1.6 + 0.27 * len(calls)), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    rows = np.arange(len(calls))
    _dots(left, rows, [_deviation(c.y) for c in calls], BLUE, "o", "y, on the way forward")
    _dots(left, rows, [_deviation(c.dy) for c in calls], ORANGE, "s", "dy, on the way back")
    left.set_xlabel("standard deviation of the tensor's numbers")
    _dots(right, rows, [_ratio(c) for c in calls], GREY, "D", "|dw| / |w|")
    right.set_xlabel("length of dw beside the length of w")
    left.set_yticks(rows, [c.label for c in calls], fontsize=8)
    left.set_ylim(len(calls) - 0.4, -0.6)
    for axes in (left, right):
        axes.grid(axis="both", color="#E5E5E5", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False, borderaxespad=0.2
    )
    figure.suptitle(f"One step, layer by layer; the loss is {trace.loss:.4g}", fontsize=11)
    if file is not None:
        figure.savefig(Path(file), dpi=130)
    return figure


def _dots(
    axes: "Axes", rows: np.ndarray, values: list[float], colour: str, marker: str, label: str
) -> None:
    """A dot for each value above 0, on a logarithmic axis."""
    kept = [(v, row) for v, row in zip(values, rows, strict=True) if v > 0]
    if kept:
        axes.set_xscale("log")
        axes.plot(
            *zip(*kept, strict=True), marker, color=colour, label=label, markersize=5, linewidth=0
        )


def _deviation(array: np.ndarray) -> float:
    return float(array.std()) if array.size else 0.0


def _ratio(call: Call) -> float:
    if "w" not in call.grads:
        return 0.0
    w = float(np.linalg.norm(call.parameters["w"]))
    return float(np.linalg.norm(call.grads["w"])) / w if w else 0.0
