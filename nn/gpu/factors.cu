// Factors as products by warpgroups read them: rounded to float16, or to TF32, before they are multiplied (warpgroup.cuh).
//
//   halve, round   x, to (size), four numbers a thread. Must move 4 bytes read and 2, or 4, written for each number
//   turn           w (D, K) -> to (K, D), in tiles of 32 x 32 through shared memory: a block of 256 threads, grid (D, K in 32s).
//                  FLOAT16: 1, or 0 for TF32. Must move as much
//
// Operations: at most one for each number.

#include "ptx.cuh"

struct alignas(16) Four {
  float x, y, z, w;
};
struct alignas(16) Words {
  word x, y, z, w;
};
struct alignas(8) Halves {
  word low, high;
};

// TF32 with nothing behind its last bit, so that it stays what it is where it is rounded once more.
__device__ word cut(float x) { return tf32(x) & 0xffffe000u; }

#define EACH(i) \
  for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < fours; i += (long long)gridDim.x * blockDim.x)

extern "C" __global__ void halve(const Four* x, Halves* to, long long fours) {
  EACH(i) {
    Four v = x[i];
    to[i] = {half2(v.x, v.y), half2(v.z, v.w)};
  }
}

extern "C" __global__ void round_tf32(const Four* x, Words* to, long long fours) {
  EACH(i) {
    Four v = x[i];
    to[i] = {cut(v.x), cut(v.y), cut(v.z), cut(v.w)};
  }
}

#if FLOAT16
typedef unsigned short Rounded;
__device__ Rounded rounded(float x) { return (Rounded)half2(x, 0); }
#else
typedef word Rounded;
__device__ Rounded rounded(float x) { return cut(x); }
#endif

extern "C" __global__ void turn(const float* w, Rounded* to, int depth, int columns) {
  __shared__ float tile[32][33];
  int t = threadIdx.x % 32, s = threadIdx.x / 32;
  int d = blockIdx.x * 32, k = blockIdx.y * 32;
  for (int i = s; i < 32; i += 8)
    if (d + i < depth && k + t < columns) tile[i][t] = w[(long long)(d + i) * columns + k + t];
  __syncthreads();
  for (int i = s; i < 32; i += 8)
    if (d + t < depth && k + i < columns) to[(long long)(k + i) * depth + d + t] = rounded(tile[t][i]);
}
