"""Batches and steps on the emulated card beside those of the CPU."""

import cv2
import numpy as np
import pytest

import nn
import swap.specs  # noqa: F401 - registers the model
from bench.memory import on_card
from nn.backend import host
from nn.check import TOLERANCE, models
from nn.gpu import device, modes
from nn.layer import REGISTRY
from swap.card import CardStep
from swap.data import Augmentation, Batches, ColourMatch, FaceSet
from swap.data.card import CardBatches, softened
from swap.match import CodeMatch
from swap.model import SIDES, Preset, SwapModel
from tests.nn.gpu.emulator import Emulator

SMALL = Preset("small", 4, 8, "tests")
STRONG = Augmentation(brightness=0.2, contrast=0.3, gain=0.1)


@pytest.fixture
def sets(rng):
    return [FaceSet(rng.integers(0, 256, (30, 33, 33, 3), np.uint8), 1.3) for _ in SIDES]


def test_batches_are_those_of_the_cpu_byte_for_byte(card, sets):
    match = ColourMatch(np.array([1.2, 0.9, 1.0]), np.array([0.1, -0.05, 0.0]))
    for options in ({}, {"augmentation": STRONG, "match_a": match}):
        batches = Batches(*sets, 3, 5, 16, **options)
        made = CardBatches(batches)
        for step in (0, 7):
            made.send(made.draw(step))
            made.make()
            found = [made.inputs[0], made.targets[0], made.inputs[1], made.targets[1]]
            for ours, theirs in zip(found, batches.at(step), strict=True):
                np.testing.assert_array_equal(host(ours), theirs)


def test_faces_that_do_not_stay_on_the_card_are_sent(card, rng):
    images = rng.integers(0, 256, (30, 33, 33, 3), np.uint8)
    sets = [FaceSet(images, 1.3, mapped=True), FaceSet(images[::-1].copy(), 1.3)]
    batches = Batches(*sets, 3, 5, 16)
    made = CardBatches(batches)
    drawn = made.draw(2)
    assert drawn.faces[0].shape == (5, 33, 33, 3)
    assert drawn.faces[1] is None
    made.send(drawn)
    made.make()
    np.testing.assert_array_equal(host(made.inputs[0]), batches.at(2).input_a)
    np.testing.assert_array_equal(host(made.targets[1]), batches.at(2).target_b)


@pytest.mark.parametrize("sigma", [0.6, 1.2, 5.0])
def test_the_blur_is_opencvs(card, rng, sigma):
    faces = rng.random((2, 16, 16, 3), np.float32)
    expected = [cv2.GaussianBlur(f, (0, 0), sigma, borderType=cv2.BORDER_REFLECT) for f in faces]
    found = host(softened(device.upload(faces), sigma))
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


def at(returns, number):
    """Which faces come back in a step: the same in all, or a list of them."""
    return returns[number] if isinstance(returns, list) else returns


def trained(
    sets, backend, steps, *, match=False, returns=None, weight=None, precision="fp32", way="implicit", preset=SMALL
):  # fmt: skip
    """Losses (steps, 2) and the weights after so many steps."""
    batches = Batches(*sets, 1, 3)
    model = SwapModel(preset, seed=2, init="he", last_gain=0.2)
    arena = nn.Arena(model.named_parameters())
    adam = nn.Adam(arena, 1e-3)
    code = CodeMatch(SIDES, preset.code, model.encoder["code"].ops) if match else None
    losses = []
    if backend == "gpu":
        adam.to("gpu")
        model.to("gpu")
        if code:
            code.to("gpu")
        with modes.using(precision=precision, way=way):
            step = CardStep(model, adam, batches, weight, match=code, match_strength=0.01)
            for number in range(steps):
                found, good = step.step(step.draw(number), 1e-3 / (number + 1), at(returns, number))
                assert good
                losses.append(found)
        return np.array(losses), host(arena.values), step
    for number in range(steps):
        batch = batches.at(number)
        arena.zero_grad()
        found = model.backpropagate(
            {"a": batch[:2], "b": batch[2:]},
            weight,
            returns=at(returns, number),
            match=code,
            match_strength=0.01,
        )
        adam.learning_rate = 1e-3 / (number + 1)
        adam.step()
        losses.append(tuple(found.values()))
    return np.array(losses), arena.values, None


