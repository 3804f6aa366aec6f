"""Batches on the GPU: faces lie there as bytes, what is drawn for a step comes from the host, a kernel makes the
pictures.

    drawn (host)     plan of (seed, step), some thousand numbers, in one block        Batches.plan
    pictures (GPU)   input and target of each side, (N, size, size, 3) float32         warp.cu

The draws are the CPU's, and so are the pictures, byte for byte: the same run with the same seed sees the same batches
on both. A face set that does not fit on the card, is rendered anew for each epoch or is mapped from a file sends its
chosen faces in every step.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from nn.gpu import device
from swap.data.batches import Batches
from swap.data.faces import FaceSet
from swap.data.warp import GRID

SOURCE = str(Path(__file__).with_name("warp.cu"))
MOST_BYTES = 8 * 2**30  # of faces that are kept on the card

Array = Any  # an array of the card


class Drawn(NamedTuple):
    """What the host draws for a step: one block of words, and for each side the faces that are not on the card."""

    block: np.ndarray
    faces: list[np.ndarray | None]


class CardBatches:
    """Input and target of both sides on the card, always in the same four arrays, ``inputs`` and ``targets``.

    ``draw(step)`` on the host, on any thread; ``send(drawn)`` copies it; ``make()`` launches kernels, and does nothing
    else, so that it can stand in a recorded graph.
    """

    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        self._kept = [_kept(faces) for faces, _ in batches.sides]
        n, s = batches.batch_size, batches.size
        self._sent = [
            None if kept is not None else device.empty((n, *faces.images.shape[1:]), np.uint8)
            for kept, (faces, _) in zip(self._kept, batches.sides, strict=True)
        ]
        ends = np.cumsum([0, *(len(words) for words in self._words(0))])
        self._parts = [slice(*ends[i : i + 2].tolist()) for i in range(len(ends) - 1)]
        self._block = device.zeros(int(ends[-1]), np.float32)
        self.inputs = [device.empty((n, s, s, 3), np.float32) for _ in range(2)]
        self.targets = [device.empty((n, s, s, 3), np.float32) for _ in range(2)]

    def draw(self, step: int) -> Drawn:
        """What the host gives to a step."""
        chosen = [
            None
            if kept is not None
            else faces.take(self.batches.indices(step, side), self.batches.epochs(step, side))
            for side, (kept, (faces, _)) in enumerate(
                zip(self._kept, self.batches.sides, strict=True)
            )
        ]
        return Drawn(np.concatenate(self._words(step)), chosen)

    def send(self, drawn: Drawn) -> None:
        """Copies what ``draw`` gave to the card, for the next ``make``; waits for none that was launched before."""
        device.send(self._block, drawn.block)
        for faces, place in zip(drawn.faces, self._sent, strict=True):
            if faces is not None:
                device.send(place, faces)

    def make(self) -> None:
        """The pictures of what was sent last."""
        words = [self._block[part] for part in self._parts]
        each = len(words) // 2
        for side, (faces, _) in enumerate(self.batches.sides):
            index, mirrored, shown, shown_at, wanted, wanted_at, noise, plain, *jitter = words[
                each * side : each * side + each
            ]
            colours = jittered(plain, jitter[0], self.batches.batch_size) if jitter else plain
            source = self._sent[side] if self._kept[side] is None else self._kept[side]
            pixels = np.float32(source.shape[1] / faces.margin)
            for scale, offset, moved, tables, out in (
                (shown, shown_at, noise, colours, self.inputs[side]),
                (wanted, wanted_at, None, plain, self.targets[side]),
            ):
                ints = index.view(np.int32), mirrored.view(np.int32)
                warp(source, ints[0], scale, offset, ints[1], moved, tables, pixels, out)

    def _words(self, step: int) -> list[np.ndarray]:
        """The plans of both sides, eight flat arrays each, or nine with jitter, in words of 4 bytes."""
        words = []
        for side, plan in enumerate(self.batches.plans(step, tables=False)):
            # Faces that are sent come in the order in which they are used.
            index = plan.indices if self._kept[side] is not None else np.arange(len(plan.indices))
            words += [np.asarray(a, np.int32) for a in (index, plan.shown.mirrored)]
            for placement in (plan.shown, plan.wanted):
                words += [np.asarray(a, np.complex64) for a in placement[:2]]
            words.append(np.asarray(plan.noise, np.complex64))
            words += [a for a in (plan.plain, plan.jitter) if a is not None]
        return [np.ascontiguousarray(a).reshape(-1).view(np.float32) for a in words]


def warp(
    faces: Array,
    index: Array,
    scale: Array,
    offset: Array,
    mirrored: Array,
    noise: Array | None,
    tables: Array,
    pixels: np.float32,
    out: Array,
) -> None:
    """out (N, S, S, 3): faces[index] at their placements, through their tables; pixels: of a face square's side.

    scale, offset (N, 2), noise (N, GRID, GRID, 2) are complex numbers in two words; tables (N or 1, 256, 3).
    """
    count = out.shape[0] * out.shape[1] * out.shape[2]
    sizes = (tables.size // 768, faces.shape[1], out.shape[1])
    args = (faces, index, scale, offset, mirrored, noise, tables, *sizes, pixels, out)
    device.each(SOURCE, "warp", count, args, contracts=False)


def jittered(plain: Array, numbers: Array, count: int) -> Array:
    """(N, 256, 3): the table ``plain`` (256, 3) as it is for N pictures with ``numbers`` (N, 5)."""
    tables = device.empty((count, 256, 3), np.float32)
    device.each(SOURCE, "jitter", tables.size, (plain, numbers, tables), contracts=False)
    return tables


def softened(faces: Array, sigma: float) -> Array:
    """faces (N, S, S, 3) of the card through a Gaussian blur of ``sigma`` pixels, mirrored at the edges."""
    weights = _gaussian(sigma)
    between, out = (device.empty(faces.shape, faces.dtype) for _ in range(2))
    for along, source, target in ((0, faces, between), (1, between, out)):
        args = (
            device.contiguous(source),
            weights,
            weights.size // 2,
            faces.shape[1],
            along,
            target,
        )
        device.each(SOURCE, "blur", faces.size, args)
    return out


def _gaussian(sigma: float) -> Array:
    return _weights(sigma, id(device.machine()))


@lru_cache(maxsize=8)
def _weights(sigma: float, _: int) -> Array:
    """OpenCV's weights for ``sigma``, on the card; its default reach for float pictures."""
    size = round(sigma * 8 + 1) | 1
    return device.upload(cv2.getGaussianKernel(size, sigma, cv2.CV_32F).ravel())


def _kept(faces: FaceSet) -> Array | None:
    """The whole set on the card; None where its pictures are mapped, made anew for each epoch, or too many."""
    fits = faces.lasting and faces.images.nbytes <= MOST_BYTES
    return device.upload(faces.images) if fits else None


assert GRID == 5  # as warp.cu has it
