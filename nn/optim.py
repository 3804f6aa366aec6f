"""Optimizers over an arena. The mathematics is in ``nn/reference/optim.py``.

optimizer = Adam(arena, learning_rate=5e-5)
arena.zero_grad(); ...backward...; optimizer.step()
"""

from typing import Any

import numpy as np

from nn.backend import DEFAULT, choose, get_backend, put
from nn.layer import LayerSpec, Sample, register
from nn.parameter import Arena


class Optimizer:
    """Base: one pass over the arena's flat arrays a step. ``state`` is all that a checkpoint must keep.

    ``steps`` counts the steps taken; ``learning_rate`` may be changed between steps.
    """

    backend: str = DEFAULT

    def __init__(self, arena: Arena, learning_rate: float, weight_decay: float) -> None:
        if not learning_rate > 0:
            raise ValueError(f"the learning rate is above 0, found {learning_rate}")
        if weight_decay < 0:
            raise ValueError(f"the weight decay is at least 0, found {weight_decay}")
        self.arena = arena
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.steps = 0
        self.state: dict[str, np.ndarray] = {}

    def step(self) -> None:
        """Moves every parameter by its gradient, in place."""
        self.steps += 1
        self._step()

    def _step(self) -> None:
        raise TypeError(f"{type(self).__name__} defines no step")

    def to(self, backend: str) -> "Optimizer":
        """Runs on ``backend`` ("auto": the fastest here) from now on; returns self.

        The arena and the state move to where it computes.
        """
        self.backend = choose(backend)
        self.arena.to(self.backend)
        self.state = {name: put(array, self.backend) for name, array in self.state.items()}
        return self


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum and Nesterov's look-ahead if asked for."""

    def __init__(
        self,
        arena: Arena,
        learning_rate: float,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(arena, learning_rate, weight_decay)
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum lies in [0, 1), found {momentum}")
        if nesterov and momentum == 0:
            raise ValueError("Nesterov's step looks ahead along the momentum, and that is 0")
        self.momentum, self.nesterov = momentum, nesterov
        if momentum:
            self.state["velocity"] = np.zeros_like(arena.values)

    def _step(self) -> None:
        get_backend(self.backend).sgd_step(
            self.arena.values,
            self.arena.grads,
            self.state.get("velocity"),
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
        )


class Adam(Optimizer):
    """Adam, bias-corrected, eps outside the root."""

    def __init__(
        self,
        arena: Arena,
        learning_rate: float = 1e-3,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(arena, learning_rate, weight_decay)
        for name, beta in (("beta1", beta1), ("beta2", beta2)):
            if not 0 <= beta < 1:
                raise ValueError(f"{name} lies in [0, 1), found {beta}")
        if not eps > 0:
            raise ValueError(f"eps is above 0, found {eps}")  # 0 / 0 where no gradient has come yet
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        self.state["m"] = np.zeros_like(arena.values)
        self.state["v"] = np.zeros_like(arena.values)

    def _step(self) -> None:
        get_backend(self.backend).adam_step(
            self.arena.values,
            self.arena.grads,
            self.state["m"],
            self.state["v"],
            step=self.steps,
            learning_rate=self.learning_rate,
            beta1=self.beta1,
            beta2=self.beta2,
            eps=self.eps,
            weight_decay=self.weight_decay,
        )


def _torch(name: str) -> Any:
    def build(optimizer: Any, parameters: list) -> Any:
        import torch

        options = {"lr": optimizer.learning_rate, "weight_decay": optimizer.weight_decay}
        if name == "Adam":
            betas = (optimizer.beta1, optimizer.beta2)
            return torch.optim.Adam(parameters, betas=betas, eps=optimizer.eps, **options)
        momentum, nesterov = optimizer.momentum, optimizer.nesterov
        return torch.optim.SGD(parameters, momentum=momentum, nesterov=nesterov, **options)

    return build


def _samples(*options: dict[str, Any]) -> tuple[Sample, ...]:
    return tuple(Sample(kwargs, (37,)) for kwargs in options)


register(
    LayerSpec(
        "optimizer",
        SGD,
        _samples(
            {"learning_rate": 0.1},
            {"learning_rate": 0.1, "momentum": 0.9},
            {"learning_rate": 0.01, "momentum": 0.5, "nesterov": True},
            {"learning_rate": 0.1, "weight_decay": 0.1},
            {"learning_rate": 1e-3, "momentum": 0.9, "weight_decay": 0.1},
            {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
        ),
        Sample({"learning_rate": 0.1, "momentum": 0.9}, (1_000_003,)),
        _torch("SGD"),
        "sgd",
    )
)
register(
    LayerSpec(
        "optimizer",
        Adam,
        _samples(
            {},
            {"learning_rate": 5e-5, "beta1": 0.5},
            {"learning_rate": 0.1, "beta1": 0.0, "beta2": 0.9},
            {"learning_rate": 0.1, "beta2": 0.0},
            {"learning_rate": 0.01, "eps": 1e-3},
            {"learning_rate": 0.1, "eps": 0.5, "beta1": 0.8, "beta2": 0.99},
            {"learning_rate": 0.1, "weight_decay": 0.1},
            {"learning_rate": 0.01, "beta1": 0.5, "eps": 1e-7, "weight_decay": 0.01},
        ),
        Sample({}, (1_000_003,)),
        _torch("Adam"),
        "adam",
    )
)
