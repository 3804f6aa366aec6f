"""Warp and colours of a whole batch in one pass, from stored uint8 faces to what the network takes.

The mathematics is in ``warp.py`` (``sampling_maps``, ``sample``), the table in ``batches.py``; a test holds this
to them. There each is a pass over all pictures, through complex maps of 64 bits a pixel; here a row of output pixels is
placed, sampled, rounded to 8 bits and looked up while it lies in the cache.

On all threads, right before the step: on a thread of its own beside the step (``prefetch.py``, where everything is
drawn) it would hold one core while the other threads of the step wait for theirs.
"""

import numpy as np
from numba import njit, prange

from nn import memory
from swap.data.warp import GRID, Placement


def warp_and_colour(
    faces: np.ndarray,
    placement: Placement,
    noise: np.ndarray | None,
    tables: np.ndarray,
    size: int,
    margin: float,
) -> np.ndarray:
    """(N, size, size, 3) float32: each face at its placement, its control points moved by ``noise``, through its table.

    faces: (N, L, L, 3) uint8 stored crops, `margin` times as wide as the face square. noise: (N, GRID, GRID) complex64
    or None. tables: (N or 1, 256, 3) float32, what each 8-bit value of each channel becomes.
    """
    out = memory.empty(
        (len(faces), size, size, 3), np.float32
    )  # used again: fresh pages cost more than half of this
    still = np.zeros((0, GRID, GRID), np.complex64)
    _warp(
        np.ascontiguousarray(faces),
        np.asarray(placement.scale, np.complex64),
        np.asarray(placement.offset, np.complex64),
        placement.mirrored,
        still if noise is None else np.asarray(noise, np.complex64),
        np.ascontiguousarray(tables, np.float32),
        np.float32(faces.shape[1] / margin),
        out,
    )
    return out


@njit(parallel=True, cache=True, nogil=True, error_model="numpy")
def _warp(faces, scale, offset, mirrored, noise, tables, pixels, out):  # noqa: ANN001, ANN202
    count, side, size = faces.shape[0], faces.shape[1], out.shape[1]
    flat = faces.reshape(-1)
    half, last = np.float32(0.5), np.float32(side - 1)
    middle = last * half
    moves = len(noise) > 0
    # How far each output column lies along its cell of control points, as in warp._cells.
    cell = np.empty(size, np.int64)
    along = np.empty(size, np.float32)
    centre = np.empty(size, np.float32)
    for column in range(size):
        position = (np.float32(column) + half) / np.float32(size)
        centre[column] = position - half
        position *= np.float32(GRID - 1)
        cell[column] = min(np.int64(position), GRID - 2)
        along[column] = position - np.float32(cell[column])
    for n in prange(count):
        where_x = np.empty(size, np.float32)
        where_y = np.empty(size, np.float32)
        row_x = np.empty(GRID, np.float32)
        row_y = np.empty(GRID, np.float32)
        ar, ai = scale[n].real * pixels, scale[n].imag * pixels
        br, bi = offset[n].real * pixels + middle, offset[n].imag * pixels + middle
        if mirrored[n]:  # x negated, about the middle
            br = offset[n].real * pixels - middle
        table = tables[n % len(tables)]
        start_of_face = n * side * side * 3
        for row in range(size):
            y = centre[row]
            if moves:
                above, share = cell[row], along[row]
                for g in range(GRID):
                    p, q = noise[n, above, g], noise[n, above + 1, g]
                    row_x[g] = p.real + (q.real - p.real) * share
                    row_y[g] = p.imag + (q.imag - p.imag) * share
            for column in range(size):
                px, py = centre[column], y
                if moves:
                    c, t = cell[column], along[column]
                    px += row_x[c] + (row_x[c + 1] - row_x[c]) * t
                    py += row_y[c] + (row_y[c + 1] - row_y[c]) * t
                sx = ar * px - ai * py + br
                sy = ar * py + ai * px + bi
                if mirrored[n]:
                    sx = -sx
                where_x[column] = min(max(sx, np.float32(0)), last)  # edges are replicated
                where_y[column] = min(max(sy, np.float32(0)), last)
            for column in range(size):
                sx, sy = where_x[column], where_y[column]
                x0, y0 = np.int64(sx), np.int64(sy)
                fx, fy = sx - np.float32(x0), sy - np.float32(y0)
                right = 3 * min(side - 1 - x0, 1)
                down = 3 * side * min(side - 1 - y0, 1)
                start = np.uint64(start_of_face + (y0 * side + x0) * 3)
                for channel in range(3):
                    at = start + np.uint64(channel)
                    a = np.float32(flat[at])
                    b = np.float32(flat[at + np.uint64(right)])
                    c = np.float32(flat[at + np.uint64(down)])
                    d = np.float32(flat[at + np.uint64(right + down)])
                    upper, lower = a + (b - a) * fx, c + (d - c) * fx
                    value = np.uint64(np.int32(upper + (lower - upper) * fy + half))
                    out[n, row, column, channel] = table[value, np.uint64(channel)]
