// Numbers rounded to float16, for products that read them so (warpgroup.cuh). x, to (size), four numbers a thread.
//
// Must move: 4 bytes read and 2 written for each number. Operations: half an instruction each.

#include "ptx.cuh"

struct alignas(16) Four {
  float x, y, z, w;
};
struct alignas(8) Halves {
  word low, high;
};

extern "C" __global__ void halve(const Four* x, Halves* to, long long fours) {
  for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < fours; i += (long long)gridDim.x * blockDim.x) {
    Four v = x[i];
    to[i] = {half2(v.x, v.y), half2(v.z, v.w)};
  }
}
