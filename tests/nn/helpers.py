"""The registry as pytest parameters, random shapes, and how far two arrays are apart."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import strategies as st

from nn.backend import BACKENDS
from nn.check import describe
from nn.layer import REGISTRY, LayerSpec, Sample

SPECS = list(REGISTRY.values())
CASES = [(spec, sample) for spec in SPECS for sample in spec.samples]


def each(keep: Callable[[LayerSpec], bool]) -> pytest.MarkDecorator:
    """Parametrizes over (spec, sample) of the specs to ``keep``."""
    return pytest.mark.parametrize(
        ("spec", "sample"),
        [
            pytest.param(spec, sample, id=f"{spec.name} {describe(sample)} {sample.shape}")
            for spec, sample in CASES
            if keep(spec)
        ],
    )


each_case = each(lambda spec: True)
each_layer = each(lambda spec: spec.kind != "loss")
each_loss = each(lambda spec: spec.kind == "loss")
each_backend = pytest.mark.parametrize("backend", BACKENDS)
each_fast_backend = pytest.mark.parametrize("backend", [b for b in BACKENDS if b != "reference"])


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """max |found - expected| / max |expected|; shapes must be equal."""
    assert np.shape(found) == np.shape(expected)
    if np.size(expected) == 0:
        return 0.0
    scale = float(np.max(np.abs(expected)))
    return float(np.max(np.abs(found - expected))) / (scale or 1.0)


@st.composite
def conv2d_samples(draw, *, channels: int = 3, size: int = 7, kernel: int = 5, batch: int = 2):
    """Any kernel, stride and padding, from the smallest input the padded kernel fits into."""
    pixels = st.integers(0, 2)
    kernel_size = draw(st.tuples(*[st.integers(1, kernel)] * 2))
    padding = draw(
        st.one_of(pixels, st.just("same"), st.tuples(pixels, pixels), st.tuples(*[pixels] * 4))
    )
    match padding:
        case int():
            borders = (2 * padding, 2 * padding)
        case "same":
            borders = kernel_size
        case rows, columns:
            borders = (2 * rows, 2 * columns)
        case top, bottom, left, right:
            borders = (top + bottom, left + right)
    height, width = (
        draw(st.integers(max(1, k - b), size)) for k, b in zip(kernel_size, borders, strict=True)
    )
    options = {
        "in_channels": draw(st.integers(1, channels)),
        "out_channels": draw(st.integers(1, channels)),
        "kernel_size": kernel_size,
        "stride": draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        "padding": padding,
        "bias": draw(st.booleans()),
    }
    return Sample(options, (draw(st.integers(1, batch)), height, width, options["in_channels"]))


@st.composite
def dense_samples(draw, *, features: int = 8, batch: int = 4):
    options = {
        "in_features": draw(st.integers(1, features)),
        "out_features": draw(st.integers(1, features)),
        "bias": draw(st.booleans()),
    }
    return Sample(options, (draw(st.integers(1, batch)), options["in_features"]))


@st.composite
def pixel_shuffle_samples(draw, *, channels: int = 3, size: int = 4, batch: int = 2):
    r = draw(st.integers(1, 4))
    n, h, w, c = (draw(st.integers(1, most)) for most in (batch, size, size, channels))
    return Sample({"factor": r}, (n, h, w, r * r * c))


@st.composite
def reshape_samples(draw):
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    n = draw(st.integers(1, 3))
    return Sample({"shape": tuple(draw(st.permutations(sizes)))}, (n, *sizes))


STRATEGIES = {
    "Conv2d": conv2d_samples,
    "Dense": dense_samples,
    "PixelShuffle": pixel_shuffle_samples,
    "Reshape": reshape_samples,
}


def spec_and_sample(**wide: dict) -> st.SearchStrategy[tuple[LayerSpec, Sample]]:
    """One of the layers with a strategy, and a sample of it; ``wide`` gives it larger sizes."""
    return st.one_of(
        *(
            st.tuples(st.just(REGISTRY[name]), strategy(**wide.get(name, {})))
            for name, strategy in STRATEGIES.items()
        )
    )
