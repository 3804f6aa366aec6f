// Convolutions with three channels or so on one side: pictures that come in, pictures that go out (narrow.py).
//
// One number a thread at a time, no products. x (N, H, W, C), y (N, OH, OW, K); i, j a tap of KH KW; the place (p, q) of y sees
// the pixel (SH p + i - top, SW q + j - left) of x by tap (i, j).
//
//   patches   p (N OH OW, WIDTH) of x: number (i, j, c) of a place is what it sees; 0 outside, and beyond KH KW C. Must move
//             WIDTH numbers written for each place; x comes from the caches
//   spread    g (KH KW K, N H W) of dy: number (i, j, k) of a pixel is dy of the place that sees it by that tap, 0 where there is
//             none. Must move KH KW K numbers for each pixel
//   collect   y of z (KH KW K, N H W): the sum of what its pixels have for it, with bias and slope. Must move as many, read
//   turn      wt (KH KW K, C) of w (KH, KW, C, K);  add_turned: dw += the same back. Few numbers
//
// Operations: some 30 for each number, to find out where it lies. g and z lie with places side by side, so that neighbouring
// threads meet neighbouring numbers.

#define SHAPE int h, int w, int c, int oh, int ow, int k, int kh, int kw, int sh, int sw, int top, int left
#define EACH(i, count) \
  for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < count; i += (long long)gridDim.x * blockDim.x)

// A block of 256 threads: 32 columns of 8 rows; each thread keeps to its column. Grid (columns in 32s, parts of the rows).
extern "C" __global__ void patches(const real* x, real* p, SHAPE, int width, int rows, int share) {
  int column = blockIdx.x * 32 + threadIdx.x % 32, start = blockIdx.y * share;
  int channel = column % c, j = column / c % kw, i = column / c / kw;
  if (column >= width) return;
  for (int row = start + threadIdx.x / 32; row < min(start + share, rows); row += 8) {
    int q = row % ow, rest = row / ow;
    int r = sh * (rest % oh) + i - top, s = sw * q + j - left;
    bool inside = i < kh && r >= 0 && r < h && s >= 0 && s < w;
    p[(long long)row * width + column] = inside ? x[(((long long)(rest / oh) * h + r) * w + s) * c + channel] : real(0);
  }
}

extern "C" __global__ void spread(const real* dy, real* g, SHAPE, long long pixels) {
  EACH(pixel, pixels) {
    int s = pixel % w;
    long long rest = pixel / w;
    int r = rest % h;
    const real* picture = dy + rest / h * oh * ow * k;
    real* to = g + pixel;
    for (int i = 0; i < kh; i++) {
      int up = r + top - i, p = up / sh;
      bool row = up >= 0 && up % sh == 0 && p < oh;
      for (int j = 0; j < kw; j++) {
        int back = s + left - j, q = back / sw;
        bool there = row && back >= 0 && back % sw == 0 && q < ow;
        for (int m = 0; m < k; m++, to += pixels) *to = there ? picture[(p * ow + q) * k + m] : real(0);
      }
    }
  }
}

extern "C" __global__ void collect(const real* z, const real* bias, real slope, real* y, SHAPE, long long pixels,
                                   long long places) {
  EACH(place, places) {
    int q = place % ow;
    long long rest = place / ow;
    int p = rest % oh;
    long long picture = rest / oh * h * w;
    real sums[MOST_K];
#pragma unroll
    for (int m = 0; m < MOST_K; m++) sums[m] = 0;
    for (int i = 0; i < kh; i++) {
      int r = sh * p + i - top;
      if (r < 0 || r >= h) continue;
      for (int j = 0; j < kw; j++) {
        int s = sw * q + j - left;
        if (s < 0 || s >= w) continue;
        const real* from = z + (long long)(i * kw + j) * k * pixels + picture + r * w + s;
#pragma unroll
        for (int m = 0; m < MOST_K; m++)
          if (m < k) sums[m] += from[m * pixels];
      }
    }
#pragma unroll
    for (int m = 0; m < MOST_K; m++)
      if (m < k) {
        real v = sums[m] + (bias ? bias[m] : real(0));
        y[place * k + m] = v > 0 ? v : slope * v;
      }
  }
}

// Where number i of w (KH KW, C, K) lies in wt (KH KW, K, C).
__device__ long long turned(long long i, int c, int k) { return (i / (c * k) * k + i % k) * c + i / k % c; }

extern "C" __global__ void turn(const real* w, real* wt, int c, int k, long long size) {
  EACH(i, size) wt[turned(i, c, k)] = w[i];
}

extern "C" __global__ void add_turned(const real* dwt, real* dw, int c, int k, long long size) {
  EACH(i, size) dw[i] += dwt[turned(i, c, k)];
}
