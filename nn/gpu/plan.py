"""How a matrix product is shared among the card's processors: the size of a tile, and how often its sum is cut.

A product (rows, depth) (depth, columns) is made by one block for each tile; two blocks run on a processor at a time.
Everything here is a function of shapes alone, so that the order of sums, and with it every bit of a result, depends on
no card.
"""

from typing import Any, NamedTuple

import numpy as np

PROCESSORS = 132  # of the card that this was reasoned for; a constant, so that sums do not depend on the card
ALONE = 1.4  # how much longer a block takes for a step, of half of a processor's time, where it has that to itself
# A step of a tile (128 x 128, and 32 of the sum) takes half a processor some 0.3 us; meanwhile the card's memory moves
# this many bytes.
BYTES_A_STEP = 1.2 * 2**20
LEAST_STEPS = 4  # that are worth a part of a sum
MOST_PARTS = 64
MOST_PARTIAL = 64 * 2**20  # bytes of partial results


class Tile(NamedTuple):
    """Rows and columns of the product that a block makes, and its warps along each."""

    rows: int
    columns: int
    down: int
    across: int

    @property
    def threads(self) -> int:
        return 32 * self.down * self.across

    def grid(self, rows: int, columns: int) -> tuple[int, int]:
        """How many tiles a product has each way."""
        return -(-rows // self.rows), -(-columns // self.columns)


# For tile.cuh.
LARGE, SMALL, TALL = Tile(128, 128, 2, 4), Tile(64, 64, 2, 2), Tile(128, 32, 4, 1)
# For warpgroup.cuh: two warpgroups, each of which has 64 rows.
WIDE, HALF, SLIM = Tile(128, 128, 8, 1), Tile(128, 64, 8, 1), Tile(128, 32, 8, 1)


def choose(rows: int, columns: int, dtype: Any, *, warpgroup: bool = False) -> Tile:
    """The tile of a product (rows, columns): the largest of which there are enough; float64 keeps to small ones."""
    if warpgroup:
        return next((t for t in (SLIM, HALF) if columns <= t.columns), WIDE)
    if np.dtype(dtype) == np.float64:
        return SMALL
    if columns <= TALL.columns and rows >= TALL.rows:
        return TALL
    down, across = LARGE.grid(rows, columns)
    return LARGE if columns >= LARGE.columns and down * across >= PROCESSORS else SMALL


def cut(depth: int, tiles: int, size: int, step: int) -> tuple[int, int]:
    """Into how many parts a sum is cut, and how long each is: the least time by a simple reckoning.

    tiles: of the product; size: bytes of one partial result; step: of the sum that a block takes at once, of which a
    part is a whole number.
    """
    steps = max(1, -(-depth // step))
    most = min(MOST_PARTS, steps // LEAST_STEPS, max(1, MOST_PARTIAL // max(size, 1)))

    def time(parts: int) -> float:
        rounds = -(-tiles * parts // PROCESSORS)
        moved = 2 * size * parts / BYTES_A_STEP if parts > 1 else 0
        return (ALONE if rounds == 1 else rounds) * -(-steps // parts) + moved

    parts = min(range(1, max(most, 1) + 1), key=time)
    share = -(-steps // parts) * step
    return max(1, -(-depth // share)), share
