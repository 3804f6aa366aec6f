// The first way to convolve: a matrix of patches is written, and one product of cuBLAS does the rest.
//
// gather: columns (N OH OW, KH KW C) of x (N, H, W, C). Must move: KH KW / (SH SW) times the numbers of x, written once and
// then read by the product; that, and the room it takes, is what conv.cu does without.
// scatter: dx (N, H, W, C) of dcolumns: each pixel adds up the taps that it was seen by, in one order, so nothing is added
// by several threads. Operations: one addition for each number of the columns.

#define EACH(i) \
  for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < size; i += (long long)gridDim.x * blockDim.x)

extern "C" __global__ void gather(const real* x, real* columns, int h, int w, int c, int oh, int ow, int kh, int kw, int sh,
                                  int sw, int top, int left, long long size) {
  EACH(at) {
    int channel = at % c;
    long long rest = at / c;
    int j = rest % kw;
    rest /= kw;
    int i = rest % kh;
    rest /= kh;
    int q = rest % ow;
    rest /= ow;
    int r = sh * (int)(rest % oh) + i - top, s = sw * q + j - left;
    bool inside = r >= 0 && r < h && s >= 0 && s < w;
    columns[at] = inside ? x[((rest / oh * h + r) * w + s) * c + channel] : real(0);
  }
}

extern "C" __global__ void scatter(const real* columns, real* dx, int h, int w, int c, int oh, int ow, int kh, int kw, int sh,
                                   int sw, int top, int left, long long size) {
  EACH(at) {
    int channel = at % c;
    long long rest = at / c;
    int s = rest % w;
    rest /= w;
    int r = rest % h;
    long long n = rest / h;
    real sum = 0;
    for (int i = (r + top) % sh; i < kh; i += sh)
      for (int j = (s + left) % sw; j < kw; j += sw) {
        int p = (r + top - i) / sh, q = (s + left - j) / sw;
        if (r + top < i || s + left < j || p >= oh || q >= ow) continue;
        sum += columns[((((n * oh + p) * ow + q) * kh + i) * kw + j) * c + channel];
      }
    dx[at] = sum;
  }
}
