"""swap.mp4 of a rendered subject: the original, the swap and the truth side by side, with captions.

Heads are whole frames: the new face is put into the frame as `swap convert` does it. Fruit and flags are the network's
own squares, for there is no face in them to put a mask around.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from swap.convert import BATCH, COLOUR_FRAMES, ColourShift, face_squares_of, swap_batch
from swap.data import even_spread
from swap.data.faces import stored_side
from swap.evaluate.rendered import Progress, Rendered
from swap.evaluate.truth import in_batches
from swap.model import FACE_SIZE
from swap.preview import GREY, INK, PAPER
from swap.provenance import Mark, SourceType
from swap.run import TrainedRun
from swap.studio.family import face, get_family, in_order
from swap.studio.write import FPS
from swap.video import Frame, VideoWriter

HEIGHT, WIDTH, SQUARE, GAP, STRIP = 240, 320, 240, 8, 40  # pixels
NOTE = "rendered, and swapped by a network: nobody's likeness"


def write_swap_clip(
    path: Path,
    run: TrainedRun,
    rendered: Rendered,
    params: Sequence[Any],
    progress: Progress,
) -> None:
    """Writes original | swap | truth of A to B, one frame for each of ``params``; UserError where that fails."""
    whole = rendered.family == "heads"
    height, width = (HEIGHT, WIDTH) if whole else (SQUARE, SQUARE)
    a, b = rendered.a, rendered.b
    captions = (
        (f"A, {a}", "the original"),
        (f"A as B, {b}", "the swap"),
        (f"B, {b}", "the truth: what it should be"),
    )
    shape = (height + STRIP, 3 * width + 2 * GAP)
    paper = _paper(shape, captions, width)
    mark = Mark(
        SourceType.COMPOSITE,
        "latentface swap demo",
        "A rendered clip, the same with its face swapped by a trained model, and the rendered truth.",
        {"Family": rendered.family, "A": a, "B": b, "Model_sha256": run.fingerprint},
    )
    triples = (_frames if whole else _squares)(run, rendered, params, progress)
    with VideoWriter(path, fps=FPS, width=shape[1], height=shape[0], mark=mark) as writer:
        for number, triple in enumerate(triples, start=1):
            for i, picture in enumerate(triple):
                left = i * (width + GAP)
                paper[:height, left : left + width] = picture
            writer.write(paper)
            progress("writing swap.mp4", number, len(params))


def _paper(shape: tuple[int, int], captions: Sequence[tuple[str, str]], width: int) -> np.ndarray:
    """The frame without its pictures: captions under each, and what this is."""
    page = Image.new("RGB", shape[::-1], PAPER)
    draw = ImageDraw.Draw(page)
    large, small = ImageFont.load_default(14), ImageFont.load_default(11)
    top = shape[0] - STRIP + 5
    for i, (what, how) in enumerate(captions):
        left = i * (width + GAP) + 8
        draw.text((left, top), what, INK, large)
        draw.text((left, top + 17), how, GREY, small)
    end = shape[1] - 8 - small.getlength(NOTE)
    if end > 2 * (width + GAP) + 190:
        draw.text((end, top + 17), NOTE, GREY, small)
    return np.array(page)


def _frames(
    run: TrainedRun, rendered: Rendered, params: Sequence[Any], progress: Progress
) -> Iterator[tuple[np.ndarray, ...]]:
    """(original, swapped, truth) frames of a clip of heads, uint8 (HEIGHT, WIDTH, 3) each."""
    family, shape = get_family(rendered.family), (HEIGHT, WIDTH)
    where = {i: family.landmarks(rendered.a, p, shape) for i, p in enumerate(params)}

    def frame(number: int) -> Frame:
        image = family.render(rendered.a, params[number], shape)
        return Frame(number, image, number, 1 / FPS, "")

    chosen = list(in_order(frame, even_spread(len(params), COLOUR_FRAMES)))
    squares = face_squares_of(chosen, where, run)
    colours = ColourShift.fit(run.model.swap(squares, "a", "b"), squares)
    truths = in_order(lambda p: family.render(rendered.b, p, shape), params)
    originals = in_order(frame, range(len(params)))
    while batch := list(islice(originals, BATCH)):
        made = swap_batch(batch, where, run, "b", colours)
        for original, swapped in zip(batch, made, strict=True):
            yield original.image, swapped, next(truths)


def _squares(
    run: TrainedRun, rendered: Rendered, params: Sequence[Any], progress: Progress
) -> Iterator[tuple[np.ndarray, ...]]:
    """(original, swapped, truth) squares of a clip, uint8 (SQUARE, SQUARE, 3) each."""
    edge = round(SQUARE * (run.crop.margin - 1) / 2)
    side = SQUARE + 2 * edge
    stored = stored_side(FACE_SIZE, run.crop.margin)
    small = rendered.pairs(params, stored, lambda d, t: progress("rendering the clip", d, t))
    made = in_batches(run.model.swap, small.faces["a"], "a", "b")
    inner = slice(edge, edge + SQUARE)
    pictures = {
        s: in_order(lambda p, s=s: face(rendered.family, rendered.subject(s), p, side).rgb, params)
        for s in ("a", "b")
    }
    for swapped in made:
        large = cv2.resize(swapped, (SQUARE, SQUARE), interpolation=cv2.INTER_CUBIC)
        shown = np.rint(np.clip(large, 0, 1) * 255).astype(np.uint8)
        yield next(pictures["a"])[inner, inner], shown, next(pictures["b"])[inner, inner]
