"""The picture at the top of the README, from what `make demo` made.

    make demo MINUTES=10
    python -m bench picture --demo out/demo --out docs/swap.png

Above frames of A's clip, below the same frames with B's face, B in front of both. All subjects are rendered; the
picture is marked as a composite.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from swap.errors import UserError
from swap.provenance import Mark, SourceType, write_png
from swap.video import read_frames

PAPER, INK = (250, 250, 248), (24, 24, 24)
CAPTIONS = ("B, the face", "A, the performance", "A with B's face")
CUT = (slice(0, 240), slice(40, 280))  # a square of the 320 x 240 frame
SIDE, GAP, TOP = 240, 8, 34


def main(argv: list[str]) -> int:
    """Writes the picture; 2 where the demo has not been run."""
    parser = argparse.ArgumentParser(prog="bench picture", description=__doc__.split("\n")[0])
    parser.add_argument("--demo", type=Path, default=Path("out/demo"))
    parser.add_argument("--frames", type=int, nargs="+", default=[40, 140, 330, 565, 740])
    parser.add_argument("--b-frame", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path("docs/swap.png"))
    options = parser.parse_args(argv)
    clips = (
        options.demo / "clips" / "a.mp4",
        options.demo / "swap.mp4",
        options.demo / "clips" / "b.mp4",
    )
    for clip in clips:
        if not clip.is_file():
            print(f"there is no {clip}: run make demo first", file=sys.stderr)
            return 2
    try:
        before, after = (frames_of(clip, options.frames) for clip in clips[:2])
        (b,) = frames_of(clips[2], [options.b_frame])
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_png(
        options.out,
        compose(b, before, after),
        Mark(SourceType.COMPOSITE, "latentface", "Rendered heads, and a face swap between them."),
    )
    print(f"wrote {options.out}")
    return 0


def frames_of(clip: Path, wanted: list[int]) -> list[np.ndarray]:
    """Square cuts (SIDE, SIDE, 3) of some frames, in the order asked for; UserError where one is missing."""
    found = {
        frame.index: cv2.resize(frame.image[CUT], (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        for frame in read_frames(clip, stop=max(wanted) + 1)
        if frame.index in wanted
    }
    missing = [i for i in wanted if i not in found]
    if missing:
        raise UserError(f"{clip} has no frame {missing[0]}; name others with --frames or --b-frame")
    return [found[i] for i in wanted]


def compose(b: np.ndarray, before: list[np.ndarray], after: list[np.ndarray]) -> np.ndarray:
    """B at the left, half way down; A's frames above, the swapped ones below."""
    count = len(before)
    left = SIDE + 3 * GAP
    width, height = left + count * (SIDE + GAP), 2 * (SIDE + TOP) + GAP
    page = Image.new("RGB", (width, height), PAPER)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(18)
    middle = (height - SIDE) // 2
    for (x, y), caption in zip(
        ((GAP, middle - 28), (left, 6), (left, TOP + SIDE + 6)), CAPTIONS, strict=True
    ):
        draw.text((x, y), caption, fill=INK, font=font)
    page.paste(Image.fromarray(b), (GAP, middle))
    for row, frames in enumerate((before, after)):
        for column, frame in enumerate(frames):
            at = left + column * (SIDE + GAP), TOP + row * (SIDE + TOP)
            page.paste(Image.fromarray(frame), at)
    return np.asarray(page)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
