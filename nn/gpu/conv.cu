// Convolution as a matrix product whose left factor is gathered from the picture while it is multiplied: no matrix of
// patches is ever written. x (N, H, W, C), w (KH, KW, C, K), y (N, OH, OW, K); the equations: nn/reference/conv.py.
//
//   pass              rows             columns   depth (the sum)            gathered from
//   conv_forward      N OH OW places   K         KH KW C                    x
//   conv_dx           N H W places     C         KH KW K, by phases         dy
//   conv_dw           KH KW C          K         N OH OW, cut into parts    x
//
// Operations: 2 N OH OW KH KW C K each. Must move, in numbers: forward x, w, y once; dx dy, w, dx once; dw x, dy, dw once.
// Gathered are KH KW / (SH SW) times as many numbers of the picture, mostly from the L2 cache.
//
// Phases: with stride (SH, SW), pixel (SH a + i, SW b + j) of x meets only every SH-th row and every SW-th column of the
// kernel. So dx is SH SW pictures (a, b), each a convolution of dy of stride 1 with a part of the kernel, and nothing is
// multiplied by the zeros between strides. Block z of the grid is the phase.
//
// Parts: the sum of dw is over all places, and rows and columns alone are too few tiles to fill a card. Block z of the grid
// takes its part of the places, and `add_sums` (ends.cu) adds the parts in order: the same bytes in every run.
//
// VEC_C, VEC_K: 1 where C, or K, is a multiple of 4 and the arrays begin at multiples of 16 bytes: then four channels are one
// load. With three channels on one side, the other side's loads are whole still.
//
// PAIRS: 1 where two neighbours of the result are one store.
//
// BLOCK: 32 where the sum of conv_forward, or conv_dx, goes through so many channels of all taps at a time; else 0.
//
// ONE_LINE: 1 where the places that a thread takes one after the other always lie in one line of y, because OW is a multiple of
// their number; for conv_dw by warpgroups.
//
// PARTED: 1 where the sum of conv_forward or conv_dx is cut into parts, too: places and channels of the deep layers alone are
// too few tiles. Each part then writes a result of its own, and `finish_parts` or `add_up` (ends.cu) adds them in order.
//
// Versions. The first, im2col.cu, writes the matrix of patches and leaves the product to cuBLAS. The second is this. The third
// is this with PIPELINED: for TF32 with whole channels, copies into shared memory run two steps ahead (tile.cuh). The fourth
// is this with WARPGROUP: for TF32 and float16 with whole channels, on Hopper (warpgroup.cuh). The fifth is that with COPIED:
// forward and dx from factors that were rounded beforehand, copied past all registers; of forward, w as (K, KH KW C).

// PASS: which of the three kernels is compiled; 0: all.

#define ALL 0
#define FORWARD 1
#define DX 2
#define DW 3
#define THREADS (WARPS_M * WARPS_N * 32)

struct alignas(16) Four {
  real x, y, z, w;
};
struct alignas(2 * sizeof(real)) Two {
  real x, y;
};

// What x, w and dy are made of: for products of float16 by warpgroups, float16 already (factors.cu).
#if WARPGROUP && MATH == 2
typedef unsigned short Source;
#else
typedef real Source;
#endif

#include "ptx.cuh"
#if WARPGROUP
#include "warpgroup.cuh"
#else
#include "tile.cuh"
#endif

// Four numbers from memory, or zeros.
__device__ Four four(const real* from, bool there) {
  real v[4];
  load_four(from, there, v);
  return {v[0], v[1], v[2], v[3]};
}

// n / by for 0 <= n < 2^31 by one multiplication: with 2^(s-1) < by <= 2^s, the product with 2^(31+s) / by, rounded up, is too
// large by less than n / 2^31, which is too little to reach the next whole number.
struct Divisor {
  unsigned by, times, shift;

  __device__ explicit Divisor(int by) : by(by), shift(31) {
    while (by > 1 << (shift - 31)) shift++;
    times = ((1ull << shift) + by - 1) / by;
  }
  __device__ int quotient(int n) const { return (unsigned long long)(unsigned)n * times >> shift; }
};

