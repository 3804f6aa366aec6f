"""The studio measured: pictures a second of every subject, and how far the detector's landmarks lie from the true ones.

python -m bench studio
"""

import os
import tempfile
import time
from pathlib import Path

import numpy as np

from swap.faces.extract import extract
from swap.faces.records import read_alignments
from swap.studio.family import FAMILIES, draws, face, get_family, in_order
from swap.studio.write import write_clip

COUNT, SIZE, CLIP = 160, 128, 500
POINTS = ("right eye", "left eye", "nose", "right mouth corner", "left mouth corner")


def main(argv: list[str]) -> int:
    """Prints both tables."""
    print(f"pictures a second at {SIZE}x{SIZE}, {os.cpu_count()} cores (median of 3 rounds)")
    for family in FAMILIES:
        for subject in get_family(family).SUBJECTS:
            params = draws(family, COUNT, 1)
            face(family, subject, params[0], SIZE)  # loads the subject, and compiles
            rates = []
            for _ in range(3):
                began = time.perf_counter()
                made = in_order(lambda p, f=family, s=subject: face(f, s, p, SIZE), params)
                count = sum(1 for _ in made)
                rates.append(count / (time.perf_counter() - began))
            print(f"  {family} {subject}: {sorted(rates)[1]:.0f}")
    print(
        f"\nlandmarks that `swap extract` finds in a clip of {CLIP} frames against the true ones, in eye distances"
    )
    for number, subject in enumerate(get_family("heads").SUBJECTS):
        print(f"  {subject}: {found_in_clip(subject, 11 * (number + 1))}", flush=True)
    return 0


def found_in_clip(subject: str, seed: int) -> str:
    """How many of a clip's faces were found, and how far their landmarks lie from where they are, in a line."""
    heads, height = get_family("heads"), 480
    with tempfile.TemporaryDirectory() as folder:
        clip, faces = Path(folder) / "clip.mp4", Path(folder) / "faces"
        write_clip("heads", subject, CLIP, seed, clip, height=height)
        extract(clip, faces)
        _, alignments = read_alignments(faces)
    params, errors = heads.walk(CLIP, seed), []
    for alignment in alignments:
        truth = heads.landmarks(subject, params[alignment.frame], (height, height * 4 // 3))
        eyes = np.linalg.norm(truth[1] - truth[0])
        errors.append(np.linalg.norm(alignment.landmarks - truth, axis=1) / eyes)
    each = np.mean(errors, 0)
    listed = ", ".join(f"{name} {error:.3f}" for name, error in zip(POINTS, each, strict=True))
    worst = np.percentile(np.mean(errors, 1), 95)
    found = f"face in {len(errors)} of {CLIP} frames"
    return f"{found}; mean {each.mean():.3f} ({listed}); 95 % of frames below {worst:.3f}"
