"""Batches as a pure function of (seed, step): what was asked before makes no difference.

Every random number comes from Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2,
3", 2011), a counter-based generator: the stream is named, not continued.

    turn, shift, ...   Philox(key = (seed, WARP),  counter = (0, 0,    side, step))
    control points     Philox(key = (seed, NOISE), counter = (0, 0,    side, step))
    order of an epoch  Philox(key = (seed, ORDER), counter = (0, 0,    side, epoch))
    weighted draw      Philox(key = (seed, DRAW),  counter = (0, 0,    side, step))

The first counter word is the one that runs, so two streams would meet after 2^64 blocks. A run
that stops and goes on therefore gets the very batches that an uninterrupted run would get, and
the batch of step 1,000,000 costs no more than the first. Each side's faces are drawn without
replacement: a side of F faces shows every one of them once in each F draws, in a new order. With
weights, a batch of N is drawn in strata: the cumulated weights are cut at (i + u_i) / N for i = 0 ..
N - 1 with a random u_i each, so a face is expected in proportion to its weight and a batch is
spread over the whole set.
"""

from typing import NamedTuple

import numpy as np

from swap.data.colour import ColourMatch
from swap.data.faces import FaceSet
from swap.data.warp import Augmentation, Draws, Placement, placements
from swap.errors import UserError

WARP, ORDER, DRAW, NOISE = 1, 2, 3, 4
AHEAD = 8  # steps, for which mapped faces are asked for before they are needed


class Batch(NamedTuple):
    """Four float32 arrays (batch_size, size, size, 3), RGB in [0, 1]."""

    input_a: np.ndarray
    target_a: np.ndarray
    input_b: np.ndarray
    target_b: np.ndarray


class Plan(NamedTuple):
    """What is drawn for one side of a step, before any pixel is touched.

    indices, epochs (N,)      which faces
    shown, wanted             where input and target sample them
    noise (N, GRID, GRID)     how far the input's control points are moved
    jitter (N, 5)             the input's colours: brightness, contrast, gain of each channel; None: as the target's
    colours (N or 1, 256, 3)  what each 8-bit value of each channel becomes in the input; plain (1, 256, 3): in the
                              target. colours is plain where no one asked for the tables that jitter means
    """

    indices: np.ndarray
    epochs: np.ndarray
    shown: Placement
    wanted: Placement
    noise: np.ndarray
    jitter: np.ndarray | None
    colours: np.ndarray
    plain: np.ndarray


def _generator(seed: int, purpose: int, *counter: int) -> np.random.Generator:
    return np.random.Generator(
        np.random.Philox(key=np.array([seed, purpose], np.uint64), counter=(0, *counter))
    )


class Chosen(NamedTuple):
    """The faces of one side of a step, and what is drawn for them.

    faces (F, L, L, 3)   the stored faces among which they are
    places (N,)          where in it
    """

    faces: np.ndarray
    places: np.ndarray
    plan: Plan


Drawn = tuple[Chosen, Chosen]  # of A and of B


