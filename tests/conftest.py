"""What all tests share."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

# Derandomized: a run is a pure function of the code, so what fails on one machine fails on all.
settings.register_profile("latentface", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("latentface")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def rng() -> np.random.Generator:
    """The same numbers in every run."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def real_clips() -> Path:
    """A folder of recordings of real people; tests that need it are skipped where it is missing."""
    folder = Path(os.environ.get("LATENTFACE_FACES", REPOSITORY.parent / "shared/data/faces"))
    if not folder.is_dir():
        pytest.skip(f"no real clips at {folder}; LATENTFACE_FACES can name another folder")
    return folder
