"""How a matrix product is shared among the card's processors: the size of a tile, and how often its sum is cut.

A product (rows, depth) (depth, columns) is made by one block for each tile; a few blocks run on a processor at a time.
Everything here is a function of shapes alone, so that the order of sums, and with it every bit of a result, depends on
no card. What it reckons with are reasons, not measurements: ``python -m bench layers --backend gpu --tune`` measures.
"""

from typing import Any, NamedTuple

import numpy as np

PROCESSORS = 132  # of the card that this was reasoned for
HASTE = 0.7  # a block that has a processor to itself takes this much of the time it would take among the usual number
# While a processor takes a step of a tile of 128 x 128 (some 0.5 us), the card's memory moves this many bytes.
BYTES_A_STEP = 2 * 2**20
LEAST_STEPS = 4  # that are worth a part of a sum
MOST_PARTS = 64
MOST_PARTIAL = 64 * 2**20  # bytes of partial results


class Tile(NamedTuple):
    """Rows and columns of the product that a block makes, and its warps along each.

    cost: a step's time, in that of a tile of 128 x 128; together: how many blocks share a processor.
    """

    rows: int
    columns: int
    down: int
    across: int
    cost: float
    together: int

    @property
    def threads(self) -> int:
        return 32 * self.down * self.across

    def grid(self, rows: int, columns: int) -> tuple[int, int]:
        """How many tiles a product has each way."""
        return -(-rows // self.rows), -(-columns // self.columns)


# For tile.cuh. Smaller tiles read more for each number that they make.
LARGE = Tile(128, 128, 2, 4, 1.0, 2)
SMALL = Tile(64, 64, 2, 2, 0.35, 4)
TALL = Tile(128, 32, 4, 1, 0.4, 4)
# For warpgroup.cuh: two warpgroups, each of which has 64 rows. The cost is that of shared memory, as is said there.
VAST = Tile(128, 256, 8, 1, 1.57, 1)
WIDE = Tile(128, 128, 8, 1, 1.0, 2)
HALF = Tile(128, 64, 8, 1, 0.71, 2)
SLIM = Tile(128, 32, 8, 1, 0.57, 2)


class Arrangement(NamedTuple):
    """The tile, and in how many parts of which length a sum is made."""

    tile: Tile
    parts: int
    share: int


def arrange(
    rows: int,
    columns: int,
    depth: int,
    *,
    step: int,
    dtype: Any,
    times: int = 1,
    warpgroup: bool = False,
) -> Arrangement:
    """The least time by a simple reckoning, for ``times`` products (rows, depth) (depth, columns).

    step: of the sum that a block takes at once, of which a part is a whole number.
    """
    tiles = (VAST, WIDE, HALF, SLIM) if warpgroup else (LARGE, SMALL, TALL)
    if np.dtype(dtype) == np.float64:
        tiles = (SMALL,)  # the others would need more registers than there are
    steps = max(1, -(-depth // step))
    size = max(1, times * rows * columns * np.dtype(dtype).itemsize)
    most = max(1, min(MOST_PARTS, steps // LEAST_STEPS, MOST_PARTIAL // size))

    def time(tile: Tile, parts: int) -> float:
        down, across = tile.grid(rows, columns)
        rounds = -(-times * down * across * parts // PROCESSORS)
        moved = 2 * size * parts / BYTES_A_STEP if parts > 1 else 0.0
        return max(rounds, HASTE * tile.together) * tile.cost * -(-steps // parts) + moved

    candidates = [(tile, parts) for tile in tiles for parts in range(1, most + 1)]
    tile, parts = min(candidates, key=lambda candidate: time(*candidate))
    return Arrangement(tile, *cut(depth, parts, step))


def cut(depth: int, parts: int, step: int) -> tuple[int, int]:
    """How many parts there are, of at most so many, where each is a whole number of steps; and how long each is."""
    share = max(1, -(-depth // (parts * step))) * step
    return max(1, -(-depth // share)), share
