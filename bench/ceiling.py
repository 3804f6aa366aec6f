"""What the processor can do at most: the register tile of ``nn/cpu/simd.py`` on all threads, its numbers in L1.

    python -m bench ceiling [--rounds 7]

GFLOP/s, medians. No convolution that multiplies as often as its definition says is faster than this.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable

import numpy as np

from bench.arguments import count

DEPTH = 128  # of the sum: both sides stay in L1
TIMES = 20_000


def main(argv: list[str]) -> int:
    """Prints the figure."""
    parser = argparse.ArgumentParser(prog="bench ceiling", description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=count, default=7)
    options = parser.parse_args(argv)
    ceiling()
    print(f"{statistics.median(ceiling() for _ in range(options.rounds)):.0f} GFLOP/s")
    return 0


def ceiling() -> float:
    """GFLOP/s of the tile, once."""
    from numba import get_num_threads

    from nn.cpu.simd import FLOATS, TILE_ROWS

    run, threads, columns = _compiled(), get_num_threads(), 2 * FLOATS
    a = np.ones((threads, TILE_ROWS * DEPTH), np.float32)
    b = np.ones((threads, columns * DEPTH), np.float32)
    c = np.empty((threads, TILE_ROWS * columns), np.float32)
    run(a, b, c, 10)
    begin = time.perf_counter()
    run(a, b, c, TIMES)
    seconds = time.perf_counter() - begin
    return 2 * TILE_ROWS * columns * DEPTH * TIMES * threads / seconds / 1e9


@functools.cache
def _compiled() -> Callable[..., None]:
    from numba import njit, prange

    from nn.cpu.simd import FLOATS, TILE_ROWS, tile_product_2

    @njit(parallel=True, nogil=True)
    def run(a: np.ndarray, b: np.ndarray, c: np.ndarray, times: int) -> None:
        for thread in prange(len(a)):
            for _ in range(times):
                tile_product_2(
                    a[thread], 0, 1, TILE_ROWS, 0, b[thread], 0, 2 * FLOATS, 0,
                    c[thread], 0, 2 * FLOATS, DEPTH, 1, False,
                )  # fmt: skip

    return run
