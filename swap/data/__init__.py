"""Training data: face sets in memory, the random warp, batches that are a pure function of a step.

faces.py     FaceSet: an extraction folder as one uint8 array, with its colour statistics
colour.py    ColourMatch: per-channel gain and offset from one set's colours to another's
warp.py      the augmentation: one sampling map for the input, one for the target
batches.py   Batches.at(step): the same four arrays for the same (seed, step), always
prefetch.py  Prefetcher: the next steps, made on a background thread; WAITING: how many of them
"""

from swap.data.batches import Batch, Batches
from swap.data.colour import ColourMatch
from swap.data.faces import FaceSet, even_spread
from swap.data.prefetch import WAITING, Prefetcher
from swap.data.warp import Augmentation, face_squares, random_warp

__all__ = [
    "WAITING",
    "Augmentation",
    "Batch",
    "Batches",
    "ColourMatch",
    "FaceSet",
    "Prefetcher",
    "even_spread",
    "face_squares",
    "random_warp",
]
