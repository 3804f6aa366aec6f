"""The outcome of one comparison, and the two ways to compare: to rounding, and bit for bit.

compare     error = max |found - expected| / max |expected|: relative to the largest entry, because a sum whose
            terms cancel carries the rounding of its terms. ``floor`` is the least it is divided by.
identical   every number equal (0 and -0 count as equal, NaN equals nothing)
"""

from dataclasses import dataclass

import numpy as np

from nn.backend import host


@dataclass(frozen=True)
class Finding:
    """What was found of one array, ``tensor``: "dx", "dweight", "y", "loss" ...

    worst     the largest error; inf where the arrays cannot be compared
    index     where it is; ``found`` is what stands there, ``expected`` what should
    entries   how many numbers were compared
    note      in words, what is wrong, where two numbers do not say it
    """

    tensor: str
    worst: float
    index: tuple[int, ...] = ()
    found: float = np.nan
    expected: float = np.nan
    entries: int = 0
    note: str = ""

    def within(self, tolerance: float) -> bool:
        """Whether the error is at most ``tolerance``; NaN is not."""
        return self.worst <= tolerance

    def sentence(self) -> str:
        """What is wrong, in words."""
        if self.note:
            return f"{self.tensor} {self.note}"
        place = list(self.index) if self.index else ""
        return f"{self.tensor}{place} is {self.found:.6g}, and should be {self.expected:.6g}"


def compare(
    tensor: str, found: np.ndarray | None, expected: np.ndarray, floor: float = 0.0
) -> Finding:
    """The error relative to the largest |expected|, or to ``floor`` where that is larger."""
    found = host(found)
    mismatch = _mismatch(found, expected)
    if mismatch:
        return Finding(tensor, np.inf, note=mismatch)
    if expected.size == 0:
        return Finding(tensor, 0.0)
    found = np.asarray(found)
    difference = np.abs(found - expected)
    # NaN, and infinity minus itself, must not hide behind a comparison that is false.
    difference = np.where(np.isfinite(difference), difference, np.inf)
    index = tuple(int(i) for i in np.unravel_index(np.argmax(difference), difference.shape))
    size = np.abs(expected)
    scale = max(float(np.max(size, initial=0, where=np.isfinite(size))), floor) or 1.0
    worst = float(difference[index]) / scale
    return Finding(tensor, worst, index, _real(found[index]), _real(expected[index]), expected.size)


def identical(tensor: str, found: np.ndarray | None, expected: np.ndarray) -> Finding:
    """Worst 0.0 where every number and the dtype are equal, else inf."""
    found = host(found)
    mismatch = _mismatch(found, expected)
    if mismatch:
        return Finding(tensor, np.inf, note=mismatch)
    found = np.asarray(found)
    if found.dtype != expected.dtype:
        return Finding(tensor, np.inf, note=f"is {found.dtype}, and should be {expected.dtype}")
    if expected.size == 0:
        return Finding(tensor, 0.0)
    different = found != expected
    index = tuple(int(i) for i in np.unravel_index(np.argmax(different), different.shape))
    worst = np.inf if different[index] else 0.0
    return Finding(tensor, worst, index, _real(found[index]), _real(expected[index]), expected.size)


def worst_of(findings: list[Finding], tolerance: float) -> Finding:
    """The one to show: the first that fails, or else the one with the largest error."""
    for finding in findings:
        if not finding.within(tolerance):
            return finding
    return max(findings, key=lambda f: f.worst)


def _mismatch(found: np.ndarray | None, expected: np.ndarray) -> str:
    if found is None:
        return f"is missing: nothing was given for shape {expected.shape}"
    if np.shape(found) != expected.shape:
        return f"has the shape {np.shape(found)}, and should have {expected.shape}"
    return ""


def _real(number: np.generic) -> float:
    return float(np.real(number))