// The sum over (u, v, c) of (U, V, C), in which order: with BLOCK, that many channels of all taps, then the next; so what several
// taps see of a few channels is read again while it still lies in the nearest cache. Else all channels of a tap, then the next.
struct Taps {
  Divisor channels, all, across;  // C, U V, V

  __device__ Taps(int c, int u, int v) : channels(c), all(max(u * v, 1)), across(max(v, 1)) {}
  __device__ void split(int d, int& u, int& v, int& channel) const {
#if BLOCK
    int step = d / BLOCK, block = all.quotient(step), tap = step - block * (int)all.by;
    channel = block * BLOCK + d % BLOCK;
#else
    int tap = channels.quotient(d);
    channel = d - tap * (int)channels.by;
#endif
    u = across.quotient(tap), v = tap - u * (int)across.by;
  }
};

// Rows: places (n, a, b) of (N, RH, RW). Depth: (u, v, c) of (U, V, C). The number is
// x[n, SA a + OA + DU u, SB b + OB + DV v, c] of a picture (N, H, W, C), 0 outside of it.
template <bool VEC>
struct Patches {
  static constexpr bool by_rows = true;
  const Source* x;
  int h, w, c, rh, rw, sa, oa, du, sb, ob, dv, rows, depth;
  Taps taps;

  struct Row {
    const Source* start;  // of the pixel that the first tap sees, which may lie outside
    int r, s;
  };
  struct At {  // of four channels that are one load; else the depth alone
    int r, s, offset;
  };

  __device__ Row row(int m) const {
    if (m >= rows) return {x, -(1 << 28), 0};  // outside of every picture
    int b = m % rw, rest = m / rw, r = sa * (rest % rh) + oa, s = sb * b + ob;
    return {x + ((long long)(rest / rh) * h * w + (long long)r * w + s) * c, r, s};
  }
  __device__ At tap(int d) const {
    int u, v, channel;
    taps.split(d, u, v, channel);
    int r = du * u, s = dv * v;
    return {r, s, (r * w + s) * c + channel};
  }
  __device__ At at(int d) const {
    if (!VEC) return {d, 0, 0};
    if (d >= depth) return {-(1 << 28), 0, 0};
    return tap(d);
  }
  __device__ bool there(const Row& row, const At& at) const {
    return (unsigned)(row.r + at.r) < (unsigned)h && (unsigned)(row.s + at.s) < (unsigned)w;
  }
  __device__ const Source* where(const Row& row, const At& at) const { return row.start + at.offset; }
  __device__ const Source* some() const { return x; }
  __device__ real one(const Row& row, int d) const {
    if (d >= depth) return 0;
    At at = tap(d);
    return there(row, at) ? *where(row, at) : 0;
  }
  __device__ Four load(const Row& row, const At& at) const {
    if (VEC) return four(where(row, at), there(row, at));
    Four found = {one(row, at.r), one(row, at.r + 1), one(row, at.r + 2), one(row, at.r + 3)};
    return found;
  }
};

// Rows: four neighbours of `size`. Depth: lines of a matrix (depth, size), up to `last`.
template <bool VEC>
struct Lines {
  static constexpr bool by_rows = false;
  const Source* m;
  int size, last;
  typedef int Row;
  struct At {
    const Source* line;
    int rest;  // how many lines are left
  };

  __device__ Row row(int r) const { return r < size ? r : -1; }
  __device__ At at(int d) const { return {m + (long long)d * size, last - d}; }
  __device__ void next(At& at) const { at.line += size, at.rest--; }
  __device__ bool there(Row r, const At& at) const { return at.rest > 0 && r >= 0; }
  __device__ const Source* where(Row r, const At& at) const { return at.line + r; }
  __device__ const Source* some() const { return m; }
  __device__ Four load(Row r, const At& at) const {
    const Source* from = where(r, at);
    if (VEC) return four(from, there(r, at));
    if (!there(r, at)) return {0, 0, 0, 0};
    Four found = {from[0], r + 1 < size ? from[1] : 0, r + 2 < size ? from[2] : 0, r + 3 < size ? from[3] : 0};
    return found;
  }
};

// The kernel, w (U, V, C, K). Rows: four neighbours of K. Depth: (u, v, c).
template <bool VEC>
struct Kernel : Lines<VEC> {
  typedef typename Lines<VEC>::At At;
  int v_taps, c;
  Taps taps;

