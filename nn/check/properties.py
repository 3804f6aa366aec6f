"""What every layer, activation and loss promises on every backend, whatever it computes.

Each function tries one promise on one sample and gives what it compared. Whole numbers are used where a promise is
exact: then it is tested bit for bit, without a tolerance.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from nn.backend import host
from nn.check.case import Case, make_case
from nn.check.finding import Finding, compare, identical
from nn.layer import LayerSpec, Sample

Findings = Iterator[Finding]
ADDED = 0.5  # what stands in every gradient before a backward pass adds to it


def adjoint(spec: LayerSpec, sample: Sample, backend: str, seed: int) -> Findings:
    """<A x, dy> = <x, A^T dy>, no bias: A is forward, A^T is backward; and <A x, dy> = <w, dw> likewise."""
    case = make_case(spec, sample, seed=seed, backend=backend)
    for name, p in case.parameters().items():
        if name == "bias":
            p.value[...] = 0
    y, _ = case.forward()
    gradients = case.gradients()
    there = float(np.vdot(y, case.dy))
    scale = float(np.vdot(np.abs(y), np.abs(case.dy))) or 1.0
    for name in ("x", "weight"):
        if name in gradients:
            back = _inner(case.tensors()[name], gradients[name])
            error = abs(there - back) / scale
            note = f"gives <{name}, d{name}> = {back:.10g}, and <y, dy> is {there:.10g}"
            worst = error if np.isfinite(error) else np.inf
            yield Finding(f"d{name}", worst, entries=1, note="" if worst < 1e-12 else note)


def integers(spec: LayerSpec, sample: Sample, backend: str, seed: int) -> Findings:
    """Whole numbers in -3 .. 3: every product and sum is exact, so y and all gradients equal the reference's.

    A layer that may trade rounding for speed is asked not to.
    """
    for dtype in (np.float32, np.float64):
        case = make_case(spec, sample, seed=seed, dtype=dtype, integers=True)
        if hasattr(case.module, "precision"):
            case.module.precision = "exact"
        book, fast = outcome(case), outcome(case.to(backend=backend))
        for name, expected in book.items():
            yield identical(f"{name} ({np.dtype(dtype)})", fast.get(name), expected)


def reference_equal(spec: LayerSpec, sample: Sample, backend: str, seed: int) -> Findings:
    """y and every gradient in float64 against the reference's."""
    case = make_case(spec, sample, seed=seed)
    fast = outcome(case.to(backend=backend))
    for name, expected in outcome(case).items():
        yield compare(name, fast.get(name), expected)


def single_precision(spec: LayerSpec, sample: Sample, backend: str, seed: int) -> Findings:
    """y and every gradient in float32 against the reference in float64, on the same numbers.

    A parameter's gradient is a sum of many terms of dy's size, and where it has one number only, they may cancel to
    almost nothing: its error counts against what such a sum is by chance, |dy| / sqrt(numbers of the parameter).
    """
    case = make_case(spec, sample, seed=seed, dtype=np.float32)
    book = outcome(case.to(backend="reference", dtype=np.float64))
    usual = {
        f"d{name}": float(np.linalg.norm(case.dy)) / np.sqrt(max(p.value.size, 1))
        for name, p in case.parameters().items()
    }
    for name, found in outcome(case.to(backend=backend)).items():
        yield compare(name, found, book[name], floor=usual.get(name, 0.0))


def linear_in_dy(spec: LayerSpec, sample: Sample, backend: str, seed: int) -> Findings:
    """backward(2 p - q / 2) = 2 backward(p) - backward(q) / 2, and backward(0) = 0 exactly."""
    case = make_case(spec, sample, seed=seed, backend=backend)
    p = case.dy
    q = make_case(spec, sample, seed=seed + 1000).dy
    of_p, of_q = (_with_dy(case, dy) for dy in (p, q))
    both, nothing = _with_dy(case, 2 * p - q / 2), _with_dy(case, p * 0)
    for name in both:
        if of_p[name] is None or np.shape(of_p[name]) != np.shape(of_q[name]):
            yield Finding(f"d{name}", np.inf, note="is missing")
            continue
        expected = 2 * of_p[name] - of_q[name] / 2
        scale = float(np.max(np.abs(of_p[name]), initial=0) + np.max(np.abs(of_q[name]), initial=0))
        yield compare(f"d{name}", both[name], expected, floor=scale)
        yield identical(f"d{name} for dy = 0", nothing[name], np.zeros_like(expected))


