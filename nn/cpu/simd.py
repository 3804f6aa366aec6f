"""The one fast thing everything rests on: a small matrix product held in vector registers.

A processor core multiplies and adds two vectors of 4 to 16 numbers per cycle, several times a cycle, but it
can fetch only a few vectors a cycle. So a loop that loads two numbers for each product waits for memory.
The way out is to keep a tile of the result, MR rows by NR columns, in registers and walk along the sum:

    for k in range(depth):                      each round loads MR numbers of A and NR of B
        for i in range(MR):                     and does MR x NR multiply-adds with them:
            for j in range(NR):                 8 + 32 loaded, 256 done
                c[i, j] += a[i, k] * b[k, j]

LLVM, which Numba compiles through, has vector types of any length; a vector longer than the machine's registers
is split, so the same code runs on AVX-512, AVX2 and NEON, and only the tile size follows the host. The
kernel is written as LLVM instructions because Numba's own loops do not keep the tile in registers.

This file is the only one with such code.
"""

from collections.abc import Callable

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from nn.cpu.kernel import PLAIN


def _vector_bytes() -> int:
    """Bytes of the widest vector register of this host: 64 (AVX-512), 32 (AVX), else 16."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 64
    return 32 if features.get("avx") else 16


VECTOR_BYTES = _vector_bytes()
LINE = 64  # bytes of a cache line
FLOATS = VECTOR_BYTES // 4  # float32 numbers of a vector

# AVX-512 has 32 registers: 8 x 2 accumulators leave room for two vectors of B and the broadcasts. AVX2 and
# plain x86-64 have 16, so 6 x 2; NEON has 32 but of 16 bytes.
TILE_ROWS = 6 if VECTOR_BYTES == 32 else 8


def lanes(dtype: np.dtype) -> int:
    """Numbers of ``dtype`` in one vector register."""
    return VECTOR_BYTES // np.dtype(dtype).itemsize


def _added(context, builder, sig, args, value, place, _) -> None:
    """Stores a vector of the tile, or adds it to what is there."""

    def store(what):
        builder.store(what, place).align = sig.args[0].dtype.bitwidth // 8

    with builder.if_else(args[14]) as (then, otherwise):
        with then:
            old = builder.load(place)
            old.align = sig.args[0].dtype.bitwidth // 8
            store(builder.fadd(old, value))
        with otherwise:
            store(value)


def _finished(context, builder, sig, args, value, place, v, *, stream=False) -> None:
    """Stores leaky(vector + bias); leaky(z) = z where z > 0, else slope z."""
    bias, start, slope = args[14:17]
    vector, number_bytes = value.type, sig.args[0].dtype.bitwidth // 8
    array = context.make_array(sig.args[14])(context, builder, bias)
    at = builder.gep(array.data, [builder.add(start, ir.IntType(64)(v * vector.count))])
    loaded = builder.load(builder.bitcast(at, vector.as_pointer()))
    loaded.align = number_bytes
    empty = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(empty, slope, ir.IntType(64)(0))
    same = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    z = builder.fadd(value, loaded)
    finished = _leaky(builder, z, z, builder.shuffle_vector(one, empty, same))
    stored = builder.store(finished, place)
    stored.align = number_bytes
    if stream:
        _past_caches(builder, stored)


def _streamed(context, builder, sig, args, value, place, v) -> None:
    """The same, past the caches: see ``column_activate``."""
    _finished(context, builder, sig, args, value, place, v, stream=True)


def _past_caches(builder, stored) -> None:
    stored.align = VECTOR_BYTES
    one = builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)])
    stored.set_metadata("nontemporal", one)


def _micro_kernel(
    vectors: int,
    tile_rows: int = TILE_ROWS,
    *,
    apart: bool = False,
    ones: bool = False,
    fetch: bool = False,
    finish: Callable[..., None] = _added,
):
    """Builds the kernel whose tile is tile_rows x (vectors * lanes).

    The sum goes over ``runs`` runs of ``depth`` rounds: round k of run r reads a[i] at a0 + a_row i + a_k k + a_run r
    and the vectors of b at b0 + b_k k + b_run r. One run is a matrix product; a run for each row of a kernel is a
    convolution that reads the picture where it lies. ``apart``: there is one run, and b_run is instead how far from
    each other the vectors of b lie, which are neighbours otherwise. ``ones``: the last row of a is not read, but all 1,
    so that the last row of the tile is the sum of b's. ``finish`` stores a vector of the tile: `_added`
    takes one more argument, accumulate, `_finished` three, bias, where in it the tile's columns begin, and slope.
    ``fetch``: round k has ahead[ahead0 + ahead_k k] fetched, the last three arguments: what other tiles will need comes
    from memory between the products of this one.
    """
    codegen = _tile_code(vectors, tile_rows, apart=apart, ones=ones, fetch=fetch, finish=finish)

    if fetch and finish is not _added:

        @intrinsic
        def kernel(
            typingctx, a, a0, a_row, a_k, a_run, b, b0, b_k, b_run, c, c0, c_row, depth, runs, bias, bias0, slope,
            ahead, ahead0, ahead_k
        ):  # fmt: skip
            return _tile_signature(
                a, b, c, bias, types.intp, slope, ahead, types.intp, types.intp
            ), codegen
    elif fetch:

        @intrinsic
        def kernel(
            typingctx, a, a0, a_row, a_k, a_run, b, b0, b_k, b_run, c, c0, c_row, depth, runs, accumulate,
            ahead, ahead0, ahead_k
        ):  # fmt: skip
            return _tile_signature(a, b, c, types.boolean, ahead, types.intp, types.intp), codegen
    elif finish is _finished:

        @intrinsic
        def kernel(
            typingctx, a, a0, a_row, a_k, a_run, b, b0, b_k, b_run, c, c0, c_row, depth, runs, bias, bias0, slope
        ):  # fmt: skip
            return _tile_signature(a, b, c, bias, types.intp, slope), codegen
    else:

        @intrinsic
        def kernel(
            typingctx, a, a0, a_row, a_k, a_run, b, b0, b_k, b_run, c, c0, c_row, depth, runs, accumulate
        ):  # fmt: skip
            return _tile_signature(a, b, c, types.boolean), codegen

    return kernel


def _tile_signature(a, b, c, *more: types.Type):
    if not (isinstance(a, types.Array) and a.dtype == b.dtype == c.dtype):
        return None
    n = types.intp
    return types.void(a, n, n, n, n, b, n, n, n, c, n, n, n, n, *more)


def _tile_code(
    vectors: int,
    tile_rows: int,
    *,
    apart: bool,
    ones: bool,
    fetch: bool,
    finish: Callable[..., None],
):
    """The instructions of such a kernel."""

    def codegen(context, builder, sig, args):
        a_, a0, a_row, a_k, a_run, b_, b0, b_k, b_run, c_, c0, c_row, depth, runs = args[:14]
        number = context.get_value_type(sig.args[0].dtype)
        count = VECTOR_BYTES // (sig.args[0].dtype.bitwidth // 8)
        vector = ir.VectorType(number, count)
        index = ir.IntType(64)

        def data(position, value, offset):
            array = context.make_array(sig.args[position])(context, builder, value)
            return builder.gep(array.data, [offset])

        def load_vector(pointer):
            value = builder.load(builder.bitcast(pointer, vector.as_pointer()))
            value.align = number_bytes
            return value

        number_bytes = sig.args[0].dtype.bitwidth // 8
        pa, pb, pc = data(0, a_, a0), data(5, b_, b0), data(9, c_, c0)
        fma = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(vector, [vector] * 3),
            f"llvm.fma.v{count}f{number_bytes * 8}",
        )
        zero = ir.Constant(vector, [0.0] * count)
        rows = [builder.mul(a_row, index(i)) for i in range(tile_rows)]

        # Two loops: the runs, and the rounds of one run.
        before = builder.block
        outer, inner = (builder.append_basic_block(n) for n in ("run", "depth"))
        next_run, after = (builder.append_basic_block(n) for n in ("next", "store"))
        some = builder.icmp_signed(">", builder.mul(depth, runs), index(0))
        builder.cbranch(some, outer, after)

        def sums(block, start):
            builder.position_at_end(block)
            found = [[builder.phi(vector) for _ in range(vectors)] for _ in range(tile_rows)]
            for line, old in zip(found, start, strict=True):
                for value, first in zip(line, old, strict=True):
                    value.add_incoming(*first)
            return found

        nothing = [[(zero, before)] * vectors] * tile_rows
        builder.position_at_end(outer)
        r, run_a, run_b = builder.phi(index), builder.phi(index), builder.phi(index)
        begun = sums(outer, nothing)
        builder.branch(inner)

        builder.position_at_end(inner)
        k, at_a, at_b = builder.phi(index), builder.phi(index), builder.phi(index)
        tile = sums(inner, [[(value, outer) for value in line] for line in begun])
        line = builder.gep(pb, [at_b])
        between = [
            builder.mul(b_run, index(v)) if apart else index(v * count) for v in range(vectors)
        ]
        bs = [load_vector(builder.gep(line, [offset])) for offset in between]
        new = []
        for i in range(tile_rows):
            if ones and i == tile_rows - 1:
                new.append([builder.fadd(bs[v], tile[i][v]) for v in range(vectors)])
                continue
            scalar = builder.load(builder.gep(pa, [builder.add(rows[i], at_a)]))
            one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, index(0))
            same = ir.Constant(ir.VectorType(ir.IntType(32), count), [0] * count)
            ai = builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), same)
            new.append([builder.call(fma, [ai, bs[v], tile[i][v]]) for v in range(vectors)])
        if fetch:
            ahead, ahead0, ahead_k = args[-3:]
            place = data(len(args) - 3, ahead, ahead0)
            _fetch(builder, builder.gep(place, [builder.mul(k, ahead_k)]))
        for value, start, step in (
            (k, index(0), index(1)),
            (at_a, run_a, a_k),
            (at_b, run_b, b_k),
        ):
            value.add_incoming(start, outer)
            value.add_incoming(builder.add(value, step), inner)
        builder.cbranch(builder.icmp_signed("<", builder.add(k, index(1)), depth), inner, next_run)

        builder.position_at_end(next_run)
        for value, step in ((r, index(1)), (run_a, a_run), (run_b, b_run)):
            value.add_incoming(index(0), before)
            value.add_incoming(builder.add(value, step), next_run)
        builder.cbranch(builder.icmp_signed("<", builder.add(r, index(1)), runs), outer, after)

        done = sums(after, nothing)
        for i in range(tile_rows):
            for v in range(vectors):
                tile[i][v].add_incoming(new[i][v], inner)
                begun[i][v].add_incoming(new[i][v], next_run)
                done[i][v].add_incoming(new[i][v], next_run)
        for i in range(tile_rows):
            for v in range(vectors):
                place = builder.gep(
                    pc, [builder.add(builder.mul(c_row, index(i)), index(v * count))]
                )
                place = builder.bitcast(place, vector.as_pointer())
                finish(context, builder, sig, args, done[i][v], place, v)
        return context.get_dummy_value()

    return codegen


def _fetch(builder, place) -> None:
    """Has the cache line of a place fetched to all caches, to be read; nothing waits for it."""
    byte, lane = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, lane, lane, lane])
    fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(fetch, [builder.bitcast(place, byte), lane(0), lane(3), lane(1)])


tile_product_1 = _micro_kernel(1)
tile_product_2 = _micro_kernel(2)
tile_fetch_1 = _micro_kernel(1, fetch=True)
tile_fetch_2 = _micro_kernel(2, fetch=True)
# For rows that lie side by side in one vector's worth of memory: a number of them that divides it.
NEAR_ROWS = 8 if VECTOR_BYTES == 64 else 4
near_product_1 = _micro_kernel(1, NEAR_ROWS)
near_product_2 = _micro_kernel(2, NEAR_ROWS, apart=True)
TALL_ROWS = 2 * TILE_ROWS
tall_product_1 = _micro_kernel(1, TALL_ROWS)  # one vector of b is loaded for twice the rows
tile_finish_1 = _micro_kernel(1, finish=_finished)
tile_finish_2 = _micro_kernel(2, finish=_finished)
tile_finish_fetch_1 = _micro_kernel(1, fetch=True, finish=_finished)
tile_finish_fetch_2 = _micro_kernel(2, fetch=True, finish=_finished)
tile_stream_fetch_1 = _micro_kernel(1, fetch=True, finish=_streamed)
tile_stream_fetch_2 = _micro_kernel(2, fetch=True, finish=_streamed)
tall_ones_1 = _micro_kernel(1, TALL_ROWS, ones=True)
tall_finish_1 = _micro_kernel(1, TALL_ROWS, finish=_finished)


@intrinsic(prefer_literal=True)
def rows_product_1(
    typingctx, rows, a, a0, a_row, a_k, a_run, b, b0, b_k, b_run, c, c0, c_row, depth, runs, accumulate
) -> None:  # fmt: skip
    """``tall_product_1`` with so many rows, TALL_ROWS at most, that are known when this is compiled."""
    inner = _tile_signature(a, b, c, types.boolean)
    if not isinstance(rows, types.IntegerLiteral) or inner is None:
        return None
    code = _tile_code(1, rows.literal_value, apart=False, ones=False, fetch=False, finish=_added)

    def codegen(context, builder, sig, args):
        return code(context, builder, inner, args[1:])

    return types.void(rows, *inner.args), codegen


low_product_3 = _micro_kernel(3, 3)  # tiles of 3 rows, for results with few rows
low_ones_2 = _micro_kernel(2, 1, ones=True)  # the column sums of b
low_product_5 = _micro_kernel(5, 3)  # needs 32 registers


def _span(kind: str):
    """Builds an operation on ``count`` neighbouring numbers: dst[d0:] = src[s0:], or +=, or = 0.

    Numba's own slices and loops check every index for a negative sign, which keeps LLVM from moving whole vectors.
    """

    @intrinsic
    def span(typingctx, dst, d0, src, s0, count):
        if not (isinstance(dst, types.Array) and isinstance(src, types.Array)):
            return None
        signature = types.void(dst, types.intp, src, types.intp, types.intp)

        def codegen(context, builder, sig, args):
            dst_, d0, src_, s0, count = args
            to = builder.gep(context.make_array(sig.args[0])(context, builder, dst_).data, [d0])
            source = context.make_array(sig.args[2])(context, builder, src_).data
            source = builder.gep(source, [s0])
            size = ir.Constant(ir.IntType(64), sig.args[0].dtype.bitwidth // 8)
            if kind == "copy":
                cgutils.raw_memcpy(builder, to, source, count, size)
            elif kind == "clear":
                cgutils.memset(builder, to, builder.mul(count, size), 0)
            else:
                with cgutils.for_range(builder, count) as loop:
                    place = builder.gep(to, [loop.index])
                    value = builder.load(builder.gep(source, [loop.index]))
                    builder.store(builder.fadd(builder.load(place), value), place)
            return context.get_dummy_value()

        return signature, codegen

    return span


copy_span = _span("copy")
add_span = _span("add")
clear_span = _span("clear")


STACKED = 5  # rows of pixels of three channels: 15 numbers


@intrinsic
def stack_pixels(typingctx, dst, d0, src, s0, s_row) -> None:
    """dst[d0 + 3 r + i] = src[s0 + s_row r + i], i < 3, r < STACKED: pixels below each other, side by side.

    Of each row four numbers are read, and the last of all is written behind the others: one store in place of five.
    """
    if not (isinstance(dst, types.Array) and dst.dtype == src.dtype):
        return None
    size = types.intp

    def codegen(context, builder, sig, args):
        dst_, d0, src_, s0, s_row = args
        number, lane = context.get_value_type(sig.args[0].dtype), ir.IntType(32)
        align = sig.args[0].dtype.bitwidth // 8
        four = ir.VectorType(number, 4).as_pointer()
        source = builder.gep(context.make_array(sig.args[2])(context, builder, src_).data, [s0])
        stacked = None
        for r in range(STACKED):
            place = builder.gep(source, [builder.mul(s_row, ir.IntType(64)(r))])
            pixel = builder.load(builder.bitcast(place, four), align=align)
            order = ir.Constant(ir.VectorType(lane, 16), [0, 1, 2] + [3] * 13)
            wide = builder.shuffle_vector(pixel, ir.Constant(pixel.type, ir.Undefined), order)
            order = [*range(3 * r), *range(16, 32 - 3 * r)]
            if stacked is not None:
                wide = builder.shuffle_vector(
                    stacked, wide, ir.Constant(ir.VectorType(lane, 16), order)
                )
            stacked = wide
        to = builder.gep(context.make_array(sig.args[0])(context, builder, dst_).data, [d0])
        builder.store(stacked, builder.bitcast(to, stacked.type.as_pointer()), align=align)
        return context.get_dummy_value()

    return types.void(dst, size, src, size, size), codegen


@intrinsic
def activate_span(typingctx, dst, d0, bias, b0, slope, count) -> None:
    """dst[d0 + i] = leaky(dst[d0 + i] + bias[b0 + i]) for i < count; leaky(z) = z where z > 0, else slope z."""
    if not (isinstance(dst, types.Array) and dst.dtype == bias.dtype == slope):
        return None
    signature = types.void(dst, types.intp, bias, types.intp, slope, types.intp)

    def codegen(context, builder, sig, args):
        dst_, d0, bias_, b0, slope, count = args
        to = builder.gep(context.make_array(sig.args[0])(context, builder, dst_).data, [d0])
        bias = builder.gep(context.make_array(sig.args[2])(context, builder, bias_).data, [b0])
        with cgutils.for_range(builder, count) as loop:
            place = builder.gep(to, [loop.index])
            z = builder.fadd(builder.load(place), builder.load(builder.gep(bias, [loop.index])))
            builder.store(_leaky(builder, z, z, slope), place)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def slope_span(typingctx, dst, d0, dy, s0, y, slope, sums, p0, count) -> None:
    """dst[d0 + i] = dy[s0 + i] where y[s0 + i] > 0, else slope dy[s0 + i]; the same is added to sums[p0 + i]."""
    if not (isinstance(dst, types.Array) and dst.dtype == dy.dtype == y.dtype == sums.dtype):
        return None
    size = types.intp
    signature = types.void(dst, size, dy, size, y, slope, sums, size, size)

    def codegen(context, builder, sig, args):
        dst_, d0, dy_, s0, y_, slope, sums_, p0, count = args

        def data(position, value, start):
            array = context.make_array(sig.args[position])(context, builder, value)
            return builder.gep(array.data, [start])

        to, gradient = data(0, dst_, d0), data(2, dy_, s0)
        sign, total = data(4, y_, s0), data(6, sums_, p0)
        with cgutils.for_range(builder, count) as loop:
            value = builder.load(builder.gep(gradient, [loop.index]))
            value = _leaky(builder, value, builder.load(builder.gep(sign, [loop.index])), slope)
            builder.store(value, builder.gep(to, [loop.index]))
            place = builder.gep(total, [loop.index])
            builder.store(builder.fadd(builder.load(place), value), place)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def blend_bytes(typingctx, src, s0, right, down, fx, fy, dst, d0) -> None:
    """dst[d0 + k] = floor(bilinear mean + 1/2) for k = 0 .. 3, of bytes: between src[s0 + k] and what is ``right``
    places on by fx, between those and what is ``down`` places on by fy. Four neighbouring bytes are one vector.
    """
    if not (isinstance(src, types.Array) and src.dtype == types.uint8 and dst.dtype == types.int32):
        return None
    if not fx == fy == types.float32:
        return None
    signature = types.void(src, *(types.intp,) * 3, fx, fy, dst, types.intp)

    def codegen(context, builder, sig, args):
        src_, s0, right, down, fx, fy, dst_, d0 = args
        data = context.make_array(sig.args[0])(context, builder, src_).data
        whole = ir.VectorType(ir.IntType(32), 4)
        numbers = ir.VectorType(ir.FloatType(), 4)

        def load(place):
            pointer = builder.gep(data, [place])
            four = ir.VectorType(ir.IntType(8), 4)
            four = builder.load(builder.bitcast(pointer, four.as_pointer()), align=1)
            return builder.sitofp(builder.zext(four, whole), numbers)

        def many(number):
            empty = ir.Constant(numbers, ir.Undefined)
            one = builder.insert_element(empty, number, ir.IntType(64)(0))
            return builder.shuffle_vector(one, empty, ir.Constant(whole, [0] * 4))

        def between(low, high, share):
            return builder.fadd(low, builder.fmul(builder.fsub(high, low), share))

        across, along = many(fx), many(fy)
        below = builder.add(s0, down)
        upper = between(load(s0), load(builder.add(s0, right)), across)
        lower = between(load(below), load(builder.add(below, right)), across)
        half = ir.Constant(numbers, [0.5] * 4)
        mean = builder.fadd(between(upper, lower, along), half)
        place = builder.gep(context.make_array(sig.args[6])(context, builder, dst_).data, [d0])
        pointer = builder.bitcast(place, whole.as_pointer())
        builder.store(builder.fptosi(mean, whole), pointer, align=4)
        return context.get_dummy_value()

    return signature, codegen


def _leaky(builder, value, sign, slope):
    """``value`` where ``sign`` > 0, else slope times it."""
    up = builder.fcmp_ordered(">", sign, ir.Constant(sign.type, None))
    return builder.select(up, value, builder.fmul(slope, value))


def _kept(code, value, place):
    return value


def _summed(code, value, place):
    return code.builder.fadd(code.load(place), value)


def _activated(code, value, place):
    bias, b0, slope = code.args[8:]
    if code.kept is None:
        same = ir.Constant(ir.VectorType(ir.IntType(32), code.count), [0] * code.count)
        empty = ir.Constant(code.vector, ir.Undefined)
        one = code.builder.insert_element(empty, slope, ir.IntType(64)(0))
        many = code.builder.shuffle_vector(one, empty, same)
        code.kept = code.load(code.pointer(8, bias, b0)), many
    bias, slope = code.kept
    value = code.builder.fadd(value, bias)
    return _leaky(code.builder, value, value, slope)


def sandwich(left: np.ndarray, right: np.ndarray | None = None) -> Callable[..., None]:
    """Builds the transform out = L d Rᵀ of a small square d of vectors, L (M, N) and R constants; R = L if not given.

    Called as f(src, s0, s_row, s_column, dst, d0, d_row, d_column): d[i, j] is the vector at s0 + i s_row + j s_column
    of ``src``, out[i, j] the one at d0 + i d_row + j d_column of ``dst``. All vectors are loaded before the first
    result is stored. Only constants other than 0, 1 and -1 cost a multiplication; where a row of constants is 0,
    nothing is stored, and where a column is 0, nothing is read.
    """

    @intrinsic
    def transform(typingctx, src, s0, s_row, s_column, dst, d0, d_row, d_column):
        return _sandwich_type(src, dst), _sandwich_code(left, _kept, right)

    return transform


def sandwich_add(left: np.ndarray, right: np.ndarray | None = None) -> Callable[..., None]:
    """``sandwich`` whose result is added to what stands in dst."""

    @intrinsic
    def transform(typingctx, src, s0, s_row, s_column, dst, d0, d_row, d_column):
        return _sandwich_type(src, dst), _sandwich_code(left, _summed, right)

    return transform


def sandwich_activate(left: np.ndarray) -> Callable[..., None]:
    """``sandwich`` that stores leaky(out + the vector at b0 of ``bias``), leaky(z) = z where z > 0, else slope z.

    Called as f(..., d_column, bias, b0, slope).
    """

    @intrinsic
    def transform(typingctx, src, s0, s_row, s_column, dst, d0, d_row, d_column, bias, b0, slope):
        signature = _sandwich_type(src, dst, (bias, types.intp, slope))
        return signature, _sandwich_code(left, _activated)

    return transform


def column(matrix: Callable[[int, int], np.ndarray]) -> Callable[..., None]:
    """Builds the transform out = L d of a column d of vectors, L = matrix(i, j) with i and j known to the compiler.

    Called as f(i, j, src, s0, s_row, dst, d0, d_row). Many L are one operation, chosen by two numbers. An operation
    made for one L would have to be a closure variable of the functions that use it, and Numba's cache on disk knows
    functions by their closure variables, which as operations differ from process to process.
    """

    @intrinsic(prefer_literal=True)
    def transform(typingctx, i, j, src, s0, s_row, dst, d0, d_row):
        return _column(matrix, _kept, i, j, src, dst)

    return transform


def column_add(matrix: Callable[[int, int], np.ndarray]) -> Callable[..., None]:
    """``column`` whose result is added to what stands in dst."""

    @intrinsic(prefer_literal=True)
    def transform(typingctx, i, j, src, s0, s_row, dst, d0, d_row):
        return _column(matrix, _summed, i, j, src, dst)

    return transform


def column_activate(
    matrix: Callable[[int, int], np.ndarray], stream: bool = False
) -> Callable[..., None]:
    """``column`` finished as by ``sandwich_activate``: called as f(..., d_row, bias, b0, slope).

    stream: dst, whose vectors then lie at whole multiples of their size, is written past the caches. A line that is
    written in full need not be read before, and what is too large for the caches would have left them anyway when it is
    read. Another thread may read it after ``stream_fence``.
    """

    @intrinsic(prefer_literal=True)
    def transform(typingctx, i, j, src, s0, s_row, dst, d0, d_row, bias, b0, slope):
        return _column(matrix, _activated, i, j, src, dst, (bias, types.intp, slope), stream)

    return transform


@intrinsic
def prefetch(typingctx, a, a0) -> None:
    """Has the cache line with a[a0] fetched, and does not wait for it; a0 may lie outside of ``a``."""

    def codegen(context, builder, sig, args):
        array = context.make_array(sig.args[0])(context, builder, args[0])
        _fetch(builder, builder.gep(array.data, [args[1]]))
        return context.get_dummy_value()

    return types.void(a, types.intp), codegen


@njit(cache=True, nogil=True, error_model="numpy")
def fetch_span(a, a0, count) -> None:
    """Has a[a0] .. a[a0 + count - 1] fetched, which may lie outside of ``a``."""
    for i in range(0, count, LINE // a.itemsize):
        prefetch(a, a0 + i)


@intrinsic
def stream_fence(typingctx) -> None:
    """What this thread has written past the caches is in memory before anything that it writes after this."""

    def codegen(context, builder, sig, args):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


def _column(matrix, finish, i, j, src, dst, more=(), stream=False):
    """Signature and instructions of a ``column``: a sandwich of one column."""
    if not all(isinstance(n, types.IntegerLiteral) for n in (i, j)):
        return None
    transform = _sandwich_code(matrix(i.literal_value, j.literal_value), finish, np.eye(1), stream)
    inner, size = _sandwich_type(src, dst, more), types.intp

    def codegen(context, builder, sig, args):
        _, _, src, s0, s_row, dst, d0, d_row, *more = args
        zero = ir.IntType(64)(0)
        whole = [src, s0, s_row, zero, dst, d0, d_row, zero, *more]
        return transform(context, builder, inner, whole)

    return types.void(i, j, src, size, size, dst, size, size, *more), codegen


def _sandwich_type(src, dst, more=()) -> types.Type:
    size = types.intp
    return types.void(src, size, size, size, dst, size, size, size, *more)


class _Code:
    """What the parts of one transform share while it is written: vectors in and out of arrays."""

    def __init__(self, context, builder, sig, args) -> None:
        self.context, self.builder, self.sig, self.args = context, builder, sig, args
        number = context.get_value_type(sig.args[0].dtype)
        self.number_bytes = sig.args[0].dtype.bitwidth // 8
        self.count = VECTOR_BYTES // self.number_bytes
        self.vector = ir.VectorType(number, self.count)
        self.kept = None

    def pointer(self, position, value, start):
        """Where in the array that is argument ``position`` the vector from number ``start`` on lies."""
        array = self.context.make_array(self.sig.args[position])(self.context, self.builder, value)
        return self.builder.bitcast(self.builder.gep(array.data, [start]), self.vector.as_pointer())

    def load(self, place):
        value = self.builder.load(place)
        value.align = self.number_bytes
        return value

    def store(self, value, place, stream=False):
        stored = self.builder.store(value, place)
        stored.align = self.number_bytes
        if stream:
            _past_caches(self.builder, stored)

    def multiply_add(self, a, b, c):
        name = f"llvm.fma.v{self.count}f{self.number_bytes * 8}"
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        fma = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(fma, [a, b, c])

    def combine(self, weights, values):
        """The sum of weight times vector; None where all weights are 0."""
        builder, total = self.builder, None
        for weight, value in zip(weights, values, strict=True):
            if weight == 0 or value is None:
                continue
            factor = ir.Constant(self.vector, [weight] * self.count)
            if total is None:
                if weight == 1:
                    total = value
                elif weight == -1:
                    total = builder.fsub(ir.Constant(self.vector, [0.0] * self.count), value)
                else:
                    total = builder.fmul(factor, value)
            elif weight == 1:
                total = builder.fadd(total, value)
            elif weight == -1:
                total = builder.fsub(total, value)
            else:
                total = self.multiply_add(factor, value, total)
        return total


def _sandwich_code(left, finish, right=None, stream=False):
    """The instructions of L d Rᵀ; ``finish`` has the last word on each result before it is stored."""
    left, right = (m.astype(float).tolist() for m in (left, left if right is None else right))

    def codegen(context, builder, sig, args):
        code = _Code(context, builder, sig, args)
        src, s0, s_row, s_column, dst, d0, d_row, d_column = args[:8]

        def place(position, value, start, row, column, i, j):
            index = ir.IntType(64)
            offset = builder.add(builder.mul(row, index(i)), builder.mul(column, index(j)))
            return code.pointer(position, value, builder.add(start, offset))

        half = []  # L d, column by column
        for j in range(len(right[0])):
            loaded = [
                code.load(place(0, src, s0, s_row, s_column, i, j)) for i in range(len(left[0]))
            ]
            half.append([code.combine(row, loaded) for row in left])
        for i in range(len(left)):
            line = [column[i] for column in half]
            for j in range(len(right)):
                value = code.combine(right[j], line)
                if value is not None:
                    to = place(4, dst, d0, d_row, d_column, i, j)
                    code.store(finish(code, value, to), to, stream)
        return context.get_dummy_value()

    return codegen


@intrinsic
def transpose_tile(typingctx, src, s0, s_row, dst, d0, d_row) -> None:
    """dst[d0 + d_row j + i] = src[s0 + s_row i + j] for i and j below the number of a vector's lanes.

    In log2(lanes) rounds every vector of the upper half is interleaved with its partner in the lower half; each round
    turns one bit of the row number into a bit of the lane number.
    """
    if not (isinstance(src, types.Array) and src.dtype == dst.dtype):
        return None
    size = types.intp
    signature = types.void(src, size, size, dst, size, size)

    def codegen(context, builder, sig, args):
        src_, s0, s_row, dst_, d0, d_row = args
        number = context.get_value_type(sig.args[0].dtype)
        number_bytes = sig.args[0].dtype.bitwidth // 8
        count = VECTOR_BYTES // number_bytes
        vector = ir.VectorType(number, count)
        index, lane = ir.IntType(64), ir.IntType(32)

        def pointer(position, value, start, row, i):
            array = context.make_array(sig.args[position])(context, builder, value)
            place = builder.gep(array.data, [builder.add(start, builder.mul(row, index(i)))])
            return builder.bitcast(place, vector.as_pointer())

        rows = []
        for i in range(count):
            value = builder.load(pointer(0, src_, s0, s_row, i))
            value.align = number_bytes
            rows.append(value)
        half = count // 2
        masks = [
            ir.Constant(
                ir.VectorType(lane, count),
                [start + i // 2 + (count if i % 2 else 0) for i in range(count)],
            )
            for start in (0, half)
        ]
        for _ in range(count.bit_length() - 1):
            rows = [
                builder.shuffle_vector(rows[i], rows[i + half], mask)
                for i in range(half)
                for mask in masks
            ]
        for j in range(count):
            store = builder.store(rows[j], pointer(3, dst_, d0, d_row, j))
            store.align = number_bytes
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def store_sum(typingctx, dst, d0, a, a0, b, b0, count) -> None:
    """dst[d0 + i] = a[a0 + i] + b[b0 + i] for i < count, at most two vectors, nothing beyond them touched.

    a and b are read in whole vectors. The few numbers of a place's outputs are one or two such stores.
    """
    if not (isinstance(dst, types.Array) and dst.dtype == a.dtype == b.dtype):
        return None
    size = types.intp
    signature = types.void(dst, size, a, size, b, size, size)

    def codegen(context, builder, sig, args):
        dst_, d0, a_, a0, b_, b0, count = args
        number = context.get_value_type(sig.args[0].dtype)
        number_bytes = sig.args[0].dtype.bitwidth // 8
        width = VECTOR_BYTES // number_bytes
        vector, lane, index = ir.VectorType(number, width), ir.IntType(32), ir.IntType(64)
        bits, lanes_of = ir.VectorType(ir.IntType(1), width), ir.VectorType(ir.IntType(32), width)
        store = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [vector, vector.as_pointer(), lane, bits]),
            f"llvm.masked.store.v{width}f{number_bytes * 8}.p0",
        )

        def pointer(position, value, start, offset):
            array = context.make_array(sig.args[position])(context, builder, value)
            place = builder.gep(array.data, [builder.add(start, index(offset))])
            return builder.bitcast(place, vector.as_pointer())

        def load(place):
            value = builder.load(place)
            value.align = number_bytes
            return value

        undefined = ir.Constant(lanes_of, ir.Undefined)
        one = builder.insert_element(undefined, builder.trunc(count, lane), lane(0))
        same = builder.shuffle_vector(one, undefined, ir.Constant(lanes_of, [0] * width))
        for start in (0, width):
            with builder.if_then(builder.icmp_signed(">", count, index(start))):
                numbers = ir.Constant(lanes_of, list(range(start, start + width)))
                valid = builder.icmp_signed("<", numbers, same)
                total = builder.fadd(
                    load(pointer(2, a_, a0, start)), load(pointer(4, b_, b0, start))
                )
                builder.call(store, [total, pointer(0, dst_, d0, start), lane(number_bytes), valid])
        return context.get_dummy_value()

    return signature, codegen


# Places that ``dot_tile`` takes at once: with 3 outputs each, 15 accumulators of 32 registers, 12 of 16.
DOT_PLACES = 5 if VECTOR_BYTES == 64 else 4
DOT_OUTPUTS = 3


@intrinsic
def dot_tile(typingctx, x, x0, x_place, x_run, w, w0, vectors, runs, dst, d0) -> None:
    """dst[d0 + 3 p + k] = the sum over runs r and l of x[x0 + r x_run + p x_place + l] w[r, l // lanes, k, l % lanes].

    p < DOT_PLACES, k < 3, l < vectors * lanes; w (runs, vectors, 3, lanes) begins at w0. The lanes lie along the sum,
    so each accumulator holds ``lanes`` parts of one sum, and 15 of them are added up across their lanes at the end.
    Whole vectors are written to dst.

    Adding up: two vectors, each of groups of numbers that belong to one sum, become one with the groups of both, half
    as long: the lower half of each group plus the upper one. After log2(lanes) levels the groups have one number.
    """
    if not (isinstance(x, types.Array) and x.dtype == w.dtype == dst.dtype):
        return None
    size = types.intp
    signature = types.void(x, size, size, size, w, size, size, size, dst, size)

    def codegen(context, builder, sig, args):
        x_, x0, x_place, x_run, w_, w0, vectors, runs, dst_, d0 = args
        number = context.get_value_type(sig.args[0].dtype)
        number_bytes = sig.args[0].dtype.bitwidth // 8
        count = VECTOR_BYTES // number_bytes
        vector = ir.VectorType(number, count)
        index = ir.IntType(64)
        zero = ir.Constant(vector, [0.0] * count)
        fma = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(vector, [vector] * 3),
            f"llvm.fma.v{count}f{number_bytes * 8}",
        )

        def data(position, value, offset):
            array = context.make_array(sig.args[position])(context, builder, value)
            return builder.gep(array.data, [offset])

        def load_vector(pointer):
            value = builder.load(builder.bitcast(pointer, vector.as_pointer()))
            value.align = number_bytes
            return value

        px, pw, to = data(0, x_, x0), data(4, w_, w0), data(8, dst_, d0)
        places = [builder.mul(x_place, index(p)) for p in range(DOT_PLACES)]
        total = builder.mul(vectors, runs)

        before = builder.block
        loop = builder.append_basic_block("dots")
        after = builder.append_basic_block("across")
        builder.branch(loop)

        builder.position_at_end(loop)
        # Rounds done, of this run; where the round and its run begin in x. w is read straight through.
        done, inner = builder.phi(index), builder.phi(index)
        at, run = builder.phi(index), builder.phi(index)
        tile = [builder.phi(vector) for _ in range(DOT_PLACES * DOT_OUTPUTS)]
        line = builder.gep(pw, [builder.mul(done, index(DOT_OUTPUTS * count))])
        ws = [load_vector(builder.gep(line, [index(k * count)])) for k in range(DOT_OUTPUTS)]
        sums = []
        for p in range(DOT_PLACES):
            seen = load_vector(builder.gep(px, [builder.add(places[p], at)]))
            for k in range(DOT_OUTPUTS):
                sums.append(builder.call(fma, [seen, ws[k], tile[p * DOT_OUTPUTS + k]]))
        next_done, next_inner = builder.add(done, index(1)), builder.add(inner, index(1))
        ends = builder.icmp_signed("==", next_inner, vectors)
        next_run = builder.add(run, x_run)
        for value, following in (
            (done, next_done),
            (inner, builder.select(ends, index(0), next_inner)),
            (at, builder.select(ends, next_run, builder.add(at, index(count)))),
            (run, builder.select(ends, next_run, run)),
        ):
            value.add_incoming(index(0), before)
            value.add_incoming(following, loop)
        for value, following in zip(tile, sums, strict=True):
            value.add_incoming(zero, before)
            value.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", next_done, total), loop, after)

        builder.position_at_end(after)
        for first in range(0, len(sums), count):
            level = sums[first : first + count]
            level += [zero] * (count - len(level))
            half = count // 2
            while half:
                starts = range(0, 2 * count, 2 * half)
                lower, upper = (
                    ir.Constant(
                        ir.VectorType(ir.IntType(32), count),
                        [start + side + i for start in starts for i in range(half)],
                    )
                    for side in (0, half)
                )
                level = [
                    builder.fadd(
                        builder.shuffle_vector(one, other, lower),
                        builder.shuffle_vector(one, other, upper),
                    )
                    for one, other in zip(level[::2], level[1::2], strict=True)
                ]
                half //= 2
            place = builder.bitcast(builder.gep(to, [index(first)]), vector.as_pointer())
            store = builder.store(level[0], place)
            store.align = number_bytes
        return context.get_dummy_value()

    return signature, codegen


if PLAIN:  # all of the above by loops instead
    from nn.cpu import plain

    globals().update({name: getattr(plain, name) for name in plain.OPERATIONS})