  __device__ Kernel(const Source* w, int k, int u, int v, int c)
      : Lines<VEC>{w, k, u * v * c}, v_taps(v), c(c), taps(c, u, v) {}
  __device__ At at(int d) const {
    int u, v, channel;
    taps.split(d, u, v, channel);
    return {this->m + ((long long)(u * v_taps + v) * c + channel) * this->size, this->last - d};
  }
};

// The kernel, turned: w (K, U V C). Rows: K. Depth: (u, v, c).
struct Across {
  static constexpr bool by_rows = true;
  const Source* w;
  int k, v_taps, c, depth;
  Taps taps;
  typedef int Row;
  typedef int At;  // where a row has it, or -1

  __device__ Row row(int r) const { return r < k ? r : -1; }
  __device__ At at(int d) const {
    if (d >= depth) return -1;
    int u, v, channel;
    taps.split(d, u, v, channel);
    return (u * v_taps + v) * c + channel;
  }
  __device__ bool there(Row r, At at) const { return r >= 0 && at >= 0; }
  __device__ const Source* where(Row r, At at) const { return w + (long long)r * depth + at; }
  __device__ const Source* some() const { return w; }
};

// The kernel of the way back. Rows: channels c of C. Depth: (u, v, k) of (U, V, K). The number is
// w[I0 + SH u, J0 + SW v, c, k].
template <bool VEC>
struct Turned {
  static constexpr bool by_rows = true;
  const Source* w;
  int kw, c, k, i0, sh, j0, sw, depth;
  Taps taps;
  typedef int Row;
  typedef long long At;  // where row 0 has it, or -1; without VEC the depth alone

  __device__ Row row(int r) const { return r < c ? r : -1; }
  __device__ long long tap(int d) const {
    int u, v, channel;
    taps.split(d, u, v, channel);
    return (long long)((i0 + sh * u) * kw + j0 + sw * v) * c * k + channel;
  }
  __device__ At at(int d) const { return !VEC ? d : d < depth ? tap(d) : -1; }
  __device__ bool there(Row r, At at) const { return r >= 0 && at >= 0; }
  __device__ const Source* where(Row r, At at) const { return w + at + (long long)r * k; }
  __device__ const Source* some() const { return w; }
  __device__ real one(Row r, int d) const { return r >= 0 && d < depth ? w[tap(d) + (long long)r * k] : 0; }
  __device__ Four load(Row r, At d) const {
    if (VEC) return four(where(r, d), there(r, d));
    Four found = {one(r, d), one(r, d + 1), one(r, d + 2), one(r, d + 3)};
    return found;
  }
};

// The left factor of the weight gradient. Rows: four neighbours of (i, j, c) of (KH, KW, C). Depth: places (n, p, q). The
// number is x[n, SH p + i - top, SW q + j - left, c].
template <bool VEC>
struct Places {
  static constexpr bool by_rows = false;
  const Source* x;
  int h, w, c, kw, sh, sw, top, left, rows, last;
  Divisor oh, ow;

  struct Row {
    int r[VEC ? 1 : 4], s[VEC ? 1 : 4], offset[VEC ? 1 : 4];
  };
  struct At {
    const Source* start;
    int r, s, rest;  // rest: how many places are left of this part
  };