def test_round_trips_that_begin_and_change_are_those_of_the_cpu(card, sets):
    """A recorded step has to be recorded anew where they begin, and to look anew at which faces come back."""
    returns = [None, None, np.array([0, 2]), np.array([1, 2]), np.array([2, 0]), None]
    ours, weights, _ = trained(sets, "gpu", 6, returns=returns)
    theirs, expected, _ = trained(sets, "cpu", 6, returns=returns)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    assert np.abs(weights - expected).max() < 2e-4


def test_recorded_steps_are_those_of_the_cpu(card, sets, rng):
    weight = rng.uniform(0.5, 2, (64, 64, 1)).astype(np.float32)
    ours, weights, step = trained(sets, "gpu", 4, weight=weight)
    theirs, expected, _ = trained(sets, "cpu", 4, weight=weight)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    assert np.abs(weights - expected).max() < 2e-4
    assert step.optimizer.steps == 4


@pytest.mark.parametrize("way", ["implicit", "warpgroup", "copied"])
@pytest.mark.parametrize("precision", ["tf32", "fp16"])
def test_steps_with_tensor_cores_are_those_of_the_cpu_but_for_rounding(card, sets, precision, way):
    """With as many channels as it takes for the ways to differ, few going in and out."""
    options = {"preset": Preset("more", 16, 32, "tests"), "match": True, "returns": np.array([1])}
    ours, weights, _ = trained(sets, "gpu", 2, precision=precision, way=way, **options)
    theirs, expected, _ = trained(sets, "cpu", 2, **options)
    np.testing.assert_allclose(ours, theirs, rtol=2e-3)
    assert np.abs(weights - expected).mean() < 1e-4  # Adam turns the sign of what is nearly 0
    if isinstance(card, Emulator):
        made = {(k, "-DWARPGROUP=1" in options) for _, k, options in card.launched}
        wide = {("conv_forward", True), ("conv_dx", True), ("conv_dw", True)}
        assert (wide <= made) == (way != "implicit")
        assert ("patches", False) in made


def test_steps_with_round_trips_and_matched_codes_are_those_of_the_cpu(card, sets):
    options = {"match": True, "returns": np.array([0, 2])}
    ours, weights, _ = trained(sets, "gpu", 3, **options)
    theirs, expected, _ = trained(sets, "cpu", 3, **options)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    assert np.abs(weights - expected).max() < 2e-4


