"""The operations of nn/cpu/simd.py and their loops in nn/cpu/plain.py do the same to the same numbers.

Whole numbers, so that no rounding differs: every bit of every array, and of what lies around the results, must agree.
"""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba import njit

from nn.cpu import plain, simd

TYPES = [np.float32, np.float64]
MATRIX = np.array([[1, 2, 0, -1], [0, 0, 0, 0], [3, -1, 0, 4]])
OTHER = np.array([[2, 0, 1, 1], [1, 0, -2, 3]])
# The tiles of a product, and what each is told besides.
TILES = {
    "tile_product_1": "accumulate",
    "tile_product_2": "accumulate",
    "tile_fetch_1": "accumulate fetch",
    "tile_fetch_2": "accumulate fetch",
    "near_product_1": "accumulate",
    "near_product_2": "accumulate apart",
    "tall_product_1": "accumulate",
    "tall_ones_1": "accumulate",
    "tile_finish_1": "finish",
    "tile_finish_2": "finish",
    "tile_finish_fetch_1": "finish fetch",
    "tile_finish_fetch_2": "finish fetch",
    "tile_stream_fetch_1": "finish fetch",
    "tile_stream_fetch_2": "finish fetch",
    "tall_finish_1": "finish",
    "low_product_3": "accumulate",
    "low_product_5": "accumulate",
    "low_ones_2": "accumulate",
}
EMPTY = 1000.0  # what no result is


def aligned(size, dtype):
    """EMPTY numbers, on a cache line: streamed results need one."""
    room = np.full(size + 64, EMPTY, dtype)
    start = (-room.ctypes.data) % 64 // room.itemsize
    return room[start : start + size]


def whole(rng, size, dtype):
    return rng.integers(-4, 5, size).astype(dtype)


def same(build, out, *inputs):
    """What both modules' ``build(module)`` writes to ``out`` is the same, and is something."""
    found = []
    for module in (simd, plain):
        result = aligned(out.size, out.dtype)
        result[:] = out
        build(module)(result, *inputs)
        found.append(result)
    np.testing.assert_array_equal(*found)
    assert (found[0] != out).any()


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", TILES)
def test_tiles(name, dtype, rng):
    kind, lanes = TILES[name], simd.lanes(dtype)
    a, b, bias = (whole(rng, n, dtype) for n in (4096, 4096, 256))
    slope = dtype(0.5)
    strides = (40, 3, 700), (6 * lanes, 7 * lanes if "apart" in kind else 900)
    runs = 1 if "apart" in kind else 3
    for accumulate in (False, True):

        def build(module, accumulate=accumulate):
            operation = getattr(module, name)
            (a_row, a_k, a_run), (b_k, b_run) = strides
            if kind == "finish":

                @njit
                def run(c, a, b, bias):
                    operation(
                        a,
                        5,
                        a_row,
                        a_k,
                        a_run,
                        b,
                        9,
                        b_k,
                        b_run,
                        c,
                        64,
                        128,
                        7,
                        runs,
                        bias,
                        2,
                        slope,
                    )
            elif kind == "finish fetch":

                @njit
                def run(c, a, b, bias):
                    operation(
                        a, 5, a_row, a_k, a_run, b, 9, b_k, b_run, c, 64, 128, 7, runs, bias, 2, slope, a, 0, 16
                    )  # fmt: skip
            elif "fetch" in kind:

                @njit
                def run(c, a, b, bias):
                    operation(
                        a, 5, a_row, a_k, a_run, b, 9, b_k, b_run, c, 64, 128, 7, runs, accumulate, a, 0, 16
                    )  # fmt: skip
            else:

                @njit
                def run(c, a, b, bias):
                    operation(
                        a, 5, a_row, a_k, a_run, b, 9, b_k, b_run, c, 64, 128, 7, runs, accumulate
                    )

            return run

        same(build, np.full(128 * 20, EMPTY, dtype), a, b, bias)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("rows", [1, 3, 11, simd.TALL_ROWS])
def test_tiles_of_any_height(rows, dtype, rng):
    a, b = whole(rng, 4096, dtype), whole(rng, 4096, dtype)

    def build(module):
        operation = module.rows_product_1

        @njit
        def run(c, a, b):
            operation(rows, a, 5, 40, 3, 700, b, 9, 48, 900, c, 7, 64, 7, 3, True)

        return run

    same(build, np.full(64 * 20, EMPTY, dtype), a, b)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", ["sandwich", "sandwich_add", "sandwich_activate"])
def test_sandwiches(name, dtype, rng):
    """What is multiplied by 0 alone is not read: it may be no number."""
    lanes = simd.lanes(dtype)
    d = whole(rng, (4, 4, lanes), dtype)
    d[2], d[:, 2 if name == "sandwich_activate" else 1] = np.nan, np.nan
    bias, slope = whole(rng, 64, dtype), dtype(0.25)

    def build(module):
        make = getattr(module, name)
        if name == "sandwich_activate":
            operation = make(MATRIX)

            @njit
            def run(out, d, bias):
                operation(d, 0, 4 * lanes, lanes, out, 16, 8 * lanes, 2 * lanes, bias, 3, slope)
        else:
            operation = make(MATRIX, OTHER)

            @njit
            def run(out, d, bias):
                operation(d, 0, 4 * lanes, lanes, out, 16, 8 * lanes, 2 * lanes)

        return run

    same(build, np.full(40 * lanes, EMPTY, dtype), d.reshape(-1), bias)


