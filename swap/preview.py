"""What a training run shows of itself: a sheet of faces and a plot of both losses, as PNG files.

No display is needed, and no pyplot: a Figure of its own leaves no state behind.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from swap.provenance import Mark, SourceType, write_png

TOOL = "latentface swap train"
PAPER, INK, GREY = (250, 250, 248), (24, 24, 24), (96, 96, 96)
# Two of Okabe and Ito's colours ("Color Universal Design", 2008), told apart in every common kind
# of colour blindness, and dashed against solid where there is no colour at all.
BLUE, VERMILION = "#0072B2", "#D55E00"
POINTS = 1000  # across a plot: about as many as it has pixels to show


@dataclass(frozen=True, eq=False)
class SheetSide:
    """One person's rows of a sheet: three arrays (n, S, S, 3), uint8 or float in [0, 1].

    name: "A", say; other: the person that swap shows. original: unwarped faces; own: decoded by
    name's decoder; swap: decoded by other's.
    """

    name: str
    other: str
    original: np.ndarray
    own: np.ndarray
    swap: np.ndarray


def sheet(*sides: SheetSide, title: str = "", tile: int = 128) -> np.ndarray:
    """The preview sheet, (H, W, 3) uint8 RGB: the sides beside each other, one row for each face.

    Each side has the columns original, own reconstruction and swap. tile: side of a shown face in
    pixels; smaller faces are enlarged to it (cubic), larger ones shown as they are. Raises
    ValueError where the arrays of a side differ in shape or there is nothing to show.
    """
    if not sides:
        raise ValueError("a preview sheet needs at least one side")
    columns = [[_tiles(faces, tile) for faces in (s.original, s.own, s.swap)] for s in sides]
    for side, (original, own, swapped) in zip(sides, columns, strict=True):
        if not original.shape == own.shape == swapped.shape or len(original) == 0:
            raise ValueError(
                f"side {side.name} needs three equal, non-empty arrays (n, S, S, 3), found "
                f"{side.original.shape}, {side.own.shape}, {side.swap.shape}"
            )
    tile = max(faces.shape[1] for side in columns for faces in side)
    edge, line, gap = tile // 8, tile // 32, tile // 4  # page, between faces, between sides
    large, small = (ImageFont.load_default(tile * share) for share in (0.125, 0.1))
    captions_top = edge + (tile // 4 if title else 0)
    faces_top = captions_top + tile * 5 // 16
    side_width = 3 * tile + 2 * line
    rows = max(len(original) for original, _, _ in columns)
    page = Image.new(
        "RGB",
        (
            2 * edge + len(sides) * side_width + (len(sides) - 1) * gap,
            faces_top + rows * (tile + line) - line + edge,
        ),
        PAPER,
    )
    draw = ImageDraw.Draw(page)
    if title:
        draw.text((edge, edge), _fit(title, large, page.width - 2 * edge), INK, large)
    for number, (side, faces_of) in enumerate(zip(sides, columns, strict=True)):
        captions = (
            (f"{side.name}", "original"),
            (f"{side.name} as {side.name}", "own reconstruction"),
            (f"{side.name} as {side.other}", "swap"),
        )
        for column, (faces, (what, how)) in enumerate(zip(faces_of, captions, strict=True)):
            left = edge + number * (side_width + gap) + column * (tile + line)
            draw.text((left, captions_top), _fit(what, large, tile), INK, large)
            draw.text((left, captions_top + tile * 5 // 32), how, GREY, small)
            for row, face in enumerate(faces):
                page.paste(Image.fromarray(face), (left, faces_top + row * (tile + line)))
    return np.array(page)


def _tiles(faces: np.ndarray, tile: int) -> np.ndarray:
    """Faces as uint8 (n, T, T, 3), enlarged to T = tile where they are smaller."""
    if faces.ndim != 4 or faces.shape[1:] != (faces.shape[1], faces.shape[1], 3):
        raise ValueError(f"the faces of a sheet must be (n, S, S, 3), not {faces.shape}")
    if faces.dtype != np.uint8:
        # A diverged network answers NaN, which a cast would turn into any colour; here, black.
        faces = np.rint(np.clip(np.nan_to_num(faces), 0, 1) * 255).astype(np.uint8)
    if faces.shape[1] >= tile or len(faces) == 0:
        return faces
    return np.stack([cv2.resize(f, (tile, tile), interpolation=cv2.INTER_CUBIC) for f in faces])


def _fit(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """text, or as much of its beginning as fits width pixels, ending in three dots."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def write_sheet(path: Path, picture: np.ndarray, details: dict[str, str] | None = None) -> None:
    """Write a sheet as PNG, atomically, marked as a composite of real and synthetic pictures.

    details: what else the mark shall say (run id, model hash, step).
    """
    says = "preview of a face swap in training: original faces beside synthetic ones"
    write_png(path, picture, Mark(SourceType.COMPOSITE, TOOL, says, details or {}))


