"""The same parameters give the same bytes: here, in threads, and on what pretends to be another machine.

    python -m tests.swap.studio.test_same_bytes > tests/swap/studio/heads.sha256

makes the hashes anew, after a change that is meant to change pictures.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from swap.studio.heads import SUBJECTS, Params, draw, landmarks, load_head, picture, walk

HASHES = Path(__file__).with_name("heads.sha256")
ROOT = Path(__file__).parents[3]
FEATURES = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR AVX2 FMA3 X86_V3 X86_V4"


def digest(subject: str) -> str:
    """SHA-256 of frames, turned crops with their masks, landmarks, and of what they are made from,
    where an ulp is not hidden by 8 bits: paint, geometry, parameters.
    """
    head = load_head(subject)
    hashed = hashlib.sha256()
    for part in (head.skin[0], head.hair[0], head.hair_opacity, head.attributes, head.corners):
        hashed.update(part.tobytes())
    view = np.array([[0.5, 0.125, -35.0], [-0.125, 0.5, 10.0]])
    for params in (Params(), walk(40, 5)[30], draw(3, 4), draw(3, 5)):
        hashed.update(repr(params).encode())
        hashed.update(head.body.placed(params).tobytes())
        hashed.update(landmarks(subject, params).tobytes())
        for part in picture(subject, params, 96, view=view):
            hashed.update(part.tobytes())
        hashed.update(picture(subject, params)[0].tobytes())
    return hashed.hexdigest()


def expected() -> dict[str, str]:
    rows = (line.split() for line in HASHES.read_text().splitlines())
    return {subject: value for value, subject in rows}


@pytest.mark.parametrize("subject", sorted(SUBJECTS))
def test_pictures_are_the_ones_whose_hashes_are_kept(subject):
    assert digest(subject) == expected()[subject]


def old_machine(cache: Path) -> dict[str, str]:
    """The environment of a process that knows none of the newer instructions, and compiles anew."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    known = [f for f in FEATURES.split() if f in __cpu_dispatch__ and __cpu_features__.get(f)]
    return os.environ | {
        "NPY_DISABLE_CPU_FEATURES": " ".join(known),
        "OPENBLAS_CORETYPE": "Prescott",
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CACHE_DIR": str(cache),
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F,-AVX2_Usable,-FMA_Usable",
    }


def test_another_machine_gives_the_same_pictures(tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "tests.swap.studio.test_same_bytes", "d"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=old_machine(tmp_path),
        check=True,
    )
    assert run.stdout.split() == [expected()["d"], "d"]
    assert any(tmp_path.rglob("*.nbi"))


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(SUBJECTS):
        print(digest(name), name)
