"""The gradients of a training step on the CPU, recorded once and repeated from then on (``nn/record.py``).

The mathematics is ``SwapModel.backpropagate``; this is that, from pictures that always lie in the same place.
"""

from collections.abc import Sequence

import numpy as np

import nn
from nn import memory
from nn.record import Recorded
from swap.match import CodeMatch
from swap.model import FACE_SIZE, SwapModel


class HostStep:
    """Gradients of one run's steps, ``batch_size`` faces a side; ``arena`` holds the model's parameters.

    pictures    (4, N, 64, 64, 3) where the batch of a step may be made: input and target of A, input and target of B
    The other arguments are those of ``SwapModel.backpropagate``. Its looks, backend and parameters' places stay.
    """

    def __init__(
        self,
        model: SwapModel,
        arena: nn.Arena,
        batch_size: int,
        weight: np.ndarray | None = None,
        *,
        match: CodeMatch | None = None,
        match_strength: float = 0.0,
    ) -> None:
        self.model, self.arena, self.weight = model, arena, weight
        self.match, self.match_strength = match, match_strength
        self.pictures = memory.empty((4, batch_size, FACE_SIZE, FACE_SIZE, 3), np.float32)
        self._pool = memory.OwnPool()
        # By how many faces come back: that many are other steps, in the same memory.
        self._steps: dict[int, Recorded[dict[str, np.ndarray]]] = {}
        self._returns = np.zeros(batch_size, np.intp)

    def gradients(
        self, batch: Sequence[np.ndarray], returns: np.ndarray | None = None
    ) -> dict[str, float]:
        """Sets every gradient to that of ``batch`` (swap.data.Batch), which is copied to ``pictures`` where it does not
        lie there; returns the loss of each side."""
        for mine, given in zip(self.pictures, batch, strict=True):
            if mine.__array_interface__["data"] != given.__array_interface__["data"]:
                mine[...] = given
        coming_back = 0 if returns is None else len(returns)
        if coming_back:
            self._returns[:coming_back] = returns
        if coming_back not in self._steps:
            which = self._returns[:coming_back] if coming_back else None
            self._steps[coming_back] = Recorded(lambda: self._body(which), self._pool)
        return {side: float(loss) for side, loss in self._steps[coming_back]().items()}

    def _body(self, returns: np.ndarray | None) -> dict[str, np.ndarray]:
        input_a, target_a, input_b, target_b = self.pictures
        self.arena.zero_grad()
        return self.model.accumulate(
            {"a": (input_a, target_a), "b": (input_b, target_b)},
            self.weight,
            returns=returns,
            match=self.match,
            match_strength=self.match_strength,
        )
