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
// multiplied by the zeros between strides. Block z of the grid is the phase; those that take longest begin first.
//
// Parts: the sum of dw is over all places, and rows and columns alone are too few tiles to fill a card; of the deep layers the
// other two are, too. Then each part of the sum writes a result of its own, and `add_parts` or `finish` (ends.cu) adds them in
// order: the same bytes in every run. Block z of the grid is the part.
//
// Versions. The first, im2col.cu, writes the matrix of patches and leaves the product to cuBLAS. The second is this. The third
// is this with PIPELINED: for TF32 with whole channels, copies into shared memory run two steps ahead (tile.cuh). The fourth
// is this with WARPGROUP: for TF32 and float16 with whole channels, on Hopper (warpgroup.cuh). The fifth is that with COPIED:
// forward and dx from factors that were rounded beforehand, copied past all registers; of forward, w as (K, KH KW C).
//
// Set before compiling, besides what tile.cuh asks for:
//   PASS           which kernel is compiled: 1 forward, 2 dx, 3 dw; 0 all
//   VEC_C, VEC_K   1 where C, or K, is a multiple of 4 and the arrays begin at multiples of 16 bytes: four channels are a load
//   PAIRS          1 where two neighbours of the result are one store
//   PARTED         1 where forward, or dx, is in parts
//   BLOCK          32 where the sum of forward, or dx, goes through so many channels of all taps at a time; else 0
//   ONE_LINE       1 where the places that a thread of conv_dw takes one after the other always lie in one line of y, because OW
//                  is a multiple of their number; for WARPGROUP

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
#include "gather.cuh"
#include "give.cuh"

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
  int i0 = phase / sw, j0 = phase % sw;  // its part of the kernel: i0 + sh u, j0 + sw v; the first are the longest
  int i = (i0 + sh - top % sh) % sh, j = (j0 + sw - left % sw) % sw;
  int rh = (h - i + sh - 1) / sh, rw = (wide - j + sw - 1) / sw;  // its places
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
