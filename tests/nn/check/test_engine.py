"""The report's own promises: the smallest failing shape, an exception as a row, the picture of a whole model."""

import numpy as np
import pytest

from nn.backend import get_backend
from nn.check import CHECKS, run_check
from nn.check.definitions import DEFINITIONS
from nn.check.models import load_models
from nn.check.mutants import MUTANTS, Mutant, planted
from nn.layer import REGISTRY

load_models()
BY_NAME = {check.name: check for check in CHECKS}


def wrong_where(condition):
    """Convolution's backward, its dx wrong where ``condition(cache)`` holds."""

    def make(right):
        def wrong(dy, cache, dw, db, *, need_dx=True):
            dx = right(dy, cache, dw, db, need_dx=need_dx)
            return dx if dx is None or not condition(cache) else dx * 1.0005

        return wrong

    return Mutant("conv2d_backward", "a test", ("dx",), make)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_the_smallest_failing_shape_is_found(backend):
    with planted(wrong_where(lambda c: c.stride[1] == 3 and c.w.shape[0] >= 2), backend):
        row = run_check(BY_NAME["any shape"], REGISTRY["Conv2d"], backend)
    assert not row.passed
    options = row.sample.kwargs
    assert options["stride"] == (1, 3)
    assert options["kernel_size"] == (2, 1)
    assert options["in_channels"] == options["out_channels"] == 1
    assert row.sample.shape[0] == 1
    assert "kernel_size=(2,1)" in row.sentence()


def test_what_is_wrong_only_beyond_a_block_is_found():
    """No sample is that large; the wide and deep shapes of the fast backends are."""
    with planted(wrong_where(lambda c: c.w.shape[2] > 64), "cpu"):
        failed = [
            check.name
            for check in CHECKS
            if check.concerns(REGISTRY["Conv2d"])
            and not run_check(check, REGISTRY["Conv2d"], "cpu").passed
        ]
    assert "integers, deep" in failed
    assert "complex step" not in failed


def test_what_is_wrong_in_float32_alone_is_found():
    def make(right):
        def wrong(dy, cache):
            dx = right(dy, cache)
            return dx if dx.dtype == np.float64 else dx * np.float32(1.0001)

        return wrong

    with planted(Mutant("tanh_backward", "a test", ("dx",), make), "cpu"):
        assert run_check(BY_NAME["complex step"], REGISTRY["Tanh"], "cpu").passed
        assert not run_check(BY_NAME["float32"], REGISTRY["Tanh"], "cpu").passed


def test_an_exception_is_a_row_that_fails():
    def make(right):
        def wrong(dy, cache):
            raise RuntimeError("no")

        return wrong

    with planted(Mutant("relu_backward", "a test", ("dx",), make)):
        row = run_check(BY_NAME["complex step"], REGISTRY["ReLU"], "reference")
    assert not row.passed
    assert "RuntimeError: no" in row.sentence()


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_a_wrong_layer_shows_in_the_whole_model(backend):
    spec, check = REGISTRY["TwoDecoders"], BY_NAME["whole model"]
    with planted(wrong_where(lambda c: c.w.shape[3] == 3), backend):  # the decoders' last layer
        row = run_check(check, spec, backend)
    assert not row.passed
    assert "gradient of" in row.sentence()


def test_a_gradient_that_is_overwritten_shows_in_the_whole_model(monkeypatch):
    """Both decoders' gradients reach the encoder: where only one does, this must show."""
    spec, check = REGISTRY["TwoDecoders"], BY_NAME["whole model"]
    right = spec.make.backpropagate

    def wrong(self):
        loss = right(self)
        for p in self.model.encoder.parameters():
            p.zero_grad()
        self.batch = {"b": self.batch["b"]}
        self.model.backpropagate(self.batch, self.weight)
        return loss

    monkeypatch.setattr(spec.make, "backpropagate", wrong)
    assert not run_check(check, spec, "cpu").passed


def test_a_wrong_optimizer_leaves_the_losses_of_pytorch():
    wrong = next(m for m in MUTANTS if m.of == "adam_step" and "corrected for" in m.name)
    with planted(wrong, "cpu"):
        row = run_check(BY_NAME["50 steps, frozen"], REGISTRY["TwoDecoders"], "cpu")
    assert not row.passed


def test_everything_but_models_and_optimizers_has_a_definition():
    wanted = {s.name for s in REGISTRY.values() if s.kind in ("layer", "activation", "loss")}
    assert wanted == set(DEFINITIONS)


def test_a_definition_is_not_the_backend():
    """Or a mistake in the backend would be in both."""
    with planted(Mutant("tanh_forward", "a test", ("y",), lambda right: lambda x: (x, None))):
        row = run_check(BY_NAME["definition"], REGISTRY["Tanh"], "reference")
    assert not row.passed
    assert get_backend("reference").tanh_forward(np.zeros(2))[0].tolist() == [0, 0]
