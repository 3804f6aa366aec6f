"""The swapper as a model for ``nn check``: its gradient through both losses, and its training beside PyTorch.

Registered when ``nn check`` looks for models (the entry point "nn.specs" in pyproject.toml).
"""

from collections.abc import Callable
from typing import Any

import numpy as np

import nn
from nn.check.models import torch_network
from nn.layer import Layer, LayerSpec, Sample, register
from swap.model import FACE_SIZE, SIDES, Looks, SwapModel, get_preset

RATE = 5e-5


class TwoDecoders:
    """One encoder, two decoders, two weighted losses: the graph that is trained, in float64, with its batch.

    What the encoder is shown is standardised, the decoders have a prior, the loss a weight for each pixel, all of
    them random: nothing of the graph is left out because it is 1 or 0. ``faces``: of each side.
    """

    def __init__(self, preset: str, *, faces: int = 1, seed: int = 0) -> None:
        rng = np.random.default_rng([seed, 7])
        shape = (FACE_SIZE, FACE_SIZE, 3)
        self.model = SwapModel(get_preset(preset), seed=seed, init="he")
        for p in self.model.parameters():
            p.value = p.value.astype(np.float64)
            p.grad = np.zeros_like(p.value)
        self.batch, self.faces = {}, faces
        for side in SIDES:
            self.model.looks[side] = Looks(
                rng.uniform(0, 1, shape), rng.uniform(0.5, 2, shape), rng.normal(0, 1, shape)
            )
            self.batch[side] = (
                rng.uniform(0, 1, (faces, *shape)),
                rng.uniform(0, 1, (faces, *shape)),
            )
        self.weight = rng.uniform(0.5, 2, (FACE_SIZE, FACE_SIZE, 1))

    @property
    def parts(self) -> dict[str, Layer]:
        """The three networks."""
        decoders = {f"decoder {side}": d for side, d in self.model.decoders.items()}
        return {"encoder": self.model.encoder} | decoders

    def loss(self, forward: Callable[[Layer, np.ndarray], np.ndarray]) -> Any:
        """The sum of both sides' losses; ``forward(network, x)`` goes through a network."""
        mean_error, total = nn.MAE().to("reference"), 0.0
        for side, (x, target) in self.batch.items():
            code = forward(self.model.encoder, self.model.show(x, side))
            logits = forward(self.model.decoders[side], code) + self.model.looks[side].prior
            y = nn.Sigmoid().to("reference").forward(logits, train=False)[0]
            wanted = (target * self.weight).astype(y.dtype)
            total += mean_error.forward(y * self.weight, wanted)[0]
        return total

    def backpropagate(self) -> float:
        """The loss; its gradient is added to every parameter."""
        return sum(self.model.backpropagate(self.batch, self.weight).values())

    def train(self, steps: int) -> np.ndarray:
        """Losses (steps, 2) of A and B; Adam at the learning rate of 2017 on one batch."""
        arena = nn.Arena(self.model.named_parameters())
        adam = nn.Adam(arena, RATE).to(self.model.backend)
        losses = []
        for _ in range(steps):
            arena.zero_grad()
            losses.append(list(self.model.backpropagate(self.batch, self.weight).values()))
            adam.step()
        return np.array(losses)


def train_torch(problem: TwoDecoders, steps: int) -> np.ndarray:
    """Losses (steps, 2) by PyTorch: its layers, its gradients, its Adam."""
    import torch

    networks = {name: torch_network(part) for name, part in problem.parts.items()}
    parameters = [p for _, part in networks.values() for p in part]
    adam = torch.optim.Adam(parameters, RATE)
    weight, losses = torch.tensor(problem.weight), []
    for _ in range(steps):
        adam.zero_grad()
        both = []
        for side, (x, target) in problem.batch.items():
            shown = torch.tensor(problem.model.show(x, side))
            logits = networks[f"decoder {side}"][0](networks["encoder"][0](shown))
            y = torch.sigmoid(logits + torch.tensor(problem.model.looks[side].prior))
            both.append((weight * (y - torch.tensor(target)).abs()).mean())
        sum(both).backward()
        adam.step()
        losses.append([loss.item() for loss in both])
    return np.array(losses)


SHAPE = (1, FACE_SIZE, FACE_SIZE, 3)
register(
    LayerSpec(
        kind="model",
        make=TwoDecoders,
        samples=tuple(Sample({"preset": name}, SHAPE) for name in ("tiny", "lite", "original")),
        bench=Sample({"preset": "lite", "faces": 2}, (2, *SHAPE[1:])),
        torch=train_torch,
    )
)
