"""A training step on the GPU: warp, both sides forward and backward, Adam; recorded once and launched as a whole.

    host    draws of the step, learning rate  -->  two small arrays of the card
    card    faces --warp.cu--> batch --model--> losses, gradients --Adam--> weights
    host    losses, and whether every gradient is a number  <--  one small array

The arithmetic is that of ``Trainer.step``. A step with round trips is another step than one without, and recorded anew.
"""

from typing import Any

import numpy as np

import nn
from nn.gpu import device, modes
from nn.gpu.graph import LossScale, Recorded
from nn.gpu.optim import adam_arena, look_for_infinities, numbers_now
from swap.data import Batches
from swap.data.card import CardBatches, Drawn
from swap.match import CodeMatch, share_at
from swap.model import SIDES, SwapModel


class CardStep:
    """Steps of one run; model and optimizer lie on the card already.

    ``draw(number)`` on any thread; ``step(drawn, rate, returns)`` gives the losses of A and B, and whether all
    gradients were numbers: where they were not, no weight was changed. With a loss that is scaled, such a step is made
    again with a smaller scale, down to 1.
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
        self._flag = device.zeros(1, np.int32)
        self._results = device.zeros(3, np.float32)  # both losses and the flag: read at once
        self._returns: Any = None
        self._recorded = Recorded(self._body)

    def draw(self, number: int) -> Drawn:
        """What the host draws for step ``number``."""
        return self.batches.draw(number)

    def step(
        self, drawn: Drawn, rate: float, returns: np.ndarray | None = None
    ) -> tuple[tuple[float, float], bool]:
        """One step: the losses of A and B, and whether every gradient was a number."""
        self.batches.send(drawn)
        self._set_returns(returns)
        number = self.optimizer.steps + 1
        betas = (self.optimizer.beta1, self.optimizer.beta2)
        moments = self._moments()
        while True:
            now = numbers_now(
                np.float32, rate, step=number, betas=betas, loss_scale=self.scale.value
            )
            share = 1.0 if self._match is None else share_at(int(self._match.steps[0]) + 1)
            device.write(self._now, np.append(now, np.float32(share)))
            self._recorded()
            *losses, bad = device.download(self._results).tolist()
            good = not bad
            again = self.scale.after(good)
            if again:
                self._recorded.forget()  # the scale is a number of its kernels
            if good:
                self.optimizer.steps = number
                if self._match is not None:
                    self._match.steps += 1
            if good or not again:
                return tuple(losses), good
            for array, before in moments:
                array[...] = before

    def _moments(self) -> list[tuple[Any, Any]]:
        """The running moments and copies of them, for a step that is made again; none where no step can be."""
        if self._match is None or not self.scale.used:
            return []
        arrays = [*self._match.mean.values(), *self._match.covariance.values()]
        return [(array, array.copy()) for array in arrays]

    def _set_returns(self, returns: np.ndarray | None) -> None:
        """Writes which faces come back; where there were none, or are none now, the step is another one."""
        if returns is not None and self._returns is not None and len(returns) == len(self._returns):
            device.write(self._returns, returns)
        elif returns is not None or self._returns is not None:
            self._returns = None if returns is None else device.upload(returns)
            self._recorded.forget()

    def launch_alone(self) -> None:
        """What the card does in a step, and nothing of the host's: for measuring."""
        self._recorded()

    def picture_inputs(self) -> dict[str, np.ndarray]:
        """What the encoder was given in the last step, on the host."""
        return {s: device.download(a) for s, a in zip(SIDES, self.batches.inputs, strict=True)}

    def _body(self) -> None:
        """Everything between what is written to the card and what is read from it."""
        arena, state = self.optimizer.arena, self.optimizer.state
        self.batches.make()
        arena.zero_grad()
        self._flag.fill(0)
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
