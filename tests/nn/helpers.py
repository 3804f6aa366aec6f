"""The registry's layers and losses as pytest parameters, and how far two arrays are apart."""

from collections.abc import Callable

import numpy as np
import pytest

from nn.backend import BACKENDS
from nn.check import describe
from nn.layer import REGISTRY, LayerSpec

NETWORK = ("layer", "activation", "loss")
SPECS = [spec for spec in REGISTRY.values() if spec.kind in NETWORK]
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
