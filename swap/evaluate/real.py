"""What can be measured of a run on real people, whose swap has no right answer."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from swap.convert import face_mask
from swap.data import FaceSet, even_spread
from swap.evaluate.measures import tremble
from swap.evaluate.truth import Quality, Swap, in_batches, rounded

LIMIT, CLIP = (
    400,
    100,
)  # faces whose reconstruction is measured; neighbouring ones whose trembling is
SIZE = 64
CANNOT_KNOW = (
    "These numbers say how well each person is drawn from a picture of their own. They do not say how "
    "good the swap is: nobody knows what B would have looked like there, and a swap can get worse while "
    "these get better. Look at it, and at the overlap; `swap evaluate --studio heads` measures swaps "
    "whose right answer is known."
)


@dataclass(frozen=True)
class Steadiness:
    """RMS of the second difference in time over the face, black to white = 255, of the faces as they are, of their own
    reconstruction, and of the swap. A swap that trembles much more than the input flickers; one that trembles much
    less does not follow it."""

    given: float
    own: float
    swap: float


@dataclass(frozen=True)
class RealResults:
    """By side: the Quality of its own reconstruction over the soft mask and over the picture, its Steadiness (None
    with fewer than three faces), and how many faces were measured. They were trained on."""

    reconstruction: dict[str, Quality]
    steadiness: dict[str, Steadiness | None]
    faces: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """All numbers, rounded to 5 decimals, and what they cannot tell."""
        steady = {s: asdict(v) if v else None for s, v in self.steadiness.items()}
        return rounded(
            {
                "reconstruction": {s: asdict(q) for s, q in self.reconstruction.items()},
                "steadiness": steady,
                "faces": self.faces,
                "cannot_know": CANNOT_KNOW,
            }
        )


def measure_real(swap: Swap, a: FaceSet, b: FaceSet) -> RealResults:
    """Reconstruction and steadiness of both sides of a run on the faces that it was trained on.

    swap: as `SwapModel.swap`. The faces of a set stand in the order of their video. UserError where the network's
    answers are not finite.
    """
    mask = face_mask(SIZE)
    quality, steady, counts = {}, {}, {}
    for side, other, faces in (("a", "b", a), ("b", "a", b)):
        chosen = even_spread(len(faces), LIMIT)
        squares = faces.squares(chosen, SIZE)
        quality[side] = Quality.of(in_batches(swap, squares, side, side), squares, mask)
        counts[side] = len(chosen)
        start = max(0, (len(faces) - CLIP) // 2)
        clip = faces.squares(np.arange(start, min(start + CLIP, len(faces))), SIZE)
        shown = (clip, in_batches(swap, clip, side, side), in_batches(swap, clip, side, other))
        steady[side] = (
            Steadiness(*(255 * tremble(series, mask) for series in shown))
            if len(clip) >= 3
            else None
        )
    return RealResults(quality, steady, counts)
