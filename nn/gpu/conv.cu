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
// Versions. The first, im2col.cu, writes the matrix of patches and leaves the product to cuBLAS. The second is this. The third
// is this with PIPELINED: for TF32 with whole channels, copies into shared memory run two steps ahead (tile.cuh).

#include "ptx.cuh"
#include "tile.cuh"

__device__ Four zero() {
  Four none = {0, 0, 0, 0};
  return none;
}

// Rows: places (n, a, b) of (N, RH, RW). Depth: (u, v, c) of (U, V, C). The number is
// x[n, SA a + OA + DU u, SB b + OB + DV v, c] of a picture (N, H, W, C), 0 outside of it.
template <bool VEC>
struct Patches {
  static constexpr bool by_rows = true;
  const real* x;
  int h, w, c, rh, rw, sa, oa, du, sb, ob, dv, v_taps, rows, depth;

  struct Row {
    const real* start;
    int r, s;
  };
  struct At {  // of four channels that are one load; else the depth alone
    int r, s, c;
  };

  __device__ Row row(int m) const {
    if (m >= rows) return {x, -(1 << 28), 0};  // outside of every picture
    int b = m % rw, rest = m / rw;
    return {x + (long long)(rest / rh) * h * w * c, sa * (rest % rh) + oa, sb * b + ob};
  }
  __device__ At at(int d) const {
    if (!VEC) return {d, 0, 0};
    if (d >= depth) return {-(1 << 28), 0, 0};
    int tap = d / c;
    return {du * (tap / v_taps), dv * (tap % v_taps), d % c};
  }
  __device__ const real* place(const Row& row, int r, int s, int channel) const {
    r += row.r, s += row.s;
    bool inside = (unsigned)r < (unsigned)h && (unsigned)s < (unsigned)w;
    return inside ? row.start + ((long long)r * w + s) * c + channel : 0;
  }
  __device__ const real* where(const Row& row, const At& at) const { return place(row, at.r, at.s, at.c); }
  __device__ const real* some() const { return x; }
  __device__ real one(const Row& row, int d) const {
    if (d >= depth) return 0;
    int tap = d / c;
    const real* from = place(row, du * (tap / v_taps), dv * (tap % v_taps), d % c);
    return from ? *from : 0;
  }
  __device__ Four load(const Row& row, const At& at) const {
    if (VEC) {
      const real* from = place(row, at.r, at.s, at.c);
      return from ? *(const Four*)from : zero();
    }
    Four found = {one(row, at.r), one(row, at.r + 1), one(row, at.r + 2), one(row, at.r + 3)};
    return found;
  }
};

// Rows: four neighbours of `size`. Depth: lines of a matrix (depth, size), up to `last`.
template <bool VEC>
struct Lines {
  static constexpr bool by_rows = false;
  const real* m;
  int size, last;
  typedef int Row;
  typedef int At;

  __device__ Row row(int r) const { return r; }
  __device__ At at(int d) const { return d; }
  __device__ const real* where(Row r, At d) const {
    return d < last && r < size ? m + (long long)d * size + r : 0;
  }
  __device__ const real* some() const { return m; }
  __device__ Four load(Row r, At d) const {
    const real* from = where(r, d);
    if (!from) return zero();
    if (VEC) return *(const Four*)from;
    Four found = {from[0], r + 1 < size ? from[1] : 0, r + 2 < size ? from[2] : 0, r + 3 < size ? from[3] : 0};
    return found;
  }
};

// The kernel of the way back. Rows: channels c of C. Depth: (u, v, k) of (U, V, K). The number is
// w[I0 + SH u, J0 + SW v, c, k].
template <bool VEC>
struct Turned {
  static constexpr bool by_rows = true;
  const real* w;
  int kw, c, k, i0, sh, j0, sw, v_taps, depth;
  typedef int Row;
  typedef int At;

  __device__ Row row(int r) const { return r < c ? r : -1; }
  __device__ At at(int d) const { return d; }
  __device__ const real* place(Row r, int d) const {
    int tap = d / k;
    int i = i0 + sh * (tap / v_taps), j = j0 + sw * (tap % v_taps);
    return w + ((long long)(i * kw + j) * c + r) * k + d % k;
  }
  __device__ const real* where(Row r, At d) const { return r >= 0 && d < depth ? place(r, d) : 0; }
  __device__ const real* some() const { return w; }
  __device__ real one(Row r, int d) const { return r >= 0 && d < depth ? *place(r, d) : 0; }
  __device__ Four load(Row r, At d) const {
    if (VEC) return r >= 0 && d < depth ? *(const Four*)place(r, d) : zero();
    Four found = {one(r, d), one(r, d + 1), one(r, d + 2), one(r, d + 3)};
    return found;
  }
};

// The left factor of the weight gradient. Rows: four neighbours of (i, j, c) of (KH, KW, C). Depth: places (n, p, q). The
// number is x[n, SH p + i - top, SW q + j - left, c].
template <bool VEC>
struct Places {
  static constexpr bool by_rows = false;
  const real* x;
  int h, w, c, kw, oh, ow, sh, sw, top, left, rows, last;

  struct Row {
    int r[VEC ? 1 : 4], s[VEC ? 1 : 4], c[VEC ? 1 : 4];
  };
  struct At {
    const real* start;
    int r, s;
  };

