"""The complex-step gradient check: the derivative to the last digit, for every entry.

    f(a + i h) = f(a) + i h f'(a) - h² f''(a) / 2 - ...       f'(a) = Im f(a + i h) / h + O(h²)

Nothing is subtracted, so nothing is lost, and h can be as small as we like: with h = 1e-200 the
formula's own error is 0 and rounding alone is left, 1e-16 or so. (A central difference is at best
good to 1e-11, and tolerances made for it let through gradients that are wrong by 0.05 %.) No step
crosses a kink. The price: the forward pass must take complex numbers, which is why the reference
backend never takes an absolute value.

The function differentiated is <dy, y> with a random dy, negative and positive: its gradient is what
``backward(dy, cache)`` must return and add. Each entry of x and of each parameter is stepped alone.

    error = max over entries |backward - complex step| / max over entries |complex step|

Source: Squire and Trapp 1998; Martins, Sturdza and Alonso, ACM TOMS 29(3), 2003.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nn.check.case import Case, make_case
from nn.layer import LayerSpec, Sample

STEP = 1e-200
TOLERANCE = 1e-11
FLOOR = (
    1e-3  # of the largest |dy|: a gradient that cancels to 0 still carries rounding of dy's size
)


@dataclass(frozen=True)
class TensorCheck:
    """The verdict on the gradient of one ``tensor``, for ``layer`` made and fed as ``sample`` says.

    worst     the largest error, relative to the largest entry; inf where shapes differ
    index     where it is; ``analytic`` is what backward says there, ``numeric`` the complex step
    entries   how many were compared
    note      in words, why they could not be compared
    """

    layer: str
    sample: Sample
    tensor: str
    worst: float
    index: tuple[int, ...]
    analytic: float
    numeric: float
    entries: int
    note: str = ""

    @property
    def passed(self) -> bool:
        return self.worst <= TOLERANCE  # and so NaN fails


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
            y, _ = stepped.forward()
            if not np.iscomplexobj(y):
                raise ValueError(
                    f"{case.module!r} gives {np.asarray(y).dtype} for a complex {name}: "
                    "its forward pass drops the imaginary part somewhere"
                )
            gradient[index] = np.sum(case.dy * y.imag) / STEP
            tensor[index] = there  # only now: y may be a view of x
    return gradients


def check_gradients(spec: LayerSpec, sample: Sample, *, seed: int = 0) -> list[TensorCheck]:
    """Compares every gradient of one sample with the complex step; reference backend, float64."""
    return check_case(make_case(spec, sample, seed=seed), spec.name, sample)


def check_case(case: Case, layer: str, sample: Sample) -> list[TensorCheck]:
    """``check_gradients`` of a case at hand; ``layer`` and ``sample`` are names for the report."""
    analytic, numeric = case.gradients(), complex_step_gradients(case)
    floor = FLOOR * float(np.max(np.abs(case.dy), initial=0)) or 1.0
    return [
        TensorCheck(layer, sample, name, *_compare(analytic[name], numeric[name], floor))
        for name in numeric
    ]


def check_all(
    specs: list[LayerSpec], *, seed: int = 0
) -> Iterator[tuple[LayerSpec, Sample, list[TensorCheck]]]:
    """``check_gradients`` of every sample of every spec, as they are done."""
    for spec in specs:
        for sample in spec.samples:
            yield spec, sample, check_gradients(spec, sample, seed=seed)


def _compare(
    analytic: np.ndarray | None, numeric: np.ndarray, floor: float
) -> tuple[float, tuple[int, ...], float, float, int, str]:
    if analytic is None or analytic.shape != numeric.shape:
        found = "nothing" if analytic is None else f"shape {analytic.shape}"
        return np.inf, (), np.nan, np.nan, 0, f"backward gave {found} for shape {numeric.shape}"
    if numeric.size == 0:
        return 0.0, (), np.nan, np.nan, 0, ""
    difference = np.abs(analytic - numeric)
    index = tuple(int(i) for i in np.unravel_index(np.argmax(difference), difference.shape))
    worst = float(difference[index] / max(np.max(np.abs(numeric)), floor))
    return worst, index, float(analytic[index]), float(numeric[index]), numeric.size, ""
