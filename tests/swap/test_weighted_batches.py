"""Batches of weighted faces: how often each comes, and that nothing asked before matters."""

import threading

import numpy as np
import pytest

from swap.data import Batches, FaceSet
from tests.swap.helpers import MARGIN, smooth_faces

COUNT, BATCH, STEPS = 30, 8, 2000


def batches(weights_a=None, weights_b=None, *, seed=5, batch_size=BATCH, images=None, **options):
    if images is None:
        images = smooth_faces(COUNT)
    sets = FaceSet(images, MARGIN), FaceSet(images, MARGIN)
    return Batches(*sets, seed, batch_size, 16, weights_a=weights_a, weights_b=weights_b, **options)


def counts(made, side, steps=STEPS):
    """(steps, F): how often each face is in each batch."""
    found = np.zeros((steps, COUNT), int)
    for step in range(steps):
        np.add.at(found[step], made.indices(step, side), 1)
    return found


def some_weights(seed=0):
    weights = np.random.default_rng(seed).uniform(0.1, 5, COUNT)
    weights[[0, 7, COUNT - 1]] = 0
    return weights


@pytest.mark.parametrize("side", [0, 1])
def test_faces_come_in_proportion_to_their_weight(side):
    """A face's share is cut by at most two borders of strata; whole strata inside it draw it for sure,
    so its count differs from what is expected by less than 2 and has a variance of at most 2 / 4. The
    mean of T batches then lies within 5 sqrt(1/2 / T) but for one run in a million. That one batch
    says nothing of the next: their correlation is bounded likewise."""
    weights = [some_weights(1), some_weights(2)]
    made = batches(*weights)
    expected = BATCH * weights[side] / weights[side].sum()
    found = counts(made, side)
    assert (np.abs(found - expected) < 2).all()
    np.testing.assert_allclose(found.mean(0), expected, atol=5 * np.sqrt(0.5 / STEPS))
    assert (found.sum(1) == BATCH).all()
    assert found[:, weights[side] == 0].sum() == 0
    first, second = found[:-1, 1] - expected[1], found[1:, 1] - expected[1]
    assert abs((first * second).mean()) < 5 * 0.5 / np.sqrt(STEPS)


def test_a_batch_is_spread_over_the_whole_set():
    made = batches(np.ones(COUNT), batch_size=10)
    for step in range(20):
        np.testing.assert_array_equal(made.indices(step, 0) // 3, np.arange(10))


def test_the_same_faces_do_not_always_meet():
    made = batches(np.ones(COUNT), batch_size=10)
    seen = {tuple(made.indices(step, 0)) for step in range(200)}
    assert len(seen) == 200


def test_all_of_the_weight_on_one_face():
    weights = np.zeros(COUNT)
    weights[COUNT - 1] = 1e-300
    assert (batches(weights).indices(3, 0) == COUNT - 1).all()


def test_only_proportions_count():
    weights = some_weights()
    small, large = batches(weights), batches(1e6 * weights)
    for step in range(50):
        np.testing.assert_array_equal(small.indices(step, 0), large.indices(step, 0))


def test_a_batch_is_a_pure_function_of_seed_and_step():
    weights = some_weights()
    asked = batches(weights, weights)
    for step in (900, 3, 901, 0):
        asked.at(step)
    fresh = batches(weights, weights)
    for found, expected in zip(asked.at(40), fresh.at(40), strict=True):
        np.testing.assert_array_equal(found, expected)
    inside = []
    thread = threading.Thread(target=lambda: inside.append(fresh.at(40)))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(inside[0].input_a, asked.at(40).input_a)


def test_other_seeds_steps_and_sides_draw_otherwise():
    weights = some_weights()
    made, other = batches(weights, weights), batches(weights, weights, seed=6)
    draws = [
        [tuple(m.indices(step, side).tolist()) for step in range(20)]
        for m in (made, other)
        for side in (0, 1)
    ]
    for draw in draws:
        assert len(set(draw)) > 5
    assert len(set(map(tuple, draws))) == 4


def test_weights_of_one_side_leave_the_other_as_it_was():
    plain, first, second = (
        batches(*weights).at(9) for weights in ((), (some_weights(),), (None, some_weights()))
    )
    np.testing.assert_array_equal(first.input_b, plain.input_b)
    np.testing.assert_array_equal(second.input_a, plain.input_a)
    assert not np.array_equal(first.input_a, plain.input_a)
    assert not np.array_equal(second.input_b, plain.input_b)


def test_weights_change_who_comes_and_not_how_it_is_warped():
    """Of a set of one picture many times, batches with and without weights are the same."""
    images = np.repeat(smooth_faces(1), COUNT, axis=0)
    for found, expected in zip(
        batches(some_weights(), images=images).at(3), batches(images=images).at(3), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "weights",
    [np.ones(COUNT + 1), np.ones((COUNT, 1)), np.zeros(COUNT), -np.ones(COUNT), np.full(COUNT, np.nan),
     np.full(COUNT, np.inf)],
    ids=["too many", "a column", "all zero", "negative", "nan", "infinite"],
)  # fmt: skip
def test_weights_that_are_none(weights):
    with pytest.raises(ValueError, match="weight"):
        batches(weights)
