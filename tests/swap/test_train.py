"""Training: stop and go on bit for bit, refusals that change nothing, what a run folder shows."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

from nn.checkpoint import CheckpointError
from nn.train import Budget, DivergenceError, StopRequest
from swap import saver, train
from swap.data import FaceSet
from swap.errors import UserError
from swap.faces.align import CropDefinition
from swap.model import PRESETS, Preset
from swap.preview import sheet
from swap.provenance import SourceType, read_mark
from swap.recipe import RECIPES
from swap.run import CHECKPOINT, LOSS_PLOT, PREVIEW, checkpoint_path, open_run, run_facts
from swap.train import Trainer
from tests.conftest import REPOSITORY
from tests.swap.helpers import SMALL, face_sets, hashes, smooth_faces

STEPS = 9
# Everything on that a later step could depend on; what the shipped recipes are tuned to is no matter.
FULL = replace(
    RECIPES["alike"],
    name="full",
    round_trips_from=2,
    still_from=5,
    brightness=0.1,
    learning_rate=3e-3,
    cooldown=0.5,
    warm_up=3,
    colour_match=True,
)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(saver, "PATIENCE", 0.0)
    monkeypatch.setattr(saver, "PAUSE", 0.0)
    monkeypatch.setattr(train, "LOOKS_FACES", 12)
    monkeypatch.setitem(PRESETS, SMALL.name, SMALL)


@pytest.fixture(scope="module")
def faces():
    return face_sets()


@pytest.fixture
def make(faces, tmp_path):
    def make(folder="run", *, sets=faces, crop=None, preset=SMALL, recipe=FULL, **options):
        options = {"batch_size": 4} | options
        crop = crop or CropDefinition()
        return Trainer(tmp_path / folder, sets, crop, preset, recipe, **options)

    return make


@pytest.fixture
def quiet(monkeypatch):
    """Without the plots, for tests that look at weights alone."""
    monkeypatch.setattr(Trainer, "preview", lambda self: None)


def state(trainer):
    """Everything that the next step depends on, or that a run keeps."""
    kept = {f"{name}": flat.copy() for name, flat in trainer.optimizer.state.items()}
    kept["values"] = trainer.arena.values.copy()
    kept |= {
        f"loss {side}": np.array(losses, np.float32) for side, losses in trainer.losses.items()
    }
    for side, looks in trainer.model.looks.items():
        kept |= {f"{side} {name}": array for name, array in looks.arrays().items()}
    return kept


def assert_same(found, expected):
    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def stopping(at):
    """Options of Trainer.run that request a stop after step ``at``."""
    stop = StopRequest()

    def on_progress(now):
        stop.requested = now.steps >= at

    return {"stop": stop, "on_progress": on_progress}


# ---------------------------------------------------------------- stop and go on


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("recipe", [FULL, *RECIPES.values()], ids=lambda r: r.name)
@pytest.mark.parametrize("stops", [[4], [1, 2, 7]], ids=str)
def test_a_stopped_run_goes_on_bit_for_bit(make, recipe, stops):
    budget = Budget(steps=STEPS)
    whole = make("whole", recipe=recipe)
    whole.run(budget)
    for at in stops:
        part = make("part", recipe=recipe)
        outcome = part.run(budget, **stopping(at))
        assert (outcome.steps, outcome.stopped, part.steps) == (at, True, at)
        assert checkpoint_path(part.folder).exists()
    last = make("part", recipe=recipe)
    assert (last.resumed, last.steps) == (True, stops[-1])
    outcome = last.run(budget)
    assert (outcome.steps, outcome.stopped) == (STEPS, False)
    assert_same(state(last), state(whole))
    assert len(last.losses["a"]) == len(last.losses["b"]) == STEPS
    assert last.optimizer.steps == STEPS
    # And what is on disk is that, too.
    assert_same(state(make("part", recipe=recipe)), state(whole))


@pytest.mark.usefixtures("quiet")
def test_a_killed_run_goes_on_from_its_last_save(make, monkeypatch):
    whole = make("whole")
    whole.run(Budget(steps=STEPS))
    monkeypatch.setattr(train, "SAVE_EVERY", 0.0)

    def die(now):
        if now.steps == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make("part").run(Budget(steps=STEPS), on_progress=die)
    part = make("part")
    assert part.steps == 4  # step 5 was told before it was saved
    part.run(Budget(steps=STEPS))
    assert_same(state(part), state(whole))


CONTINUE = """
import sys
from pathlib import Path
import numpy as np
from nn.train import Budget
from swap import saver, train
from tests.swap import helpers
from tests.swap.test_train import FULL, state
train.LOOKS_FACES = 12
trainer = train.Trainer(
    Path(sys.argv[1]), helpers.face_sets(), train.CropDefinition(), helpers.SMALL, FULL, batch_size=4
)
assert trainer.resumed
trainer.run(Budget(steps=int(sys.argv[2])))
np.savez(sys.argv[3], **state(trainer))
"""


def test_a_run_of_a_recipe_that_knew_fewer_options_goes_on(make, quiet, monkeypatch):
    """Unless the recipe of that name does now what it did not then."""
    still = replace(RECIPES["alike"], still_from=1)
    for recipe, same in ((RECIPES["latentface"], True), (still, False)):
        make(recipe.name, recipe=recipe).run(Budget(steps=1))

        def facts_of_then(folder):
            facts = run_facts(folder)
            del facts["recipe"]["still_from"]
            return facts

        monkeypatch.setattr(train, "run_facts", facts_of_then)
        if same:
            assert make(recipe.name, recipe=recipe).steps == 1
        else:
            with pytest.raises(UserError, match="an earlier version of alike"):
                make(recipe.name, recipe=recipe)


def test_another_process_goes_on_bit_for_bit(make, tmp_path):
    whole = make("whole")
    whole.run(Budget(steps=STEPS))
    make("part").run(Budget(steps=STEPS), **stopping(4))
    arguments = [tmp_path / "part", STEPS, tmp_path / "state.npz"]
    subprocess.run(
        [sys.executable, "-c", CONTINUE, *map(str, arguments)], cwd=REPOSITORY, check=True
    )
    with np.load(tmp_path / "state.npz") as found:
        assert_same(dict(found), state(whole))


@pytest.mark.usefixtures("quiet")
def test_the_learning_rate_rises_and_falls_over_the_budget(make):
    rates = []
    trainer = make()
    step = trainer.step
    trainer.step = lambda number, batch, rate: rates.append(rate) or step(number, batch, rate)
    trainer.run(Budget(steps=10))
    shares = np.array([1 / 3, 2 / 3, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])
    assert rates == pytest.approx(FULL.learning_rate * shares)
    assert FULL.rate_at(100, 1.0) == pytest.approx(0.02 * FULL.learning_rate)
    assert RECIPES["2017"].rate_at(0, 1.0) == RECIPES["2017"].learning_rate


@pytest.mark.usefixtures("quiet")
def test_minutes_count_all_sessions(make):
    first = make()
    first.run(Budget(steps=3))
    assert first.seconds > 0
    again = make()
    assert again.seconds == first.seconds
    assert again.run(Budget(seconds=first.seconds)).steps == 3
    again = make()
    outcome = again.run(Budget(seconds=np.nextafter(first.seconds, np.inf)))
    assert (outcome.steps, outcome.stopped) == (4, False)
    assert outcome.seconds == again.seconds > first.seconds


@pytest.mark.usefixtures("quiet")
def test_other_seeds_are_other_runs(make):
    values = []
    for seed in (0, 1):
        trainer = make(f"run{seed}", seed=seed)
        trainer.run(Budget(steps=2))
        values.append(trainer.losses["a"])
    assert values[0] != values[1]


# ---------------------------------------------------------------- refusals


OTHERS = {
    "preset": {"preset": Preset("large", 4, 8, "")},
    "recipe": {"recipe": RECIPES["2017"]},
    "the numbers of the recipe": {"recipe": replace(FULL, learning_rate=1e-4)},
    "seed": {"seed": 1},
    "batch size": {"batch_size": 5},
    "crop": {"crop": CropDefinition(face_side=3.0)},
}


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("what", OTHERS)
def test_a_run_goes_on_only_as_what_it_is(make, tmp_path, what):
    make().run(Budget(steps=2))
    before = hashes(tmp_path)
    with pytest.raises(UserError, match=what.split()[-1]) as refused:
        make(**OTHERS[what])
    assert "--run" in str(refused.value)
    assert hashes(tmp_path) == before
    assert make().steps == 2


def damage(path, how):
    data = bytearray(path.read_bytes())
    if isinstance(how, float):
        path.write_bytes(data[: int(how * len(data))])
    elif how == "text":
        path.write_text("a letter\n" * 50)
    else:
        header = 8 + int.from_bytes(data[:8], "little")
        place = {"length": 3, "header": header // 2, "weights": (header + len(data)) // 2}[how]
        data[place] ^= 0xFF
        path.write_bytes(data)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("how", [0.0, 1e-3, 0.5, 0.999, "text", "length", "header", "weights"])
def test_a_damaged_checkpoint_is_refused_and_left(make, tmp_path, how):
    make().run(Budget(steps=2))
    damage(tmp_path / "run" / CHECKPOINT, how)
    before = hashes(tmp_path)
    with pytest.raises(CheckpointError, match=re.escape(CHECKPOINT)):
        make()
    with pytest.raises(CheckpointError, match=re.escape(CHECKPOINT)):
        open_run(tmp_path / "run")
    assert hashes(tmp_path) == before


@pytest.mark.usefixtures("quiet")
def test_a_checkpoint_of_something_else_is_refused(make, tmp_path):
    from nn.checkpoint import save_checkpoint

    (tmp_path / "run").mkdir()
    save_checkpoint(checkpoint_path(tmp_path / "run"), {"w": np.zeros(3)}, {"kind": "weather"})
    for use in (make, lambda: open_run(tmp_path / "run")):
        with pytest.raises(UserError, match="another kind"):
            use()


def test_no_run_says_how_to_make_one(tmp_path):
    with pytest.raises(UserError, match="swap train --run"):
        run_facts(tmp_path)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_an_impossible_seed_is_said(make, seed):
    with pytest.raises(UserError, match="seed"):
        make(seed=seed)


def test_an_impossible_batch_size_is_said(make):
    with pytest.raises(UserError, match="batch size"):
        make(batch_size=0)


@pytest.mark.parametrize("folder", ["file", "file/run"])
def test_a_folder_that_cannot_be_made_is_said(make, tmp_path, folder):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"run folder .* cannot be made"):
        make(folder).run(Budget(steps=1))
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.usefixtures("quiet")
def test_a_save_without_room_leaves_the_last_one(make, tmp_path, monkeypatch):
    make().run(Budget(steps=2))
    before = hashes(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    trainer = make()
    monkeypatch.setattr("nn.checkpoint._write", full)
    with pytest.raises(UserError, match=r"could not be saved .* No space left"):
        trainer.run(Budget(steps=4))
    assert hashes(tmp_path) == before


# ---------------------------------------------------------------- divergence


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_no_number_leaves_the_last_save(make, tmp_path, bad):
    make().run(Budget(steps=2))
    before = hashes(tmp_path)
    trainer = make()
    gradients = trainer.host.gradients

    def diverging(*args, **options):
        losses = gradients(*args, **options)
        return losses | ({"b": bad} if trainer.steps == 4 else {})

    trainer.host.gradients = diverging
    with pytest.raises(DivergenceError, match="step 5"):
        trainer.run(Budget(steps=9))
    assert hashes(tmp_path) == before
    assert trainer.steps == len(trainer.losses["a"]) == 4


@pytest.mark.usefixtures("quiet")
def test_weights_that_are_no_numbers_are_not_saved(make, tmp_path):
    """A gradient can overflow while the loss is still a number."""
    make().run(Budget(steps=2))
    before = hashes(tmp_path)
    trainer = make()
    trainer.optimizer.step = lambda: trainer.arena.values.__setitem__(7, np.nan)
    with pytest.raises(DivergenceError, match=r"NaN .*after step 3: the weights are not finite"):
        trainer.run(Budget(steps=3))
    assert hashes(tmp_path) == before


# ---------------------------------------------------------------- what a run shows


def test_the_folder_holds_the_run_and_what_it_shows(make, tmp_path):
    told = []
    trainer = make()
    trainer.run(Budget(steps=5), on_progress=told.append)
    assert set(hashes(tmp_path / "run")) == {CHECKPOINT, PREVIEW, LOSS_PLOT}
    for name, source_type in ((PREVIEW, SourceType.COMPOSITE), (LOSS_PLOT, SourceType.PLOT)):
        mark = read_mark(tmp_path / "run" / name)
        assert mark.source_type == source_type
        assert mark.details == {"Preset": "small", "Steps": "5"}
        height, width = cv2.imread(str(tmp_path / "run" / name)).shape[:2]
        assert 300 <= height <= 2000
        assert 600 <= width <= 2000
    assert [now.steps for now in told] == [1, 2, 3, 4, 5]
    assert [now.share for now in told] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert np.diff([now.seconds for now in told]).min() > 0
    assert [now.losses["b"] for now in told] == list(trainer.losses["b"])
    assert all(now.faces_per_second > 0 for now in told[1:])


def test_the_sheet_shows_originals_reconstructions_and_swaps(make, faces, monkeypatch):
    shown = []
    monkeypatch.setattr(train, "sheet", lambda *sides, **kw: shown.extend(sides) or sheet(*sides))
    trainer = make()
    trainer.run(Budget(steps=1))
    assert [(side.name, side.other) for side in shown] == [("A", "B"), ("B", "A")]
    for side, name, other in zip(shown, "ab", "ba", strict=True):
        indices = [
            int(
                np.abs(faces[name].squares(range(len(faces[name])), 64) - x).sum((1, 2, 3)).argmin()
            )
            for x in side.original
        ]
        assert len(set(indices)) == len(side.original) >= 4
        originals = faces[name].squares(indices, 64)
        np.testing.assert_array_equal(side.original, originals)
        np.testing.assert_array_equal(side.own, trainer.model.swap(originals, name, name))
        np.testing.assert_array_equal(side.swap, trainer.model.swap(originals, name, other))


def test_the_facts_say_what_was_trained_on_what(make, faces, tmp_path):
    trainer = make(seed=11)
    trainer.run(Budget(steps=2))
    facts = json.loads(json.dumps(run_facts(tmp_path / "run")))
    assert (facts["preset"], facts["seed"], facts["batch_size"]) == ("small", 11, 4)
    assert facts["recipe"] == FULL.to_dict()
    assert facts["crop"] == CropDefinition().to_dict()
    assert (facts["steps"], facts["seconds"]) == (2, trainer.seconds)
    assert facts["sets"]["b"]["faces"] == len(faces["b"])
    assert facts["sets"]["a"]["mean"] == pytest.approx(faces["a"].mean)
    assert {"python", "latentface", "numpy", "numba"} <= set(facts["versions"])


def test_an_opened_run_swaps_as_the_trained_one(make, tmp_path, faces):
    trainer = make()
    trainer.run(Budget(steps=3))
    run = open_run(tmp_path / "run")
    squares = faces["a"].squares(range(4), 64)
    np.testing.assert_array_equal(
        run.model.swap(squares, "a", "b"), trainer.model.swap(squares, "a", "b")
    )
    assert run.crop == CropDefinition()
    again = open_run(shutil.copytree(tmp_path / "run", tmp_path / "copy"))
    assert again.fingerprint == run.fingerprint
    trainer.run(Budget(steps=4))
    assert open_run(tmp_path / "run").fingerprint != run.fingerprint


# ---------------------------------------------------------------- learning


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("basis", [FULL, RECIPES["2017"]], ids=lambda r: r.name)
def test_the_losses_fall(make, basis):
    """Without a prior, which would know these faces, all nearly alike, from the start."""
    sets = {}
    for seed, side in enumerate("ab"):
        noise = np.random.default_rng(seed).integers(-20, 21, (25, 56, 56, 3))
        images = np.clip(smooth_faces(1, seed=seed) + noise, 0, 255).astype(np.uint8)
        sets[side] = FaceSet(images, 4 / 3)
    recipe = replace(basis, learning_rate=3e-3, prior=False)
    trainer = make(sets=sets, recipe=recipe, preset=Preset("t", 4, 32, ""), batch_size=8)
    trainer.run(Budget(steps=90))
    for side in "ab":
        losses = trainer.losses[side]
        assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5]), side


@pytest.mark.usefixtures("quiet")
def test_looks_are_the_mean_and_deviation_of_what_is_shown(make, monkeypatch):
    """Of pictures that are all alike, the prior alone is the answer."""
    monkeypatch.setattr(train, "LOOKS_FACES", 128)
    one = smooth_faces(1, seed=3)
    sets = {side: FaceSet(np.repeat(one, 25, axis=0), 4 / 3) for side in "ab"}
    still = replace(FULL, mirror=0.0, noise=0.0)
    looks = make(sets=sets, recipe=still, batch_size=16).model.looks["a"]
    # Still turned, moved and zoomed: the mean is a blurred picture of the face in the middle.
    expected = sets["a"].squares([0], 64)[0]
    middle = slice(24, 40)
    assert np.abs(looks.mean - expected)[middle, middle].mean() < 0.05
    prior = 1 / (1 + np.exp(-looks.prior))
    assert np.abs(prior - expected)[middle, middle].mean() < 0.05
    assert (looks.scale >= 0).all()
    assert looks.scale[0, 0].max() < looks.scale[32, 32].min()


def test_weights_of_pixels_have_mean_one_and_favour_the_face():
    weight = train.focus_weight(64)
    assert (weight.shape, weight.dtype) == ((64, 64, 1), np.float32)
    assert weight.mean() == pytest.approx(1, abs=1e-5)
    assert weight.min() > 0
    assert weight[32, 32, 0] > 3 * weight[0, 0, 0]
    window = train.face_window(64)
    assert window[32, 32, 0] == 1
    assert window[0].max() == window[:, 0].max() == 0
    assert window.min() >= 0
