"""Faces rendered while a network is trained on them: a set that never runs out.

The set holds ``count`` pictures at a time. In the epochs e = 0, 1, ... of a training run picture i is

    draw number  v count + i,    v = (e + i mod KEEP) // KEEP

so each is shown KEEP times and then replaced, a KEEP-th of the set in every epoch. What a step shows is a pure
function of (seed, step): a run that was stopped and goes on sees the pictures that it would have seen.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from swap.data import FaceSet
from swap.faces.align import CropDefinition
from swap.studio.family import draws, face, faces, get_family, in_order

KEEP = 8  # epochs: rendering every picture once would take longer than training on it


class LiveFaces(FaceSet):
    """A FaceSet of a studio subject whose pictures are replaced by new draws as training goes on."""

    def __init__(
        self,
        family: str,
        subject: str,
        count: int,
        seed: int,
        size: int,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        crop = CropDefinition()
        images, _ = faces(
            family, subject, draws(family, count, seed), size, crop, progress=progress
        )
        super().__init__(images, crop.margin)
        self.family, self.subject, self.seed, self.size, self.crop = (
            family,
            subject,
            seed,
            size,
            crop,
        )
        self._version = np.zeros(count, np.int64)

    def number(self, index: int, epoch: int) -> int:
        """Which draw picture ``index`` is in ``epoch``."""
        return (epoch + index % KEEP) // KEEP * len(self) + index

    def params(self) -> list[Any]:
        """What each picture shows as it is now."""
        draw = get_family(self.family).draw
        return [draw(self.seed, int(v) * len(self) + i) for i, v in enumerate(self._version)]

    lasting = False

    def take(self, indices: np.ndarray, epochs: np.ndarray) -> np.ndarray:
        """uint8 (n, L, L, 3): the pictures ``indices`` as they are in ``epochs``, both (n,)."""
        out = np.empty((len(indices), *self.images.shape[1:]), np.uint8)
        versions = (epochs + indices % KEEP) // KEEP
        stale = np.flatnonzero(self._version[indices] != versions)
        fresh = np.flatnonzero(self._version[indices] == versions)
        out[fresh] = self.images[indices[fresh]]
        draw = get_family(self.family).draw

        def render(place: int) -> np.ndarray:
            number = self.number(int(indices[place]), int(epochs[place]))
            return face(
                self.family, self.subject, draw(self.seed, number), self.size, self.crop
            ).rgb

        for place, rgb in zip(stale.tolist(), in_order(render, stale.tolist()), strict=True):
            index = indices[place]
            out[place] = self.images[index] = rgb
            self._version[index] = versions[place]
        return out