class Batches:
    """The training batches of two face sets; `at(step)` is the whole of it."""

    def __init__(
        self,
        faces_a: FaceSet,
        faces_b: FaceSet,
        seed: int,
        batch_size: int,
        size: int = 64,
        *,
        augmentation: Augmentation | None = None,
        match_a: ColourMatch | None = None,
        match_b: ColourMatch | None = None,
        weights_a: np.ndarray | None = None,
        weights_b: np.ndarray | None = None,
    ) -> None:
        """Name the batches; nothing is drawn yet.

        seed: 0 to 2^64 - 1. batch_size: faces per side, may exceed a side's number of faces.
        size: side of the network's square in pixels. match_a, match_b: colour matches applied to
        input and target of a side alike. weights_a, weights_b: (F,) how often each face is drawn,
        relative to the others of its side; None draws all alike. Raises UserError for a seed,
        batch_size or size out of range, ValueError for weights that are none.
        """
        if not 0 <= seed < 2**64:
            raise UserError(f"the seed must be a whole number from 0 to 2^64 - 1, not {seed}")
        if batch_size < 1:
            raise UserError(f"the batch size must be at least 1 face a side, not {batch_size}")
        if size < 1:
            raise UserError(f"the network's picture size must be at least 1 pixel, not {size}")
        self.sides = ((faces_a, match_a), (faces_b, match_b))
        self.seed, self.batch_size, self.size = seed, batch_size, size
        self.augmentation = augmentation or Augmentation()
        self._tables = tuple(_table(match) for match in (match_a, match_b))
        self._order: dict[tuple[int, int], np.ndarray] = {}
        self._expected = -1  # the last step whose faces mapped sets were told of
        self._cumulated = tuple(
            None if weights is None else _cumulate(weights, len(faces))
            for weights, faces in ((weights_a, faces_a), (weights_b, faces_b))
        )

    def at(self, step: int) -> Batch:
        """The batch of one step (0, 1, 2, ...), always the same for the same arguments."""
        return self.made(self.drawn(step))

    def drawn(self, step: int) -> Drawn:
        """The faces of a step as they are stored, and what is drawn for them: what can be done ahead, on any thread."""
        plans = self.plans(step)
        first = self._expected + 1 if step <= self._expected <= step + AHEAD else step + 1
        for later in range(first, step + AHEAD + 1):
            for side, (faces, _) in enumerate(self.sides):
                if faces.mapped:
                    faces.expect(self.indices(later, side))
        self._expected = step + AHEAD
        return tuple(
            Chosen(*faces.find(plan.indices, plan.epochs), plan)
            for (faces, _), plan in zip(self.sides, plans, strict=True)
        )

    def made(self, drawn: Drawn, out: np.ndarray | None = None) -> Batch:
        """The batch of what was drawn, on all threads; in ``out`` (4, batch_size, size, size, 3), if given."""
        from swap.data.fused import Part, warp_and_colour  # Numba's; the GPU has its own

        parts = []
        for (faces, _), (images, places, plan) in zip(self.sides, drawn, strict=True):
            margin = faces.margin
            parts.append(Part(images, places, plan.shown, plan.noise, plan.colours, margin))
            parts.append(Part(images, places, plan.wanted, None, plan.plain, margin))
        return Batch(*warp_and_colour(parts, self.size, out))

    def plans(self, step: int, *, tables: bool = True) -> tuple[Plan, Plan]:
        """What is drawn for A and for B in a step; ``at`` is what comes of it. tables: with each face's colours."""
        draws = [self._draws(step, side) for side in (0, 1)]
        augmentation = self.augmentation.at(step)
        # Both sides at once: of so few numbers, every operation takes longer to call than to compute.
        together = Draws(*(np.concatenate(both) for both in zip(*draws, strict=True)))
        shown, wanted, noise = placements(together, augmentation)
        plans = []
        for side in (0, 1):
            own = slice(side * self.batch_size, (side + 1) * self.batch_size)
            plain = colours = self._tables[side]
            jitter = jitter_numbers(draws[side], augmentation)
            if tables and jitter is not None:
                colours = jitter_colour(plain, jitter)
            plans.append(
                Plan(
                    self.indices(step, side),
                    self.epochs(step, side),
                    Placement(*(part[own] for part in shown)),
                    Placement(*(part[own] for part in wanted)),
                    noise[own],
                    jitter,
                    colours,
                    plain,
                )
            )
        return plans[0], plans[1]

    def _draws(self, step: int, side: int) -> Draws:
        streams = (_generator(self.seed, purpose, 0, side, step) for purpose in (WARP, NOISE))
        return Draws.take(*streams, self.batch_size)

    def epochs(self, step: int, side: int) -> np.ndarray:
        """In which epoch, of as many draws as the side has faces, each face of step is: (batch_size,)."""
        positions = step * self.batch_size + np.arange(self.batch_size)
        return positions // len(self.sides[side][0])

    def indices(self, step: int, side: int) -> np.ndarray:
        """Which faces of side 0 (A) or 1 (B) step shows: (batch_size,) indices into its set."""
        cumulated = self._cumulated[side]
        if cumulated is not None:
            within = _generator(self.seed, DRAW, 0, side, step).random(self.batch_size)
            cuts = (np.arange(self.batch_size) + within) / self.batch_size
            return np.searchsorted(cumulated, cuts, side="right")
        count = len(self.sides[side][0])
        positions = step * self.batch_size + np.arange(self.batch_size)
        epochs, places = np.divmod(positions, count)
        chosen = np.empty(self.batch_size, np.intp)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            chosen[here] = self._epoch_order(side, epoch, count)[places[here]]
        return chosen

    def _epoch_order(self, side: int, epoch: int, count: int) -> np.ndarray:
        order = self._order.get((side, epoch))
        if order is None:
            order = _generator(self.seed, ORDER, 0, side, epoch).permutation(count)
            # Two orders a side are kept, this epoch's and the one's before, to save shuffling thousands of faces at
            # every step. What is kept depends on what was asked; what is returned does not.
            # A new dict rather than a changed one: another thread may be reading it.
            others = {
                k: kept for k, kept in self._order.items() if k[0] != side or k[1] == epoch - 1
            }
            self._order = {**others, (side, epoch): order}
        return order


def _table(match: ColourMatch | None) -> np.ndarray:
    """(1, 256, 3): what each 8-bit value of each channel becomes by a colour match."""
    table = np.repeat(np.arange(256, dtype=np.float32)[:, None] / 255, 3, axis=1)
    return (table if match is None else match.apply(table))[None]


def _cumulate(weights: np.ndarray, count: int) -> np.ndarray:
    """(F,) the share of all weight up to and with each face; the last is above any draw."""
    weights = np.asarray(weights, np.float64)
    if weights.shape != (count,) or not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(f"weights must be {count} finite numbers, at least 0, not {weights}")
    if weights.sum() <= 0:
        raise ValueError("at least one weight must be above 0")
    cumulated = np.cumsum(weights) / weights.sum()
    cumulated[np.flatnonzero(weights)[-1] :] = np.inf
    return cumulated


def jitter_numbers(draws: Draws, augmentation: Augmentation) -> np.ndarray | None:
    """(N, 5) float32: brightness b, contrast 1 + c and gain 1 + g of each channel of N pictures; None where all of them
    are off."""
    if not augmentation.colour_jitter:
        return None
    reach = np.array([augmentation.brightness, augmentation.contrast, *3 * [augmentation.gain]])
    numbers = draws.uniform[:, 5:].astype(np.float32) * reach.astype(np.float32)
    numbers[:, 1:] += 1
    return numbers


def jitter_colour(values: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Random brightness, contrast and channel gain of N pictures, clipped to [0, 1], float32.

    y = clip((1 + c)((1 + g) x - 1/2) + 1/2 + b), with ``numbers`` (N, 5) as above, the same over a whole picture.
    values: float32 in [0, 1], (N or 1, any, 3); the result is (N, any, 3). On the GPU: warp.cu.
    """
    brightness, contrast, gain = (
        numbers[:, 0, None, None],
        numbers[:, 1, None, None],
        numbers[:, None, 2:],
    )
    jittered = contrast * (gain * values - 0.5) + 0.5 + brightness
    return np.clip(jittered, 0, 1, dtype=np.float32)
