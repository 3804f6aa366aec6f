// The random warp and the colours of a batch, from faces that lie on the card as bytes; the mathematics: warp.py, and
// the same in one pass on the CPU: fused.py. Both give the same bytes, since neither joins a product and a sum into one
// instruction of its own (compiled with --fmad=false).
//
// faces (F, L, L, 3) uint8; for each of N pictures: index of its face, scale and offset (complex) of its placement, mirrored,
// noise (N, 5, 5) complex or null, table (N or 1, 256, 3); out (N, S, S, 3). One pixel of the result a thread.
//
// Must move: 3 numbers written a pixel, 12 bytes read, mostly from the caches. Operations: about 60 a pixel.

typedef unsigned char byte;

__device__ float between(float low, float high, float share) { return low + (high - low) * share; }

extern "C" __global__ void warp(const byte* faces, const int* index, const float* scale, const float* offset,
                                const int* mirrored, const float* noise, const float* tables, int table_count, int side,
                                int size, float pixels, float* out, long long count) {
  for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < count; i += (long long)gridDim.x * blockDim.x) {
    int n = i / (size * size), rest = i - (long long)n * size * size, row = rest / size, column = rest - row * size;
    float last = float(side - 1), middle = last * 0.5f;
    float across = (float(column) + 0.5f) / float(size), down = (float(row) + 0.5f) / float(size);
    float px = across - 0.5f, py = down - 0.5f;
    if (noise) {  // bilinear between the control points, along columns of points first, as on the CPU
      across *= 4.0f, down *= 4.0f;
      int c = min(int(across), 3), r = min(int(down), 3);
      float t = across - float(c), share = down - float(r);
      const float* p = noise + ((n * 5 + r) * 5 + c) * 2;
      float x0 = between(p[0], p[10], share), y0 = between(p[1], p[11], share);
      float x1 = between(p[2], p[12], share), y1 = between(p[3], p[13], share);
      px += between(x0, x1, t), py += between(y0, y1, t);
    }
    float ar = scale[2 * n] * pixels, ai = scale[2 * n + 1] * pixels;
    float br = offset[2 * n] * pixels, bi = offset[2 * n + 1] * pixels + middle;
    br = mirrored[n] ? br - middle : br + middle;  // x negated, about the middle
    float sx = ar * px - ai * py + br, sy = ar * py + ai * px + bi;
    if (mirrored[n]) sx = -sx;
    sx = fminf(fmaxf(sx, 0.0f), last), sy = fminf(fmaxf(sy, 0.0f), last);  // edges are replicated
    int x = int(sx), y = int(sy);
    float fx = sx - float(x), fy = sy - float(y);
    int right = x + 1 < side ? 3 : 0, below = y + 1 < side ? 3 * side : 0;
    const byte* at = faces + ((long long)index[n] * side * side + (long long)y * side + x) * 3;
    const float* table = tables + (n % table_count) * 768;
    for (int k = 0; k < 3; k++) {
      float upper = between(float(at[k]), float(at[k + right]), fx);
      float lower = between(float(at[k + below]), float(at[k + right + below]), fx);
      int value = int(between(upper, lower, fy) + 0.5f);
      out[i * 3 + k] = table[value * 3 + k];
    }
  }
}

// tables (N, 256, 3) = clip(contrast (gain plain - 1/2) + 1/2 + brightness), plain (256, 3), numbers (N, 5): brightness,
// contrast, gain of each channel. Must move: 1 number for each number. Operations: 6.
extern "C" __global__ void jitter(const float* plain, const float* numbers, float* tables, long long count) {
  for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < count; i += (long long)gridDim.x * blockDim.x) {
    const float* n = numbers + i / 768 * 5;
    float value = n[1] * (n[2 + i % 3] * plain[i % 768] - 0.5f) + 0.5f + n[0];
    tables[i] = fminf(fmaxf(value, 0.0f), 1.0f);
  }
}

// A Gaussian blur along one axis of pictures (N, S, S, 3), mirrored at the edges (the edge pixel twice); along 0: rows.
// weights (2 reach + 1) add up to 1. Must move: 2 numbers for each number. Operations: 2 (2 reach + 1).
extern "C" __global__ void blur(const float* x, const float* weights, int reach, int size, int along, float* y,
                                long long count) {
  for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < count; i += (long long)gridDim.x * blockDim.x) {
    int step = along ? 3 : 3 * size;
    int place = i / step % size;
    const float* start = x + i - (long long)place * step;
    float sum = 0;
    for (int j = -reach; j <= reach; j++) {
      int at = place + j;
      while (at < 0 || at >= size) at = at < 0 ? -1 - at : 2 * size - 1 - at;
      sum += weights[j + reach] * start[(long long)at * step];
    }
    y[i] = sum;
  }
}
