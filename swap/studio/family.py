"""The families of subjects, and their aligned faces: what a network is trained on and measured by.

    heads   a b c d            people who do not exist
    fruit   apple kiwi
    flags   australia usa

Each family is a module with the same names: SUBJECTS, Params, draw(seed, index), walk(frames, seed), render, picture,
landmarks. The same Params give the same pose, expression or fold, and the same light, for every subject of a family.
That is the truth of a swap: what B would look like, doing what A does.

A face is rendered straight into its aligned crop. The alignment is the true one, of the renderer's own landmarks.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from swap.data import FaceSet
from swap.errors import UserError
from swap.faces.align import CropDefinition, crop_matrix
from swap.studio.even import CANDIDATES, MOST, best_of_several

FAMILIES = {"heads": "a person's head", "fruit": "a fruit", "flags": "a flag in the wind"}
PAIRS = {"heads": ("a", "b"), "fruit": ("apple", "kiwi"), "flags": ("australia", "usa")}
# Eyes and a mouth in their places, which a recipe may look at more closely than at the rest?
FACES = {"heads": True, "fruit": False, "flags": False}
# A mirrored face is a face; a mirrored flag is none.
MIRRORED = {"heads": True, "fruit": True, "flags": False}
# Training pictures a side of a demo: few of a fruit, which only turns and is lit; many of a cloth's folds.
PICTURES = {"heads": 500, "fruit": 300, "flags": 2000}
# The step from which on a demo's pictures are no longer turned, zoomed and moved in training: almost at once, because
# they lie exactly in their squares. Of few pictures, moved ones are worth as much as more until the end draws near.
STILL_FROM = {"heads": 1, "fruit": 1800, "flags": 1}
FRAME = (240, 320)  # height and width of a family's frame, in pixels


class Face(NamedTuple):
    """rgb: uint8 (S, S, 3). mask: uint8 (S, S), how much of each pixel is face, 255 for all."""

    rgb: np.ndarray
    mask: np.ndarray


def get_family(name: str) -> ModuleType:
    """The module of a family; UserError with the known names otherwise."""
    if name not in FAMILIES:
        raise UserError(f"the studio has no {name!r}; choose one of {', '.join(FAMILIES)}")
    return import_module(f"swap.studio.{name}")


def check_subject(family: str, subject: str) -> str:
    """``subject``, where the family has it; UserError with the known names otherwise."""
    known = get_family(family).SUBJECTS
    if subject not in known:
        raise UserError(f"{family} has no subject {subject!r}; choose one of {', '.join(known)}")
    return subject


def true_alignment(
    family: str, subject: str, params: Any, size: int, crop: CropDefinition
) -> tuple:
    """(landmarks (5, 2) in pixels of the frame, matrix (2, 3) from the frame to a stored crop of side ``size``)."""
    points = get_family(family).landmarks(subject, params, FRAME)
    return points, crop_matrix(points, size, crop)


def face(
    family: str, subject: str, params: Any, size: int, crop: CropDefinition | None = None
) -> Face:
    """The stored crop, with its margin, of a subject: side ``size`` in pixels, rendered, not resampled."""
    _, matrix = true_alignment(family, subject, params, size, crop or CropDefinition())
    return Face(*get_family(family).picture(subject, params, size, view=matrix))


def faces(
    family: str,
    subject: str,
    params: Sequence[Any],
    size: int,
    crop: CropDefinition | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """uint8 pictures (N, size, size, 3) and masks (N, size, size) of ``face`` for each of ``params``."""
    images = np.empty((len(params), size, size, 3), np.uint8)
    masks = np.empty(images.shape[:3], np.uint8)
    made = in_order(lambda p: face(family, subject, p, size, crop), params)
    for i, one in enumerate(made):
        images[i], masks[i] = one
        if progress:
            progress(i + 1, len(params))
    return images, masks


def in_order(work: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
    """``map(work, items)`` in a thread for each core, results in order, with few of them in memory.

    The kernels release the interpreter's lock, so threads are enough.
    """
    threads = os.cpu_count() or 1
    pool = ThreadPoolExecutor(threads, thread_name_prefix="studio")
    waiting: deque[Future[Any]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= 3 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def draws(family: str, count: int, seed: int, first: int = 0) -> list[Any]:
    """``count`` independent draws of a family's parameters, from number ``first`` on."""
    draw = get_family(family).draw
    return [draw(seed, first + i) for i in range(count)]


def even_draws(family: str, count: int, seed: int) -> list[Any]:
    """``count`` draws of a family's parameters, chosen so that together they are spread evenly (swap.studio.even)."""
    return list(_even_draws(family, count, seed))


@lru_cache(maxsize=4)
def _even_draws(family: str, count: int, seed: int) -> tuple[Any, ...]:
    each = max(1, min(MOST, CANDIDATES // max(count, 1)))
    found = draws(family, count * each, seed)
    return tuple(best_of_several(found, count) if each > 1 and count else found)


def face_set(
    family: str,
    subject: str,
    params: Sequence[Any],
    size: int,
    crop: CropDefinition | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> FaceSet:
    """A set to train on, in memory; ``size`` is that of the stored crops."""
    crop = crop or CropDefinition()
    images, _ = faces(family, subject, params, size, crop, progress=progress)
    return FaceSet(images, crop.margin)
