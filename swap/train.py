"""Training a run: faces in, a run folder out, to be stopped and gone on with at any time.

    for step t:   batch t of A and of B, a pure function of (seed, t)
                  losses and gradients of both sides            SwapModel.backpropagate, by HostStep or CardStep
                  one Adam step over all parameters             nn.Adam

Everything that step t + 1 depends on is in the checkpoint, so a run that was stopped and continued has the
same weights, bit for bit, as one that was not: on the CPU, with one number of steps as its budget. A budget of
minutes sets the learning rate by the clock, and a larger budget raises it again at first.
"""

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

import nn
from nn.backend import GPU, OutOfMemory, choose, get_backend, host
from nn.files import sync_folder
from nn.train import Budget, Chore, DivergenceError, Outcome, StopRequest, train
from swap.data import WAITING, Batch, Batches, ColourMatch, FaceSet, Prefetcher, even_spread
from swap.data.unusual import eye_distances, eye_window, mouth_window, unusual
from swap.errors import UserError
from swap.faces.align import CropDefinition
from swap.generations import Saves, checkpoint_path, plain, remove_unfinished, take_snapshot
from swap.guard import (
    LOOK_EVERY,
    ColourGuard,
    LossGuard,
    all_finite,
    biases,
    check_weights,
    explain,
)
from swap.host import HostStep
from swap.lock import RunLock, check_unlocked
from swap.match import CodeMatch
from swap.memory import MemoryEstimate, estimate_memory, give_back
from swap.model import FACE_SIZE, SIDES, Looks, Preset, SwapModel
from swap.preview import SheetSide, loss_plot, sheet, write_sheet
from swap.recipe import Recipe
from swap.run import (
    LOSS_PLOT,
    PREVIEW,
    has_run,
    library_versions,
    load_run,
    run_facts,
    save_run,
)
from swap.saver import SaveError, Tell, gently, save_at_last

if TYPE_CHECKING:
    from swap.card import CardStep

BATCH_SIZE = 16  # faces a side
SAVE_EVERY, PREVIEW_EVERY, FIRST_PREVIEW = 120.0, 30.0, 5.0  # seconds
LOOKS_FACES = 1024  # of which a person's mean and deviation pictures are made
SMOOTH, FLOOR = (
    5,
    np.float32(0.03),
)  # deviation pictures are averaged over SMOOTH pixels, kept above FLOOR
SHEET_FACES = 6


@dataclass(frozen=True)
class Progress:
    """Told after every step: steps and seconds in all, share of the budget, losses, faces per second."""

    steps: int
    seconds: float
    share: float
    losses: dict[str, float]
    faces_per_second: float