def loss_plot(
    path: Path,
    steps: Sequence[int] | np.ndarray,
    losses_a: Sequence[float] | np.ndarray,
    losses_b: Sequence[float] | np.ndarray,
    *,
    details: dict[str, str] | None = None,
    **options: str | tuple[str, str],
) -> None:
    """Write draw_losses (same arguments, same errors) as PNG, atomically, marked as a plot."""
    picture = draw_losses(steps, losses_a, losses_b, **options)
    mark = Mark(SourceType.PLOT, TOOL, "training losses of a face swap", details or {})
    write_png(path, picture, mark)


def draw_losses(
    steps: Sequence[int] | np.ndarray,
    losses_a: Sequence[float] | np.ndarray,
    losses_b: Sequence[float] | np.ndarray,
    *,
    names: tuple[str, str] = ("A", "B"),
    loss: str = "mean absolute error (black to white = 1)",
    title: str = "",
) -> np.ndarray:
    """Both losses over the (ascending) steps: (H, W, 3) uint8 RGB.

    Faint, the losses themselves, as the range within each stretch of steps where there are more
    than POINTS; over them, their moving mean over a 50th of the run. The loss axis is logarithmic
    where the losses are positive and the means span more than a factor of 2.5. Losses that are not
    finite are left out. Raises ValueError where the three lengths differ.
    """
    # Imported here because it takes half a second, which only a plot should cost.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    steps = np.asarray(steps, float)
    both = [np.asarray(losses, float) for losses in (losses_a, losses_b)]
    if any(losses.shape != steps.shape for losses in both):
        raise ValueError(f"{len(steps)} steps, but {len(both[0])} and {len(both[1])} losses")

    figure = Figure(figsize=(9, 5), dpi=110, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    lowest, highest, positive = np.inf, -np.inf, True
    for losses, name, colour, dash in zip(both, names, (BLUE, VERMILION), ("-", "--"), strict=True):
        finite = np.isfinite(losses)
        if not finite.any():
            continue
        (at, raw), (centres, means) = thin(steps[finite], losses[finite])
        axes.plot(at, raw, color=colour, alpha=0.3, linewidth=0.7, zorder=2)
        style = {"label": f"{name}: {means[-1]:.4f}", "marker": "o" if len(means) == 1 else ""}
        axes.plot(centres, means, dash, color=colour, linewidth=1.8, zorder=3, **style)
        lowest, highest = min(lowest, means.min()), max(highest, means.max())
        positive &= raw.min() > 0
    if highest >= lowest:
        if positive and highest > 2.5 * lowest:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
        # Above the plot, where it can hide nothing.
        place = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0.2}
        axes.legend(ncols=2, frameon=False, title="moving mean at the end", **place)
    else:
        axes.text(0.5, 0.5, "no loss yet", transform=axes.transAxes, ha="center", color="0.4")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, nbins=8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set(xlabel="training step", ylabel=loss)
    axes.set_title(title, loc="left")
    axes.grid(color="0.88", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def thin(
    steps: np.ndarray, losses: np.ndarray
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """A raw and a smooth line through (n,) losses, of at most 2 POINTS and POINTS points.

    The raw line shows the lowest and highest loss of each stretch of n / POINTS steps, so that no
    spike is lost. The smooth one is the mean over a window of n / 50 steps about each point, cut
    short at both ends of the run. Each line is (steps, losses).
    """
    count = len(losses)
    edges = np.linspace(0, count, min(count, POINTS) + 1).astype(int)
    starts, middles = edges[:-1], (edges[:-1] + edges[1:] - 1) // 2
    if count > POINTS:
        low, high = np.minimum.reduceat(losses, starts), np.maximum.reduceat(losses, starts)
        raw = np.repeat(steps[middles], 2), np.stack([low, high], 1).ravel()
    else:
        raw = steps, losses
    reach = count // 100
    sums = np.concatenate([[0], np.cumsum(losses)])
    first, last = np.maximum(middles - reach, 0), np.minimum(middles + reach + 1, count)
    return raw, (steps[middles], (sums[last] - sums[first]) / (last - first))
