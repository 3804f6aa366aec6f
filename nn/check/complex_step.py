"""The complex-step gradient check: the derivative to the last digit, for every entry.

    f(a + i h) = f(a) + i h f'(a) - h² f''(a) / 2 - ...       f'(a) = Im f(a + i h) / h + O(h²)

Nothing is subtracted, so nothing is lost, and h can be as small as we like: with h = 1e-200 the
formula's own error is 0 and rounding alone is left, 1e-16 or so. (A central difference is at best
good to 1e-11, and tolerances made for it let through gradients that are wrong by 0.05 %.) No step
crosses a kink. The price: the forward pass must take complex numbers, which is why the reference
backend never takes an absolute value.

The function differentiated is <dy, y> with a random dy, negative and positive: its gradient is what
``backward(dy, cache)`` must return and add.

    every entry     each entry a of x and of each parameter is stepped alone
                    error = max over entries |backward - complex step| / max over entries |complex step|
    directions      larger arrays: all entries of one array are stepped at once, by h u with random u, which gives
                    <backward, u>;   error = |<backward, u> - complex step| / sum |backward u|

The forward pass is always the reference's; the backward pass is that of any backend, in float64.

Source: Squire and Trapp 1998; Martins, Sturdza and Alonso, ACM TOMS 29(3), 2003.
"""

import numpy as np

from nn.check.case import Case, make_case
from nn.check.finding import Finding, compare
from nn.layer import LayerSpec, Sample

STEP = 1e-200
TOLERANCE = 1e-11
DIRECTIONS = 2
# Of the largest |dy|: a gradient that cancels to 0 still carries rounding of dy's size.
FLOOR = 1e-3


def complex_step_gradients(case: Case) -> dict[str, np.ndarray]:
    """d<dy, y>/da for every entry a of x and of each parameter of a real case, under their names.

    Raises ValueError where the forward pass does not keep the imaginary part.
    """
    stepped = case.to(dtype=np.complex128)
    gradients = {}
    for name, tensor in stepped.tensors().items():
        gradient = gradients[name] = np.empty(tensor.shape)
        for index in np.ndindex(tensor.shape):
            there = tensor[index]
            tensor[index] = there + 1j * STEP
            gradient[index] = _slope(stepped, name)
            tensor[index] = there  # only now: y may be a view of x
    return gradients


def slope_along(case: Case, name: str, direction: np.ndarray) -> float:
    """d<dy, y> along ``direction`` of the array called ``name`` of a real case."""
    stepped = case.to(dtype=np.complex128)
    stepped.tensors()[name].imag[...] = STEP * direction
    return _slope(stepped, name)


def _slope(stepped: Case, name: str) -> float:
    y, _ = stepped.forward()
    if not np.iscomplexobj(y):
        raise ValueError(
            f"{stepped.module!r} gives {np.asarray(y).dtype} for a complex {name}: "
            "its forward pass drops the imaginary part somewhere"
        )
    return float(np.sum(np.real(stepped.dy) * y.imag)) / STEP


def check_gradients(
    spec: LayerSpec, sample: Sample, *, seed: int = 0, backend: str = "reference"
) -> list[Finding]:
    """Compares every entry of every gradient of one sample with the complex step, in float64."""
    return check_case(make_case(spec, sample, seed=seed), backend)


def check_case(case: Case, backend: str = "reference") -> list[Finding]:
    """``check_gradients`` of a case at hand."""
    found = case.to(backend=backend).gradients() if backend != "reference" else case.gradients()
    floor = FLOOR * float(np.max(np.abs(case.dy), initial=0)) or 1.0
    expected = complex_step_gradients(case)
    return [compare(f"d{name}", found[name], expected[name], floor) for name in expected]


def check_directions(
    spec: LayerSpec, sample: Sample, *, seed: int = 0, backend: str = "reference"
) -> list[Finding]:
    """Compares every gradient of one sample with the complex step along random directions, in float64."""
    case = make_case(spec, sample, seed=seed)
    rng = np.random.default_rng([seed, 1])
    found = case.to(backend=backend).gradients()
    findings = []
    for name, tensor in case.tensors().items():
        gradient = found[name]
        if gradient is None or gradient.shape != tensor.shape or tensor.size == 0:
            findings.append(compare(f"d{name}", gradient, np.zeros(tensor.shape)))
            continue
        for _ in range(DIRECTIONS):
            direction = rng.standard_normal(tensor.shape)
            terms = gradient * direction
            slope = slope_along(case, name, direction)
            scale = float(np.sum(np.abs(terms)))
            floor = FLOOR * float(np.max(np.abs(case.dy), initial=0))
            error = abs(float(np.sum(terms)) - slope) / (max(scale, floor) or 1.0)
            note = "" if error <= TOLERANCE else (
                f"along a random direction is {np.sum(terms):.10g}, and should be {slope:.10g}"
            )  # fmt: skip
            findings.append(
                Finding(f"d{name}", error if np.isfinite(error) else np.inf,
                        found=float(np.sum(terms)), expected=slope, entries=tensor.size, note=note)
            )  # fmt: skip
    return findings
