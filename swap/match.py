"""Codes of both sides with the same mean and the same covariance: a loss on the encoder.

Nothing in two reconstruction losses says that a code means the same to both decoders. What can be asked without a
single pair of pictures is that the codes of A and of B are spread alike. With running moments of each side,

    m_s <- keep m_s + (1 - keep) mean of z over the batch         z (N, d): codes of side s
    C_s <- keep C_s + (1 - keep) (z - mean)ᵀ (z - mean) / N

both divided by 1 - keep^t, so that they are averages from the first step on, the loss is

    M = |m_a - m_b|² / tau + |C_a - C_b|² / nu,    tau = (tr C_a + tr C_b) / 2,    nu = (|C_a|² + |C_b|²) / 2

(squared Euclidean and Frobenius norms; tau and nu count as constants, so that codes cannot shrink their way out). It is
0 for equal moments, whatever their size. Its gradient, as if this batch alone made the moments (only the scale is
changed by that, and the direction is the running average's, which has seen many batches):

    dM/dz_a =  (2 (m_a - m_b) / tau + 4 (z - mean) (C_a - C_b) / nu) / N        and for b with the opposite signs

After B. Sun and K. Saenko, Deep CORAL, 2016, which has the second term, in a batch alone.
"""

from collections.abc import Sequence
from types import ModuleType

import numpy as np

from nn.backend import get_backend, on_gpu, put
from nn.reference.dense import DenseCache

KEEP = 0.98


class CodeMatch:
    """The running moments of two sides' codes, and the gradient that pulls them together.

    sides: their names. code: d. ops: the backend whose dense products are used (see nn.backend).
    """

    def __init__(self, sides: Sequence[str], code: int, ops: ModuleType) -> None:
        if len(sides) != 2:
            raise ValueError(f"two sides are matched, not {len(sides)}")
        self.sides, self.ops = tuple(sides), ops
        self.mean = {side: np.zeros(code, np.float32) for side in sides}
        self.covariance = {side: np.zeros((code, code), np.float32) for side in sides}
        self.steps = np.zeros(1, np.int64)

    def to(self, backend: str) -> "CodeMatch":
        """Computes on ``backend`` from now on, the moments lying there; returns self."""
        self.ops = get_backend(backend)
        self.mean = {side: put(array, backend) for side, array in self.mean.items()}
        self.covariance = {side: put(array, backend) for side, array in self.covariance.items()}
        return self

    def arrays(self) -> dict[str, np.ndarray]:
        """What the next step depends on, by name, for a checkpoint: the arrays themselves."""
        named = {f"mean/{side}": array for side, array in self.mean.items()}
        named |= {f"covariance/{side}": array for side, array in self.covariance.items()}
        return named | {"steps": self.steps}

    def gradient(
        self, codes: dict[str, np.ndarray], share: np.ndarray | None = None
    ) -> tuple[float, dict[str, np.ndarray]]:
        """M and its gradient by the codes (N, d) of each side; the moments go on by one step.

        share: 1 - keep^t as an array (1) of the GPU, for a step that is recorded; ``steps`` is then counted by the
        caller, and M is an array, too, so that nothing waits for a number.
        """
        if share is None:
            self.steps += 1
            share = np.float32(share_at(int(self.steps[0])))
        centred, means, covariances = {}, {}, {}
        for side, z in codes.items():
            mean = z.mean(0)
            centred[side] = z - mean
            self.mean[side] += np.float32(1 - KEEP) * (mean - self.mean[side])
            running = self.covariance[side]
            running *= np.float32(KEEP)
            # dense_backward adds xᵀ dy to its gradient, which is the product that is wanted here.
            part = centred[side] * np.float32((1 - KEEP) / len(z))
            cache = DenseCache(centred[side], running)
            self.ops.dense_backward(part, cache, running, None, need_dx=False)
            means[side], covariances[side] = self.mean[side] / share, running / share
        a, b = self.sides
        apart, spread = means[a] - means[b], covariances[a] - covariances[b]
        tau = (np.trace(covariances[a]) + np.trace(covariances[b])) / 2 + 1e-12
        nu = (_square(covariances[a]) + _square(covariances[b])) / 2 + 1e-12
        if on_gpu(apart):
            tau, nu = tau.astype(np.float32), nu.astype(np.float32)
        else:
            tau, nu = np.float32(tau), np.float32(nu)
        value = _square(apart) / tau + _square(spread) / nu
        gradients = {}
        for side, sign in ((a, 1), (b, -1)):
            pull = self.ops.dense_forward(centred[side], spread, None)[0]
            towards = 2 / tau * apart + 4 / nu * pull
            gradients[side] = (sign / len(pull) * towards).astype(np.float32)
        return (value if on_gpu(apart) else float(value)), gradients

    def pull(
        self, strength: float, share: np.ndarray | None, *codes_and_gradients: np.ndarray
    ) -> None:
        """Adds ``strength`` times the gradient to what there is: codes of the first side (N, d), their gradient, codes
        of the second, theirs. share: see ``gradient``."""
        codes = dict(zip(self.sides, codes_and_gradients[::2], strict=True))
        _, pulls = self.gradient(codes, share)
        for side, dcode in zip(self.sides, codes_and_gradients[1::2], strict=True):
            dcode += strength * pulls[side]


def share_at(step: int) -> float:
    """What the running averages are divided by after step 1, 2, ...: 1 - keep^t."""
    return 1 - KEEP**step


def _square(array: np.ndarray) -> float:
    """The sum of squares, in one order whatever the threads."""
    total = np.sum(np.square(array, dtype=np.float64))
    return total if on_gpu(array) else float(total)
