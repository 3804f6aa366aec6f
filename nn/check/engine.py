"""All checks, and the loop that runs them: every check on every layer, activation, loss and optimizer it concerns.

A layer is checked because it is in the registry; nothing here names one. A Row of the report is one check of one
layer on one backend, over all samples (or random shapes).
"""

import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from random import Random

import numpy as np

from nn.check import complex_step, models, optimizers, oracle, properties
from nn.check.case import describe, make_case
from nn.check.definitions import DEFINITIONS, conv2d_gradients
from nn.check.finding import Finding, compare, worst_of
from nn.layer import LayerSpec, Sample

EXACT = 0.0
ROUNDING = 1e-12  # float64, sums of up to a few thousand terms
ORACLE = 1e-10
SINGLE = 1e-5  # float32 (2^-24 = 6e-8), sums of up to a few thousand terms
SHAPES = 60  # random ones a layer
WIDE_SHAPES = 12

# What these compute is not made of sums and products of the inputs, and so not exact in whole numbers.
TRANSCENDENTAL = {"Sigmoid", "Tanh", "BCEWithLogits"}
Findings = Iterable[Finding]
Run = Callable[[LayerSpec, Sample, str, int], Findings]


@dataclass(frozen=True)
class Check:
    """One thing that is tried.

    what        one line for a reader. tolerance: the largest error that passes; 0 is bit for bit.
    run         (spec, sample, backend, seed) -> what was compared
    concerns    which specs it is for. fast_only: it compares a fast backend with the reference.
    at          "samples", "bench" (one larger shape), "deep", "random shapes" or "wide shapes"
    """

    name: str
    what: str
    tolerance: float
    run: Run
    concerns: Callable[[LayerSpec], bool]
    fast_only: bool = False
    at: str = "samples"


@dataclass(frozen=True)
class Row:
    """What one check said of one layer on one backend. sample: the one that the worst comparison belongs to."""

    layer: str
    check: str
    backend: str
    tolerance: float
    shapes: int
    comparisons: int
    worst: Finding
    sample: Sample
    seconds: float
    error: str = field(default="")

    @property
    def passed(self) -> bool:
        return not self.error and self.worst.within(self.tolerance)

    def sentence(self) -> str:
        """What is wrong, in one sentence."""
        options = describe(self.sample)
        place = f"{self.layer} ({options})" if options else self.layer
        said = self.error or self.worst.sentence()
        return f"{place} on {self.sample.shape}, {self.backend}, {self.check}: {said}"


def _network(spec: LayerSpec) -> bool:
    return spec.kind in ("layer", "activation", "loss")


def _layer(spec: LayerSpec) -> bool:
    return spec.kind in ("layer", "activation")


def _definition(spec: LayerSpec, sample: Sample, backend: str, seed: int) -> Findings:
    case = make_case(spec, sample, seed=seed, backend=backend)
    found = properties.outcome(case)
    arguments = (case.x,) if case.target is None else (case.x, case.target)
    expected = {next(iter(found)): DEFINITIONS[spec.name](case.module, *arguments)}
    if spec.name == "Conv2d":
        gradients = conv2d_gradients(case.module, case.x, case.dy)
        expected |= {f"d{name}": gradient for name, gradient in gradients.items()}
    return [compare(name, found[name], truth) for name, truth in expected.items()]


def _gradients(spec: LayerSpec, sample: Sample, backend: str, seed: int) -> Findings:
    return complex_step.check_gradients(spec, sample, seed=seed, backend=backend)


def _directions(spec: LayerSpec, sample: Sample, backend: str, seed: int) -> Findings:
    return complex_step.check_directions(spec, sample, seed=seed, backend=backend)


def _any_shape(spec: LayerSpec, sample: Sample, backend: str, seed: int) -> Findings:
    """y by its definition, gradients along random directions, on a shape nobody chose."""
    yield from _definition(spec, sample, backend, seed)
    yield from _directions(spec, sample, backend, seed)


