"""How much two face sets have in common, before anything is trained.

A. Zucconi's advice for face swaps is that both sets "share as many similarities as possible". As numbers in [0, 1]:

    pose, expression, brightness, sharpness   the overlap of the distributions of what `statistics.py` measures,

        sum over bins of min(a, b),

        where a statistic's step decides what counts as the same (each face is shared by the two bins next to it, so
        that no border matters); the smallest of the part's statistics

    kinship   whether the two are the same kind of thing at all. With K principal components of A's deviations, e(A, B)
        is the share of B's deviations that they explain, and

        shared = (e(A, B) - e(A turned upside down, B)) / (e(B, B) - e(A turned upside down, B))

        averaged over both directions: what the two vary in alike, over what is chance, for A's components
        upside down are as smooth and as strong, and mean nothing. Real and rendered faces have 0.13 to 0.4 among
        each other, 0.8 or more with other pictures of the same face, and at most 0.09 with solids, cloth and
        noise. And alike = the correlation of both mean pictures: at least 0.5 among faces, which all have eyes over
        a mouth, and about 0 between a face and a fruit. One of the two is enough: two fruits may vary differently,
        two flags look different.

The total is kinship times the geometric mean of the other parts: one bad part counts, and without kinship nothing
does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from swap.convert import face_mask
from swap.data import FaceSet, even_spread
from swap.evaluate.baselines import principal_components
from swap.evaluate.statistics import SIZE, STATISTICS, face_statistics, summary
from swap.evaluate.truth import rounded

LIMIT = 600  # faces a side, evenly spread
COMPONENTS = 20
LOCAL, FLOOR = 8.0, 0.05  # pixels over which contrast is evened out; contrast below which it is not
VARIES = 0.05  # explained above chance: with less, a set's pictures have nothing in common among themselves
# Where kinship begins and where it is whole.
SHARED, ALIKE = (0.05, 0.13), (0.25, 0.5)


@dataclass(frozen=True, eq=False)
class Overlap:
    """parts: pose (None without landmarks), expression, brightness, sharpness, kinship, each in [0, 1]; total likewise.
    shared, alike: what kinship was made from. statistics: by name, the overlap, each side's summary, and the share of
    each side's faces outside the other's range ("a_outside_b", "b_outside_a"). faces: by side, how many there are.
    advice: sentences, the most important first; empty where there is nothing to complain of."""

    parts: dict[str, float | None]
    total: float
    shared: float
    alike: float
    statistics: dict[str, dict[str, Any]]
    faces: dict[str, int]
    advice: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """All of it, rounded to 5 decimals."""
        return rounded(
            {
                "total": self.total,
                "parts": self.parts,
                "shared_variation": self.shared,
                "mean_pictures_correlation": self.alike,
                "statistics": self.statistics,
                "faces": self.faces,
                "advice": list(self.advice),
            }
        )


def overlap(
    a: FaceSet,
    b: FaceSet,
    points_a: np.ndarray | Sequence[np.ndarray] | None = None,
    points_b: np.ndarray | Sequence[np.ndarray] | None = None,
) -> Overlap:
    """The overlap of two face sets.

    points_a, points_b: landmarks (5, 2) of every face of a and b, in their order, in pixels of the frames; without both
    there is no pose. Raises ValueError where their number is not that of the faces, or a set is empty.
    """
    # Here, because advice.py needs this module's names only for its types.
    from swap.evaluate.advice import advise

    sets, points = {"a": a, "b": b}, {"a": points_a, "b": points_b}
    if not len(a) or not len(b):
        raise ValueError("an overlap needs two sets of faces that are not empty")
    for side, known in points.items():
        if known is not None and len(known) != len(sets[side]):
            raise ValueError(f"{len(known)} landmarks for the {len(sets[side])} faces of {side}")
    posed = points_a is not None and points_b is not None
    chosen = {side: even_spread(len(faces), LIMIT) for side, faces in sets.items()}
    found = {
        side: face_statistics(
            faces,
            chosen[side],
            np.asarray(points[side], np.float64)[chosen[side]] if posed else None,
        )
        for side, faces in sets.items()
    }
    statistics = {name: _compare(name, found["a"][name], found["b"][name]) for name in found["a"]}
    parts: dict[str, float | None] = {}
    for part in ("pose", "expression", "brightness", "sharpness"):
        of_part = [s["overlap"] for n, s in statistics.items() if STATISTICS[n].part == part]
        parts[part] = min(of_part, default=None)
    shared, alike = kinship(*(prepared(sets[side], chosen[side]) for side in ("a", "b")))
    parts["kinship"] = max(_ramp(shared, SHARED), _ramp(alike, ALIKE))
    known = [value for name, value in parts.items() if name != "kinship" and value is not None]
    total = parts["kinship"] * float(np.prod(known) ** (1 / len(known)))
    faces = {side: len(s) for side, s in sets.items()}
    advice = tuple(advise(parts, statistics, faces))
    return Overlap(parts, total, shared, alike, statistics, faces, advice)


def overlap_coefficient(a: np.ndarray, b: np.ndarray, step: float) -> float:
    """sum min(a, b) of the distributions of two samples (n,), (m,) over bins of width ``step``, in [0, 1].

    Each value is shared between the two nearest bins in proportion to how near they are.
    """
    low = min(a.min(), b.min())
    bins = int((max(a.max(), b.max()) - low) / step) + 2
    shares = []
    for values in (a, b):
        place, rest = np.divmod((values - low) / step, 1)
        place = place.astype(int)
        counts = np.bincount(place, 1 - rest, bins) + np.bincount(place + 1, rest, bins)
        shares.append(counts / len(values))
    return float(np.minimum(*shares).sum())


def prepared(faces: FaceSet, chosen: np.ndarray) -> np.ndarray:
    """(n, SIZE, SIZE) float32: grey faces whose contrast is evened out, so that a shadow does not outweigh a mouth."""
    grey = faces.squares(chosen, SIZE).mean(-1)
    for picture in grey:
        picture -= cv2.GaussianBlur(picture, (0, 0), LOCAL)
        picture /= np.sqrt(cv2.GaussianBlur(picture**2, (0, 0), LOCAL)) + FLOOR
    return grey


def kinship(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """(shared, alike) of two sets of prepared faces (n, S, S), as the top of this file defines them."""
    mask = face_mask(a.shape[1])
    means = [side.mean(0) for side in (a, b)]
    deviations = [side - mean for side, mean in zip((a, b), means, strict=True)]
    shares = []
    for one, other in (deviations, deviations[::-1]):
        asked = _rows(other[1::2], mask)
        count = min(COMPONENTS, len(one) // 4, len(other) // 4)
        if not count:
            shares.append(0.0)
            continue
        own, across, chance = (
            _explained(principal_components(_rows(half, mask), count), asked)
            for half in (other[::2], one[::2], one[::2, ::-1])
        )
        above = own - chance
        shares.append(float(np.clip((across - chance) / above, 0, 1)) if above > VARIES else 0.0)
    centred = [mean - (mean * mask).sum() / mask.sum() for mean in means]
    (aa, ab), (_, bb) = [[float((p * q * mask).sum()) for q in centred] for p in centred]
    return float(np.mean(shares)), ab / np.sqrt(max(aa * bb, 1e-12))


def _compare(name: str, a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    step = STATISTICS[name].step
    sides = {"a": summary(a), "b": summary(b)}

    def outside(values: np.ndarray, of: dict[str, float]) -> float:
        return float(((values < of["p1"] - step) | (values > of["p99"] + step)).mean())

    return {
        "overlap": overlap_coefficient(a, b, step),
        "unit": STATISTICS[name].unit,
        **sides,
        "a_outside_b": outside(a, sides["b"]),
        "b_outside_a": outside(b, sides["a"]),
    }


def _rows(pictures: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return (pictures * np.sqrt(mask)).reshape(len(pictures), -1)


def _explained(components: np.ndarray, rows: np.ndarray) -> float:
    """The share of the sum of squares of rows that lies in the span of orthonormal components."""
    total = float((rows.astype(np.float64) ** 2).sum())
    return float(((rows @ components.T).astype(np.float64) ** 2).sum()) / max(total, 1e-12)


def _ramp(value: float, ends: tuple[float, float]) -> float:
    return float(np.clip((value - ends[0]) / (ends[1] - ends[0]), 0, 1))