def unchanged(spec: LayerSpec, sample: Sample, backend: str, seed: int) -> Findings:
    """Neither pass writes to x, dy, the target, a weight or what it cached; backward again says the same."""
    case = make_case(spec, sample, seed=seed, dtype=np.float32, backend=backend)
    held = _held(case)
    before = {name: np.array(array) for name, array in held.items()}
    y, cache = case.forward()
    for name, array in held.items():
        yield identical(f"{name} after forward", array, before[name])
    held |= {"y": np.asarray(y)} | {f"cached array {i}": a for i, a in enumerate(arrays_in(cache))}
    before = {name: np.array(array) for name, array in held.items()}
    dx = case.module.backward(case.dy, cache)
    first = np.array(dx)
    again = case.module.backward(case.dy, cache)
    for name, array in held.items():
        yield identical(f"{name} after backward", array, before[name])
    yield identical(f"d{case.input_name} of a second backward", again, first)


def added(spec: LayerSpec, sample: Sample, backend: str, seed: int) -> Findings:
    """Gradients are added to what stands there; what is returned, dx, is not."""
    case = make_case(spec, sample, seed=seed, dtype=np.float32, backend=backend, integers=True)
    once = case.gradients()
    for p in case.parameters().values():
        p.grad.fill(ADDED)
    _, cache = case.forward()
    dx = case.module.backward(case.dy, cache)
    yield identical(f"d{case.input_name}", dx, np.asarray(once[case.input_name]))
    for name, p in case.parameters().items():
        yield identical(f"d{name} added to {ADDED}", p.grad, once[name] + p.grad.dtype.type(ADDED))


def used_twice(spec: LayerSpec, sample: Sample, backend: str, seed: int) -> Findings:
    """Two forward passes, then their two backward passes in either order: the sum of both alone."""
    first = make_case(spec, sample, seed=seed, dtype=np.float32, backend=backend, integers=True)
    larger = Sample(sample.kwargs, (sample.shape[0] + 1, *sample.shape[1:]))
    other = make_case(spec, larger, seed=seed + 1, dtype=np.float32, integers=True)
    second = Case(first.module, other.x, other.dy, other.target)
    alone = [{n: np.array(g) for n, g in c.gradients().items()} for c in (first, second)]
    for order in ((0, 1), (1, 0)):
        for p in first.parameters().values():
            p.grad.fill(0)
        caches = [c.forward()[1] for c in (first, second)]
        for i in order:
            dx = first.module.backward((first, second)[i].dy, caches[i])
            name = first.input_name
            yield identical(f"d{name} of call {i + 1} of 2", dx, alone[i][name])
        for name, p in first.parameters().items():
            yield identical(f"d{name} of two calls", p.grad, alone[0][name] + alone[1][name])


def batches(spec: LayerSpec, sample: Sample, backend: str, seed: int) -> Findings:
    """A batch is its examples one by one: y and dx side by side, dw and db added. A batch of none gives zeros.

    (A loss is a mean over its batch, and refuses an empty one: see ``loss_batches`` and the tests.)
    """
    case = make_case(spec, sample, seed=seed, dtype=np.float32, backend=backend, integers=True)

    def part(examples: slice) -> dict[str, np.ndarray]:
        return outcome(Case(case.module, case.x[examples], case.dy[examples]))

    whole, n = outcome(case), len(case.x)
    singles = [part(slice(i, i + 1)) for i in range(n)]
    for name in whole:
        pieces = [single[name] for single in singles]
        together = np.concatenate(pieces) if name in ("y", "dx") else sum(pieces)
        yield identical(f"{name} of {n} examples", whole[name], together)
    for name, found in part(slice(0)).items():
        shape = whole[name].shape
        shape = (0, *shape[1:]) if name in ("y", "dx") else shape
        yield identical(f"{name} of no example", found, np.zeros(shape, np.float32))


