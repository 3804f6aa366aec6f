"""swap.mp4 of a rendered subject: the original, the swap and the truth side by side, with captions.

What is shown are the network's own squares, as they are measured: nothing is blended into a frame, no colour is
matched.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from swap.data.faces import stored_side
from swap.evaluate.rendered import Progress, Rendered
from swap.evaluate.truth import in_batches
from swap.model import FACE_SIZE
from swap.preview import GREY, INK, PAPER
from swap.provenance import Mark, SourceType
from swap.run import TrainedRun
from swap.studio.family import face, in_order
from swap.studio.write import FPS
from swap.video import VideoWriter

SQUARE, GAP, STRIP = 320, 8, 40  # pixels


def write_swap_clip(
    path: Path,
    run: TrainedRun,
    rendered: Rendered,
    params: Sequence[Any],
    progress: Progress,
) -> None:
    """Writes original | swap | truth of A to B, one frame for each of ``params``; UserError where that fails."""
    a, b = rendered.a, rendered.b
    captions = (
        (f"A, {a}", "the original"),
        (f"A as B, {b}", "the swap"),
        (f"B, {b}", "the truth: what it should be"),
    )
    shape = (SQUARE + STRIP, 3 * SQUARE + 2 * GAP)
    paper = _paper(shape, captions)
    mark = Mark(
        SourceType.COMPOSITE,
        "latentface swap demo",
        "A rendered clip, the same with its face swapped by a trained model, and the rendered truth.",
        {"Family": rendered.family, "A": a, "B": b, "Model_sha256": run.fingerprint},
    )
    triples = _squares(run, rendered, params, progress)
    with VideoWriter(path, fps=FPS, width=shape[1], height=shape[0], mark=mark) as writer:
        for number, triple in enumerate(triples, start=1):
            for i, picture in enumerate(triple):
                left = i * (SQUARE + GAP)
                paper[:SQUARE, left : left + SQUARE] = picture
            writer.write(paper)
            progress("writing swap.mp4", number, len(params))


def _paper(shape: tuple[int, int], captions: Sequence[tuple[str, str]]) -> np.ndarray:
    """The frame without its pictures: captions under each, and what this is."""
    page = Image.new("RGB", shape[::-1], PAPER)
    draw = ImageDraw.Draw(page)
    large, small = ImageFont.load_default(14), ImageFont.load_default(11)
    top = shape[0] - STRIP + 5
    for i, (what, how) in enumerate(captions):
        left = i * (SQUARE + GAP) + 8
        draw.text((left, top), what, INK, large)
        draw.text((left, top + 17), how, GREY, small)
    return np.array(page)


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
