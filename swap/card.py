"""A training step on the GPU: warp, both sides forward and backward, Adam; recorded once and launched as a whole.

    host    draws of the step, learning rate  -->  two small arrays of the card
    card    faces --warp.cu--> batch --model--> losses, gradients --Adam--> weights
    host    losses, and whether every gradient is a number  <--  one small array

The arithmetic is that of ``Trainer.step``. A step with round trips is another step than one without, and recorded anew.

    begin(...) ... finish()     a step, and its losses
    begin 1, begin 2, finish 1, begin 3, finish 2, ...     so that the card goes from step to step without a pause

A gradient that is no number stops every step after it, too, on the card itself, until the host has seen it: so where
two steps are under way, the second waits for the verdict on the first.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import nn
from nn.gpu import device, modes
from nn.gpu.graph import LossScale, Recorded
from nn.gpu.optim import adam_arena, look_for_infinities, numbers_now
from swap.data import Batches
from swap.data.card import CardBatches, Drawn
from swap.match import CodeMatch, share_at
from swap.model import SIDES, SwapModel

MOST_BEGUN = 2  # steps under way at a time


class Begun(NamedTuple):
    """A step that was begun: what it is made of, and what will say how it went."""

    drawn: Drawn
    rate: float
    returns: np.ndarray | None
    moments: list[tuple[Any, Any]]  # arrays, and copies of them from before the step
    results: Callable[[], np.ndarray]


class CardStep:
    """Steps of one run; model and optimizer lie on the card already.

    ``draw(number)`` on any thread; ``begin(drawn, rate, returns)`` launches a step; ``finish()`` waits for the one that
    was begun first and gives the losses of A and B, and whether all gradients were numbers: where they were not, no
    weight was changed. ``step`` is both. With a loss that is scaled, such a step is made again with a smaller scale,
    down to 1.
    """

    def __init__(
        self,
        model: SwapModel,
        optimizer: nn.Adam,
        batches: Batches,
        weight: np.ndarray | None,
        *,
        match: CodeMatch | None = None,
        match_strength: float = 0.0,
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self.batches = CardBatches(batches)
        shape = self.batches.inputs[0].shape[1:]
        # A number for each number of a picture, made once: the model would make it anew in every step.
        self._weight = None if weight is None else device.upload(np.broadcast_to(weight, shape))
        self._match, self._match_strength = match, match_strength
        self.scale = LossScale(used=modes.precision() == "fp16")
        self._now = device.zeros(4, np.float32)  # what optim.cu reads, and the share of the moments
        self._flag = device.zeros(1, np.int32)  # of this step: not 0 where no weight may be changed
        self._stuck = device.zeros(1, np.int32)  # of all steps since the last that was undone
        self._results = device.zeros(3, np.float32)  # both losses and the flag: read at once
        self._returns: Any = None
        self._recorded = Recorded(self.body)
        self._begun: deque[Begun] = deque()

    def draw(self, number: int) -> Drawn:
        """What the host draws for step ``number``."""
        return self.batches.draw(number)

    def step(
        self, drawn: Drawn, rate: float, returns: np.ndarray | None = None
    ) -> tuple[tuple[float, float], bool]:
        """One step: the losses of A and B, and whether every gradient was a number."""
        self.begin(drawn, rate, returns)
        return self.finish()

    @property
    def under_way(self) -> int:
        """How many steps were begun and not finished."""
        return len(self._begun)

    def knows(self, returns: np.ndarray | None) -> bool:
        """Whether a step with such faces that come back was recorded, so that to begin it is to launch it."""
        same = (returns is None) == (self._returns is None)
        if same and returns is not None:
            same = len(returns) == len(self._returns)
        return self._recorded.ready and same

    def settle(self) -> None:
        """Waits for what is under way, and forgets it: where a run ends by an error."""
        while self._begun:
            self._begun.popleft().results()

    def begin(self, drawn: Drawn, rate: float, returns: np.ndarray | None = None) -> None:
        """Launches a step, and waits for nothing. ValueError where MOST_BEGUN steps are under way."""
        if len(self._begun) == MOST_BEGUN:
            raise ValueError(f"{MOST_BEGUN} steps are under way; finish one")
        self._launch(drawn, rate, returns)

    def finish(self) -> tuple[tuple[float, float], bool]:
        """Waits for the step that was begun first: its losses, and whether every gradient was a number."""
        while True:
            first = self._begun[0]
            *losses, bad = first.results().tolist()
            good = not bad
            again = self.scale.after(good)
            if again:
                self._recorded.forget()  # the scale is a number of its kernels
            if good:
                self._begun.popleft()
                self.optimizer.steps += 1
                if self._match is not None:
                    self._match.steps += 1
                return tuple(losses), True
            under_way = list(self._begun)
            self._undo()
            if again:
                self._begin_anew(under_way)
                continue
            if len(under_way) > 1:
                # The card is to hold the gradients of this step, not of the one after it.
                self._begin_anew(under_way[:1])
                self._undo()
            self._begun.clear()
            return tuple(losses), False

    def _launch(self, drawn: Drawn, rate: float, returns: np.ndarray | None) -> None:
        ahead = len(self._begun) + 1
        number = self.optimizer.steps + ahead
        betas = (self.optimizer.beta1, self.optimizer.beta2)
        now = numbers_now(np.float32, rate, step=number, betas=betas, loss_scale=self.scale.value)
        share = 1.0 if self._match is None else share_at(int(self._match.steps[0]) + ahead)
        self.batches.send(drawn)
        self._set_returns(returns)
        device.send(self._now, np.append(now, np.float32(share)))
        moments = self._moments()
        self._recorded()
        results = device.receive(self._results)
        self._begun.append(Begun(drawn, rate, returns, moments, results))

    def _undo(self) -> None:
        """Waits for all that was begun, none of which has changed a weight, and puts back what else it changed."""
        for begun in reversed(self._begun):
            begun.results()
            for array, before in begun.moments:
                array[...] = before
        device.send(self._stuck, np.zeros(1, np.int32))

    def _begin_anew(self, under_way: list[Begun]) -> None:
        """Launches steps that were undone."""
        self._begun.clear()
        for begun in under_way:
            self._launch(begun.drawn, begun.rate, begun.returns)

    def _moments(self) -> list[tuple[Any, Any]]:
        """The running moments and copies of them, for a step that is made again; none where no step can be."""
        if self._match is None or not self.scale.used:
            return []
        arrays = [*self._match.mean.values(), *self._match.covariance.values()]
        return [(array, array.copy()) for array in arrays]

    def _set_returns(self, returns: np.ndarray | None) -> None:
        """Sends which faces come back; where there were none, or are none now, the step is another one."""
        if returns is not None and self._returns is not None and len(returns) == len(self._returns):
            device.send(self._returns, returns)
        elif returns is not None or self._returns is not None:
            self._returns = None if returns is None else device.upload(returns)
            self._recorded.forget()

    def launch_alone(self) -> None:
        """What the card does in a step, and nothing of the host's: for measuring."""
        self._recorded()

    def picture_inputs(self) -> dict[str, np.ndarray]:
        """What the encoder was given in the last step, on the host."""
        return {s: device.download(a) for s, a in zip(SIDES, self.batches.inputs, strict=True)}

    def body(self) -> None:
        """Everything between what is written to the card and what is read from it."""
        arena, state = self.optimizer.arena, self.optimizer.state
        self.batches.make()
        arena.zero_grad()
        self._flag[:] = self._stuck
        pairs = zip(SIDES, self.batches.inputs, self.batches.targets, strict=True)
        losses = self.model.accumulate(
            {side: (x, target) for side, x, target in pairs},
            self._weight,
            returns=self._returns,
            match=self._match,
            match_strength=self._match_strength,
            match_share=self._now[3:],
            loss_scale=self.scale.value,
        )
        look_for_infinities(arena.grads, self._flag)
        self._stuck[:] = self._flag
        for place, result in enumerate((*losses.values(), self._flag)):
            self._results[place : place + 1] = result
        adam_arena(
            arena.values,
            arena.grads,
            state["m"],
            state["v"],
            self._now,
            beta1=self.optimizer.beta1,
            beta2=self.optimizer.beta2,
            eps=self.optimizer.eps,
            weight_decay=self.optimizer.weight_decay,
            flag=self._flag,
        )