def loss_batches(spec: LayerSpec, sample: Sample, backend: str, seed: int) -> Findings:
    """A loss of M numbers is the mean of the losses of the single ones, and so is its gradient."""
    case = make_case(spec, sample, seed=seed, backend=backend)
    loss, _ = case.forward()
    dy = case.gradients()["y"]
    assert case.target is not None
    losses, gradients = [], np.empty(case.x.shape)
    for index in np.ndindex(case.x.shape):
        one = Case(
            case.module, case.x[index].reshape(1), case.dy, np.reshape(case.target[index], 1)
        )
        losses.append(float(one.forward()[0]))
        gradients[index] = one.gradients()["y"][0] / case.x.size
    yield compare("loss", np.asarray(loss), np.asarray(np.mean(losses)))
    yield compare("dy", dy, gradients)


def dtypes(spec: LayerSpec, sample: Sample, backend: str, seed: int) -> Findings:
    """dtype in = dtype out, and every gradient has the shape of what it is the gradient of."""
    for dtype in (np.float32, np.float64):
        case = make_case(spec, sample, seed=seed, dtype=dtype, backend=backend)
        shape = () if case.target is not None else case.module.out_shape(case.x.shape)
        wanted = {"y": shape} | {f"d{n}": t.shape for n, t in case.tensors().items()}
        if case.target is not None:
            wanted = {"loss": (), "dy": case.x.shape}
        for name, found in outcome(case).items():
            given = (np.shape(found), getattr(found, "dtype", None))
            good = given == (wanted[name], np.dtype(dtype))
            note = (
                "" if good else f"is {given[1]} {given[0]}, and should be "
                f"{np.dtype(dtype)} {wanted[name]}"
            )  # fmt: skip
            yield Finding(name, 0.0 if good else np.inf, entries=1, note=note)


def repeated(spec: LayerSpec, sample: Sample, backend: str, seed: int) -> Findings:
    """Two runs give the same bytes."""
    runs = []
    for _ in range(2):
        case = make_case(spec, sample, seed=seed, dtype=np.float32, backend=backend)
        runs.append({name: np.array(found) for name, found in outcome(case).items()})
    for name, first in runs[0].items():
        yield identical(f"{name} of a second run", runs[1][name], first)


def without_dx(spec: LayerSpec, sample: Sample, backend: str, seed: int) -> Findings:
    """need_dx=False returns nothing and adds the same gradients; train=False gives the same y and no cache."""
    case = make_case(spec, sample, seed=seed, dtype=np.float32, backend=backend)
    whole = {name: np.array(g) for name, g in case.gradients().items()}
    for p in case.parameters().values():
        p.zero_grad()
    y, cache = case.forward()
    nothing = case.module.backward(case.dy, cache, need_dx=False)
    note = "" if nothing is None else "is returned, although need_dx is False"
    yield Finding("dx", 0.0 if nothing is None else np.inf, entries=1, note=note)
    for name, p in case.parameters().items():
        yield identical(f"d{name} with need_dx=False", p.grad, whole[name])
    z, cache = case.module.forward(case.x, train=False)
    yield identical("y with train=False", z, np.asarray(y))
    note = "" if cache is None else "is kept, although train is False"
    yield Finding("cache", 0.0 if cache is None else np.inf, entries=1, note=note)


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "every second item": lambda a: np.repeat(a, 2, axis=0)[::2],
    "every second number of the last axis": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "backwards": lambda a: a[::-1].copy()[::-1],
    "first axis innermost": lambda a: np.asfortranarray(a),
    "channels outermost": lambda a: np.moveaxis(np.moveaxis(a, -1, 0).copy(), 0, -1),
}


