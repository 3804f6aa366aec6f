"""What the lessons share: options, pictures, numbers, checks, data. None of it is neural networks.

lesson = course.begin("03_weather", __doc__)       --fast, --seed, --out
lesson.number("AUC, held-out days", 0.842)         printed, and kept in numbers.json
lesson.save(figure, "calibration")                 a PNG in out/03_weather, and shown in a notebook
lesson.check("dw is right", error < 1e-6, "...")   said aloud; a failed one makes the exit status 1
lesson.end()
"""

import argparse
import contextlib
import json
import sys
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent
# Okabe and Ito's colours: told apart with any kind of colour vision, and in print.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, GREY = "#CC79A7", "#56B4E9", "#7F7F7F"
COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY)
DIVERGING = "RdBu_r"  # below 0 blue, above 0 red, 0 white
STYLE = {
    "axes.prop_cycle": mpl.cycler(color=COLOURS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "figure.constrained_layout.use": True,
    "figure.dpi": 110,
    "font.size": 10,
    "image.cmap": "gray",
    "image.interpolation": "nearest",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "savefig.dpi": 110,
}


def in_notebook() -> bool:
    """Whether cells are run one by one, where there is no command line to read."""
    return "ipykernel" in sys.modules


class Lesson:
    """One run of a lesson: its options, and where its pictures and numbers go."""

    def __init__(self, name: str, *, fast: bool, seed: int, out: Path) -> None:
        self.name, self.fast, self.seed = name, fast, seed
        self.folder = out / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.numbers: dict[str, float] = {}
        self.failed: list[str] = []
        self._began = time.perf_counter()

    def number(self, what: str, value: float, unit: str = "") -> None:
        """Prints a result and keeps it; ``unit`` is part of the print, ``dB`` or ``s``."""
        self.numbers[f"{what} [{unit}]" if unit else what] = float(value)
        shown = f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"
        print(f"  {what}: {shown}{' ' + unit if unit else ''}")

    def save(self, figure: Figure, name: str) -> Path:
        """Writes the figure as NAME.png; in a notebook it is shown as well. Returns the file."""
        path = self.folder / f"{name}.png"
        figure.savefig(path)
        if "swap.studio" in sys.modules:
            mark_synthetic(path)
        print(f"  picture: {path}")
        if in_notebook():
            from IPython.display import display

            display(figure)
        from matplotlib import pyplot as plt

        plt.close(figure)
        return path

    def check(self, what: str, right: bool, found: str = "") -> None:
        """Says whether ``what`` holds; ``found`` is the number that decided it."""
        note = f"  ({found})" if found else ""
        print(f"  [{'right' if right else 'WRONG'}] {what}{note}")
        if not right:
            self.failed.append(what)

    def end(self) -> None:
        """Writes numbers.json and says how long it took; exit status 1 where a check failed."""
        seconds = time.perf_counter() - self._began
        facts = {"fast": self.fast, "seed": self.seed, "seconds": round(seconds, 1)}
        text = json.dumps(facts | {"numbers": self.numbers}, indent=2, ensure_ascii=False)
        (self.folder / "numbers.json").write_text(text + "\n", encoding="utf-8")
        print(f"  {seconds:.0f} s; pictures and numbers are in {self.folder}")
        if self.failed:
            message = f"{self.name}: wrong: {'; '.join(self.failed)}"
            if in_notebook():
                raise AssertionError(message)
            sys.exit(message)


def begin(name: str, text: str) -> Lesson:
    """Reads the command line (in a notebook there is none) and says what the lesson is."""
    parser = argparse.ArgumentParser(
        prog=f"python examples/{name}.py",
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--fast", action="store_true", help="seconds, less data: rougher numbers")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (0)")
    parser.add_argument(
        "--out", type=Path, default=Path("out"), help="pictures go to OUT/LESSON (out)"
    )
    options = parser.parse_args([] if in_notebook() else None)
    if not in_notebook():
        mpl.use("Agg")
    mpl.rcParams.update(STYLE)
    for stream in (sys.stdout, sys.stderr):  # the mathematics uses its own letters
        with contextlib.suppress(AttributeError):
            stream.reconfigure(encoding="utf-8")
    print(text.strip().partition("\n")[0])
    try:
        return Lesson(name, fast=options.fast, seed=options.seed, out=options.out)
    except OSError as error:
        parser.error(f"cannot write to {options.out}: {error.strerror}")


def mark_synthetic(path: Path) -> None:
    """Puts the mark of synthetic origin into a picture of rendered subjects, as the program itself does."""
    from PIL import Image

    from swap.provenance import Mark, SourceType, write_png

    with Image.open(path) as picture:
        pixels = np.array(picture.convert("RGB"))
    says = "Rendered subjects, nobody's likeness, and what a trained model made of them."
    write_png(path, pixels, Mark(SourceType.COMPOSITE, "latentface lessons", says, {}))


def data(name: str) -> dict[str, np.ndarray]:
    """The arrays of examples/data/NAME.npz; what they are and where they come from: examples/data/README.md."""
    with np.load(HERE / "data" / f"{name}.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def mosaic(pictures: np.ndarray, columns: int, *, gap: int = 1, paper: float = 1.0) -> np.ndarray:
    """Pictures (N, H, W) or (N, H, W, C) side by side, ``columns`` a row, with a gap of ``paper``."""
    n, h, w = pictures.shape[:3]
    rows = -(-n // columns)
    shape = (rows * (h + gap) - gap, columns * (w + gap) - gap, *pictures.shape[3:])
    sheet = np.full(shape, paper, pictures.dtype)
    for i, picture in enumerate(pictures):
        top, left = i // columns * (h + gap), i % columns * (w + gap)
        sheet[top : top + h, left : left + w] = picture
    return sheet


def psnr(pictures: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of pictures in [0, 1]: -10 log10 of the mean squared error."""
    return float(-10 * np.log10(np.mean((pictures - truth) ** 2)))
