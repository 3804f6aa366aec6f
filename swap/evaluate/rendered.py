"""Which rendered pictures a run is trained on and measured by: two subjects of the studio, and nothing twice.

Four streams of parameters come from one seed s: those of A's training pictures (seed 4s), of B's (4s + 1), of the test
pictures (4s + 2), which both subjects are rendered with, and of the test clip (4s + 3). So A and B never do the same in
training, as in life, and what is measured was never seen.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from swap.data import FaceSet
from swap.errors import UserError
from swap.evaluate.truth import Pairs, Training
from swap.faces.align import CropDefinition
from swap.model import FACE_SIZE
from swap.studio.family import check_subject, draws, even_draws, face_set, faces, get_family
from swap.studio.live import LiveFaces

SIDES = ("a", "b")
TEST_PICTURES, CLIP_FRAMES = 256, 250
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Rendered:
    """a, b: subjects of the family. count: training pictures a side. seed: see the top of this file."""

    family: str
    a: str
    b: str
    count: int
    seed: int

    def __post_init__(self) -> None:
        for subject in (self.a, self.b):
            check_subject(self.family, subject)
        if self.a == self.b:
            raise UserError(f"A and B are both {self.a}; a swap needs two subjects")
        if self.count < 25:
            raise UserError(f"training needs at least 25 faces a side, not {self.count}")
        if not 0 <= self.seed < 2**60:
            raise UserError(f"the seed must be a whole number from 0 to 2^60, not {self.seed}")

    def subject(self, side: str) -> str:
        """The subject of side "a" or "b"."""
        return self.a if side == "a" else self.b

    def training_params(self, side: str) -> list[Any]:
        """What the training pictures of a side show."""
        return even_draws(self.family, self.count, 4 * self.seed + SIDES.index(side))

    def training(self, size: int, progress: Progress, *, live: bool = False) -> dict[str, FaceSet]:
        """The training sets of both sides, stored crops of side ``size``; live: replaced as training goes on."""
        sets: dict[str, FaceSet] = {}
        for side in SIDES:
            subject, label = self.subject(side), f"rendering {side.upper()}, {self.subject(side)}"

            def show(done: int, total: int, label: str = label) -> None:
                progress(label, done, total)

            if live:
                seed = 4 * self.seed + SIDES.index(side)
                sets[side] = LiveFaces(self.family, subject, self.count, seed, size, progress=show)
            else:
                params = self.training_params(side)
                sets[side] = face_set(self.family, subject, params, size, progress=show)
        return sets

    def test(self, size: int, progress: Progress, count: int = TEST_PICTURES) -> Pairs:
        """Pictures of both subjects with the same parameters, none of which are trained on."""
        params = draws(self.family, count, 4 * self.seed + 2)
        return self.pairs(params, size, lambda d, t: progress("rendering the test pictures", d, t))

    def clip_params(self, frames: int = CLIP_FRAMES) -> list[Any]:
        """What the test clip shows."""
        return get_family(self.family).walk(frames, 4 * self.seed + 3)

    def pairs(
        self, params: Sequence[Any], size: int, progress: Callable[[int, int], None] | None = None
    ) -> Pairs:
        """Both subjects as ``params`` say, as aligned face squares; ``size`` is that of the stored crops."""
        squares, masks = {}, {}
        margin = CropDefinition().margin
        for number, side in enumerate(SIDES):

            def show(done: int, total: int, number: int = number) -> None:
                if progress:
                    progress(number * total + done, 2 * total)

            images, covers = faces(self.family, self.subject(side), params, size, progress=show)
            every = np.arange(len(params))
            squares[side] = FaceSet(images, margin).squares(every, FACE_SIZE)
            cover = FaceSet(np.repeat(covers[..., None], 3, -1), margin).squares(every, FACE_SIZE)
            masks[side] = np.ascontiguousarray(cover[..., 0])
        return Pairs(squares, masks, params)

    def trained_on(self, sets: dict[str, FaceSet]) -> Training:
        """The training sets as they are now, with their parameters, for the baselines."""
        params = {
            side: faces.params() if isinstance(faces, LiveFaces) else self.training_params(side)
            for side, faces in sets.items()
        }
        return Training(sets, params)

    def to_dict(self) -> dict[str, Any]:
        """Every field, for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """The inverse of to_dict; UserError for anything else."""
        kinds = {"family": str, "a": str, "b": str, "count": int, "seed": int}
        if not isinstance(values, dict) or set(values) != set(kinds):
            raise UserError(f"a rendered run's facts need {', '.join(kinds)}, found {values!r}")
        for name, kind in kinds.items():
            if not isinstance(values[name], kind) or isinstance(values[name], bool):
                raise UserError(f"a rendered run's {name} is {values[name]!r}")
        return cls(**values)
