// What stands at the ends of products: a bias written under them, and on the way back the slope, the shuffle and the bias
// gradient in one pass. Rows of K numbers: places of a picture (N OH OW, K), or a batch (N, O).
//
// Must move, in numbers for each number: fill 1; upstream 3 (dy, y, dz); finish 2, finish_parts 1 + parts; sums 1. Operations:
// 1 to 3.
//
// upstream writes dz as the products of the convolution read it: OUT 0 as it is, 1 TF32, 2 float16 (factors.cu).
//
// Set before compiling:  VEC numbers of a row that are one load (4 where K / R is a multiple of 4);  LANES threads beside each
// other along a row, a power of 2.
//
// A block of 256 threads takes `share` rows of LANES VEC channels: thread t + LANES s the rows s, s + 256 / LANES, ... So a thread
// keeps to its channels, and divides once for each row. The bias gradient is a sum over all rows, always in one order: a thread
// adds its rows, then those of a block are added one after the other, then the blocks' sums by the same kernel.
// Grid (channels in LANES VEC, parts of the rows).

#include "ptx.cuh"

#define THREADS 256
#define BESIDE (THREADS / LANES)  // rows that are read at once

struct alignas(VEC * sizeof(real)) Some {
  real v[VEC];
};

__device__ Some& some(real* p) { return *(Some*)p; }
__device__ const Some& some(const real* p) { return *(const Some*)p; }

// This thread's first channel, its rows, and where both lie in a picture (N, OH R, OW R, K / R²) after the shuffle.
struct Mine {
  int k, first, last;
  int columns, ow, r, run;
  long long beside;

  __device__ Mine(int columns, int rows, int share, int ow = 1, int r = 1) : columns(columns), ow(ow), r(r) {
    k = (blockIdx.x * LANES + threadIdx.x % LANES) * VEC;
    int start = blockIdx.y * share;
    first = start + threadIdx.x / LANES;
    last = k < columns ? min(start + share, rows) : 0;
    run = columns / r;
    beside = r == 1 ? k : k + (long long)(k / run) * (ow - 1) * run;
  }
  __device__ long long place(int row) const { return (long long)row * columns + k; }
  __device__ long long shuffled(int row) const {
    return r == 1 ? place(row) : ((long long)(row / ow) * r * ow + row % ow) * run + beside;
  }
};

// out[m, k] = bias[k]; what a product is then added to.
extern "C" __global__ void fill(const real* bias, real* out, int columns, int rows, int share) {
  Mine mine(columns, rows, share);
  if (mine.k >= columns) return;
  Some b = some(bias + mine.k);
  for (int row = mine.first; row < mine.last; row += BESIDE) some(out + mine.place(row)) = b;
}

// to[part, k] = the block's sum, or += it.
__device__ void give(const Some& mine, real* to, int columns, int k, int add) {
  __shared__ Some sums[BESIDE][LANES];
  int t = threadIdx.x % LANES, s = threadIdx.x / LANES;
  sums[s][t] = mine;
  __syncthreads();
  if (s == 0 && k < columns) {
    Some total = mine;
    for (int i = 1; i < BESIDE; i++)
      for (int e = 0; e < VEC; e++) total.v[e] += sums[i][t].v[e];
    real* at = to + (long long)blockIdx.y * columns + k;
    for (int e = 0; e < VEC; e++) at[e] = add ? at[e] + total.v[e] : total.v[e];
  }
}

// to[part, k] = the sum over the part's rows of dy[row, k]; with `add`, += it.
extern "C" __global__ void sums(const real* dy, real* to, int columns, int rows, int share, int add) {
  Mine mine(columns, rows, share);
  Some total = {};
#pragma unroll 4
  for (int row = mine.first; row < mine.last; row += BESIDE) {
    const Some& d = some(dy + mine.place(row));
    for (int e = 0; e < VEC; e++) total.v[e] += d.v[e];
  }
  give(total, to, columns, mine.k, add);
}

#if OUT == 2
struct alignas(2 * VEC) Put {
  word v[VEC / 2];
};
__device__ Put rounded(const Some& d) {
  Put found;
  for (int e = 0; e < VEC; e += 2) found.v[e / 2] = half2(d.v[e], d.v[e + 1]);
  return found;
}
#elif OUT == 1
struct alignas(4 * VEC) Put {
  word v[VEC];
};
__device__ Put rounded(const Some& d) {
  Put found;
  for (int e = 0; e < VEC; e++) found.v[e] = tf32(d.v[e]) & 0xffffe000u;
  return found;
}
#else
typedef Some Put;
__device__ Put rounded(const Some& d) { return d; }
#endif

// dz[row, k] = dy where y > 0, slope dy elsewhere, both read in their places after the shuffle; and its sums as above.
extern "C" __global__ void upstream(const real* __restrict__ dy, const real* __restrict__ y, real slope,
                                    void* __restrict__ dz, real* __restrict__ partial, int columns, int rows,
                                    int share, int ow, int r) {
  Mine mine(columns, rows, share, ow, r);
  Some total = {};
#pragma unroll 4
  for (int row = mine.first; row < mine.last; row += BESIDE) {
    long long at = mine.shuffled(row);
    Some value = some(y + at), d = some(dy + at);
    for (int e = 0; e < VEC; e++) {
      d.v[e] = value.v[e] > 0 ? d.v[e] : slope * d.v[e];
      total.v[e] += d.v[e];
    }
    ((Put*)dz)[mine.place(row) / VEC] = rounded(d);
  }
  give(total, partial, columns, mine.k, 0);
}

// y in its shuffled place = leaky(z[0, row, k] + z[1, row, k] + ... + bias[k]), for z (parts, rows, K).
extern "C" __global__ void finish(const real* z, int parts, const real* bias, real slope, real* y, int columns, int rows,
                                  int share, int ow, int r) {
  Mine mine(columns, rows, share, ow, r);
  if (mine.k >= columns) return;
  Some under = {};
  if (bias) under = some(bias + mine.k);
  for (int row = mine.first; row < mine.last; row += BESIDE) {
    Some total = some(z + mine.place(row));
#pragma unroll 4
    for (int part = 1; part < parts; part++) {
      const Some& next = some(z + (long long)part * rows * columns + mine.place(row));
      for (int e = 0; e < VEC; e++) total.v[e] += next.v[e];
    }
    for (int e = 0; e < VEC; e++) {
      real v = total.v[e] + under.v[e];
      total.v[e] = v > 0 ? v : slope * v;
    }
    some(y + mine.shuffled(row)) = total;
  }
}

// sum[i] = partial[0, i] + partial[1, i] + ..., or += it; `size` in loads.
extern "C" __global__ void add_parts(const real* partial, int parts, real* sum, int add, long long size) {
  for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < size; i += (long long)gridDim.x * blockDim.x) {
    Some total = some(partial + i * VEC);
#pragma unroll 4
    for (int part = 1; part < parts; part++) {
      const Some& next = some(partial + (part * size + i) * VEC);
      for (int e = 0; e < VEC; e++) total.v[e] += next.v[e];
    }
    real* to = sum + i * VEC;
    if (add)
      for (int e = 0; e < VEC; e++) total.v[e] += to[e];
    for (int e = 0; e < VEC; e++) to[e] = total.v[e];
  }
}