def test_two_runs_are_one(card, sets):
    first, second = (trained(sets, "gpu", 3)[:2] for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


class Run:
    """A CardStep and what it trains, with a match of codes whose moments change in every step."""

    def __init__(self, sets, precision="fp32"):
        self.precision = precision
        model = SwapModel(SMALL, seed=2, init="he", last_gain=0.2)
        self.adam = nn.Adam(nn.Arena(model.named_parameters()), 1e-3).to("gpu")
        model.to("gpu")
        self.match = CodeMatch(SIDES, SMALL.code, model.encoder["code"].ops)
        self.match.to("gpu")
        with modes.using(precision=precision):
            self.step = CardStep(
                model, self.adam, Batches(*sets, 1, 3), None, match=self.match, match_strength=0.01
            )

    def begin(self, number, returns=None):
        with modes.using(precision=self.precision):
            self.step.begin(self.step.draw(number), 1e-3 / (number + 1), returns)

    def finish(self):
        with modes.using(precision=self.precision):
            return self.step.finish()

    def state(self):
        arrays = [self.adam.arena.values, *self.adam.state.values(), *self.match.arrays().values()]
        return [np.array(host(a)) for a in arrays]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_steps_that_overlap_are_those_that_follow_each_other(card, sets, precision):
    one, two = Run(sets, precision), Run(sets, precision)
    if (
        precision == "fp16"
    ):  # beyond what float16 can hold: some steps are made again, one of them with another after it
        one.step.scale.value = two.step.scale.value = 2.0**26
    expected, found = [], []
    for number in range(5):
        one.begin(number)
        expected.append(one.finish())
    two.begin(0)
    for number in range(1, 5):
        two.begin(number)
        assert two.step.under_way == 2
        found.append(two.finish())
    found.append(two.finish())
    assert found == expected
    assert one.step.scale.value == two.step.scale.value
    assert precision == "fp32" or one.step.scale.value < 2.0**26
    for ours, theirs in zip(two.state(), one.state(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert two.adam.steps == 5
    assert int(two.match.steps[0]) == 5


def test_no_third_step_is_begun(card, sets):
    run = Run(sets)
    run.begin(0)
    run.begin(1)
    with pytest.raises(ValueError, match="2 steps are under way"):
        run.begin(2)
    run.step.settle()
    assert run.step.under_way == 0


def test_a_step_after_a_bad_one_changes_nothing(card, sets):
    """Also where it was begun before anyone knew, and the card then holds the gradients of the bad one."""
    alone, run = Run(sets), Run(sets)
    gradients = []
    for each in (alone, run):
        each.begin(0)
        each.finish()
        bad = host(each.adam.arena.values).copy()
        bad[each.adam.arena.offsets["encoder.conv2d1.bias"]] = np.inf
        device.write(each.adam.arena.values, bad)
        before = each.state()[:3]
        each.begin(1)
        if each is run:
            each.begin(2)
        assert not each.finish()[1]
        assert each.step.under_way == 0
        assert each.adam.steps == 1
        for was, now in zip(before, each.state()[:3], strict=True):
            np.testing.assert_array_equal(now, was)
        gradients.append(host(each.adam.arena.grads).copy())
    np.testing.assert_array_equal(*gradients)


def test_float16_trains_with_a_scaled_loss(card, sets):
    ours, _, step = trained(sets, "gpu", 3, precision="fp16")
    theirs, _, _ = trained(sets, "cpu", 3)
    np.testing.assert_allclose(ours, theirs, rtol=1e-2)
    assert step.scale.value > 1


def test_a_step_that_overflows_is_made_again_with_a_smaller_scale(card, sets):
    batches, model = Batches(*sets, 1, 3), SwapModel(SMALL, seed=2)
    adam = nn.Adam(nn.Arena(model.named_parameters()), 1e-3).to("gpu")
    model.to("gpu")
    with modes.using(precision="fp16"):
        step = CardStep(model, adam, batches, None)
        step.scale.value = 2.0**33  # beyond what float16 can hold
        _, good = step.step(step.draw(0), 1e-3)
    assert good
    assert step.scale.value < 2.0**33
    assert adam.steps == 1
    assert np.isfinite(host(adam.arena.values)).all()


def test_a_model_on_the_card_swaps_pictures_of_the_host(card, rng):
    faces = rng.random((2, 64, 64, 3), np.float32)
    model = SwapModel(SMALL, seed=1, soften=0.8)
    expected = model.swap(faces, "a", "b")
    found = model.to("gpu").swap(faces, "a", "b")
    assert type(found) is np.ndarray
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert model.encode(faces, "a").shape == (2, 8, 8, 16)
    again = model.to("cpu").swap(faces, "a", "b")
    np.testing.assert_array_equal(again, expected)


def test_the_derivative_of_the_whole_model_is_right_on_the_card(card):
    """As ``nn check TwoDecoders --backend gpu`` has it, for the smallest preset, and to its tolerance."""
    spec = REGISTRY["TwoDecoders"]
    for finding in models.directions(spec, spec.samples[0], "gpu", 0):
        assert finding.within(TOLERANCE), finding.sentence()


@pytest.mark.parametrize("way", ["implicit", "copied"])
@pytest.mark.parametrize("precision", ["tf32", "fp16"])
@pytest.mark.parametrize("preset", ["lite", "base"])
def test_a_step_takes_no_more_of_a_card_than_is_estimated(preset, precision, way):
    """By the sizes of its arrays, which no card need compute."""
    most, estimate = on_card(preset, 64, precision, way)
    assert estimate / 3 < most < estimate