  __device__ Row row(int first) const {
    Row found;
    for (int e = 0; e < (VEC ? 1 : 4); e++) {
      int tap = (first + e) / c;
      found.r[e] = first + e < rows ? tap / kw : -(1 << 28);
      found.s[e] = tap % kw;
      found.offset[e] = (tap / kw * w + tap % kw) * c + (first + e) % c;
    }
    return found;
  }
  __device__ At at(int d) const {
    int line = ow.quotient(d), n = oh.quotient(line);
    int r = sh * (line - n * (int)oh.by) - top, s = sw * (d - line * (int)ow.by) - left;
    return {x + ((long long)n * h * w + (long long)r * w + s) * c, r, s, last - d};
  }
  // The place after it: beside it, or the first of the next row, or of the next picture.
  __device__ void next(At& at) const {
    at.rest--;
    at.s += sw, at.start += sw * c;
    if (!ONE_LINE && at.s + left >= sw * (int)ow.by) {
      int back = sw * (int)ow.by;
      at.s -= back, at.r += sh, at.start += (long long)(sh * w - back) * c;
      if (at.r + top >= sh * (int)oh.by) {
        int up = sh * (int)oh.by;
        at.r -= up, at.start += (long long)(h - up) * w * c;
      }
    }
  }
  __device__ bool there(const Row& row, const At& at, int e = 0) const {
    return at.rest > 0 && (unsigned)(at.r + row.r[e]) < (unsigned)h && (unsigned)(at.s + row.s[e]) < (unsigned)w;
  }
  __device__ const Source* where(const Row& row, const At& at, int e = 0) const { return at.start + row.offset[e]; }
  __device__ const Source* some() const { return x; }
  __device__ Four load(const Row& row, const At& at) const {
    if constexpr (VEC) {
      return four(where(row, at), there(row, at));
    } else {
      real v[4];
      for (int e = 0; e < 4; e++) v[e] = there(row, at, e) ? *where(row, at, e) : 0;
      return {v[0], v[1], v[2], v[3]};
    }
  }
};

// Results. row(r): where its row begins, or -1. column(k): what two columns, k and k + 1, have in common in all rows.
// store(row, column, u, v): both numbers, or one at the end of a row.

struct Columns {
  int k, count, second;  // how many of them there are: 0, 1, 2; where the second lies, from the start of a row
  real under[2];         // bias
};

__device__ Columns columns_of(int k, int all) {
  int count = max(0, min(all - k, 2));
  return {k, count, k + 1, {0, 0}};
}

__device__ void store_two(real* row, const Columns& at, real u, real v) {
#if PAIRS
  Two two = {u, v};
  *(Two*)(row + at.k) = two;
#else
  row[at.k] = u;
  if (at.count > 1) row[at.second] = v;
#endif
}

// y = shuffle(leaky(z + bias), R), where z is the product.
struct Finished {
  real* y;
  const real* bias;
  real slope;
  int rows, k, ow, r;
  Divisor run;  // K / R channels lie side by side

  typedef long long Row;

  __device__ Row row(int m) const {
    if (m >= rows) return -1;
    return r == 1 ? (long long)m * k : ((long long)(m / ow) * r * ow + m % ow) * run.by;
  }
  __device__ int shuffled(int column) const {
    return r == 1 ? column : column + run.quotient(column) * (ow - 1) * (int)run.by;
  }
  __device__ Columns column(int column) const {
    Columns found = columns_of(column, k);
    if (bias && found.count > 0) found.under[0] = bias[column];
    if (bias && found.count > 1) found.under[1] = bias[column + 1];
    found.k = shuffled(column), found.second = shuffled(column + 1);
    return found;
  }
  __device__ void store(Row start, const Columns& at, real u, real v) const {
    if (start < 0 || at.count == 0) return;
    u += at.under[0], v += at.under[1];
    store_two(y + start, at, u > 0 ? u : slope * u, v > 0 ? v : slope * v);
  }
};

// One phase of dx (N, H, W, C): places (SH a + I, SW b + J).
struct Phase {
  real* dx;
  int h, w, c, rh, rw, sh, sw, i, j, rows;
  typedef long long Row;

  __device__ Row row(int m) const {
    if (m >= rows) return -1;
    int b = m % rw, rest = m / rw;
    return (((long long)(rest / rh) * h + sh * (rest % rh) + i) * w + sw * b + j) * c;
  }
  __device__ Columns column(int column) const { return columns_of(column, c); }
  __device__ void store(Row start, const Columns& at, real u, real v) const {
    if (start >= 0 && at.count > 0) store_two(dx + start, at, u, v);
  }
};

// A matrix (rows, columns), written or added to.
struct Gradient {
  real* m;
  int rows, columns;
  bool add;
  typedef long long Row;

  __device__ Row row(int r) const { return r < rows ? (long long)r * columns : -1; }
  __device__ Columns column(int column) const { return columns_of(column, columns); }
  __device__ void store(Row start, const Columns& at, real u, real v) const {
    if (start < 0 || at.count == 0) return;
    real* row = m + start;
    if (add) u += row[at.k], v += at.count > 1 ? row[at.second] : 0;
    store_two(row, at, u, v);
  }
};

