"""Everything that ``nn check --backend gpu`` checks, and what holds in every precision: the kernels' own text."""

import numpy as np
import pytest

from nn.check import checks_of, describe, run_check
from nn.check.case import make_case
from nn.check.engine import TRANSCENDENTAL
from nn.check.finding import compare, identical
from nn.check.mutants import MUTANTS
from nn.check.properties import outcome
from nn.check.verdict import reject
from nn.gpu import conv, device, modes, plan
from nn.layer import REGISTRY, Sample
from tests.nn.check.test_every_check import KEPT
from tests.nn.gpu.emulator import Emulator

SPECS = [s for s in REGISTRY.values() if s.kind != "model"]
ROWS = [(s, c) for s in SPECS for c in checks_of(s, "gpu")]
PRODUCTS = [REGISTRY[name] for name in ("Conv2d", "ConvBlock", "Dense")]
INEXACT = [("tf32", way) for way in modes.WAYS]
INEXACT += [("fp16", way) for way in modes.WAYS if way != "pipelined"]  # which is for TF32 alone
# Of a sum of products of factors with 11 significant bits, relative to the largest entry: 2^-11 each, and they average
# out.
ROUNDED = 2e-3
FEW = 800_000  # multiply-adds of a sample that is emulated instruction by instruction


@pytest.mark.parametrize(
    ("spec", "check"), [pytest.param(*r, id=f"{r[0].name} {r[1].name}") for r in ROWS]
)
def test_check(card, spec, check):
    row = run_check(check, spec, "gpu")
    assert row.passed, row.sentence()
    kept = KEPT[spec.name][check.name]["cpu"] // (2 if "shapes" in check.at else 1)
    assert row.comparisons >= kept


def light(spec):
    """Its samples, and those of the deep ones that are quickly emulated."""
    built = ((sample, spec.make(**sample.kwargs)) for sample in spec.deep)
    return [*spec.samples, *(s for s, module in built if module.macs(s.shape) < FEW)]


@pytest.mark.parametrize(("precision", "way"), [*INEXACT, ("fp32", "im2col")])
@pytest.mark.parametrize("spec", PRODUCTS, ids=lambda s: s.name)
def test_whole_numbers_are_exact_in_every_precision(card, spec, precision, way):
    """Factors of 2 or 3 digits survive any rounding, and float32 sums them exactly: bit for bit, as in fp32."""
    for sample in light(spec):
        case = make_case(spec, sample, dtype=np.float32, integers=True)
        book = outcome(case)
        with modes.using(precision=precision, way=way):
            found = outcome(case.to(backend="gpu"))
        for name, expected in book.items():
            finding = identical(name, found[name], expected)
            assert finding.within(0), f"{describe(sample)}: {finding.sentence()}"


@pytest.mark.parametrize(("precision", "way"), INEXACT)
@pytest.mark.parametrize("spec", PRODUCTS, ids=lambda s: s.name)
def test_random_numbers_are_as_exact_as_the_precision(card, spec, precision, way):
    """And not more exact: a precision that were ignored would show here, too."""
    worst = 0.0
    for sample in light(spec)[::2]:
        case = make_case(spec, sample, dtype=np.float32)
        book = outcome(case.to(dtype=np.float64))
        with modes.using(precision=precision, way=way):
            found = outcome(case.to(backend="gpu"))
        for name, expected in book.items():
            finding = compare(name, found[name], expected)
            assert finding.within(ROUNDED), f"{describe(sample)}: {finding.sentence()}"
            worst = max(worst, finding.worst)
    assert worst > 1e-5


SHARED = [(s, p) for s in PRODUCTS[:2] for p in modes.PRECISIONS]
SHARED += [(s, "fp32") for s in SPECS if s.kind in ("layer", "loss") and s not in PRODUCTS[:2]]


