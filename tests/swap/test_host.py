"""The recorded step of the trainer is ``SwapModel.backpropagate``, bit for bit, whatever the recipe."""

from dataclasses import replace

import numpy as np
import pytest

import nn
from swap.host import HostStep
from swap.match import CodeMatch
from swap.model import SIDES, Preset, SwapModel
from swap.recipe import RECIPES
from swap.train import focus_weight

PRESET = Preset("test", 16, 32, "")
FACES = 4


def model_with_looks(soften: float = 0.0) -> SwapModel:
    model, rng = SwapModel(PRESET, seed=3, soften=soften), np.random.default_rng(1)
    for side, looks in model.looks.items():
        arrays = (rng.random(looks.mean.shape, dtype=np.float32) for _ in range(3))
        model.looks[side] = replace(
            looks, **dict(zip(("mean", "scale", "prior"), arrays, strict=True))
        )
    return model


@pytest.mark.parametrize("options", [
    {}, {"weight": True}, {"returns": True}, {"match": True}, {"soften": 0.7},
    {"weight": True, "returns": True, "match": True, "soften": 0.7},
], ids=lambda options: "+".join(options) or "plain")  # fmt: skip
def test_it_is_the_step_that_it_repeats(options: dict) -> None:
    weight = focus_weight(64) if options.get("weight") else None
    found, expected = [], []
    for results in (found, expected):
        model, rng = model_with_looks(options.get("soften", 0.0)), np.random.default_rng(2)
        arena = nn.Arena(model.named_parameters())
        adam = nn.Adam(arena, 1e-3)
        match = (
            CodeMatch(SIDES, PRESET.code, nn.backend.get_backend("cpu"))
            if options.get("match")
            else None
        )
        host = HostStep(model, arena, FACES, weight, match=match, match_strength=0.3)
        for number in range(7):
            batch = rng.random((4, FACES, 64, 64, 3), dtype=np.float32)
            # As at the start of a run, none at first; then one more, which is another step again.
            count = min(max(number - 2, 0), 2) if options.get("returns") else 0
            returns = (np.arange(count) + number) % FACES if count else None
            if results is found:
                losses = host.gradients(batch, returns)
            else:
                arena.zero_grad()
                pairs = {"a": (batch[0], batch[1]), "b": (batch[2], batch[3])}
                losses = model.backpropagate(
                    pairs, weight, returns=returns, match=match, match_strength=0.3
                )
            results.append((losses, arena.grads.copy()))
            adam.step()
        if match is not None:
            assert match.steps == 7
    for (losses, gradients), (other_losses, other_gradients) in zip(found, expected, strict=True):
        assert losses == other_losses
        assert np.array_equal(gradients, other_gradients)
    assert len({losses["a"] for losses, _ in found}) == 7


def test_a_batch_may_be_made_where_it_is_read() -> None:
    model = SwapModel(PRESET, seed=3)
    arena = nn.Arena(model.named_parameters())
    host, batch = (
        HostStep(model, arena, FACES),
        np.random.default_rng(0).random((4, FACES, 64, 64, 3)),
    )
    copied = [host.gradients(batch.astype(np.float32) * scale) for scale in (1, 0.5, 0.25)]
    made = []
    for scale in (1, 0.5, 0.25):
        host.pictures[...] = batch * np.float32(scale)
        made.append(host.gradients(host.pictures))
    assert made == copied


def test_from_the_third_step_on_no_layer_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SwapModel(PRESET, seed=3)
    host = HostStep(model, nn.Arena(model.named_parameters()), FACES)
    host.pictures[...] = 0.5
    asked, forward = [], model.encoder.layers[0][1].__class__.forward
    monkeypatch.setattr(
        nn.Layer, "forward", lambda self, *a, **o: asked.append(self) or forward(self, *a, **o)
    )
    counts = []
    for _ in range(4):
        host.gradients(host.pictures)
        counts.append(len(asked))
        asked.clear()
    assert counts[0] == counts[1] > 10
    assert counts[2:] == [0, 0]


def test_the_recipes_have_all_that_is_tried_here() -> None:
    """What a recipe can ask of a step: another option would need a case above."""
    assert {r.soften > 0 for r in RECIPES.values()} == {True, False}
    assert {r.round_trips > 0 for r in RECIPES.values()} == {True, False}
    assert {r.match > 0 for r in RECIPES.values()} == {True, False}