class Trainer:
    """A run in memory: ``Trainer(...)`` starts or continues it, ``run(budget)`` trains, ``save()`` keeps it.

    studio: what the faces were rendered from, where they were (swap.evaluate.rendered). saves: how many saves are kept.
    device: "cpu", "gpu" or "auto"; precision: of products on the GPU (nn.gpu.modes). Neither is part of the run: what
    was saved on one goes on on the other, by other roundings.
    Raises UserError where ``folder`` holds a run of another preset, recipe, seed, batch size or crop, or another
    process works on it, and CheckpointError where its newest save is damaged; nothing in the folder is changed then.
    """

    def __init__(
        self,
        folder: Path,
        faces: dict[str, FaceSet],
        crop: CropDefinition,
        preset: Preset,
        recipe: Recipe,
        *,
        seed: int = 0,
        batch_size: int = BATCH_SIZE,
        studio: dict[str, Any] | None = None,
        saves: Saves | None = None,
        device: str = "cpu",
        precision: str = "fp32",
    ) -> None:
        check_unlocked(folder)
        self.device = choose(device)
        self.studio, self.saves = studio, saves or Saves()
        self._lock = RunLock(folder)
        self._on_disk = _identity_of(
            checkpoint_path(folder)
        )  # the newest save, as it was last read or written
        self.folder, self.faces, self.crop = folder, faces, crop
        self.preset, self.recipe, self.seed, self.batch_size = preset, recipe, seed, batch_size
        self.steps, self.seconds, self.resumed = 0, 0.0, has_run(folder)
        self.other_faces = False  # than those that the run was trained on before
        if self.resumed:
            self._check_same(run_facts(folder))
        match = ColourMatch.fit(faces["a"], faces["b"]) if recipe.colour_match else None
        self.batches = Batches(
            faces["a"],
            faces["b"],
            seed,
            batch_size,
            FACE_SIZE,
            augmentation=recipe.augmentation(),
            match_a=match,
            weights_a=unusual(faces["a"]) if recipe.unusual else None,
            weights_b=unusual(faces["b"]) if recipe.unusual else None,
        )
        self.weight = focus_weight(FACE_SIZE) if recipe.focus else None
        self.model = SwapModel(
            preset,
            seed=seed,
            init=recipe.init,
            last_gain=recipe.last_gain,
            soften=recipe.soften,
        )
        self.arena = nn.Arena(self.model.named_parameters())
        self.optimizer = nn.Adam(
            self.arena, recipe.learning_rate, beta1=recipe.beta1, eps=recipe.eps
        )
        ops = get_backend(self.device)
        self.match = CodeMatch(SIDES, preset.code, ops) if recipe.match else None
        # Eight bytes a step; a list of numbers takes four times that, and a run may take a million steps.
        self.losses = {side: array("d") for side in SIDES}
        if self.resumed:
            facts, history = load_run(folder, self.model, self.arena, self.optimizer, self._more())
            self.steps, self.seconds = facts["steps"], float(facts["seconds"])
            self.losses = {side: array("d", history[side].tolist()) for side in SIDES}
            self.other_faces = facts.get("sets") != self.facts()["sets"]
        elif recipe.standardise or recipe.prior:
            self.model.looks = self._looks()
        self._saved_steps = self.steps if self.resumed else -1
        try:
            self._card = self._move(precision) if self.device == GPU else None
        except OutOfMemory as error:
            raise self._too_large(error) from error
        self.host = self._on_host() if self._card is None else None
        self._biases = biases(self.arena)
        # Of other faces than before, the losses before say nothing.
        self._guards = [LossGuard(s, [] if self.other_faces else self.losses[s]) for s in SIDES]
        self._colours = ColourGuard({side: self._shown(side) for side in SIDES})

    def memory(self, batch_size: int | None = None) -> MemoryEstimate:
        """What training takes, faces included, or would with another batch."""
        batch_size = batch_size or self.batch_size
        size = sum(f.images.nbytes for f in self.faces.values() if not f.mapped)
        returns = round(self.recipe.round_trips * batch_size)
        return estimate_memory(self.model, batch_size, size, returns)

    def step(self, number: int, batch: Any, rate: float) -> tuple[float, float]:
        """One step on ``batch`` (on the GPU what ``draw`` gave) at learning rate ``rate``; the losses of A and B."""
        if self._card is not None:
            return self._step_on_card(number, batch, rate)
        losses = self.host.gradients(batch, self.recipe.returns_at(number, self.batch_size))
        if not np.isfinite(sum(losses.values())) or not all_finite(self._biases):
            inputs = {"a": batch.input_a, "b": batch.input_b}
            raise explain(self.model, self.arena, inputs, losses, number + 1)
        self.optimizer.learning_rate = rate
        self.optimizer.step()
        return losses["a"], losses["b"]

    def _too_large(self, error: OutOfMemory) -> UserError:
        """What to say where the card's memory is full: the batch that would fit, by the estimate."""
        from nn.gpu import device

        there, fits = device.memory(), self.batch_size - 1
        while fits and self.memory(fits).on_card > there:
            fits = fits * 3 // 4
        helps = f"--batch-size {fits} would fit" if fits else "a smaller --preset may fit"
        return UserError(
            f"training with {self.batch_size} faces a side does not fit into the memory of the GPU "
            f"({there / 2**30:.1f} GiB): {helps}, or --device cpu; {self.last_save()}"
        )

    def draw(self, number: int) -> Any:
        """What is drawn for step ``number``; on the GPU, ``step`` takes that itself."""
        return self._card.draw(number) if self._card is not None else self.batches.drawn(number)

    def _move(self, precision: str) -> "CardStep":
        """Model, optimizer and faces to the card."""
        from nn.gpu import modes
        from swap.card import CardStep

        modes.set_precision(precision)
        self.optimizer.to(GPU)
        self.model.to(GPU)
        if self.match is not None:
            self.match.to(GPU)
        return CardStep(
            self.model,
            self.optimizer,
            self.batches,
            self.weight,
            match=self.match,
            match_strength=self.recipe.match,
        )

    def _on_host(self) -> HostStep:
        return HostStep(
            self.model,
            self.arena,
            self.batch_size,
            self.weight,
            match=self.match,
            match_strength=self.recipe.match,
        )

    def _step_on_card(self, number: int, drawn: Any, rate: float) -> tuple[float, float]:
        self._card.begin(drawn, rate, self.recipe.returns_at(number, self.batch_size))
        return self._finish_on_card(number)

    def _finish_on_card(self, number: int) -> tuple[float, float]:
        """The losses of step ``number``, which was begun before."""
        losses, good = self._card.finish()
        if not good or not np.isfinite(sum(losses)):
            self._card.settle()
            inputs, named = self._card.picture_inputs(), dict(zip(SIDES, losses, strict=True))
            raise explain(self.model, self.arena, inputs, named, number + 1)
        return losses

    def run(
        self,
        budget: Budget,
        *,
        on_progress: Callable[[Progress], None] | None = None,
        stop: StopRequest | None = None,
        chores: Sequence[Chore] = (),
        tell: Tell = print,
    ) -> Outcome:
        """Trains until ``budget`` (of steps and seconds in all) is spent or ``stop`` is requested; saves at the end.
        ``chores`` are done beside previews and saves. A save, preview or chore that cannot write ends nothing: ``tell``
        gets a line, and it is tried again.

        Raises DivergenceError where training has gone wrong (swap.guard), and the last save is then left as it is;
        UserError where another process works on the run, or did since it was opened, or the last save fails.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"the run folder {self.folder} cannot be made: {error.strerror}; name another"
            ) from error
        with self._lock:
            found = _identity_of(checkpoint_path(self.folder))
            if found is not None and found != self._on_disk:
                raise UserError(
                    f"the run in {self.folder} was changed by another process since it was opened; "
                    "run the same command again"
                )
            sync_folder(self.folder.parent)
            remove_unfinished(self.folder)
            return self._run(budget, on_progress, stop or StopRequest(), chores, tell)

    def _run(
        self,
        budget: Budget,
        on_progress: Callable[[Progress], None] | None,
        stop: StopRequest,
        chores: Sequence[Chore],
        tell: Tell,
    ) -> Outcome:
        speed_of = Rate()
        every = self.saves.snapshot_every
        snapshot = gently(self._snapshot, tell)

        with Prefetcher(self.draw, start=self.steps, **WAITING) as prefetcher:

            def drawn_for(number: int) -> tuple[Any, float]:
                """What was drawn for a step, and its learning rate."""
                ready, drawn = next(prefetcher)
                if ready != number:
                    raise RuntimeError(f"batch {ready} came for step {number}")
                share = budget.progress(number, self.seconds)
                return drawn, self.recipe.rate_at(number, share)

            def step(number: int) -> Sequence[float]:
                if self._card is not None:
                    return self._finish_on_card(number)
                drawn, rate = drawn_for(number)
                return self.step(number, self.batches.made(drawn, self.host.pictures), rate)

            def begin(number: int) -> None:
                returns = self.recipe.returns_at(number, self.batch_size)
                self._card.begin(*drawn_for(number), returns)

            def may_begin(number: int) -> bool:
                looked_at = number % LOOK_EVERY == 0 or (every and number % every == 0)
                returns = self.recipe.returns_at(number, self.batch_size)
                return not looked_at and self._card.knows(returns)

            def on_step(steps: int, seconds: float, losses: Sequence[float]) -> None:
                for guard, loss in zip(self._guards, losses, strict=True):
                    guard.check(loss, steps)
                self.steps, self.seconds = steps, seconds
                for side, loss in zip(SIDES, losses, strict=True):
                    self.losses[side].append(loss)
                if on_progress:
                    share = budget.progress(steps, seconds)
                    named = dict(zip(SIDES, losses, strict=True))
                    speed = speed_of(steps * 2 * self.batch_size, seconds)
                    on_progress(Progress(steps, seconds, share, named, speed))
                if steps % LOOK_EVERY == 0:
                    self._colours.check(self.model, steps)
                if every and steps % every == 0:
                    snapshot()

            try:
                outcome = train(
                    step,
                    budget,
                    steps=self.steps,
                    seconds=self.seconds,
                    stop=stop,
                    on_step=on_step,
                    chores=(
                        Chore(gently(self.preview, tell), PREVIEW_EVERY, FIRST_PREVIEW),
                        Chore(gently(self.save, tell), SAVE_EVERY),
                        *(replace(chore, do=gently(chore.do, tell)) for chore in chores),
                    ),
                    begin=begin if self._card is not None else None,
                    may_begin=may_begin,
                )
            except OutOfMemory as error:
                gently(self.save, tell)()
                raise self._too_large(error) from error
            finally:
                if self._card is not None:
                    self._card.settle()
        save_at_last(self.save, self.steps, stop, tell)
        gently(self.preview, tell)()
        return outcome

    def save(self) -> None:
        """Writes the newest save, unless it holds this very step already. DivergenceError, and nothing written, where
        training has gone wrong; SaveError where it could not be written, and the one before is as it was."""
        newest = checkpoint_path(self.folder)
        if self.steps == self._saved_steps and _identity_of(newest) == self._on_disk is not None:
            return
        check_weights(self.arena, self.steps)
        self._colours.check(self.model, self.steps)
        history = {side: np.array(self.losses[side], np.float32) for side in SIDES}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)  # it may have been removed
            save_run(
                self.folder,
                self.model,
                self.arena,
                self.optimizer,
                history,
                self.facts(),
                self._more(),
                self.saves,
            )
        except OSError as error:
            raise SaveError(self.folder, error) from error
        self._saved_steps, self._on_disk = self.steps, _identity_of(newest)

    def last_save(self) -> str:
        """Half a sentence about what of the run is on disk."""
        if self._saved_steps < 0:
            return "nothing of it was saved"
        return f"the run in {self.folder} is as it was at its last save, step {self._saved_steps:,}"

    def _snapshot(self) -> None:
        """Saves, and keeps that for good."""
        self.save()
        try:
            take_snapshot(self.folder, self.steps)
        except OSError as error:
            raise SaveError(self.folder, error) from error

    def _shown(self, side: str) -> np.ndarray:
        """The faces of a side that the preview shows, (SHEET_FACES, 64, 64, 3)."""
        faces = self.faces[side]
        return faces.squares(even_spread(len(faces), SHEET_FACES), FACE_SIZE)

    def _more(self) -> dict[str, np.ndarray]:
        """What else the next step depends on."""
        if self.match is None:
            return {}
        return {f"match/{name}": host(array) for name, array in self.match.arrays().items()}

    def preview(self) -> None:
        """Writes the preview sheet and the loss plot."""
        sides = []
        for side, other in zip(SIDES, reversed(SIDES), strict=True):
            shown = self._shown(side)
            code = self.model.encode(shown, side)
            own, swapped = self.model.decode(code, side), self.model.decode(code, other)
            sides.append(SheetSide(side.upper(), other.upper(), shown, own, swapped))
        details = {"Preset": self.preset.name, "Steps": str(self.steps)}
        title = f"{self.preset.name}, {self.steps:,} steps"
        write_sheet(self.folder / PREVIEW, sheet(*sides, title=title), details)
        if self.steps:
            numbers = np.arange(1, self.steps + 1)
            loss_plot(self.folder / LOSS_PLOT, numbers, *self.losses.values(), details=details)
        give_back()

    def facts(self) -> dict[str, Any]:
        """What the checkpoint says of this run."""
        sets = {
            side: {
                "faces": len(faces),
                "mean": [float(v) for v in faces.mean],
                "std": [float(v) for v in faces.std],
            }
            for side, faces in self.faces.items()
        }
        return self._identity() | {
            "steps": self.steps,
            "seconds": self.seconds,
            "sets": sets,
            "studio": self.studio,
            "versions": library_versions(),
        }

    def _identity(self) -> dict[str, Any]:
        return {
            "preset": self.preset.name,
            "recipe": self.recipe.to_dict(),
            "seed": self.seed,
            "batch_size": self.batch_size,
            "crop": self.crop.to_dict(),
        }

    def _check_same(self, facts: dict[str, Any]) -> None:
        recipe = facts.get("recipe")
        if isinstance(
            recipe, dict
        ):  # of a version that knew fewer options, each of which it did without
            facts = facts | {"recipe": Recipe.defaults() | recipe}
        for name, value in self._identity().items():
            if facts.get(name) != value:
                shown = [
                    plain(v.get("name") if name == "recipe" and isinstance(v, dict) else v)
                    for v in (facts.get(name), value)
                ]
                if shown[0] == shown[1]:
                    shown[0] = f"an earlier version of {shown[0]}"
                raise UserError(
                    f"the run in {self.folder} was trained with {name.replace('_', ' ')} "
                    f"{shown[0]}, and {shown[1]} is asked for now; use the same, or another --run folder"
                )

    def _pictures(self, batches: Batches, count: int) -> Iterator[Batch]:
        """The first ``count`` batches on the host, made where training makes them."""
        if self.device != GPU:
            yield from map(batches.at, range(count))
            return
        from swap.data.card import CardBatches

        made = CardBatches(batches)
        for number in range(count):
            made.send(made.draw(number))
            made.make()
            pairs = zip(made.inputs, made.targets, strict=True)
            yield Batch(*(host(array) for pair in pairs for array in pair))

    def _looks(self) -> dict[str, Looks]:
        """Mean and deviation pictures of each side, from augmented batches in which every face is alike."""
        even = Batches(
            self.faces["a"],
            self.faces["b"],
            self.seed,
            self.batch_size,
            FACE_SIZE,
            augmentation=self.recipe.augmentation(),
            match_a=self.batches.sides[0][1],
        )
        batches = list(self._pictures(even, -(-LOOKS_FACES // self.batch_size)))
        looks = {}
        for index, side in enumerate(SIDES):
            inputs = np.concatenate([batch[2 * index] for batch in batches])
            targets = np.concatenate([batch[2 * index + 1] for batch in batches])
            plain = Looks.plain()
            mean, scale, prior = plain.mean, plain.scale, plain.prior
            if self.recipe.standardise:
                mean = inputs.mean(0)
                scale = face_window(FACE_SIZE) / (cv2.blur(inputs.std(0), (SMOOTH, SMOOTH)) + FLOOR)
            if self.recipe.prior:
                usual = np.clip(targets.mean(0), 0.02, 0.98)
                prior = np.log(usual / (1 - usual))
            looks[side] = Looks(
                *(np.ascontiguousarray(a, np.float32) for a in (mean, scale, prior))
            )
        return looks


def _identity_of(path: Path) -> tuple[int, int, int] | None:
    """Which file a path names just now; None where there is none. Files are replaced, never written in place."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