@pytest.mark.parametrize(("spec", "precision"), SHARED, ids=lambda v: getattr(v, "name", v))
def test_no_number_depends_on_the_order_of_threads(emulated, spec, precision):
    """Threads and blocks in the opposite order: a barrier that is missing, or a place written twice, would show."""
    for sample in (light(spec) if spec in PRODUCTS else spec.samples)[::2]:
        runs = []
        for backwards in (False, True):
            case = make_case(spec, sample, dtype=np.float32, backend="gpu")
            with device.use(Emulator(backwards=backwards)), modes.using(precision=precision):
                runs.append(outcome(case))
        for name, first in runs[0].items():
            assert identical(name, runs[1][name], np.asarray(first)).within(0), name


TILES = [(p, "implicit", t) for p in modes.PRECISIONS for t in ("LARGE", "TALL")]
TILES += [("tf32", "pipelined", "LARGE"), ("tf32", "pipelined", "TALL")]
TILES += [
    (p, way, t)
    for p in ("tf32", "fp16")
    for way in ("warpgroup", "copied")
    for t in ("VAST", "WIDE", "HALF", "SLIM")
]


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize(("precision", "way", "tile"), TILES)
def test_tiles_that_only_large_products_take(card, monkeypatch, tile, precision, way, parts):
    """Whole tiles and cut ones, shorter and longer than a step of the sum, by the tile that is chosen elsewhere; in one
    sum and in several, the last of which may be empty; threads and blocks in either order."""

    def arrange(rows, columns, depth, *, step, **_):
        return plan.Arrangement(getattr(plan, tile), parts, -(-depth // (parts * step)) * step)

    monkeypatch.setattr(conv, "arrange", arrange)
    step = 8 if precision == "fp16" and way in ("warpgroup", "copied") else 4
    for c, k, kernel, size, stride in (
        (step, 136, 3, 8, 1), (24, 8, 5, 15, 2), (step, step, 1, 12, 1), (16, 40, (3, 2), 9, (2, 3)), (64, 32, 3, 5, 1),
    ):  # fmt: skip
        options = {"in_channels": c, "out_channels": k, "kernel_size": kernel, "stride": stride}
        sample = Sample(options | {"padding": (1, 0, 2, 1)}, (2, size, size + 1, c))
        case = make_case(REGISTRY["Conv2d"], sample, dtype=np.float32, integers=True)
        book = outcome(case)
        for backwards in (False, True):
            with turned(card, backwards), modes.using(precision=precision, way=way):
                found = outcome(case.to(backend="gpu"))
            for name, expected in book.items():
                finding = identical(name, found[name], expected)
                assert finding.within(0), f"{describe(sample)}: {finding.sentence()}"


@pytest.mark.parametrize(("precision", "kind"), [("fp16", 2), ("tf32", 1)])
def test_what_both_gradients_read_is_rounded_as_it_is_made(emulated, precision, kind):
    """The gradient before slope and shuffle, by the kernel that makes it; no copy of it follows."""
    options = {"in_channels": 16, "out_channels": 32, "kernel_size": 3, "padding": 1}
    sample = Sample(options | {"negative_slope": 0.25, "factor": 2}, (2, 6, 6, 16))
    case = make_case(REGISTRY["ConvBlock"], sample, dtype=np.float32, integers=True)
    book = outcome(case)
    with modes.using(precision=precision, way="copied"):
        found = outcome(case.to(backend="gpu"))
    for name, expected in book.items():
        assert identical(name, found[name], expected).within(0), name
    outs = {o for _, k, options in emulated.launched if k == "upstream" for o in options}
    assert f"-DOUT={kind}" in outs


@pytest.mark.parametrize("way", ["warpgroup", "copied"])
def test_a_fence_that_is_missing_before_products_is_found(emulated, monkeypatch, way):
    real = device.text_of
    monkeypatch.setattr(
        device, "text_of", lambda *a: real(*a).replace("stored_for_products();\n", "\n")
    )
    monkeypatch.setattr("tests.nn.gpu.emulator._libraries", {})
    sample = Sample({"in_channels": 16, "out_channels": 24, "kernel_size": 3}, (2, 8, 8, 16))
    case = make_case(REGISTRY["Conv2d"], sample, dtype=np.float32)
    with modes.using(precision="tf32", way=way), pytest.raises(AssertionError, match="not yet"):
        outcome(case.to(backend="gpu"))


def turned(card, backwards):
    """An emulated card that runs the other way round; the card itself where it is a real one."""
    other = Emulator(backwards=backwards) if isinstance(card, Emulator) else card
    return device.use(other)


@pytest.mark.parametrize("way", ["warpgroup", "copied"])
@pytest.mark.parametrize("precision", ["tf32", "fp16"])
def test_products_by_warpgroups_are_made_by_them(emulated, precision, way):
    """In all three passes, with whole channels; or the tests above would pass without their instructions."""
    sample = Sample({"in_channels": 16, "out_channels": 24, "kernel_size": 3}, (2, 8, 8, 16))
    case = make_case(REGISTRY["Conv2d"], sample, dtype=np.float32)
    with modes.using(precision=precision, way=way):
        outcome(case.to(backend="gpu"))
    made = {k for source, k, options in emulated.launched if "-DWARPGROUP=1" in options}
    assert made == {"conv_forward", "conv_dx", "conv_dw"}
    copied = {k for source, k, options in emulated.launched if "-DCOPIED=1" in options}
    assert copied == ({"conv_forward", "conv_dx"} if way == "copied" else set())
    rounded = {k for source, k, _ in emulated.launched if source == "factors.cu"}
    assert rounded == {
        ("warpgroup", "tf32"): set(), ("warpgroup", "fp16"): {"halve"},
        ("copied", "tf32"): {"turn", "round_tf32"}, ("copied", "fp16"): {"turn", "halve"},
    }[way, precision]  # fmt: skip


@pytest.mark.parametrize(
    ("way", "wrong", "right"),
    [
        ("warpgroup", "__syncthreads();\n    now", "now"),
        ("warpgroup", "products_wait<1>();", ""),
        ("warpgroup", "j ^ r % 8", "j"),
        ("copied", "__syncthreads();  // the step", "// the step"),
        ("copied", "products_wait<1>();", ""),
        ("copied", "copy_wait<AHEAD - 1>();", ""),
        ("copied", "now + STAGES - 2", "now + STAGES - 1"),
    ],
)
def test_what_is_wrong_with_a_product_of_warpgroups_shows(emulated, monkeypatch, way, wrong, right):
    """A barrier that is missing, a wait that is missing, a layout that is not the instruction's, a buffer in use."""
    text = device.text_of("conv.cu")
    sample = Sample({"in_channels": 16, "out_channels": 24, "kernel_size": 3}, (2, 8, 8, 16))
    case = make_case(REGISTRY["Conv2d"], sample, dtype=np.float32, integers=True)
    book, findings = outcome(case), []
    real = device.text_of

    def broken(source, headers=device.FOLDER):
        found = real(source, headers)
        return found.replace(wrong, right) if source == "conv.cu" else found

    assert wrong in text
    monkeypatch.setattr(device, "text_of", broken)
    monkeypatch.setattr("tests.nn.gpu.emulator._libraries", {})
    for backwards in (False, True):
        with turned(emulated, backwards), modes.using(precision="tf32", way=way):
            found = outcome(case.to(backend="gpu"))
        findings += [identical(name, found[name], book[name]) for name in book]
    assert not all(finding.within(0) for finding in findings)


def test_transcendental_layers_are_the_only_ones_without_whole_numbers():
    exact = {s.name for s, c in ROWS if c.name == "integers"}
    assert exact | TRANSCENDENTAL | {"SGD", "Adam"} == {s.name for s in SPECS}


def test_wrong_backwards_are_rejected_on_this_backend_too(emulated):
    """Every eighth of the table; or a check might pass whatever the card computes."""
    tried = [m for m in MUTANTS if "." not in m.of][::8]
    assert len(tried) > 40
    for mutant in tried:
        assert reject(mutant, "gpu") is not None, f"{mutant.of} passed, although {mutant.name}"
