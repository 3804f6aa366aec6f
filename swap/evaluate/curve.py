"""The curve of a run: how good the swap was while it was trained, beside what the losses said.

The losses tell how well each side is reconstructed, and nothing of the swap. The plain method of 2017 trained on the
same subjects, kept in plain_heads.json, shows why that matters: its reconstruction gets better and its swap does not.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from swap.evaluate.truth import Results
from swap.files import write_bytes_atomic
from swap.preview import BLUE, VERMILION

PLAIN = Path(__file__).parent / "plain_heads.json"
KEYS = ("a_to_b", "b_to_a", "a", "b")


@dataclass
class Curve:
    """steps: at which it was measured; values: dB over the face of the swaps, and of the sides' own reconstructions."""

    steps: list[int] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=lambda: {key: [] for key in KEYS})

    def add(self, step: int, point: dict[str, float]) -> None:
        """One more point; one at a step that is there already takes its place."""
        if self.steps and self.steps[-1] == step:
            self.steps.pop()
            for values in self.values.values():
                values.pop()
        self.steps.append(step)
        for key in KEYS:
            self.values[key].append(round(float(point[key]), 3))

    def to_json(self) -> dict[str, Any]:
        """What a file holds."""
        return {"steps": self.steps, **self.values}

    def save(self, path: Path) -> None:
        """Writes it, whole or not at all."""
        write_bytes_atomic(path, (json.dumps(self.to_json()) + "\n").encode())

    @classmethod
    def load(cls, path: Path, upto: int) -> Self:
        """The points of ``path`` up to step ``upto``; none where there is no such file or it is not one."""
        try:
            held = json.loads(path.read_text())
            steps = [int(s) for s in held["steps"]]
            columns = {key: [float(v) for v in held[key]] for key in KEYS}
        except (OSError, ValueError, KeyError, TypeError):
            return cls()
        if any(len(values) != len(steps) for values in columns.values()):
            return cls()
        kept = [i for i, step in enumerate(steps) if step <= upto]
        return cls(
            [steps[i] for i in kept],
            {key: [values[i] for i in kept] for key, values in columns.items()},
        )


def draw_curve(curve: Curve, results: Results, plain: Curve | None = None) -> np.ndarray:
    """(H, W, 3) uint8 RGB: a panel a direction; the swap, the target's own reconstruction, the best baseline,
    and, where given, both curves of the plain method."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    figure = Figure(figsize=(11, 4.6), dpi=110, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (name, direction) in zip(panels, results.directions.items(), strict=True):
        target = direction.target
        shown = target.upper()
        own, swap = curve.values[target], curve.values[name]
        dot = {"marker": "o"} if len(curve.steps) == 1 else {}
        axes.plot(curve.steps, own, "--", color=BLUE, label=f"{shown}'s own reconstruction", **dot)
        axes.plot(curve.steps, swap, color=VERMILION, linewidth=2.2, label="the swap", **dot)
        if plain is not None and plain.steps:
            grey = {"color": "0.55", "linewidth": 1.2}
            axes.plot(plain.steps, plain.values[target], "--", **grey, label="2017: reconstruction")
            axes.plot(plain.steps, plain.values[name], **grey, label="2017: swap")
        best = direction.best_baseline
        level = direction.rows[best].psnr_face
        axes.axhline(level, color="0.2", linewidth=1, linestyle=":")
        axes.annotate(
            f"best baseline: {best}, {level:.1f} dB",
            (1, level),
            xycoords=("axes fraction", "data"),
            xytext=(-4, -12),
            textcoords="offset points",
            ha="right",
            color="0.2",
            fontsize=9,
        )
        axes.set_title(f"{direction.source.upper()} to {shown}", loc="left")
        axes.set(xlabel="training step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.grid(color="0.9", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=9, loc="lower right")
    panels[0].set_ylabel("PSNR over the face against the truth, dB")
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]
