"""Convolutions with few channels on one side, which have kernels of their own."""

import numpy as np
import pytest

from nn.backend import host
from nn.check import describe
from nn.check.case import make_case
from nn.check.finding import compare, identical
from nn.check.properties import outcome
from nn.gpu import device, modes
from nn.layer import REGISTRY, Sample
from tests.nn.gpu.emulator import Emulator

# in, out, kernel, stride, padding, (H, W)
SHAPES = [
    (3, 32, 5, 2, (1, 2, 1, 2), (8, 8)),
    (1, 36, (3, 2), (1, 2), (0, 1, 2, 0), (7, 9)),
    (4, 40, 3, 1, 0, (6, 5)),
    (32, 3, 5, 1, (2, 2, 2, 2), (6, 7)),
    (16, 1, (2, 4), (2, 1), (1, 0, 3, 1), (7, 6)),
    (40, 4, 3, 3, 0, (10, 8)),
]


def cases(spec, **options):
    for c, k, kernel, stride, padding, size in SHAPES:
        given = {"in_channels": c, "out_channels": k, "kernel_size": kernel}
        given |= {"stride": stride, "padding": padding}
        if spec == "ConvBlock":
            given |= {"negative_slope": 0.25, "factor": 1}
        sample = Sample(given, (2, *size, c))
        yield sample, make_case(REGISTRY[spec], sample, dtype=np.float32, **options)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("way", ["implicit", "warpgroup"])
@pytest.mark.parametrize("precision", modes.PRECISIONS)
@pytest.mark.parametrize("spec", ["Conv2d", "ConvBlock"])
def test_whole_numbers_are_exact(card, spec, precision, way, backwards):
    other = Emulator(backwards=backwards) if isinstance(card, Emulator) else card
    for sample, case in cases(spec, integers=True):
        book = outcome(case)
        with device.use(other), modes.using(precision=precision, way=way):
            found = outcome(case.to(backend="gpu"))
        for name, expected in book.items():
            finding = identical(name, found[name], expected)
            assert finding.within(0), f"{describe(sample)}: {finding.sentence()}"
    if isinstance(other, Emulator):
        made = {kernel for source, kernel, _ in other.launched if source == "narrow.cu"}
        assert made == {"patches", "spread", "collect", "turn", "add_turned"}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("spec", ["Conv2d", "ConvBlock"])
def test_random_numbers_are_as_exact_as_the_type(card, spec, dtype):
    for sample, case in cases(spec):
        book = outcome(case.to(dtype=np.float64))
        found = outcome(case.to(backend="gpu", dtype=dtype))
        for name, expected in book.items():
            finding = compare(name, found[name], expected)
            bound = 2e-6 if dtype == np.float32 else 1e-14
            assert finding.within(bound), f"{describe(sample)}: {finding.sentence()}"


def test_without_an_input_gradient_the_rest_is_the_same(card):
    for _, case in cases("Conv2d", integers=True):
        book = case.to(backend="reference")
        gradients = book.gradients()
        module = case.to(backend="gpu").module
        _, cache = module.forward(case.x)
        assert module.backward(case.dy, cache, need_dx=False) is None
        for name, p in module.named_parameters():
            assert identical(name, host(p.grad), gradients[name]).within(0)
