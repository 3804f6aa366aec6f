"""Lattice noise from an integer hash: smooth, seeded, and the same on every machine."""

import numba
import numpy as np


@numba.njit(cache=True, nogil=True, inline="always")
def hashed(x: int, y: int, z: int, seed: int) -> float:
    """A number in [0, 1) that depends on four integers only."""
    h = np.uint32(x) * np.uint32(0x8DA6B343) ^ np.uint32(y) * np.uint32(0xD8163841)
    h ^= np.uint32(z) * np.uint32(0xCB1AB31F) ^ np.uint32(seed) * np.uint32(0x9E3779B1)
    h = np.uint32(h ^ (h >> np.uint32(16))) * np.uint32(0x7FEB352D)
    h = np.uint32(h ^ (h >> np.uint32(15))) * np.uint32(0x846CA68B)
    return np.float64(np.uint32(h ^ (h >> np.uint32(16)))) / 4294967296.0


@numba.njit(cache=True, nogil=True)
def _value(px: float, py: float, pz: float, seed: int) -> float:
    ix, iy, iz = int(np.floor(px)), int(np.floor(py)), int(np.floor(pz))
    fx, fy, fz = px - ix, py - iy, pz - iz
    fx, fy, fz = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy), fz * fz * (3 - 2 * fz)
    total = 0.0
    for c in range(8):
        dx, dy, dz = c & 1, (c >> 1) & 1, c >> 2
        weight = (fx if dx else 1 - fx) * (fy if dy else 1 - fy) * (fz if dz else 1 - fz)
        total += weight * hashed(ix + dx, iy + dy, iz + dz, seed)
    return 2 * total - 1


@numba.njit(cache=True, nogil=True)
def _noise(points: np.ndarray, out: np.ndarray, seed: int, octaves: int) -> None:
    for i in range(points.shape[0]):
        gain, total, norm, f = 1.0, 0.0, 0.0, 1.0
        for o in range(octaves):
            x, y, z = points[i, 0] * f, points[i, 1] * f, points[i, 2] * f
            total += gain * _value(x, y, z, seed + o)
            norm += gain
            gain *= 0.5
            f *= 2.03
        out[i] = total / norm


def noise(points: np.ndarray, frequency: float, seed: int, octaves: int = 1) -> np.ndarray:
    """Value noise in about [-1, 1], float32 (...), at points (..., 3); cells are 1 / frequency
    wide, and each further octave is about twice as fine and half as strong.
    """
    flat = np.ascontiguousarray(points.reshape(-1, 3) * np.float64(frequency))
    out = np.empty(len(flat), np.float32)
    _noise(flat, out, seed, octaves)
    return out.reshape(points.shape[:-1])