def chosen(i, j):
    """Matrices for `column`: told apart by two numbers."""
    return MATRIX * i + np.roll(MATRIX, j, 1)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", ["column", "column_add", "column_activate", "streamed"])
def test_columns(name, dtype, rng):
    lanes = simd.lanes(dtype)
    d, bias, slope = whole(rng, 4 * lanes, dtype), whole(rng, 64, dtype), dtype(0.25)

    def build(module):
        if name in ("column", "column_add"):
            operation = getattr(module, name)(chosen)

            @njit
            def run(out, d, bias):
                operation(2, 1, d, 0, lanes, out, 16, 2 * lanes)
        else:
            operation = module.column_activate(chosen, stream=name == "streamed")
            fence = module.stream_fence

            @njit
            def run(out, d, bias):
                operation(2, 1, d, 0, lanes, out, 16, 2 * lanes, bias, 3, slope)
                fence()

        return run

    same(build, np.full(16 * lanes, EMPTY, dtype), d, bias)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", ["copy_span", "add_span", "clear_span"])
@pytest.mark.parametrize("count", [1, 37])
def test_spans(name, count, dtype, rng):
    def build(module):
        operation = getattr(module, name)
        return njit(lambda out, src: operation(out, 5, src, 3, count))

    same(build, np.full(64, EMPTY, dtype), whole(rng, 64, dtype) + 9)


@pytest.mark.parametrize("dtype", TYPES)
def test_activations_of_spans(dtype, rng):
    y, dy, slope = whole(rng, 64, dtype), whole(rng, 64, dtype), dtype(0.5)

    def build(module):
        activate = module.activate_span
        return njit(lambda out, bias: activate(out, 5, bias, 3, slope, 37))

    same(build, whole(rng, 64, dtype), y)

    def build_back(module):
        back = module.slope_span
        return njit(lambda out, dy, y: back(out, 5, dy, 3, y, slope, out, 100, 37))

    same(build_back, np.full(200, EMPTY, dtype), dy, y)


@pytest.mark.parametrize("dtype", TYPES)
def test_pixels_transposed_tiles_short_sums_and_dots(dtype, rng):
    lanes = simd.lanes(dtype)
    src, other = whole(rng, 4096, dtype), whole(rng, 4096, dtype)

    def stacked(module):
        operation = module.stack_pixels
        return njit(lambda out, src, other: operation(out, 7, src, 5, 40))

    def turned(module):
        operation = module.transpose_tile
        return njit(lambda out, src, other: operation(src, 3, 40, out, 9, 30))

    def summed(module):
        operation = module.store_sum

        @njit
        def run(out, src, other):
            operation(out, 7, src, 5, other, 9, 3)
            operation(out, 100, src, 5, other, 9, lanes + 1)

        return run

    def dotted(module):
        operation = module.dot_tile
        return njit(lambda out, src, other: operation(src, 3, 11, 70, other, 5, 2, 3, out, 7))

    for build in (stacked, turned, summed, dotted):
        same(build, np.full(1024, EMPTY, dtype), src, other)


def test_blended_bytes(rng):
    src = rng.integers(0, 256, 4096, np.uint8)

    def build(module):
        operation = module.blend_bytes

        @njit
        def run(out, src, shares):
            for i in range(200):
                operation(src, 7 * i, 3, 300, shares[i], shares[i + 1], out, 4 * i)

        return run

    same(build, np.full(820, 1000, np.int32), src, rng.random(201, np.float32))


def test_nothing_is_missing():
    """Every operation that a kernel imports from simd, with the same arguments."""
    kernels = [
        f for f in Path(simd.__file__).parent.glob("*.py") if f.stem not in ("simd", "plain")
    ]
    imported = set()
    for file in [*kernels, Path(simd.__file__).parents[2] / "swap/data/fused.py"]:
        text = file.read_text()
        if "from nn.cpu.simd import" in text:
            part = text.split("from nn.cpu.simd import", 1)[1]
            part = part.split(")")[0] if part.lstrip().startswith("(") else part.split("\n")[0]
            imported |= {n.strip(" (\n") for n in part.split(",")} - {""}
    operations = {n for n in imported if n.islower()} - {"lanes"}
    assert operations <= set(plain.OPERATIONS)
    for name in (
        "sandwich",
        "sandwich_add",
        "sandwich_activate",
        "column",
        "column_add",
        "column_activate",
    ):
        ours, theirs = (inspect.signature(getattr(m, name)) for m in (plain, simd))
        assert ours == theirs


def test_the_backend_can_be_made_of_loops():
    """A dense layer and an activation, from the environment variable on, against the reference."""
    code = """
import numpy as np, nn
from nn.cpu import dense, gemm, plain
assert dense.tile_fetch_2 is plain.tile_fetch_2
rng = np.random.default_rng(0)
x, w, b, dy = (rng.integers(-4, 5, s).astype("f4") for s in ((9, 20), (20, 40), (40,), (9, 40)))
found = []
for backend in ("cpu", "reference"):
    ops = nn.get_backend(backend)
    y, cache = ops.dense_forward(x, w, b)
    dw, db = np.zeros_like(w), np.zeros_like(b)
    found.append([y, ops.dense_backward(dy, cache, dw, db), dw, db])
assert all(np.array_equal(a, b) for a, b in zip(*found)), found
print("same")
"""
    environment = os.environ | {"LATENTFACE_PLAIN": "1"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert run.stdout == "same\n", run.stderr