// So that each of so many threads keeps to 128 registers; but the sums of the largest tile alone are that many.
#define BLOCKS_AT_ONCE (THREADS == 256 && BM * BN <= 128 * 128 ? 2 : 1)

#if PASS == ALL || PASS == FORWARD
// y; or, PARTED, room for (parts, N OH OW, K), each part unfinished.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS_AT_ONCE)
conv_forward(const Source* x, const Source* w, const real* bias, real* y, int n, int h, int wide, int c, int oh, int ow,
                    int k, int kh, int kw, int sh, int sw, int top, int left, int share, real slope, int r) {
  int rows = n * oh * ow, depth = kh * kw * c;
  Patches<VEC_C> a = {x, h, wide, c, oh, ow, sh, -top, 1, sw, -left, 1, rows, depth, Taps(c, kh, kw)};
#if COPIED
  Across b = {w, k, kw, c, depth, Taps(c, kh, kw)};
#else
  Kernel<VEC_K> b(w, k, kh, kw, c);
#endif
#if PARTED
  Gradient out = {y + (long long)blockIdx.z * rows * k, rows, k, false};
#else
  Finished out = {y, bias, slope, rows, k, ow, r, Divisor(k / r)};
#endif
  int from = blockIdx.z * share;
  multiply(a, b, out, blockIdx.x * BM, blockIdx.y * BN, from, min(from + share, depth));
}

#endif

#if PASS == ALL || PASS == DX
// dx; or, PARTED, room for (parts, N, H, W, C). Block z is the phase, and the part.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS_AT_ONCE)
conv_dx(const Source* dy, const Source* w, real* dx, int n, int h, int wide, int c, int oh, int ow, int k, int kh, int kw,
               int sh, int sw, int top, int left, int share) {
  int phase = blockIdx.z % (sh * sw), part = blockIdx.z / (sh * sw);
  int i = phase / sw, j = phase % sw;
  int rh = (h - i + sh - 1) / sh, rw = (wide - j + sw - 1) / sw;  // its places
  int i0 = (i + top) % sh, j0 = (j + left) % sw;                // its part of the kernel: i0 + sh u, j0 + sw v
  int u = i0 < kh ? (kh - i0 + sh - 1) / sh : 0, v = j0 < kw ? (kw - j0 + sw - 1) / sw : 0;
  int rows = n * rh * rw, depth = u * v * k;
  if (blockIdx.x * BM >= rows) return;
  Taps taps(k, u, v);
  Patches<VEC_K> a = {dy, oh, ow, k, rh, rw, 1, (i + top - i0) / sh, -1, 1, (j + left - j0) / sw, -1, rows, depth, taps};
  Turned<VEC_K> b = {w, kw, c, k, i0, sh, j0, sw, depth, taps};
  Phase out = {dx + (long long)part * n * h * wide * c, h, wide, c, rh, rw, sh, sw, i, j, rows};
  int from = part * share;
  multiply(a, b, out, blockIdx.x * BM, blockIdx.y * BN, from, min(from + share, depth));
}

#endif

#if PASS == ALL || PASS == DW
// to: dw itself with one part, which is added to; room for (parts, KH KW C, K) with more, which is written.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS_AT_ONCE)
conv_dw(const Source* x, const Source* dy, real* to, int n, int h, int wide, int c, int oh, int ow, int k, int kh, int kw,
               int sh, int sw, int top, int left, int share) {
  int rows = kh * kw * c, depth = n * oh * ow;
  int from = blockIdx.z * share, last = min(from + share, depth);
  Places<VEC_C> a = {x, h, wide, c, kw, sh, sw, top, left, rows, last, Divisor(oh), Divisor(ow)};
  Lines<VEC_K> b = {dy, k, last};
  Gradient out = {to + (gridDim.z > 1 ? (long long)blockIdx.z * rows * k : 0), rows, k, gridDim.z == 1};
  multiply(a, b, out, blockIdx.x * BM, blockIdx.y * BN, from, last);
}

#endif