CHECKS: tuple[Check, ...] = (
    Check("complex step", "every entry of every gradient is the derivative of the forward pass",
          complex_step.TOLERANCE, _gradients, _network),
    Check("definition", "y, and a convolution's gradients, by loops over single numbers",
          ROUNDING, _definition, _network),
    Check("adjoint", "<A x, dy> = <x, A^T dy> for what is linear",
          ROUNDING, properties.adjoint, lambda s: _layer(s) and s.linear),
    Check("kinks", "the documented slope at a kink, and each side's beside it",
          1e-6, properties.kinks, lambda s: bool(s.kinks)),
    Check("added", "gradients are added to what stands there; dx is not",
          EXACT, properties.added, _network),
    Check("unchanged", "x, dy, weights and cache are not written to",
          EXACT, properties.unchanged, _network),
    Check("used twice", "two forward passes, then two backward passes in either order",
          EXACT, properties.used_twice, _network),
    Check("batches", "a batch is its examples one by one; a batch of one; of none",
          EXACT, properties.batches, _layer),
    Check("mean", "a loss is the mean of the losses of single numbers",
          ROUNDING, properties.loss_batches, lambda s: s.kind == "loss"),
    Check("linear in dy", "backward(2 p - q / 2) = 2 backward(p) - backward(q) / 2; nothing for dy = 0",
          ROUNDING, properties.linear_in_dy, _network),
    Check("dtypes", "dtype in = dtype out; a gradient has the shape of its array",
          EXACT, properties.dtypes, _network),
    Check("without dx", "need_dx=False and train=False change nothing else",
          EXACT, properties.without_dx, _layer),
    Check("layouts", "arrays that lie otherwise in memory",
          ROUNDING, properties.layouts, _network),
    Check("far out", "inputs from 1e-30 to 2000: nothing overflows",
          complex_step.TOLERANCE, properties.far_out, lambda s: s.kind in ("activation", "loss")),
    Check("frozen PyTorch", "PyTorch's float64 results, kept in this repository",
          ORACLE, oracle.frozen, lambda s: s.kind != "model"),
    Check("PyTorch", "PyTorch in float64, where it is installed",
          ORACLE, oracle.live, lambda s: s.kind != "model"),
    Check("two runs", "the same bytes again, at a size that several threads share",
          EXACT, properties.repeated, _network, at="bench"),
    Check("large", "derivatives along random directions at a larger size",
          complex_step.TOLERANCE, _directions, _network, at="bench"),
    Check("float32", "float32 against float64 at a larger size",
          SINGLE, properties.single_precision, _network, at="bench"),
    Check("any shape", "random shapes: y by definition, gradients along random directions",
          complex_step.TOLERANCE, _any_shape, _network, at="random shapes"),
    Check("integers", "whole numbers: bit-equal to the reference, in float32 and float64",
          EXACT, properties.integers, lambda s: _network(s) and s.name not in TRANSCENDENTAL, fast_only=True),
    Check("integers, any shape", "the same at random shapes that fill a kernel's blocks",
          EXACT, properties.integers, lambda s: _network(s) and s.name not in TRANSCENDENTAL, fast_only=True,
          at="wide shapes"),
    Check("reference", "float64 against the reference at random shapes that fill a kernel's blocks",
          ROUNDING, properties.reference_equal, _network, fast_only=True, at="wide shapes"),
    Check("integers, deep", "the same at sizes beyond every block",
          EXACT, properties.integers, lambda s: bool(s.deep) and s.name not in TRANSCENDENTAL, fast_only=True,
          at="deep"),
    Check("reference, deep", "float64 against the reference at sizes beyond every block",
          ROUNDING, properties.reference_equal, lambda s: bool(s.deep), fast_only=True, at="deep"),
    Check("float32, deep", "float32 against float64 at sizes beyond every block",
          SINGLE, properties.single_precision, lambda s: bool(s.deep), fast_only=True, at="deep"),
    Check("trajectory", "ten steps by loops over single numbers, every weight and state",
          ROUNDING, optimizers.definition, lambda s: s.kind == "optimizer"),
    Check("contract", "what an optimizer may write to, padding, dtype, two runs",
          EXACT, optimizers.contract, lambda s: s.kind == "optimizer"),
    Check("float32 steps", "ten steps in float32 against float64",
          SINGLE, optimizers.single_precision, lambda s: s.kind == "optimizer"),
    Check("large steps", "ten steps of a million weights against the reference",
          ROUNDING, optimizers.reference_equal, lambda s: s.kind == "optimizer", fast_only=True, at="bench"),
    Check("whole model", "the derivative of all losses along a random direction in each network",
          complex_step.TOLERANCE, models.directions, lambda s: s.kind == "model"),
    Check("50 steps, frozen", "the losses of 50 training steps as PyTorch once gave them in float64",
          ORACLE, oracle.frozen_training, lambda s: s.kind == "model", fast_only=True, at="bench"),
    Check("50 steps", "the losses of 50 training steps beside PyTorch in float64, where it is installed",
          ORACLE, models.training, lambda s: s.kind == "model", fast_only=True, at="bench"),
)  # fmt: skip


