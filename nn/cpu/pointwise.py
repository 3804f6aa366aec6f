"""1x1 kernels of stride 1: a product of places and channels, y (P, K) = x (P, C) w (C, K), with few weights.

Nothing is gathered, and the products are few for what has to be read and written: 2 C K for C + K numbers. So
everything is done with a block of places while it lies in the L2 cache, and meanwhile the next one is fetched, line by
line between the products:

    forward     y = leaky(x w + b)      finished in the tile that has just been summed
    backward    dw += xᵀ dy             each share of the blocks has a sum of its own, and they are added in order
                db += sum of dy
                dx = dy wᵀ              from the same dy, which was read for dw

Results too large for the caches are written past them: a line that is written whole need not be fetched first.
Blocks and shares follow from the sizes alone, so results do not depend on the number of threads.
"""

import functools
from collections.abc import Callable

import numpy as np
from numba import get_thread_id, prange

from nn import memory
from nn.cpu.ends import Finish, Upstream
from nn.cpu.gemm import pack, pack_transposed, panel_width, panels, scratch
from nn.cpu.kernel import kernel
from nn.cpu.simd import (
    FLOATS,
    TILE_ROWS,
    VECTOR_BYTES,
    add_span,
    clear_span,
    copy_span,
    lanes,
    low_ones_2,
    stream_fence,
    tile_fetch_1,
    tile_fetch_2,
    tile_finish_fetch_1,
    tile_finish_fetch_2,
    tile_stream_fetch_1,
    tile_stream_fetch_2,
)
from nn.record import call, contiguous

BLOCK_NUMBERS = 16 * 1024  # of x or dy in a block: it stays in the L2 cache with what is made of it
BLOCK = 128  # places, at most
MOST_WEIGHTS = 64 * 1024
STREAM_BYTES = 6 * 2**20  # of results, from which on they are written past the caches
PARTS = 16  # of the sum over places in dw, at most
PARTIAL_NUMBERS = 512 * 1024  # of all parts together


def fits(
    w_shape: tuple[int, ...], stride: tuple[int, int], padding: tuple[int, ...], places: int
) -> bool:
    """Whether ``forward`` is for this, and ``backward``, if ``fits_backward``, too."""
    alone = w_shape[:2] == (1, 1) and stride == (1, 1) and not any(padding)
    c, k = w_shape[2:]
    return alone and places >= BLOCK and c >= TILE_ROWS and k >= FLOATS and c * k <= MOST_WEIGHTS


def fits_backward(k: int, dtype: np.dtype) -> bool:
    """Whether the rows of dy are whole vectors, and so can be read where they lie."""
    return k % lanes(dtype) == 0


