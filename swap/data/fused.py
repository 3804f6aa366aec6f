"""Warp and colours of a whole batch in one pass, from stored uint8 faces to what the network takes.

The mathematics is in ``warp.py`` (``sampling_maps``, ``sample``), the table in ``batches.py``; a test holds this
to them. There each is a pass over all pictures, through complex maps of 64 bits a pixel; here a row of output pixels is
placed, sampled, rounded to 8 bits and looked up while it lies in the cache.

On all threads, right before the step: on a thread of its own beside the step (``prefetch.py``, where everything is
drawn) it would hold one core while the other threads of the step wait for theirs.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import njit, prange

from nn import memory
from nn.cpu.simd import blend_bytes
from swap.data.warp import GRID, Placement


class Part(NamedTuple):
    """N pictures of one kind: what ``warp_and_colour`` makes of stored faces.

    faces      (F, L, L, 3) uint8 stored crops, `margin` times as wide as the face square
    places     (N,) which of them
    placement  where each is sampled
    noise      (N, GRID, GRID) complex64, how far its control points are moved, or None
    tables     (N or 1, 256, 3) float32, what each 8-bit value of each channel becomes
    """

    faces: np.ndarray
    places: np.ndarray
    placement: Placement
    noise: np.ndarray | None
    tables: np.ndarray
    margin: float


def warp_and_colour(parts: Sequence[Part], size: int, out: np.ndarray | None = None) -> np.ndarray:
    """(P, N, size, size, 3) float32: the pictures of P parts of N each, in one pass over all of them; in ``out``."""
    count = len(parts[0].places)
    if out is None:  # used again: fresh pages cost more than half of this
        out = memory.empty((len(parts), count, size, size, 3), np.float32)
    placements = [part.placement for part in parts]
    still = np.zeros((count, GRID, GRID), np.complex64)
    pixels = [part.faces.shape[1] / part.margin for part in parts]
    _warp(
        tuple(_flat(part.faces) for part in parts),
        np.array([part.faces.shape[1] for part in parts]),
        np.array([part.places for part in parts], np.int64),
        np.array([p.scale for p in placements], np.complex64),
        np.array([p.offset for p in placements], np.complex64),
        np.array([p.mirrored for p in placements]),
        np.array([part.noise is not None for part in parts]),
        np.array([still if part.noise is None else part.noise for part in parts], np.complex64),
        tuple(np.ascontiguousarray(part.tables, np.float32) for part in parts),
        np.array(pixels, np.float32),
        out,
    )
    return out


def _flat(faces: np.ndarray) -> np.ndarray:
    """The bytes of faces, four of them at least: so many are read at once."""
    flat = np.ascontiguousarray(faces).reshape(-1)
    return flat if len(flat) > 3 else np.append(flat, np.uint8(0))


@njit(parallel=True, cache=True, nogil=True, error_model="numpy")
def _warp(faces, sides, places, scale, offset, mirrored, moved, noise, tables, pixels, out):  # noqa: ANN001, ANN202
    parts, count, size = out.shape[:3]
    half = np.float32(0.5)
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
    for job in prange(parts * count):
        part, n = job % parts, job // parts
        flat, side, moves = faces[part], sides[part], moved[part]
        start_of_face = places[part, n] * side * side * 3
        width, edge, last = np.int32(side), np.int32(side - 1), np.float32(side - 1)
        middle = last * half
        a, b = scale[part, n], offset[part, n]
        ar, ai = a.real * pixels[part], a.imag * pixels[part]
        br, bi = b.real * pixels[part] + middle, b.imag * pixels[part] + middle
        sign = np.float32(1)
        if mirrored[part, n]:  # x negated, about the middle
            br = b.real * pixels[part] - middle
            sign = np.float32(-1)
        table = tables[part][n % len(tables[part])].reshape(-1)
        row_x = np.empty(GRID, np.float32)
        row_y = np.empty(GRID, np.float32)
        # Of a row's pixels: where they are looked for, then the shares of their neighbours; and where those lie.
        place_x = np.empty(size, np.float32)
        place_y = np.empty(size, np.float32)
        start = np.empty(size, np.int32)
        right = np.empty(size, np.int32)
        down = np.empty(size, np.int32)
        levels = np.empty(4 * size + 4, np.int32)
        for row in range(size):
            y = centre[row]
            if moves:
                above, share = cell[row], along[row]
                for g in range(GRID):
                    p, q = noise[part, n, above, g], noise[part, n, above + 1, g]
                    row_x[g] = p.real + (q.real - p.real) * share
                    row_y[g] = p.imag + (q.imag - p.imag) * share
                for column in range(size):
                    c, t = cell[column], along[column]
                    x_moves = row_x[c] + (row_x[c + 1] - row_x[c]) * t
                    place_x[column] = centre[column] + x_moves
                    place_y[column] = y + (row_y[c] + (row_y[c + 1] - row_y[c]) * t)
            else:
                for column in range(size):
                    place_x[column], place_y[column] = centre[column], y
            for column in range(size):
                px, py = place_x[column], place_y[column]
                sx = sign * (ar * px - ai * py + br)
                sy = ar * py + ai * px + bi
                sx = min(max(sx, np.float32(0)), last)  # edges are replicated
                sy = min(max(sy, np.float32(0)), last)
                x0, y0 = np.int32(sx), np.int32(sy)
                place_x[column], place_y[column] = sx - np.float32(x0), sy - np.float32(y0)
                start[column] = np.int32(3) * (y0 * width + x0)
                right[column] = np.int32(3) if x0 < edge else np.int32(0)
                down[column] = np.int32(3) * width if y0 < edge else np.int32(0)
            for column in range(size):
                at = start_of_face + start[column]
                r, d = np.int64(right[column]), np.int64(down[column])
                # Four bytes are read, the next pixel's first among them; at the very end, from one earlier on.
                early = np.int64(at + r + d + 3 >= len(flat))
                fx, fy = place_x[column], place_y[column]
                blend_bytes(flat, at - early, r, d, fx, fy, levels, 4 * column + 1 - early)
            line = out[part, n, row].reshape(-1)
            for column in range(size):
                for channel in range(3):
                    level = np.uint64(3 * levels[4 * column + 1 + channel] + channel)
                    line[np.uint64(3 * column + channel)] = table[level]
