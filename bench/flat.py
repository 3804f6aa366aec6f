"""Does training keep its memory? Resident memory over many steps, as a plot.

    python -m bench flat [--steps 100000] [--preset tiny] [--batch 4] [--out flat.png] [--json flat.json]

Trains on smooth random pictures in a folder that is then removed, previews and saves included, and looks at the memory
of the process every hundredth of the way. Prints the growth from the first tenth of the run to its end; what grows is
the list of losses, 64 bytes for each step.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from bench.rivals import json_file
from nn.train import Budget
from swap.data import FaceSet
from swap.memory import resident_memory
from swap.model import PRESETS
from swap.provenance import Mark, SourceType, write_png
from swap.recipe import RECIPES
from swap.train import CropDefinition, Trainer


def faces(count: int = 40) -> dict[str, FaceSet]:
    """Two people of smooth random pictures."""
    import cv2

    sets = {}
    for seed, side in enumerate("ab"):
        coarse = np.random.default_rng(seed).integers(0, 256, (count, 7, 7, 3), np.uint8)
        images = [cv2.resize(c, (56, 56), interpolation=cv2.INTER_CUBIC) for c in coarse]
        sets[side] = FaceSet(np.stack(images), 4 / 3)
    return sets


def main(argv: list[str]) -> int:
    """Prints first, last and largest memory; writes the plot and the numbers where asked to."""
    parser = argparse.ArgumentParser(prog="bench flat", description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--preset", choices=PRESETS, default="tiny")
    parser.add_argument("--batch", type=int, default=4, help="faces a side")
    parser.add_argument("--out", type=Path, help="the plot, a PNG")
    parser.add_argument("--json", type=json_file)
    options = parser.parse_args(argv)
    seen: list[tuple[int, float]] = []
    every = max(1, options.steps // 100)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            Path(folder),
            faces(),
            CropDefinition(),
            PRESETS[options.preset],
            RECIPES["alike"],
            batch_size=options.batch,
        )

        def look(now: object) -> None:
            if trainer.steps % every == 0:
                seen.append((trainer.steps, resident_memory() / 2**20))

        trainer.run(Budget(steps=options.steps), on_progress=look)
    steps, memory = np.array(seen).T
    early = memory[: max(1, len(memory) // 10)].max()
    print(
        f"{options.preset}, {options.steps:,} steps, {options.batch} faces a side: {early:.0f} MiB in the first tenth, "
        f"{memory[-1]:.0f} MiB at the end, {memory.max():.0f} MiB at most: grew by {memory[-1] - early:.1f} MiB"
    )
    if options.json:
        options.json.write_text(
            json.dumps({"steps": steps.tolist(), "mib": memory.tolist()}) + "\n"
        )
    if options.out:
        plot(options.out, steps, memory, options.preset)
    return 0


def plot(path: Path, steps: np.ndarray, memory: np.ndarray, preset: str) -> None:
    """Memory over steps, from 0."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), dpi=110, layout="constrained")
    canvas, axes = FigureCanvasAgg(figure), figure.add_subplot()
    axes.plot(steps, memory, color="#0072b2", linewidth=1.8)
    axes.set(xlabel="training step", ylabel="resident memory, MiB", ylim=(0, 1.2 * memory.max()))
    axes.set_title(f"{preset}: memory of the process that trains", loc="left")
    axes.grid(color="0.88", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    canvas.draw()
    mark = Mark(
        SourceType.PLOT, "latentface bench flat", "memory of a process over training steps", {}
    )
    write_png(path, np.array(canvas.buffer_rgba())[..., :3], mark)
