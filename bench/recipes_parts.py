"""Ideas that are no part of a recipe, for `python -m bench recipes`: layers after the code, and changes to a trainer.

What helps becomes an option of swap.recipe; what does not stays here, so that the table can be made again.
"""

from collections.abc import Callable
from types import MethodType

import numpy as np

import nn
from nn.layer import Saved
from swap.evaluate.baselines import principal_components
from swap.train import Trainer

LOOKED_AT = 40  # batches of which the transport is made


class Noise(nn.Layer):
    """y = x + sigma times the codes' mean deviation times Gaussian noise, in training; a plain copy on the way back."""

    def __init__(self, sigma: float, seed: int) -> None:
        self.sigma, self.rng = sigma, np.random.default_rng(seed)

    def _forward(self, x: np.ndarray) -> tuple[np.ndarray, Saved]:
        noise = self.rng.standard_normal(x.shape, np.float32)
        return x + np.float32(self.sigma * x.std(0).mean()) * noise, None

    def _backward(self, dy: np.ndarray, saved: Saved, need_dx: bool) -> np.ndarray:
        return dy


class Dropout(nn.Layer):
    """y = x m / (1 - p) with m = 0 with probability p, else 1, in training."""

    def __init__(self, p: float, seed: int) -> None:
        self.p, self.rng = p, np.random.default_rng(seed)

    def _forward(self, x: np.ndarray) -> tuple[np.ndarray, Saved]:
        mask = (self.rng.random(x.shape, np.float32) >= self.p).astype(np.float32) / (1 - self.p)
        return x * mask.astype(np.float32), mask.astype(np.float32)

    def _backward(self, dy: np.ndarray, saved: Saved, need_dx: bool) -> np.ndarray:
        return dy * saved


class Critic(nn.Layer):
    """y = x; on the way back, minus strength times the gradient of a critic that tells A's codes from B's.

    The critic, dense 64, 64, 1 on standardised codes with the logistic loss, takes an Adam step in every backward pass
    (Y. Ganin et al., Domain-adversarial training of neural networks, 2016). rows: codes of A, then as many of B.
    """

    def __init__(self, code: int, rows: int, strength: float, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.net = nn.Sequential(
            nn.Dense(code, 64, rng=rng), nn.LeakyReLU(0.1),
            nn.Dense(64, 64, rng=rng), nn.LeakyReLU(0.1), nn.Dense(64, 1, rng=rng),
        )  # fmt: skip
        self.adam = nn.Adam(nn.Arena(self.net.named_parameters()), 1e-3, beta1=0.5)
        self.loss, self.rows, self.strength = nn.BCEWithLogits(), rows, strength
        self.label = np.repeat(np.float32([1, 0]), rows)[:, None]

    def _forward(self, x: np.ndarray) -> tuple[np.ndarray, Saved]:
        return x, x

    def _backward(self, dy: np.ndarray, saved: Saved, need_dx: bool) -> np.ndarray:
        codes = saved[: 2 * self.rows]
        deviation = codes.std(0) + np.float32(1e-3)
        self.net.zero_grad()
        y, cache = self.net.forward((codes - codes.mean(0)) / deviation)
        _, loss_cache = self.loss.forward(y, self.label)
        dcodes = self.net.backward(self.loss.backward(1.0, loss_cache), cache)
        self.adam.step()
        dx = dy.copy()
        dx[: 2 * self.rows] -= self.strength * 2 * self.rows * dcodes / deviation
        return dx


def insert(make: Callable[[Trainer], nn.Layer]) -> Callable[[Trainer], None]:
    """A layer right after the code, in training only."""

    def change(trainer: Trainer) -> None:
        layers = trainer.model.to_code.layers
        trainer.model.to_code = nn.Sequential(*layers, ("inserted", make(trainer)))

    return change


def share_first_block(trainer: Trainer) -> None:
    """Both decoders use A's first block, 8 to 16 pixels: what a code means is settled before the sides part."""
    a, b = (trainer.model.decoders[side] for side in "ab")
    trainer.model.decoders["b"] = nn.Sequential(*a.layers[:3], *b.layers[3:])


def squared_error(factor: float) -> Callable[[Trainer], None]:
    """L = factor times the mean of weight (y - t)^2 in place of the mean of weight |y - t|."""

    def change(trainer: Trainer) -> None:
        def loss(model, y, target, weight, scale):  # noqa: ANN001, ANN202 - SwapModel._loss
            error = y - target
            counts = np.float32(1) if weight is None else np.broadcast_to(weight, y.shape[1:])
            gradient = np.float32(2 * factor * scale / error.size) * counts * error
            return factor * float((counts * error * error).mean()), gradient.astype(np.float32)

        trainer.model._loss = MethodType(loss, trainer.model)

    return change


def transport(count: int) -> Callable[[Trainer], None]:
    """What the encoder is shown of both sides gets one covariance, in ``count`` principal components of both.

    x <- x + U (T_s - 1) U^T x, T_s the linear map of least motion that takes side s's covariance there to the two
    sides' barycentre (M. Agueh, G. Carlier, Barycenters in the Wasserstein space, 2011: M = mean of
    (M^1/2 C_s M^1/2)^1/2, by iteration; T_s = C_s^-1/2 (C_s^1/2 M C_s^1/2)^1/2 C_s^-1/2).
    """

    def change(trainer: Trainer) -> None:
        model, show = trainer.model, trainer.model.show
        batches = [trainer.batches.at(10**7 + i) for i in range(LOOKED_AT)]
        rows = {
            side: np.concatenate([show(b[2 * i], side).reshape(len(b[0]), -1) for b in batches])
            for i, side in enumerate("ab")
        }
        rows = {side: x - x.mean(0) for side, x in rows.items()}
        basis = principal_components(np.concatenate(list(rows.values())), count).T
        basis = np.ascontiguousarray(basis)
        one = np.eye(count)
        spread = {side: np.cov((x @ basis).T.astype(np.float64)) for side, x in rows.items()}
        spread = {side: c + 1e-3 * np.trace(c) / count * one for side, c in spread.items()}
        middle = sum(spread.values()) / 2
        for _ in range(50):
            root = _root(middle)
            inverse = np.linalg.inv(root)
            mean = sum(_root(root @ c @ root) for c in spread.values()) / 2
            middle = inverse @ mean @ mean @ inverse
        move = {}
        for side, c in spread.items():
            root = _root(c)
            inverse = np.linalg.inv(root)
            move[side] = (inverse @ _root(root @ middle @ root) @ inverse - one).astype(np.float32)

        def moved(faces: np.ndarray, side: str, out: np.ndarray | None = None) -> np.ndarray:
            shown = show(faces, side, out)
            flat = shown.reshape(len(shown), -1)
            flat += (flat @ basis @ move[side]) @ basis.T
            return shown

        model.show = moved

    return change


def _root(matrix: np.ndarray) -> np.ndarray:
    """The symmetric square root of a symmetric matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 1e-12))) @ vectors.T
