"""Saves that fail: training goes on, says so and tries again; nothing that was trained is given up in silence."""

import errno
import os
import shutil

import numpy as np
import pytest

import nn.checkpoint
from nn.train import Budget, StopRequest
from swap import saver, train
from swap.errors import UserError
from swap.faces.align import CropDefinition
from swap.generations import Saves
from swap.model import PRESETS
from swap.recipe import RECIPES
from swap.run import run_facts
from swap.saver import SaveError, gently, save_at_last
from swap.train import Trainer
from tests.swap.helpers import SMALL, face_sets, hashes

SETS = face_sets()


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(train, "LOOKS_FACES", 12)
    monkeypatch.setattr(saver, "PAUSE", 0.0)
    monkeypatch.setattr(train, "SAVE_EVERY", 0.0)
    monkeypatch.setitem(PRESETS, SMALL.name, SMALL)


@pytest.fixture
def make(tmp_path):
    def make(**options):
        recipe, crop = RECIPES["latentface"], CropDefinition()
        return Trainer(tmp_path / "run", SETS, crop, SMALL, recipe, batch_size=4, **options)

    return make


@pytest.fixture
def full(monkeypatch):
    """A disk that is full while ``full.on``: half of the file can be written."""

    class Disk:
        on, tries = True, 0

    write = nn.checkpoint._write

    def writing(f, arrays, facts):
        if Disk.on:
            Disk.tries += 1
            f.write(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(f, arrays, facts)

    monkeypatch.setattr(nn.checkpoint, "_write", writing)
    return Disk


def test_training_goes_on_without_room_and_is_saved_when_there_is_some(make, full, tmp_path):
    told = []

    def on_progress(now):
        full.on = now.steps < 4

    outcome = make().run(Budget(steps=6), on_progress=on_progress, tell=told.append)
    assert outcome.steps == 6
    assert (full.tries, run_facts(tmp_path / "run")["steps"]) == (3, 6)
    assert len(told) == 3
    for line in told:
        assert "could not be saved" in line
        assert "No space left" in line
        assert "training goes on" in line
        assert "\n" not in line
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_folder_that_was_removed_is_made_again(make, tmp_path):
    def on_progress(now):
        if now.steps == 3:
            shutil.rmtree(tmp_path / "run")

    trainer = make()
    trainer.run(Budget(steps=4), on_progress=on_progress, tell=lambda line: None)
    assert run_facts(tmp_path / "run")["steps"] == 4
    np.testing.assert_array_equal(make().arena.values, trainer.arena.values)


def test_a_folder_that_became_a_file_costs_nothing_but_a_line(make, tmp_path):
    told, folder = [], tmp_path / "run"

    def on_progress(now):
        if now.steps == 2:
            shutil.rmtree(folder)
            folder.write_text("mine")
        elif now.steps == 4:
            folder.unlink()

    make().run(Budget(steps=5), on_progress=on_progress, tell=told.append)
    assert len([line for line in told if "could not be saved" in line]) == 2
    assert run_facts(folder)["steps"] == 5


def test_the_last_save_is_tried_until_there_is_room(make, full, tmp_path, monkeypatch):
    told = []

    def sleep(seconds):
        full.on = full.tries < 6

    monkeypatch.setattr(saver.time, "sleep", sleep)
    make().run(Budget(steps=2), tell=told.append)
    assert run_facts(tmp_path / "run")["steps"] == 2
    assert "Ctrl-C gives up" in told[2]
    assert told[3] == "saved at step 2 after all"


def test_a_last_save_that_never_succeeds_is_said_and_leaves_the_one_before(
    make, full, tmp_path, monkeypatch
):
    full.on = False
    make().run(Budget(steps=1))
    before = hashes(tmp_path)
    full.on = True
    monkeypatch.setattr(saver, "PATIENCE", 0.0)
    with pytest.raises(UserError, match=r"could not be saved .*No space left.*same command again"):
        make().run(Budget(steps=3), tell=lambda line: None)
    assert {name: h for name, h in hashes(tmp_path).items() if name.endswith("tensors")} == {
        name: h for name, h in before.items() if name.endswith("tensors")
    }


@pytest.mark.parametrize("asked_before", [False, True])
def test_ctrl_c_gives_up_waiting(monkeypatch, tmp_path, asked_before):
    stop, error = StopRequest(), SaveError(tmp_path, OSError(errno.ENOSPC, "No space left"))
    stop.requested = asked_before

    def save():
        raise error

    def sleep(seconds):
        if stop.requested:
            raise KeyboardInterrupt
        stop.requested = True

    monkeypatch.setattr(saver.time, "sleep", sleep)
    with pytest.raises(SaveError):
        save_at_last(save, 3, stop, lambda line: None)


def test_a_preview_that_cannot_be_written_ends_nothing(make, tmp_path, monkeypatch):
    told = []

    def unwritable(*_, **__):
        raise UserError("preview.png could not be written: No space left on device.")

    monkeypatch.setattr(train, "write_sheet", unwritable)
    monkeypatch.setattr(train, "FIRST_PREVIEW", 0.0)
    monkeypatch.setattr(train, "PREVIEW_EVERY", 0.0)
    assert make().run(Budget(steps=4), tell=told.append).steps == 4
    assert len(told) == 2  # once while it trains, not once a preview; and at the end
    assert run_facts(tmp_path / "run")["steps"] == 4


def test_what_is_told_once_is_told_again_after_it_succeeded():
    told, fail = [], [True, True, False, True]

    def do():
        if fail.pop(0):
            raise OSError("no")

    chore = gently(do, told.append)
    for _ in range(4):
        chore()
    assert told == ["no; training goes on"] * 2


@pytest.mark.parametrize("name", ["hardlink_to", "replace"])
def test_a_save_that_fails_at_a_name_leaves_the_one_before(make, tmp_path, monkeypatch, name):
    make().run(Budget(steps=2))
    path = tmp_path / "run" / "checkpoint.safetensors"
    before = path.read_bytes()
    monkeypatch.setattr(saver, "PATIENCE", 0.0)
    monkeypatch.setattr(Trainer, "preview", lambda self: None)

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(type(tmp_path), name, refuse)
    monkeypatch.setattr("nn.files.shutil.copyfile", refuse)
    with pytest.raises(UserError, match="Permission denied"):
        make().run(Budget(steps=3), tell=lambda line: None)
    assert path.read_bytes() == before


def test_where_a_file_cannot_have_two_names_it_is_copied(make, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "no such links here")

    monkeypatch.setattr(type(tmp_path), "hardlink_to", refuse)
    make(saves=Saves(keep=2)).run(Budget(steps=3))
    earlier = tmp_path / "run" / "checkpoint-00000002.safetensors"
    assert nn.checkpoint.verify_checkpoint(earlier)["steps"] == 2