def checks_of(spec: LayerSpec, backend: str) -> list[Check]:
    """The checks that concern a spec on a backend; PyTorch's only where it is installed."""
    return [
        check
        for check in CHECKS
        if check.concerns(spec)
        and not (check.fast_only and backend == "reference")
        and not (check.run in (oracle.live, models.training) and not oracle.has_torch())
    ]


def run_check(check: Check, spec: LayerSpec, backend: str, seed: int = 0) -> Row:
    """One row of the report. An exception inside a pass is a failure of its row, not of the report."""
    began = time.perf_counter()
    if check.at in ("random shapes", "wide shapes"):
        row = _run_shapes(check, spec, backend, seed)
    else:
        places = {"samples": spec.samples, "bench": (_smaller(spec.bench),), "deep": spec.deep}
        samples = places[check.at]
        row = _run_samples(check, spec, samples, backend, seed)
    return replace(row, seconds=time.perf_counter() - began)


def run_seeds(check: Check, spec: LayerSpec, backend: str, seeds: Iterable[int]) -> Row:
    """One row for several seeds: the first that fails, or else the one with the largest error."""
    rows = []
    for seed in seeds:
        rows.append(run_check(check, spec, backend, seed))
        if not rows[-1].passed:
            break
    shown = rows[-1] if not rows[-1].passed else max(rows, key=lambda r: r.worst.worst)
    return replace(
        shown,
        shapes=sum(r.shapes for r in rows),
        comparisons=sum(r.comparisons for r in rows),
        seconds=sum(r.seconds for r in rows),
    )


def first_failure(spec: LayerSpec, backend: str, seed: int = 0) -> Row | None:
    """The first row that fails, cheapest checks first; None where all pass."""
    for check in checks_of(spec, backend):
        row = run_check(check, spec, backend, seed)
        if not row.passed:
            return row
    return None


def _run_samples(
    check: Check, spec: LayerSpec, samples: Iterable[Sample], backend: str, seed: int
) -> Row:
    worst, where, count, shapes = Finding("", 0.0), Sample({}, ()), 0, 0
    for sample in samples:
        shapes += 1
        if shapes == 1:
            where = sample
        try:
            with np.errstate(all="ignore"):
                findings = list(check.run(spec, sample, backend, seed))
        except Exception as error:
            return _broken(check, spec, backend, shapes, count, sample, error)
        count += sum(max(f.entries, 1) for f in findings)
        if findings:
            bad = worst_of(findings, check.tolerance)
            if bad.worst > worst.worst or not bad.within(check.tolerance):
                worst, where = bad, sample
            if not bad.within(check.tolerance):
                break
    return Row(spec.name, check.name, backend, check.tolerance, shapes, count, worst, where, 0.0)


def _run_shapes(check: Check, spec: LayerSpec, backend: str, seed: int) -> Row:
    """Random shapes; where one fails, hypothesis looks for the smallest that does."""
    from hypothesis import HealthCheck, Phase, find, settings
    from hypothesis.errors import NoSuchExample

    from nn.check.shapes import samples

    wide = check.at == "wide shapes"
    rows: list[Row] = []

    def fails(sample: Sample) -> bool:
        rows.append(_run_samples(check, spec, (sample,), backend, seed))
        return not rows[-1].passed

    options = settings(
        max_examples=WIDE_SHAPES if wide else SHAPES,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    try:
        find(samples(spec, wide=wide), fails, settings=options, random=Random(seed))
        failed = [r for r in rows if not r.passed]
        # The last one that failed is the smallest that was found.
        return replace(failed[-1], shapes=len(rows))
    except NoSuchExample:
        pass
    worst = max(rows, key=lambda r: r.worst.worst)
    return replace(worst, shapes=len(rows), comparisons=sum(r.comparisons for r in rows))


def _smaller(bench: Sample) -> Sample:
    """A sample of realistic size with a batch of at most two: large enough for every block, quick enough for here."""
    if len(bench.shape) == 1:  # an optimizer's weights
        return bench
    return Sample(bench.kwargs, (min(bench.shape[0], 2), *bench.shape[1:]))


def _broken(
    check: Check, spec: LayerSpec, backend: str, shapes: int, count: int, sample: Sample, error: Exception
) -> Row:  # fmt: skip
    frame = traceback.extract_tb(error.__traceback__)[-1]
    said = f"{type(error).__name__}: {error} (in {frame.name})"
    return Row(
        spec.name, check.name, backend, check.tolerance, shapes, count,
        Finding("", np.inf, note=said), sample, 0.0, error=said,
    )  # fmt: skip
