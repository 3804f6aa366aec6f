"""The saves of a run: how many are kept, what is said of a damaged one, going back, and who may write."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import nn.checkpoint
from nn.checkpoint import CheckpointError, DamagedError
from nn.train import Budget
from swap import train
from swap.errors import UserError
from swap.faces.align import CropDefinition
from swap.generations import Saves, checkpoint_path, describe_run, generations, restore
from swap.lock import LOCK, RunLock
from swap.model import PRESETS
from swap.recipe import RECIPES
from swap.run import CHECKPOINT, open_run, run_facts
from swap.train import Trainer
from tests.conftest import REPOSITORY
from tests.swap.helpers import SMALL, face_sets, hashes

SETS = face_sets()


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(train, "LOOKS_FACES", 12)
    monkeypatch.setattr(Trainer, "preview", lambda self: None)
    monkeypatch.setitem(PRESETS, SMALL.name, SMALL)


@pytest.fixture
def make(tmp_path):
    def make(folder="run", **options):
        return Trainer(
            tmp_path / folder,
            SETS,
            CropDefinition(),
            SMALL,
            RECIPES["latentface"],
            batch_size=4,
            **options,
        )

    return make


@pytest.fixture
def run(make, tmp_path, monkeypatch):
    """A run of five steps, a save after each, with the state after each: (folder, {step: weights})."""
    monkeypatch.setattr(train, "SAVE_EVERY", 0.0)
    trainer, weights = make(), {}
    trainer.run(
        Budget(steps=5),
        on_progress=lambda now: weights.update({now.steps: trainer.arena.values.copy()}),
    )
    return tmp_path / "run", weights


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def earlier_name(steps):
    return f"checkpoint-{steps:08d}.safetensors"


def damage(path):
    """One bit of a weight that every use reads."""
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    entries = json.loads(data[8:start])
    name = next(name for name in entries if name.startswith("encoder."))
    data[start + entries[name]["data_offsets"][0]] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("keep", [1, 2, 3, 10])
def test_so_many_saves_are_kept(make, tmp_path, monkeypatch, keep):
    monkeypatch.setattr(train, "SAVE_EVERY", 0.0)
    make(saves=Saves(keep=keep)).run(Budget(steps=5))
    kept = [earlier_name(step) for step in (1, 2, 3, 4)[max(0, 5 - keep) :]]
    assert names(tmp_path / "run") == sorted([CHECKPOINT, *kept])
    make(saves=Saves(keep=2)).run(Budget(steps=6))
    assert names(tmp_path / "run") == sorted([CHECKPOINT, earlier_name(5)])


def test_each_save_is_the_state_of_its_step(make, run, tmp_path):
    folder, weights = run
    for step in (3, 4, 5):
        (tmp_path / f"as{step}").mkdir()
        source = folder / (CHECKPOINT if step == 5 else earlier_name(step))
        shutil.copy(source, tmp_path / f"as{step}" / CHECKPOINT)
        again = make(f"as{step}")
        assert again.steps == step
        np.testing.assert_array_equal(again.arena.values, weights[step])


def test_a_step_is_saved_once(make, run):
    folder, _ = run
    before = hashes(folder)
    trainer = make()
    trainer.save()
    trainer.run(Budget(steps=5))
    assert hashes(folder) == before
    checkpoint_path(folder).unlink()  # but never is it taken for saved where it is gone
    trainer.save()
    assert make().steps == 5


def test_snapshots_stay(make, tmp_path, monkeypatch):
    make(saves=Saves(keep=1, snapshot_every=2)).run(Budget(steps=5))
    snapshots = [f"snapshot-{step:08d}.safetensors" for step in (2, 4)]
    assert names(tmp_path / "run") == sorted([CHECKPOINT, *snapshots])
    assert [g.facts["steps"] for g in generations(tmp_path / "run")] == [5, 4, 2]
    found, aside = restore(tmp_path / "run", 2)
    assert (found.facts["steps"], len(aside)) == (2, 1)
    assert make().steps == 2
    assert snapshots[0] in names(tmp_path / "run")


@pytest.mark.parametrize("options", [{"keep": 0}, {"snapshot_every": 0}])
def test_impossible_numbers_are_said(options):
    with pytest.raises(UserError, match="at least 1"):
        Saves(**options)


# ---------------------------------------------------------------- a damaged save


@pytest.mark.parametrize("how", [damage, lambda path: path.unlink()], ids=["damaged", "missing"])
def test_a_bad_newest_save_is_refused_and_says_how_to_go_back(make, run, how):
    folder, weights = run
    how(checkpoint_path(folder))
    before = hashes(folder)
    for use in (make, lambda: open_run(folder)):
        with pytest.raises(DamagedError) as refused:
            use()
        message = str(refused.value)
        assert CHECKPOINT in message
        assert f"`swap restore {folder}`" in message
        assert "\n" not in message
    assert hashes(folder) == before
    text, well = describe_run(folder)
    assert not well
    assert "swap restore" in text

    found, aside = restore(folder)
    assert found.facts["steps"] == 4
    after = hashes(folder)
    for name, digest in before.items():
        assert digest in after.values(), name  # set aside, never removed
    assert [path.name for path in aside] == (
        ["aside-1.safetensors"] if CHECKPOINT in before else []
    )
    assert describe_run(folder)[1]
    trainer = make()
    np.testing.assert_array_equal(trainer.arena.values, weights[4])
    trainer.run(Budget(steps=5))
    np.testing.assert_array_equal(trainer.arena.values, weights[5])


def test_going_back_passes_over_what_is_damaged(make, run):
    folder, weights = run
    damage(checkpoint_path(folder))
    damage(folder / earlier_name(4))
    before = set(hashes(folder).values())
    found, aside = restore(folder)
    assert (found.facts["steps"], len(aside)) == (3, 2)
    assert set(hashes(folder).values()) == before
    np.testing.assert_array_equal(make().arena.values, weights[3])
    with pytest.raises(UserError, match="no save before the newest"):
        restore(folder)


def test_nothing_whole_changes_nothing(run):
    folder, _ = run
    for name in names(folder):
        damage(folder / name)
    before = hashes(folder)
    with pytest.raises(UserError, match="no save to go back to is whole"):
        restore(folder)
    assert hashes(folder) == before


def test_going_back_by_wish_and_to_a_step(make, run):
    folder, _ = run
    assert restore(folder)[0].facts["steps"] == 4
    assert names(folder) == sorted(["aside-1.safetensors", CHECKPOINT, earlier_name(3)])
    make().run(Budget(steps=6))
    with pytest.raises(UserError, match="no save of step 9; there are 4, 5"):
        restore(folder, 9)
    assert restore(folder, 4)[0].facts["steps"] == 4
    assert run_facts(folder)["steps"] == 4


@pytest.mark.parametrize("moment", range(8))
def test_going_back_that_is_cut_off_loses_nothing(run, monkeypatch, moment):
    """The restore dies at each of the names that it gives or takes, and is asked for again."""
    folder, _ = run
    damage(checkpoint_path(folder))
    before = set(hashes(folder).values())
    calls = []
    for name in ("hardlink_to", "replace", "unlink"):
        original = getattr(type(folder), name)

        def dying(self, *arguments, original=original, **options):
            if len(calls) == moment:
                raise KeyboardInterrupt
            calls.append(0)
            return original(self, *arguments, **options)

        monkeypatch.setattr(type(folder), name, dying)
    with contextlib.suppress(KeyboardInterrupt):
        restore(folder)
    monkeypatch.undo()
    (folder / LOCK).unlink(missing_ok=True)
    assert before <= set(hashes(folder).values())
    if not describe_run(folder)[1]:
        restore(folder)
    assert run_facts(folder)["steps"] == 4
    assert before <= set(hashes(folder).values())


def test_a_damaged_save_is_not_counted_among_those_kept(make, run):
    """Damaged on disk while training goes on: the next save must not push good ones out for it."""
    folder, _ = run
    trainer = make()
    damage_header = bytearray(checkpoint_path(folder).read_bytes())
    damage_header[20] ^= 1
    checkpoint_path(folder).write_bytes(damage_header)
    trainer._on_disk = train._identity_of(checkpoint_path(folder))
    trainer.run(Budget(steps=6))
    assert names(folder) == sorted(
        ["aside-1.safetensors", CHECKPOINT, earlier_name(3), earlier_name(4)]
    )


def test_what_is_wrong_is_listed(run):
    folder, _ = run
    text, well = describe_run(folder)
    assert well
    assert text.count("whole") == 3
    for part in ("preset small", "recipe latentface", "seed 0", "step 5", "step 3", "crop"):
        assert part in text
    damage(folder / earlier_name(3))
    text, well = describe_run(folder)
    assert not well
    assert "checksum differs" in text
    assert text.count("whole") == 2
    assert describe_run(checkpoint_path(folder))[1]
    assert not describe_run(folder / earlier_name(3))[1]


# ---------------------------------------------------------------- one process at a time


HOLD = """
import sys
from pathlib import Path
from swap.lock import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_and_changes_nothing(make, run):
    folder, _ = run
    trainer = make()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout.readline() == "held\n"
        before = hashes(folder)
        for use in (make, lambda: trainer.run(Budget(steps=7)), lambda: restore(folder)):
            with pytest.raises(UserError, match=f"process {holder.pid} on {os.uname().nodename}"):
                use()
        assert hashes(folder) == before
    finally:
        holder.communicate("")
    trainer.run(Budget(steps=6))
    assert LOCK not in names(folder)


