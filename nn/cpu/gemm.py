"""Blocked matrix product: c (M, K) = a (M, D) b (D, K), from the register tile of ``simd.py`` upwards.

Three sizes, each for one kind of memory (Goto and van de Geijn, 2008):
    the tile, TILE_ROWS x NR               lives in registers
    a panel of b, DEPTH x NR numbers       is read once per tile row and stays in the L1 cache (32 KiB)
    a block of a, ROWS x DEPTH numbers     is read once per panel and stays in the L2 cache (128 KiB)

b is stored in panels: NR neighbouring columns, row after row, so that the kernel reads it straight
through; the last panel is filled up with zeros. The sum over D is taken in the same order whatever the
blocks and the number of threads, so results do not depend on them.
"""

import numpy as np
from numba import config, get_num_threads, get_thread_id, njit, prange

from nn import memory
from nn.cpu.kernel import kernel
from nn.cpu.simd import (
    FLOATS,
    TILE_ROWS,
    VECTOR_BYTES,
    add_span,
    clear_span,
    copy_span,
    lanes,
    tile_product_1,
    tile_product_2,
    transpose_tile,
)
from nn.record import call

DEPTH = 256
ROWS = 16 * TILE_ROWS
PAD = 16  # numbers between the rows of a block, so that they do not all fall into one cache set

# The most that there can be; memory that no thread touches costs nothing, and asking for their number does.
THREADS = config.NUMBA_NUM_THREADS


def panel_width(columns: int, dtype: np.dtype) -> int:
    """NR for a matrix of ``columns``: two vectors, or one where that already holds them."""
    return lanes(dtype) * (1 if columns <= lanes(dtype) else 2)


