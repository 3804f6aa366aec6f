"""What stops a run: numbers that are none, explosions, one colour; and what must not."""

import numpy as np
import pytest

from nn.train import Budget, DivergenceError
from swap import guard, train
from swap.faces.align import CropDefinition
from swap.guard import FEW, RECENT, ColourGuard, LossGuard
from swap.model import PRESETS
from swap.recipe import RECIPES
from swap.train import Trainer
from tests.swap.helpers import SMALL, face_sets, hashes

SETS = face_sets()


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(train, "LOOKS_FACES", 12)
    monkeypatch.setattr(Trainer, "preview", lambda self: None)
    monkeypatch.setitem(PRESETS, SMALL.name, SMALL)


@pytest.fixture
def trainer(tmp_path):
    recipe = RECIPES["latentface"]
    made = Trainer(tmp_path, SETS, CropDefinition(), SMALL, recipe, batch_size=4)
    made.run(Budget(steps=2))
    return made


def stops(trainer, *parts):
    """The run stops at step 3, with what it saved untouched, and says ``parts``."""
    before, weights = hashes(trainer.folder), trainer.arena.values.copy()
    with pytest.raises(DivergenceError) as error:
        trainer.run(Budget(steps=9))
    message = str(error.value)
    for part in ("step 3", *parts):
        assert part in message
    assert "\n" not in message
    assert hashes(trainer.folder) == before
    assert trainer.steps == 2
    return weights


@pytest.mark.parametrize(("bad", "what"), [(np.nan, "NaN"), (np.inf, "Inf"), (-np.inf, "Inf")])
@pytest.mark.parametrize(
    "name", ["encoder.conv2d1.weight", "encoder.code.bias", "decoder_b.conv2d10.weight"]
)
def test_a_weight_is_named(trainer, name, bad, what):
    trainer.arena.parameters[name].value.flat[3] = bad
    stops(trainer, f"layer {name.rpartition('.')[0]} ", f"tensor {name}", what)


def test_a_picture_is_named(trainer):
    made = trainer.batches.made

    def spoiled(drawn, out=None):
        batch = made(drawn, out)
        batch.input_b[1, 2, 3] = np.nan
        return batch

    trainer.batches.made = spoiled
    stops(trainer, "pictures of B", "input_b", "NaN")


def test_a_layer_whose_output_overflows_is_named(trainer):
    """Finite weights, infinite products."""
    trainer.arena.parameters["encoder.code.weight"].value[...] = 1e20
    trainer.arena.parameters["encoder.spread.weight"].value[...] = 1e20
    stops(trainer, "the output of layer encoder.spread", "Inf")


@pytest.mark.parametrize("name", ["encoder.conv2d3.bias", "decoder_a.conv2d4.bias"])
def test_a_gradient_is_named_before_it_reaches_the_weights(trainer, name):
    gradients = trainer.host.gradients

    def spoiled(*args, **options):
        losses = gradients(*args, **options)
        trainer.arena.parameters[name].grad[0] = np.nan
        return losses

    trainer.host.gradients = spoiled
    weights = stops(trainer, "the gradient of layer", f"tensor {name}", "NaN")
    np.testing.assert_array_equal(trainer.arena.values, weights)


# ---------------------------------------------------------------- explosions


def watch(losses, history=()):
    """The step at which the guard stops, None if it does not."""
    watching = LossGuard("a", list(history))
    for step, loss in enumerate(losses, start=1 + len(history)):
        try:
            watching.check(loss, step)
        except DivergenceError as error:
            return step if f"loss of A explodes at step {step}" in str(error) else str(error)
    return None


def falling(count, start=0.2, end=0.03, noise=0.3, seed=0):
    """Losses like those of a run: falling, and twice as high on some batches as on others."""
    rng = np.random.default_rng(seed)
    smooth = end + (start - end) * np.exp(-np.arange(count) / (count / 6))
    return (smooth * np.exp(noise * rng.standard_normal(count))).tolist()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("end", [0.19, 0.03, 0.002])
def test_a_noisy_run_is_no_explosion(seed, end):
    assert watch(falling(3000, end=end, seed=seed)) is None


def test_a_single_bad_batch_is_no_explosion():
    losses = falling(1000)
    losses[500] = losses[700] = 0.9
    assert watch(losses) is None


def test_an_unbounded_loss_stops_at_once():
    assert watch([*falling(300), 1e6]) == 301


def test_a_picture_that_turns_black_stops_within_a_few_steps():
    assert watch([*falling(300), *[0.45] * 40]) == 300 + FEW


def test_a_loss_that_creeps_up_stops():
    step = watch([*falling(300), *np.geomspace(0.03, 0.5, 400)])
    assert 300 < step <= 700
    # The loss of an untrained network is no explosion: new faces cost as much.
    assert watch([*falling(300), *np.geomspace(0.03, 0.15, 400)]) is None


def test_a_run_that_goes_on_is_watched_as_if_it_had_not_stopped():
    losses = [*falling(300), *[0.45] * 40]
    assert watch(losses[200:], losses[:200]) == watch(losses)


def test_an_explosion_stops_the_run_and_leaves_its_save(trainer):
    trainer.run(Budget(steps=2 + RECENT))
    before = hashes(trainer.folder)
    trainer.optimizer.step = lambda: None
    gradients = trainer.host.gradients
    trainer.host.gradients = lambda *a, **o: gradients(*a, **o) | {"b": 1e4}
    with pytest.raises(DivergenceError, match=f"loss of B explodes at step {3 + RECENT}"):
        trainer.run(Budget(steps=100))
    assert hashes(trainer.folder) == before


# ---------------------------------------------------------------- one colour


def grey_out(trainer, side):
    """Its decoder answers every code with the opposite of its prior: one grey."""
    for name, p in trainer.arena.parameters.items():
        if name.startswith(f"decoder_{side}."):
            p.value[...] = 0
    looks = trainer.model.looks[side]
    looks.prior[...] = 0


@pytest.mark.parametrize("side", ["a", "b"])
def test_one_colour_stops_the_run_before_it_is_saved(trainer, side, monkeypatch):
    monkeypatch.setattr(guard, "SHOULD", 0)
    trainer.run(Budget(steps=3))
    before = hashes(trainer.folder)
    grey_out(trainer, side)
    trainer.steps += 1
    with pytest.raises(DivergenceError, match=f"decoder_{side} draws one colour at step 4.*layer"):
        trainer.save()
    assert hashes(trainer.folder) == before


def test_what_draws_pictures_first_and_then_one_colour_is_seen_in_time(trainer, monkeypatch):
    monkeypatch.setattr(train, "LOOK_EVERY", 2)
    trainer.run(Budget(steps=4))  # with a prior, it draws its mean picture from the start
    step = trainer.optimizer.step
    trainer.optimizer.step = lambda: (step(), grey_out(trainer, "a"))
    with pytest.raises(DivergenceError, match="decoder_a draws one colour at step 6"):
        trainer.run(Budget(steps=20))


def test_a_network_that_has_not_learnt_yet_may_be_grey(trainer):
    faces = {side: trainer._shown(side) for side in "ab"}
    grey_out(trainer, "a")
    ColourGuard(faces).check(trainer.model, 10)
    with pytest.raises(DivergenceError):
        ColourGuard(faces).check(trainer.model, guard.SHOULD)


def test_pictures_of_one_colour_may_be_drawn_so(trainer):
    grey_out(trainer, "a")
    ColourGuard({"a": np.full((6, 64, 64, 3), 0.5, np.float32)}).check(trainer.model, 10**6)