def test_the_lock_is_held_while_it_trains(make, tmp_path):
    def try_it(now):
        with pytest.raises(UserError, match="being worked on"):
            RunLock(tmp_path / "run").__enter__()

    make().run(Budget(steps=1), on_progress=try_it)


def test_a_run_that_went_on_meanwhile_is_not_overwritten(make, run):
    folder, _ = run
    late = make()
    make().run(Budget(steps=7))
    before = hashes(folder)
    with pytest.raises(UserError, match="changed by another process"):
        late.run(Budget(steps=6))
    assert hashes(folder) == before


def test_a_run_that_began_meanwhile_is_not_overwritten(make):
    late = make("new")
    make("new").run(Budget(steps=2))
    with pytest.raises(UserError, match="changed by another process"):
        late.run(Budget(steps=6))


def test_a_newer_format_is_named_and_no_reason_to_go_back(run, monkeypatch, make):
    folder, _ = run
    path = checkpoint_path(folder)
    path.write_bytes(path.read_bytes().replace(b'"version":"1"', b'"version":"7"'))
    with pytest.raises(CheckpointError, match=r"version '7' and this program reads 1") as refused:
        make()
    assert not re.search("restore", str(refused.value))


# ---------------------------------------------------------------- facts from a stranger


STRANGE = {
    "no steps": {"steps": None},
    "text for steps": {"steps": "many"},
    "a truth for steps": {"steps": True},
    "more steps than losses": {"steps": 10**8},
    "less than none": {"steps": -1},
    "no time": {"seconds": float("nan")},
    "a list for a preset": {"preset": ["tiny"]},
    "no recipe": {"recipe": 3},
    "text for the crop": {"crop": "wide"},
    "a crop of nothing": {"crop": {}},
    "an unknown preset": {"preset": "x\x1b[2Jy"},
}


@pytest.mark.parametrize("what", STRANGE)
def test_strange_facts_are_refused_in_one_sentence(make, run, what):
    """The file is whole and its checksums are right; a stranger wrote it."""
    folder, _ = run
    path = checkpoint_path(folder)
    with nn.checkpoint._open(path) as f:
        contents = nn.checkpoint._Contents(path, f)
        arrays = {
            name: np.empty(e["shape"], nn.checkpoint.DTYPES[e["dtype"]])
            for name, e in contents.tensors.items()
        }
        for name, array in arrays.items():
            contents.read(name, array)
    nn.checkpoint.save_checkpoint(path, arrays, contents.facts | STRANGE[what])
    for use in (make, lambda: open_run(folder)):
        with pytest.raises((UserError, CheckpointError)) as refused:
            use()
        assert str(refused.value).isprintable()
    assert describe_run(folder)[0].replace("\n", "").isprintable()