def panels(rows: int, columns: int, dtype: np.dtype) -> np.ndarray:
    """Memory for a (rows, columns) matrix stored in panels, until the end of the frame."""
    nr = panel_width(columns, dtype)
    return memory.scratch(-(-columns // nr) * nr * rows, dtype)


def block_rows(rows: int) -> int:
    """Rows of a block: ROWS, or fewer where ``rows`` would not keep every thread busy."""
    share = -(-rows // (2 * get_num_threads()))
    return max(TILE_ROWS, min(ROWS, -(-share // TILE_ROWS) * TILE_ROWS))


def scratch(numbers: int, dtype: np.dtype) -> np.ndarray:
    """(THREADS, numbers): a working space for each thread, until the end of the frame."""
    return memory.scratch((THREADS, numbers), dtype)


@kernel
def pack(b: np.ndarray, out: np.ndarray, nr: int) -> None:
    """b (D, K) -> panels of nr columns."""
    depth, columns = b.shape
    flat = b.reshape(-1)
    for j in prange((columns + nr - 1) // nr):
        width = min(nr, columns - j * nr)
        for k in range(depth):
            to = (j * depth + k) * nr
            copy_span(out, to, flat, k * columns + j * nr, width)
            if width < nr:
                clear_span(out, to + width, out, 0, nr - width)


@kernel
def _pack_transposed(b: np.ndarray, out: np.ndarray, nr: int, count: int) -> None:
    columns, depth = b.shape
    flat = b.reshape(-1)
    for j in prange((columns + nr - 1) // nr):
        width = min(nr, columns - j * nr)
        at = j * depth * nr
        if width < nr:
            clear_span(out, at, out, 0, depth * nr)
        for k0 in range(0, depth, count):  # a square of vectors at a time
            for c0 in range(0, width, count):
                if k0 + count <= depth and c0 + count <= width:
                    source = (j * nr + c0) * depth + k0
                    transpose_tile(flat, source, depth, out, at + k0 * nr + c0, nr)
                else:
                    for c in range(c0, min(c0 + count, width)):
                        for k in range(k0, min(k0 + count, depth)):
                            out[at + k * nr + c] = b[j * nr + c, k]


def pack_transposed(b: np.ndarray, out: np.ndarray, nr: int) -> None:
    """b (K, D) -> panels of nr columns of its transpose (D, K)."""
    _pack_transposed(b, out, nr, lanes(b.dtype))


@njit(cache=True, nogil=True, error_model="numpy")
def multiply_block(
    a: np.ndarray,
    a0: int,
    a_row: int,
    a_k: int,
    rows: int,
    b: np.ndarray,
    b0: int,
    b_panel: int,
    nr: int,
    c: np.ndarray,
    c0: int,
    c_row: int,
    columns: int,
    depth: int,
    accumulate: bool,
    edge: np.ndarray,
) -> None:
    """c[rows, columns] (+)= a[rows, depth] b[depth, columns] on one thread; depth <= DEPTH.

    a is read at a0 + a_row i + a_k k; b lies in panels, b_panel numbers apart. Where the last tile hangs over
    an edge, its rows of a are copied to ``edge`` and its result is made there, then the valid part is moved.
    """
    narrow = nr * c.itemsize <= VECTOR_BYTES
    tile = TILE_ROWS * DEPTH  # where in ``edge`` the tile lies, behind the rows
    for i in range(0, rows, TILE_ROWS):
        height = min(TILE_ROWS, rows - i)
        if height < TILE_ROWS:
            clear_span(edge, 0, edge, 0, TILE_ROWS * depth)
            for ii in range(height):
                for k in range(depth):
                    edge[ii * depth + k] = a[a0 + (i + ii) * a_row + k * a_k]
    for j in range(0, columns, nr):
        bj = b0 + j // nr * b_panel
        width = min(nr, columns - j)
        for i in range(0, rows, TILE_ROWS):
            height = min(TILE_ROWS, rows - i)
            full = height == TILE_ROWS
            whole = full and width == nr
            x, x0, x_row, x_k = (a, a0 + i * a_row, a_row, a_k) if full else (edge, 0, depth, 1)
            y, y0, y_row = (c, c0 + i * c_row + j, c_row) if whole else (edge, tile, nr)
            add = accumulate and whole
            if narrow:
                tile_product_1(x, x0, x_row, x_k, 0, b, bj, nr, 0, y, y0, y_row, depth, 1, add)
            else:
                tile_product_2(x, x0, x_row, x_k, 0, b, bj, nr, 0, y, y0, y_row, depth, 1, add)
            if not whole:
                for ii in range(height):
                    at = c0 + (i + ii) * c_row + j
                    if accumulate:
                        add_span(c, at, edge, tile + ii * nr, width)
                    else:
                        copy_span(c, at, edge, tile + ii * nr, width)


@njit(cache=True, nogil=True, error_model="numpy")
def multiply_panels(
    a, a0, apart, rows, b, b0, b_panel, nr, c, c0, c_row, columns, depth, accumulate
) -> None:
    """c[rows, columns] (+)= a[rows, depth] b[depth, columns] in float32 on one thread, without edges.

    a lies in panels, too, one vector wide, ``apart`` numbers from one to the next, b in panels of NR columns, b_panel
    numbers apart. ``rows`` is made of whole tiles, ``columns`` and ``depth`` of whole vectors. That the width of a's
    panels is known when this is compiled saves the kernel eight registers of addresses.
    """
    runs = depth // FLOATS
    for j in range(0, columns, nr):
        panel = b0 + j // nr * b_panel
        for i in range(0, rows, TILE_ROWS):
            at, to = a0 + i * FLOATS, c0 + i * c_row + j
            if min(nr, columns - j) == FLOATS:
                tile_product_1(a, at, FLOATS, 1, apart, b, panel, nr, FLOATS * nr, c, to, c_row,
                               FLOATS, runs, accumulate)  # fmt: skip
            else:
                tile_product_2(a, at, FLOATS, 1, apart, b, panel, 2 * FLOATS, 2 * FLOATS * FLOATS, c, to, c_row,
                               FLOATS, runs, accumulate)  # fmt: skip


@kernel
def _multiply(a, a0, a_row, a_k, m, b, nr, c, c_row, columns, depth, accumulate, block, edges):
    for task in prange((m + block - 1) // block):
        first = task * block
        rows = min(block, m - first)
        for k0 in range(0, depth, DEPTH):
            multiply_block(
                a,
                a0 + first * a_row + k0 * a_k,
                a_row,
                a_k,
                rows,
                b,
                k0 * nr,
                depth * nr,
                nr,
                c,
                first * c_row,
                c_row,
                columns,
                min(DEPTH, depth - k0),
                accumulate or k0 > 0,
                edges[get_thread_id()],
            )


def edge_size(nr: int) -> int:
    """Numbers that ``multiply_block`` needs for the tiles at the edges."""
    return TILE_ROWS * (DEPTH + nr)


def multiply(
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    accumulate: bool,
) -> None:
    """c (M, K) = a b, or += with ``accumulate``: a (M, D), b (D, K), both the other way round where it says so.

    All are contiguous.
    """
    m, columns = c.shape
    depth = b.shape[1] if transpose_b else b.shape[0]
    if depth == 0 and not accumulate:
        call(np.copyto, c, 0)
    if c.size == 0 or depth == 0:
        return
    nr = panel_width(columns, c.dtype)
    packed = panels(depth, columns, c.dtype)
    (pack_transposed if transpose_b else pack)(b, packed, nr)
    a_row, a_k = (1, m) if transpose_a else (depth, 1)
    block, edges = block_rows(m), scratch(edge_size(nr), c.dtype)
    flat_a, flat_c = a.reshape(-1), c.reshape(-1)
    _multiply(
        flat_a,
        0,
        a_row,
        a_k,
        m,
        packed,
        nr,
        flat_c,
        columns,
        columns,
        depth,
        accumulate,
        block,
        edges,
    )
