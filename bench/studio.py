"""The studio measured: pictures a second of every subject, and how far the detector's landmarks lie from the true ones.

python -m bench studio
"""

import os
import time

import numpy as np

from swap.faces.detect import Detector
from swap.studio.family import FAMILIES, FRAME, draws, face, get_family, in_order

COUNT, SIZE, CLIP = 160, 128, 60
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
    print("\nlandmarks found in rendered frames against the true ones, in eye distances")
    heads, detector = get_family("heads"), Detector()
    for number, subject in enumerate(heads.SUBJECTS):
        errors, missed = [], 0
        for params in heads.walk(4 * CLIP, 11 * (number + 1))[::4]:
            found = detector.detect(heads.render(subject, params, FRAME))
            truth = heads.landmarks(subject, params, FRAME)
            if not found:
                missed += 1
                continue
            eyes = np.linalg.norm(truth[1] - truth[0])
            errors.append(np.linalg.norm(found[0].landmarks - truth, axis=1) / eyes)
        each = np.mean(errors, 0)
        listed = ", ".join(f"{name} {error:.3f}" for name, error in zip(POINTS, each, strict=True))
        print(
            f"  {subject}: face found in {CLIP - missed} of {CLIP} frames; mean {each.mean():.3f} ({listed})"
        )
    return 0
