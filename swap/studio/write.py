"""What `swap studio` writes: faces with their parameters, or a clip.

    OUT/000000_0.png ...     aligned faces as `swap extract` writes them, but by the true alignment
    OUT/alignments.jsonl     so that `swap train --a OUT` takes them
    OUT/parameters.jsonl     what each picture shows: yaw, smile, light, ... one JSON object a line

Every picture and every clip is marked as rendered.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

from swap.errors import UserError
from swap.faces.align import CropDefinition
from swap.faces.journal import Journal
from swap.faces.records import FILE_NAME, PART_NAME, Alignment, fps_text, read_alignments
from swap.files import write_bytes_atomic
from swap.provenance import Mark, SourceType, write_png
from swap.studio.family import FRAME, draws, get_family, in_order, true_alignment

PARAMETERS = "parameters.jsonl"
FPS = Fraction(25)
COMPRESS_LEVEL = 1  # a third larger than the default, and no slower than the rendering
LARGEST = 1024  # pixels of a side: the texture of a head shows no more


def studio_mark(family: str, subject: str, seed: int) -> Mark:
    """The mark of what the studio renders."""
    return Mark(
        SourceType.RENDERED,
        "latentface studio",
        f"Rendered: {family}, subject {subject}. Nobody's likeness.",
        {"Family": family, "Subject": subject, "Seed": str(seed)},
    )


def write_faces(
    family: str,
    subject: str,
    count: int,
    seed: int,
    size: int,
    out: Path,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Writes ``count`` faces of independent draws into the folder ``out``; returns how many were there already.

    Goes on where an interrupted call stopped. UserError where ``out`` holds anything else or cannot be written, and
    for a count or size out of range.
    """
    if count < 1:
        raise UserError(f"--count must be at least 1, not {count}")
    if not 16 <= size <= LARGEST:
        raise UserError(f"--size must be from 16 to {LARGEST} pixels, not {size}")
    crop, params = CropDefinition(), draws(family, count, seed)
    height, width = FRAME
    settings = {
        "source": f"studio {family} {subject}, seed {seed}, {count} draws",
        "source_sha256": "",
        "crop": crop.to_dict(),
        "size": size,
        "every": 1,
        "stop": None,
        "detector": "none: the true landmarks",
        "fps": fps_text(FPS),
        "width": width,
        "height": height,
    }
    journal = Journal(out, settings)
    if _complete(out, settings, journal):
        if progress:
            progress(count, count)
        return count
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the folder {out} cannot be made: {error.strerror}") from error
    mark = studio_mark(family, subject, seed)
    picture = get_family(family).picture

    def render(number: int) -> Alignment:
        points, matrix = true_alignment(family, subject, params[number], size, crop)
        name = f"{number:06d}_0.png"
        rgb, _ = picture(subject, params[number], size, view=matrix)
        details = mark.details | {"Number": str(number)}
        own = Mark(mark.source_type, mark.tool, mark.description, details)
        write_png(out / name, rgb, own, compress_level=COMPRESS_LEVEL)
        low, high = points.min(0), points.max(0)
        box = (float(low[0]), float(low[1]), *(float(v) for v in high - low))
        time = float(number / FPS)
        return Alignment(number, 0, name, box, points, matrix, 1.0, time)

    with journal:
        before = len(journal.done)
        todo = [number for number in range(count) if number not in journal.done]
        for alignment in in_order(render, todo):
            journal.add(alignment.frame, 1, alignment)
            if progress:
                progress(len(journal.done), count)
        write_parameters(out / PARAMETERS, family, subject, seed, params)
        journal.finish([])
    return before


def _complete(out: Path, settings: dict[str, Any], journal: Journal) -> bool:
    """Whether ``out`` holds these very faces, all of them; UserError where it holds something else."""
    if not out.exists():
        return False
    if not out.is_dir():
        raise UserError(f"{out} is a file; name a folder for the faces")
    if (out / FILE_NAME).exists():
        header, _ = read_alignments(out)
        if any(header.get(name) != value for name, value in settings.items()):
            raise UserError(
                f"{out} holds other faces ({header['source']}); name another folder, or delete it"
            )
        return True
    if (out / PART_NAME).exists() and journal.matches():
        return False
    if any(out.iterdir()):
        raise UserError(f"{out} is not empty; name a new or an empty folder for the faces")
    return False


def write_parameters(
    path: Path, family: str, subject: str, seed: int, params: Sequence[Any]
) -> None:
    """One line that says whose parameters they are, then one JSON object a picture."""
    head = {"format": "latentface-studio", "version": 1, "family": family}
    lines = [head | {"subject": subject, "seed": seed, "pictures": len(params)}]
    lines += [{"number": i} | asdict(p) for i, p in enumerate(params)]
    write_bytes_atomic(path, "".join(json.dumps(line) + "\n" for line in lines).encode())


def write_clip(
    family: str,
    subject: str,
    frames: int,
    seed: int,
    out: Path,
    progress: Callable[[int, int], None] | None = None,
    *,
    height: int = 480,
) -> None:
    """Writes a clip of ``frames`` frames, 25 a second, 4:3, of a random walk, and its parameters beside it.

    UserError where it cannot be written or a number is out of range.
    """
    from swap.video import VideoWriter

    if frames < 1:
        raise UserError(f"--count must be at least 1, not {frames}")
    if not 64 <= height <= LARGEST:
        raise UserError(f"--size must be from 64 to {LARGEST} pixels for a clip, not {height}")
    if out.is_dir():
        raise UserError(f"{out} is a folder; give --out the name of a file, such as clip.mp4")
    module = get_family(family)
    params = module.walk(frames, seed)
    width = 2 * round(height * FRAME[1] / FRAME[0] / 2)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the folder {out.parent} cannot be made: {error.strerror}") from error
    shape = (height, width)
    with VideoWriter(
        out, fps=FPS, width=width, height=height, mark=studio_mark(family, subject, seed)
    ) as writer:
        pictures = in_order(lambda p: module.render(subject, p, shape), params)
        for i, picture in enumerate(pictures):
            writer.write(picture)
            if progress:
                progress(i + 1, frames)
    write_parameters(out.with_suffix(".jsonl"), family, subject, seed, params)
