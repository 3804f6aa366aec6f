"""The picture at the top of the README, from what `make demo` made.

    make demo
    python -m bench picture

Frames of swap.mp4: above A, below it the swap, below that the truth: B, rendered doing what A does. The frames are the
first, and those a fifth of the clip apart. The picture is marked as a composite.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from swap.clip import GAP, SQUARE
from swap.errors import UserError
from swap.preview import INK, PAPER
from swap.provenance import Mark, SourceType, write_png
from swap.video import read_frames

ROWS = ("A", "A as B: the swap", "B: the truth")
SIDE, LINE, LABEL, FRAMES = 200, 6, 128, 5  # pixels of a picture, between them, of the labels


def main(argv: list[str]) -> int:
    """Writes the picture; 2 where the demo has not been run."""
    parser = argparse.ArgumentParser(prog="bench picture", description=__doc__.split("\n")[0])
    parser.add_argument("--demo", type=Path, default=Path("out/heads"))
    parser.add_argument("--frames", type=int, nargs=FRAMES, default=[10, 60, 110, 160, 210])
    parser.add_argument("--out", type=Path, default=Path("docs/swap.png"))
    options = parser.parse_args(argv)
    try:
        shown = {
            f.index: f.image
            for f in read_frames(options.demo / "swap.mp4", stop=max(options.frames) + 1)
            if f.index in options.frames
        }
    except UserError as error:
        print(f"{error}; run `make demo` first", file=sys.stderr)
        return 2
    size = (LABEL + FRAMES * (SIDE + LINE), len(ROWS) * (SIDE + LINE) - LINE)
    page = Image.new("RGB", size, PAPER)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(14)
    for row, name in enumerate(ROWS):
        y = row * (SIDE + LINE)
        draw.text((4, y + SIDE // 2 - 10), name, INK, font)
        for column, number in enumerate(options.frames):
            left = row * (SQUARE + GAP)
            picture = np.ascontiguousarray(shown[number][:SQUARE, left : left + SQUARE])
            small = Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            page.paste(small, (LABEL + column * (SIDE + LINE), y))
    says = (
        "Rendered heads, nobody's likeness; in the middle row the face was made by a trained model."
    )
    write_png(options.out, np.array(page), Mark(SourceType.COMPOSITE, "latentface bench", says, {}))
    print(f"wrote {options.out}")
    return 0
