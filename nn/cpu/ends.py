"""What comes right after a convolution, done while its result is still in registers or in the cache.

    forward     y = shuffle(leaky(z + bias), R)         z (N, OH, OW, K) -> y (N, OH R, OW R, K / R²)
    backward    dz = leaky'(y) unshuffle(dy, R)         leaky' = 1 where y > 0, else the slope s
                db = sum over places of dz

leaky(z) = z where z > 0, else s z with s >= 0, so y > 0 exactly where z > 0, and y alone tells the slope. R = 1 is no
shuffle, s = 1 no activation. By themselves these are passes over memory that cost as much as a convolution; folded in
they are an addition and a comparison per vector, and another address to store to.

Channel k = (i, j, c) of place (p, q) belongs to pixel (R p + i, R q + j). For one i the numbers (j, c) lie side by side
in both, K / R of them: a run. So place (p, q), run i starts at ((n OH + p) R + i) OW K / R + q K / R.
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from nn import memory
from nn.cpu.kernel import kernel
from nn.cpu.rows import CHUNKS, add_chunks
from nn.cpu.simd import clear_span, lanes, slope_span


class Finish(NamedTuple):
    """What is done to z before it is stored."""

    bias: np.ndarray  # (K)
    slope: np.generic  # s
    factor: int  # R

    @classmethod
    def make(
        cls, bias: np.ndarray | None, k: int, dtype: np.dtype, slope: float = 1.0, factor: int = 1
    ) -> "Finish":
        """Of a layer with K outputs; ``bias`` None is a bias of 0."""
        return cls(np.zeros(k, dtype) if bias is None else bias, dtype.type(slope), factor)

    def in_runs(self) -> bool:
        """Whether a run is made of whole vectors: then a kernel can store straight to where it belongs."""
        return self.bias.size // self.factor % lanes(self.bias.dtype) == 0

    def activate(self, z: np.ndarray) -> None:
        """z = leaky(z) in place, for a kernel that adds the bias alone."""
        if self.slope != 1:
            _activate(z.reshape(-1), self.slope)


@kernel
def _activate(z, slope):
    for i in prange(z.size):
        z[i] = z[i] if z[i] > 0 else slope * z[i]


class Upstream(NamedTuple):
    """The gradient that reaches a convolution: dy (N, OH R, OW R, K / R²) behind its activation and shuffle."""

    dy: np.ndarray  # contiguous
    y: np.ndarray  # what the forward pass stored; dy itself where there is no activation
    slope: np.generic
    factor: int
    db: np.ndarray | None  # (K): the bias gradient, or None where there is no bias

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, OH, OW, K)."""
        n, height, width, c = self.dy.shape
        r = self.factor
        return n, height // r, width // r, c * r * r

    def is_plain(self) -> bool:
        """Whether dz is dy."""
        return self.slope == 1 and self.factor == 1

    def picture(self, height: int, width: int) -> np.ndarray:
        """dz in a picture (N, height, width, K), zeros to the right and below, flat; adds to db. To be asked once."""
        n, oh, ow, k = self.shape
        out = memory.scratch(n * height * width * k, self.dy.dtype)
        partial = memory.scratch(CHUNKS * k, self.dy.dtype)
        db = partial[:0] if self.db is None else self.db
        _picture(
            self.dy.reshape(-1), self.y.reshape(-1), self.slope, self.factor, n, oh, ow, k,
            out, height, width, partial, db,
        )  # fmt: skip
        return out

    def plain(self) -> np.ndarray:
        """dz (N, OH, OW, K); adds to db."""
        return self.picture(*self.shape[1:3]).reshape(self.shape)


@kernel
def _picture(dy, y, slope, factor, n, h, w, k, out, hp, wp, partial, db):
    lines = n * hp
    share = (lines + CHUNKS - 1) // CHUNKS
    run = k // factor
    for chunk in prange(CHUNKS):
        clear_span(partial, chunk * k, partial, 0, k)
        for line in range(chunk * share, min(lines, (chunk + 1) * share)):
            i, row = line // hp, line % hp
            at = line * wp * k
            if row >= h:
                clear_span(out, at, out, 0, wp * k)
                continue
            for part in range(factor):
                source = ((i * h + row) * factor + part) * w * run
                for q in range(w):
                    slope_span(
                        out, at + q * k + part * run, dy, source + q * run, y, slope,
                        partial, chunk * k + part * run, run,
                    )  # fmt: skip
            clear_span(out, at + w * k, out, 0, (wp - w) * k)
    add_chunks(partial, k, db)