  __device__ Row row(int first) const {
    Row found;
    for (int e = 0; e < (VEC ? 1 : 4); e++) {
      int tap = (first + e) / c;
      found.r[e] = first + e < rows ? tap / kw : -(1 << 28);
      found.s[e] = tap % kw;
      found.c[e] = (first + e) % c;
    }
    return found;
  }
  __device__ At at(int d) const {
    if (d >= last) return {x, -(1 << 28), 0};
    int q = d % ow, rest = d / ow;
    return {x + (long long)(rest / oh) * h * w * c, sh * (rest % oh) - top, sw * q - left};
  }
  __device__ const real* place(const Row& row, const At& at, int e) const {
    int r = at.r + row.r[e], s = at.s + row.s[e];
    bool inside = (unsigned)r < (unsigned)h && (unsigned)s < (unsigned)w;
    return inside ? at.start + ((long long)r * w + s) * c + row.c[e] : 0;
  }
  __device__ const real* where(const Row& row, const At& at) const { return place(row, at, 0); }
  __device__ const real* some() const { return x; }
  __device__ Four load(const Row& row, const At& at) const {
    if (VEC) {
      const real* from = place(row, at, 0);
      return from ? *(const Four*)from : zero();
    }
    real v[4];
    for (int e = 0; e < 4; e++) {
      const real* from = place(row, at, VEC ? 0 : e);
      v[e] = from ? *from : 0;
    }
    Four found = {v[0], v[1], v[2], v[3]};
    return found;
  }
};

// y = shuffle(leaky(z + bias), R), where z is the product.
struct Finished {
  real* y;
  const real* bias;
  real slope;
  int rows, k, ow, r;
  typedef long long Row;

  // With R = 1 the place of a row; with a shuffle, the row itself.
  __device__ Row row(int m) const { return m < rows ? m : -1; }
  __device__ void store(Row m, int column, real value) const {
    if (m < 0 || column >= k) return;
    if (bias) value += bias[column];
    value = value > 0 ? value : slope * value;
    if (r == 1) {
      y[m * k + column] = value;
      return;
    }
    int run = k / r, part = column / run;
    y[((m / ow * r + part) * ow + m % ow) * run + column % run] = value;
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
  __device__ void store(Row start, int column, real value) const {
    if (start >= 0 && column < c) dx[start + column] = value;
  }
};

// A matrix (rows, columns), written or added to.
struct Gradient {
  real* m;
  int rows, columns;
  bool add;
  typedef long long Row;

  __device__ Row row(int r) const { return r < rows ? (long long)r * columns : -1; }
  __device__ void store(Row start, int column, real value) const {
    if (start < 0 || column >= columns) return;
    m[start + column] = add ? m[start + column] + value : value;
  }
};

extern "C" __global__ void __launch_bounds__(THREADS)
conv_forward(const real* x, const real* w, const real* bias, real* y, int n, int h, int wide, int c, int oh, int ow, int k,
             int kh, int kw, int sh, int sw, int top, int left, real slope, int r) {
  int rows = n * oh * ow, depth = kh * kw * c;
  Patches<VEC_C> a = {x, h, wide, c, oh, ow, sh, -top, 1, sw, -left, 1, kw, rows, depth};
  Lines<VEC_K> b = {w, k, depth};
  Finished out = {y, bias, slope, rows, k, ow, r};
  multiply(a, b, out, blockIdx.x * BM, blockIdx.y * BN, 0, depth);
}

extern "C" __global__ void __launch_bounds__(THREADS)
conv_dx(const real* dy, const real* w, real* dx, int n, int h, int wide, int c, int oh, int ow, int k, int kh, int kw, int sh,
        int sw, int top, int left) {
  int i = blockIdx.z / sw, j = blockIdx.z % sw;                 // the phase
  int rh = (h - i + sh - 1) / sh, rw = (wide - j + sw - 1) / sw;  // its places
  int i0 = (i + top) % sh, j0 = (j + left) % sw;                // its part of the kernel: i0 + sh u, j0 + sw v
  int u = i0 < kh ? (kh - i0 + sh - 1) / sh : 0, v = j0 < kw ? (kw - j0 + sw - 1) / sw : 0;
  int rows = n * rh * rw, depth = u * v * k;
  if (blockIdx.x * BM >= rows) return;
  Patches<VEC_K> a = {dy, oh, ow, k, rh, rw, 1, (i + top - i0) / sh, -1, 1, (j + left - j0) / sw, -1, v, rows, depth};
  Turned<VEC_K> b = {w, kw, c, k, i0, sh, j0, sw, v, depth};
  Phase out = {dx, h, wide, c, rh, rw, sh, sw, i, j, rows};
  multiply(a, b, out, blockIdx.x * BM, blockIdx.y * BN, 0, depth);
}

// to: dw itself with one part, which is added to; room for (parts, KH KW C, K) with more, which is written.
extern "C" __global__ void __launch_bounds__(THREADS)
conv_dw(const real* x, const real* dy, real* to, int n, int h, int wide, int c, int oh, int ow, int k, int kh, int kw, int sh,
        int sw, int top, int left, int parts, int share) {
  int rows = kh * kw * c, depth = n * oh * ow;
  int from = blockIdx.z * share, last = min(from + share, depth);
  Places<VEC_C> a = {x, h, wide, c, kw, oh, ow, sh, sw, top, left, rows, last};
  Lines<VEC_K> b = {dy, k, last};
  Gradient out = {to + (parts > 1 ? (long long)blockIdx.z * rows * k : 0), rows, k, parts == 1};
  multiply(a, b, out, blockIdx.x * BM, blockIdx.y * BN, from, last);
}
