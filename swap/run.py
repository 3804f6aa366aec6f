"""The run folder: checkpoints that each hold all of a training run, beside what it shows of itself.

    checkpoint.safetensors   weights, optimizer, looks of each person, losses so far, and the facts below;
                             the saves before it stand beside it (swap.generations)
    preview.png, loss.png    rewritten while it trains
    run.lock                 who trains it just now (swap.lock)

The facts say what was trained on what: preset, recipe, seed, batch size, crop definition, steps and seconds so
far, the face sets and their colours. A run goes on only with the same preset, recipe, seed and crop.
"""

import contextlib
import hashlib
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import nn
from nn.backend import host
from nn.checkpoint import load_checkpoint, read_facts, save_checkpoint
from swap.errors import UserError
from swap.faces.align import CropDefinition
from swap.generations import (
    CHECKPOINT,
    KIND,
    Saves,
    check_facts,
    checkpoint_path,
    has_run,
    keep_previous,
    remove_oldest,
    saved_now,
    saying_what_helps,
)
from swap.model import SwapModel, get_preset

PREVIEW, LOSS_PLOT = "preview.png", "loss.png"


@dataclass(frozen=True)
class TrainedRun:
    """A run as conversion needs it: the model, the crop it was trained on, and what it is called."""

    folder: Path
    model: SwapModel
    crop: CropDefinition
    facts: dict[str, Any]
    fingerprint: str


def run_facts(folder: Path) -> dict[str, Any]:
    """The facts of the run in ``folder``; CheckpointError where its checkpoint cannot be read, UserError where
    there is none or it belongs to something else."""
    if not has_run(folder):
        raise UserError(
            f"{folder} holds no run (no {CHECKPOINT}); train one with `swap train --run {folder}`"
        )
    with saying_what_helps(folder):
        facts = read_facts(checkpoint_path(folder))
    if facts.get("kind") != KIND:
        raise UserError(f"{checkpoint_path(folder)} is a checkpoint of another kind of network")
    check_facts(checkpoint_path(folder), facts)
    return facts


def library_versions() -> dict[str, str]:
    """What computed a run: Python, this project and the libraries whose arithmetic it used."""
    names = [
        "latentface",
        "numpy",
        "numba",
        "opencv-python-headless",
        "cupy-cuda12x",
        "cupy-cuda13x",
    ]
    found = {}
    for name in names:
        with contextlib.suppress(PackageNotFoundError):  # each machine has what it needs
            found[name] = version(name)
    return {"python": platform.python_version()} | found


def save_run(
    folder: Path,
    model: SwapModel,
    arena: nn.Arena,
    optimizer: nn.Optimizer,
    history: dict[str, np.ndarray],
    facts: dict[str, Any],
    more: dict[str, np.ndarray],
    saves: Saves,
) -> None:
    """Writes the newest save of a run, whole or not at all, and keeps so many before it; OSError where that is not
    possible. more: further arrays that training goes on from, by name."""
    arrays = _weights(model) | _state(arena, optimizer) | _looks(model) | more
    arrays = {
        name: host(array) for name, array in arrays.items()
    }  # a file says nothing of the device
    arrays |= {f"history/{side}": losses for side, losses in history.items()}
    facts = facts | {"kind": KIND, "saved": saved_now()}
    save_checkpoint(checkpoint_path(folder), arrays, facts, lambda: keep_previous(folder, saves))
    with contextlib.suppress(OSError):  # what is too much can be removed at the next save
        remove_oldest(folder, saves)


def load_run(
    folder: Path,
    model: SwapModel,
    arena: nn.Arena,
    optimizer: nn.Optimizer,
    more: dict[str, np.ndarray],
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Reads a run back into ``model``, ``optimizer`` and the arrays of ``more``; returns its facts and the losses so
    far, (steps,) a side.

    CheckpointError where the file is damaged or does not fit; nothing is changed then.
    """
    history: dict[str, np.ndarray] = {}

    def into(facts: dict[str, Any]) -> dict[str, np.ndarray]:
        check_facts(checkpoint_path(folder), facts)
        for side in model.decoders:
            history[side] = np.empty(facts["steps"], np.float32)
        return (
            _weights(model)
            | _state(arena, optimizer)
            | _looks(model)
            | more
            | {f"history/{side}": losses for side, losses in history.items()}
        )

    with saying_what_helps(folder):
        facts = load_checkpoint(checkpoint_path(folder), into)
    optimizer.steps = facts["steps"]
    return facts, history


def open_run(folder: Path) -> TrainedRun:
    """A trained run, for use: weights without the optimizer. UserError or CheckpointError where it cannot be used."""
    facts = run_facts(folder)
    try:
        model = SwapModel(get_preset(facts["preset"]), soften=_soften(facts))
        crop = CropDefinition.from_dict(facts["crop"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"the facts in {checkpoint_path(folder)} are incomplete: {error}"
        ) from error
    weights = _weights(model)
    with saying_what_helps(folder):
        load_checkpoint(checkpoint_path(folder), lambda _: weights | _looks(model))
    digest = hashlib.sha256()
    for name, array in weights.items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return TrainedRun(folder, model, crop, facts, digest.hexdigest())


def _weights(model: SwapModel) -> dict[str, np.ndarray]:
    return {name: p.value for name, p in model.named_parameters()}


def _state(arena: nn.Arena, optimizer: nn.Optimizer) -> dict[str, np.ndarray]:
    return {
        f"{kind}/{name}": arena.view(flat, name)
        for kind, flat in optimizer.state.items()
        for name in arena.parameters
    }


def _looks(model: SwapModel) -> dict[str, np.ndarray]:
    return {
        f"looks/{side}/{kind}": array
        for side, looks in model.looks.items()
        for kind, array in looks.arrays().items()
    }


def _soften(facts: dict[str, Any]) -> float:
    """The recipe's blur of the encoder's input; runs from before there was one have none."""
    recipe = facts.get("recipe")
    value = recipe.get("soften", 0.0) if isinstance(recipe, dict) else 0.0
    if not isinstance(value, int | float) or not 0 <= value <= 16:
        raise nn.CheckpointError(f"the checkpoint's recipe softens by {value!r} pixels")
    return float(value)
