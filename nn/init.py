"""Initial weights. Each function fills a new float32 array from its own generator.

    fan_in, fan_out   numbers that reach one output, and outputs that one input reaches:
                      I and O for dense (I, O); KH KW C and KH KW K for convolution (KH, KW, C, K)
    Glorot uniform    w ~ U(-a, a), a = sqrt(6 / (fan_in + fan_out))     keeps variance both ways; Keras's default
    He normal         w ~ N(0, 2 / ((1 + s²) fan_in))                    for (leaky) ReLU of slope s

Sources: Glorot and Bengio 2010; He et al., arXiv:1502.01852.
"""

import math

import numpy as np


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight of ``shape`` (..., inputs, outputs)."""
    receptive = math.prod(shape[:-2])
    return receptive * shape[-2], receptive * shape[-1]


def glorot_uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """U(-a, a) with a = sqrt(6 / (fan_in + fan_out)); float32."""
    limit = math.sqrt(6 / sum(fans(shape)))
    w = rng.random(shape, dtype=np.float32)
    w *= np.float32(2 * limit)
    w -= np.float32(limit)
    return w


def he_normal(
    rng: np.random.Generator, shape: tuple[int, ...], *, negative_slope: float = 0.0
) -> np.ndarray:
    """N(0, 2 / ((1 + s²) fan_in)) with s = negative_slope; float32."""
    w = rng.standard_normal(shape, dtype=np.float32)
    w *= np.float32(math.sqrt(2 / ((1 + negative_slope**2) * fans(shape)[0])))
    return w


INITIALIZERS = {"glorot": glorot_uniform, "he": he_normal}


def make_weight(
    init: str, shape: tuple[int, ...], rng: np.random.Generator | int | None, dtype: np.dtype
) -> np.ndarray:
    """A weight by the initializer's name; ``rng`` is a generator, a seed, or None for
    different numbers every time."""
    if init not in INITIALIZERS:
        raise ValueError(f"unknown initializer {init!r}; there are {', '.join(INITIALIZERS)}")
    if not isinstance(rng, np.random.Generator):
        rng = np.random.Generator(np.random.Philox(rng))
    return INITIALIZERS[init](rng, shape).astype(dtype, copy=False)