def layouts(spec: LayerSpec, sample: Sample, backend: str, seed: int) -> Findings:
    """x, dy, the target and the weights laid out in memory in other ways: the same numbers, exactly where possible."""
    case = make_case(spec, sample, seed=seed, backend=backend)
    expected = {name: np.array(found) for name, found in outcome(case).items()}
    for layout, lay in LAYOUTS.items():
        x, target = lay(case.x), None if case.target is None else lay(case.target)
        dy = case.dy if case.target is not None else lay(case.dy)
        for name, found in outcome(Case(case.module, x, dy, target)).items():
            yield compare(f"{name} ({layout})", found, expected[name])


def kinks(spec: LayerSpec, sample: Sample, backend: str, seed: int) -> Findings:
    """At a kink the documented slope, at 0 and at -0; just beside it, that side's."""
    if spec.slopes is None:
        return
    for dtype in (np.float32, np.float64):
        case = make_case(spec, sample, seed=seed, dtype=dtype, backend=backend, integers=True)
        below, at, above = spec.slopes(case.module)
        tiny = np.finfo(dtype).tiny
        places = ((-1, below), (-tiny, below), (-0.0, at), (0.0, at), (tiny, above), (1, above))
        for kink in spec.kinks:
            for beside, slope in places:
                x = np.full(case.x.shape, dtype(kink + beside), dtype)
                target = None if case.target is None else np.zeros_like(x)
                _, cache = case.module.forward(x) if target is None else case.module.forward(
                    x, target
                )  # fmt: skip
                found = case.module.backward(case.dy, cache)
                share = dtype(slope) if target is None else dtype(slope / x.size)
                expected = np.broadcast_to(np.asarray(case.dy * share, dtype), x.shape)
                yield compare(f"d{case.input_name} at {beside:g} from the kink", found, expected)


def far_out(spec: LayerSpec, sample: Sample, backend: str, seed: int) -> Findings:
    """Inputs up to +-2000 and as small as 1e-30: nothing overflows, and every derivative is the complex step's."""
    from nn.check.complex_step import FLOOR, complex_step_gradients

    case = make_case(spec, sample, seed=seed)
    far = np.array([-2000.0, -700, -89, -40, -17, -1e-30, 1e-30, 17, 40, 89, 700, 2000])
    case.x[...] = np.resize(far, case.x.shape)
    with np.errstate(all="ignore"):
        expected = complex_step_gradients(case)[case.input_name]
        y = outcome(case)
    found = outcome(case.to(backend=backend))
    floor = FLOOR * float(np.max(np.abs(case.dy)))
    name = f"d{case.input_name}"
    yield compare(f"{name} far out", found[name], expected, floor)
    for key in y:
        yield compare(f"{key} far out", found[key], y[key])


def outcome(case: Case) -> dict[str, np.ndarray]:
    """y (or the loss) and every gradient of a case: "y", "dx", "dweight" ... or "loss", "dy"."""
    y, _ = case.forward()
    first = "y" if case.target is None else "loss"
    return {first: np.asarray(y)} | {f"d{name}": g for name, g in case.gradients().items()}


def arrays_in(cache: Any) -> list[np.ndarray]:
    """Every array that a cache holds."""
    if isinstance(cache, np.ndarray):
        return [cache]
    if isinstance(cache, (tuple, list)):
        return [a for item in cache for a in arrays_in(item)]
    return []


def _held(case: Case) -> dict[str, np.ndarray]:
    held = {case.input_name: case.x, "dy" if case.target is None else "dloss": np.asarray(case.dy)}
    if case.target is not None:
        held["target"] = case.target
    return held | {name: host(p.value) for name, p in case.parameters().items()}


def _with_dy(case: Case, dy: Any) -> dict[str, np.ndarray]:
    found = Case(case.module, case.x, dy, case.target).gradients()
    return {name: g if g is None else np.array(g) for name, g in found.items()}


def _inner(a: np.ndarray, b: np.ndarray | None) -> float:
    return float(np.vdot(a, b)) if b is not None and a.shape == b.shape else np.inf