@functools.cache
def _forward_of(stream: bool) -> Callable[..., None]:
    """The loops of ``forward``; ``stream``: y is written past the caches."""

    @kernel
    def run(x, places, c, w, nr, bias, slope, y, k, block, step, tiles):
        """y in blocks of places; the last tile overlaps the one before it."""
        for task in prange((places + block - 1) // block):
            first = task * block
            last = min(places, first + block)
            count = (last - first + TILE_ROWS - 1) // TILE_ROWS * ((k + nr - 1) // nr)
            part = (block * c + count - 1) // count  # of the next block, for each tile to fetch
            ahead, pace = (first + block) * c, (part + c - 1) // c
            for j in range(0, k, nr):
                width = min(nr, k - j)
                narrow = width <= step
                whole = width == step if narrow else width == nr
                for q0 in range(first, last, TILE_ROWS):
                    q = min(q0, places - TILE_ROWS)
                    out, o0, o_row = (y, q * k + j, k) if whole else (tiles[get_thread_id()], 0, nr)
                    if stream and narrow:
                        tile_stream_fetch_1(x, q * c, c, 1, 0, w, j * c, nr, 0, out, o0, o_row, c, 1,
                                            bias, j, slope, x, ahead, pace)  # fmt: skip
                    elif stream:
                        tile_stream_fetch_2(x, q * c, c, 1, 0, w, j * c, nr, 0, out, o0, o_row, c, 1,
                                            bias, j, slope, x, ahead, pace)  # fmt: skip
                    elif narrow:
                        tile_finish_fetch_1(x, q * c, c, 1, 0, w, j * c, nr, 0, out, o0, o_row, c, 1,
                                            bias, j, slope, x, ahead, pace)  # fmt: skip
                    else:
                        tile_finish_fetch_2(x, q * c, c, 1, 0, w, j * c, nr, 0, out, o0, o_row, c, 1,
                                            bias, j, slope, x, ahead, pace)  # fmt: skip
                    ahead += part
                    if not whole:
                        for r in range(TILE_ROWS):
                            copy_span(y, (q + r) * k + j, out, r * nr, width)
            if stream:
                stream_fence()

    return run


@functools.cache
def _backward_of(stream: bool) -> Callable[..., None]:
    """The loops of ``backward``; ``stream``: dx is written past the caches."""

    @kernel
    def run(
        x, dy, places, c, k, turned, nr, nothing, one, dx, block, share, step, tiles, partial, partial_db
    ):  # fmt: skip
        """partial (PARTS, C in whole tiles, K), partial_db (PARTS, K): the sums of each part; dx, if it is not empty.

        Of the channels, the last tile begins early enough to be whole; the rows that it shares are not used.
        """
        blocks, rows = (places + block - 1) // block, (c + TILE_ROWS - 1) // TILE_ROWS * TILE_ROWS
        many_dw = rows // TILE_ROWS * ((k + 2 * step - 1) // (2 * step))
        many_dx = block // TILE_ROWS * ((c + nr - 1) // nr)
        part_dy, part_x = (block * k + many_dw - 1) // many_dw, (block * c + many_dx - 1) // many_dx
        for part in prange((blocks + share - 1) // share):
            for b in range(part * share, min(blocks, (part + 1) * share)):
                first, add = b * block, b > part * share
                last = min(places, first + block)
                depth = last - first
                ahead, pace = (first + block) * k, (part_dy + depth - 1) // depth
                for j in range(0, k, 2 * step):
                    for i in range(0, c, TILE_ROWS):
                        at, to = first * c + min(i, c - TILE_ROWS), (part * rows + i) * k + j
                        if k - j == step:
                            tile_fetch_1(x, at, 1, c, 0, dy, first * k + j, k, 0, partial, to, k, depth, 1, add,
                                         dy, ahead, pace)  # fmt: skip
                        else:
                            tile_fetch_2(x, at, 1, c, 0, dy, first * k + j, k, 0, partial, to, k, depth, 1, add,
                                         dy, ahead, pace)  # fmt: skip
                        ahead += part_dy
                    if k - j == step:
                        if not add:
                            clear_span(partial_db, part * k + j, dy, 0, step)
                        for q in range(first, last):
                            add_span(partial_db, part * k + j, dy, q * k + j, step)
                    else:
                        low_ones_2(dy, 0, 0, 0, 0, dy, first * k + j, k, 0, partial_db, part * k + j, 0,
                                   depth, 1, add)  # fmt: skip
                if dx.size == 0:
                    continue
                ahead, pace = (first + block) * c, (part_x + k - 1) // k
                for j in range(0, c, nr):
                    width = min(nr, c - j)
                    narrow = width <= step
                    whole = width == step if narrow else width == nr
                    for q0 in range(first, last, TILE_ROWS):
                        q = min(q0, places - TILE_ROWS)
                        out, o0, o_row = (
                            (dx, q * c + j, c) if whole else (tiles[get_thread_id()], 0, nr)
                        )
                        if stream and narrow:
                            tile_stream_fetch_1(dy, q * k, k, 1, 0, turned, j * k, nr, 0, out, o0, o_row, k, 1,
                                                nothing, 0, one, x, ahead, pace)  # fmt: skip
                        elif stream:
                            tile_stream_fetch_2(dy, q * k, k, 1, 0, turned, j * k, nr, 0, out, o0, o_row, k, 1,
                                                nothing, 0, one, x, ahead, pace)  # fmt: skip
                        elif narrow:
                            tile_fetch_1(dy, q * k, k, 1, 0, turned, j * k, nr, 0, out, o0, o_row, k, 1, False,
                                         x, ahead, pace)  # fmt: skip
                        else:
                            tile_fetch_2(dy, q * k, k, 1, 0, turned, j * k, nr, 0, out, o0, o_row, k, 1, False,
                                         x, ahead, pace)  # fmt: skip
                        ahead += part_x
                        if not whole:
                            for r in range(TILE_ROWS):
                                copy_span(dx, (q + r) * c + j, out, r * nr, width)
            if stream:
                stream_fence()

    return run


@kernel
def _add_parts(partial, partial_db, parts, c, k, dw, db):
    """dw (C, K) and db (K) += each part of their sums, in their order; an empty db is not wanted."""
    rows = (c + TILE_ROWS - 1) // TILE_ROWS * TILE_ROWS
    for task in prange(c + 1):
        if task < c:
            tile = task // TILE_ROWS * TILE_ROWS
            at = tile + task - min(tile, c - TILE_ROWS)
            for part in range(parts):
                add_span(dw, task * k, partial, (part * rows + at) * k, k)
        elif db.size > 0:
            for part in range(parts):
                add_span(db, 0, partial_db, part * k, k)


@functools.lru_cache(4096)
def _block(c: int, k: int) -> int:
    """Places of a block, in whole tiles."""
    wanted = min(BLOCK, BLOCK_NUMBERS // max(c, k))
    return max(1, wanted // TILE_ROWS) * TILE_ROWS


def _streams(a: np.ndarray) -> bool:
    """Whether a result is written past the caches: where it would not stay in them, and has whole vectors only."""
    whole = a.shape[-1] % lanes(a.dtype) == 0 and a.ctypes.data % VECTOR_BYTES == 0
    return whole and a.nbytes >= STREAM_BYTES


def forward(
    x: np.ndarray,
    w: np.ndarray,
    finish: Finish,
    y: np.ndarray,
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
) -> None:
    """y (N, H, W, K) = x (N, H, W, C) convolved with w (1, 1, C, K), finished but for the shuffle."""
    c, k = w.shape[2:]
    places, nr = x.size // c, panel_width(k, x.dtype)
    packed = panels(c, k, x.dtype)
    pack(contiguous(w).reshape(c, k), packed, nr)
    bias = memory.scratch(-(-k // nr) * nr, x.dtype)
    call(np.copyto, bias[:k], finish.bias)
    call(np.copyto, bias[k:], 0)
    _forward_of(_streams(y))(
        x.reshape(-1), places, c, packed, nr, bias, finish.slope, y.reshape(-1), k, _block(c, k), lanes(x.dtype),
        scratch(TILE_ROWS * nr, x.dtype),
    )  # fmt: skip


def backward(
    x: np.ndarray,
    w: np.ndarray,
    upstream: Upstream,
    dw: np.ndarray,
    dx: np.ndarray | None,
    padding: tuple[int, int, int, int],
) -> None:
    """Adds to dw (1, 1, C, K) and to the bias gradient; dx (N, H, W, C), if it is not None."""
    c, k = w.shape[2:]
    dy, db = (upstream.dy, upstream.db) if upstream.is_plain() else (upstream.plain(), None)
    places, nr, none = x.size // c, panel_width(c, x.dtype), np.empty(0, x.dtype)
    turned = none
    if dx is not None:
        turned = panels(k, c, x.dtype)
        pack_transposed(contiguous(w).reshape(c, k), turned, nr)
    block, rows = _block(c, k), -(-c // TILE_ROWS) * TILE_ROWS
    blocks = -(-places // block)
    share = -(-blocks // min(blocks, PARTS, PARTIAL_NUMBERS // (rows * k)))
    parts = -(-blocks // share)
    partial = memory.scratch(parts * rows * k, x.dtype)
    partial_db = memory.scratch(parts * k, x.dtype)
    nothing = memory.scratch(nr, x.dtype)  # the bias of dx
    call(np.copyto, nothing, 0)
    _backward_of(dx is not None and _streams(dx))(
        x.reshape(-1), dy.reshape(-1), places, c, k, turned, nr, nothing, x.dtype.type(1),
        none if dx is None else dx.reshape(-1), block, share, lanes(x.dtype), scratch(TILE_ROWS * nr, x.dtype),
        partial, partial_db,
    )  # fmt: skip
    _add_parts(partial, partial_db, parts, c, k, dw.reshape(-1), none if db is None else db)
