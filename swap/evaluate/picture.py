"""The error sheet: input, swap, truth and error of the worst, the middling and the best cases, as a PNG file."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from swap.evaluate.truth import Direction, Results
from swap.preview import GREY, INK, PAPER
from swap.provenance import Mark, SourceType, write_png

TOOL = "latentface swap evaluate"
WORST, MIDDLE, BEST = 4, 2, 2
FULL_SCALE = (
    0.25  # the mean absolute error, of black to white, at the bright end of the error's colours
)


def cases(direction: Direction) -> list[tuple[str, int]]:
    """What a row is called and which picture it shows, worst first; each picture once."""
    order, count = direction.order, len(direction.order)
    middle = count // 2 - MIDDLE // 2
    wanted = [("worst", i) for i in range(WORST)]
    wanted += [("median", middle + i) for i in range(MIDDLE)]
    wanted += [("best", count - BEST + i) for i in range(BEST)]
    seen: dict[int, str] = {}
    for name, place in wanted:
        if 0 <= place < count:
            seen.setdefault(place, name)
    return [(seen[place], int(order[place])) for place in sorted(seen)]


def error_colours(error: np.ndarray) -> np.ndarray:
    """uint8 (..., 3): errors from 0 (black) to FULL_SCALE and above (near white), in the colours "inferno", whose
    lightness rises evenly."""
    levels = np.rint(np.clip(error / FULL_SCALE, 0, 1) * 255).astype(np.uint8)
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_INFERNO)
    return table[levels, 0, ::-1]


def error_sheet(results: Results, *, title: str = "", tile: int = 128) -> np.ndarray:
    """Both directions beside each other: (H, W, 3) uint8 RGB. tile: side of a shown face in pixels."""
    edge, line, gap = tile // 8, tile // 32, tile * 3 // 8
    large, small = (ImageFont.load_default(tile * share) for share in (0.125, 0.1))
    label = tile * 5 // 8
    width = label + 4 * tile + 3 * line
    sides = [(direction, cases(direction)) for direction in results.directions.values()]
    rows = max(len(shown) for _, shown in sides)
    captions_top = edge + (tile // 4 if title else 0)
    faces_top = captions_top + tile * 5 // 16
    bar_top = faces_top + rows * (tile + line) + line
    size = (
        2 * edge + len(sides) * width + (len(sides) - 1) * gap,
        bar_top + tile * 3 // 8 + edge,
    )
    page = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((edge, edge), title, INK, large)
    for number, (direction, shown) in enumerate(sides):
        left = edge + number * (width + gap)
        source, target = direction.source.upper(), direction.target.upper()
        captions = (
            (source, "input"),
            (f"{source} as {target}", "swap"),
            (target, "truth"),
            ("error", "swap against truth"),
        )
        for column, (what, how) in enumerate(captions):
            x = left + label + column * (tile + line)
            draw.text((x, captions_top), what, INK, large)
            draw.text((x, captions_top + tile * 5 // 32), how, GREY, small)
        for row, (name, index) in enumerate(shown):
            y = faces_top + row * (tile + line)
            draw.text((left, y + tile * 3 // 8), name, INK, small)
            draw.text((left, y + tile // 2), f"{direction.psnr_face[index]:.1f} dB", GREY, small)
            for column, picture in enumerate(_row(direction, index, tile)):
                page.paste(Image.fromarray(picture), (left + label + column * (tile + line), y))
        x = left + label + 3 * (tile + line)
        ramp = error_colours(np.linspace(0, FULL_SCALE, tile))
        page.paste(Image.fromarray(np.repeat(ramp[None], tile // 10, 0)), (x, bar_top))
        below = bar_top + tile // 10 + line // 2
        draw.text((x, below), "0", GREY, small)
        end = f"{FULL_SCALE:g} +"
        draw.text((x + tile - small.getlength(end), below), end, GREY, small)
        note = "mean absolute error of the three channels; black to white = 1"
        draw.text((x - tile // 8 - small.getlength(note), bar_top), note, GREY, small)
        note = "decibels: PSNR of the swap over the face"
        draw.text((x - tile // 8 - small.getlength(note), below), note, GREY, small)
    return np.array(page)


def write_error_sheet(
    path: Path, results: Results, *, title: str = "", details: dict[str, str] | None = None
) -> None:
    """Write the error sheet as PNG, atomically, marked as a composite with synthetic parts.

    details: what else the mark shall say (run id, model hash). Raises UserError where it cannot be written.
    """
    says = "evaluation of a face swap: rendered inputs, synthetic faces, the truth and the errors"
    write_png(
        path,
        error_sheet(results, title=title),
        Mark(SourceType.COMPOSITE, TOOL, says, details or {}),
    )


def _row(direction: Direction, index: int, tile: int) -> list[np.ndarray]:
    """input, swap, truth and error of a picture, each uint8 (tile, tile, 3)."""
    shown = [direction.pictures[name][index] for name in ("input", "swap", "truth")]
    error = np.abs(shown[1] - shown[2]).mean(-1)
    tiles = [np.rint(np.clip(f, 0, 1) * 255).astype(np.uint8) for f in shown]
    sized = [cv2.resize(f, (tile, tile), interpolation=cv2.INTER_CUBIC) for f in tiles]
    # Errors are shown pixel for pixel: a smooth enlargement would invent values between them.
    return [*sized, cv2.resize(error_colours(error), (tile, tile), interpolation=cv2.INTER_NEAREST)]
