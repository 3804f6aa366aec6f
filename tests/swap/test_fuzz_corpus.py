"""Every input that fuzzing has kept, again, without atheris: what once reached new code must still be no finding."""

import numpy as np
import pytest

from bench.fuzz.corpus import kept
from bench.fuzz.seeds import seeds
from bench.fuzz.targets import TARGETS, Finding, Target, _resealed
from nn.checkpoint import CheckpointError, load_checkpoint
from swap.errors import UserError


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_has_no_finding(name):
    inputs = kept(name) + seeds(name)
    assert len(inputs) > 15
    target = Target(TARGETS[name])
    for data in inputs:
        target(data)


def test_a_finding_is_found(monkeypatch):
    """The targets themselves: a reader that crashes, and one that answers with two lines."""
    target = Target(TARGETS["records"])
    good = seeds("records")[0]
    target(good)
    monkeypatch.setattr("bench.fuzz.targets.read_alignments", lambda folder: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        target(good)

    def two_lines(folder):
        raise UserError("one\ntwo")

    monkeypatch.setattr("bench.fuzz.targets.read_alignments", two_lines)
    with pytest.raises(Finding, match="not one sentence"):
        target(good)


def test_a_resealed_checkpoint_gets_past_its_checksums(tmp_path):
    """Else the hunt would never come further than to the first of them."""
    whole = next(data for data in seeds("checkpoint") if data[:1] != b"!" and b"m/w" in data)
    changed = whole[:-1] + bytes([whole[-1] ^ 1])
    target = {"w": np.zeros((3, 4), np.float32), "m/w": np.zeros(4, np.float32)}
    path = tmp_path / "c.safetensors"
    path.write_bytes(changed)
    with pytest.raises(CheckpointError):
        load_checkpoint(path, lambda facts: target)
    path.write_bytes(_resealed(changed))
    assert load_checkpoint(path, lambda facts: target)["steps"] == 3