class Rate:
    """Faces per second over the last steps: a running average that forgets with a time of 10 s."""

    def __init__(self) -> None:
        self._last: tuple[int, float] | None = None
        self._rate = 0.0

    def __call__(self, faces: int, seconds: float) -> float:
        if self._last is not None:
            took = max(seconds - self._last[1], 1e-9)
            now = (faces - self._last[0]) / took
            share = min(1.0, took / 10) if self._rate else 1.0
            self._rate += share * (now - self._rate)
        self._last = (faces, seconds)
        return self._rate


def face_window(size: int) -> np.ndarray:
    """(size, size, 1) float32: 1 on the face, falling to 0 around it, so that the encoder sees no wall and no hair."""
    x, y = eye_distances(size)
    radius = np.hypot(x / 1.05, (y - CropDefinition().centre_y) / 1.25)
    return np.clip((1.05 - radius) / 0.3, 0, 1)[..., None].astype(np.float32)


def focus_weight(size: int) -> np.ndarray:
    """(size, size, 1) float32, mean 1: how much each pixel of the face square counts in the loss.

    1 on the face and a tenth around it, where the mask of the conversion cuts off; up to four times as much at the
    eyes and the mouth and five more right on the eyes, which are small and carry the expression.
    """
    x, y = eye_distances(size)
    radius = np.hypot(x / 1.2, (y - CropDefinition().centre_y) / 1.5)
    weight = 0.1 + 0.9 * np.clip((1.1 - radius) / 0.25, 0, 1)
    eyes = eye_window(x, y)
    weight *= 1 + 3 * np.minimum(eyes + mouth_window(x, y), 1) + 5 * eye_window(x, y, (0.28, 0.15))
    return (weight / weight.mean())[..., None].astype(np.float32)


__all__ = ["BATCH_SIZE", "Budget", "DivergenceError", "Progress", "StopRequest", "Trainer"]
