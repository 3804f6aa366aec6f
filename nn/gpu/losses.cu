// Losses: y, target, dy (N, ...), `size` = M numbers in all; the equations: nn/reference/losses.py.
//
// Must move: 2 numbers for each number forward (y, t), 3 backward (y, t, dy). Operations: 2 to 30.
// Sums are taken in float64, each block's in one order and then the blocks' in one order, so that two runs give the same
// bytes: thread i of a block takes the numbers i, i + 256, ... of the block's part, and the threads are added in a tree.

#define EACH(i) \
  for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < size; i += (long long)gridDim.x * blockDim.x)
#define THREADS 256

__device__ double block_sum(double mine) {
  __shared__ double sums[THREADS];
  sums[threadIdx.x] = mine;
  __syncthreads();
  for (int half = THREADS / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    __syncthreads();
  }
  return sums[0];
}

__device__ void give(double mine, double* partial) {
  mine = block_sum(mine);
  if (threadIdx.x == 0) partial[blockIdx.x] = mine;
}

// The difference is rounded as the reference rounds it.
extern "C" __global__ void mse(const real* y, const real* t, double* partial, long long size) {
  double mine = 0;
  EACH(i) {
    double d = real(y[i] - t[i]);
    mine += d * d;
  }
  give(mine, partial);
}

extern "C" __global__ void mae(const real* y, const real* t, double* partial, long long size) {
  double mine = 0;
  EACH(i) mine += fabs(double(real(y[i] - t[i])));
  give(mine, partial);
}

extern "C" __global__ void bce_with_logits(const real* y, const real* t, double* partial, long long size) {
  double mine = 0;
  EACH(i) {
    double v = y[i];
    mine += (v > 0 ? v : 0) - t[i] * v + log1p(exp(-fabs(v)));
  }
  give(mine, partial);
}

// loss = the sum of all partial sums, over size; one block.
extern "C" __global__ void mean(const double* partial, int count, real* loss, long long size) {
  double mine = 0;
  for (int i = threadIdx.x; i < count; i += THREADS) mine += partial[i];
  mine = block_sum(mine);
  if (threadIdx.x == 0) loss[0] = real(mine / double(size));
}

extern "C" __global__ void mse_backward(const real* y, const real* t, real scale, real* dy, long long size) {
  EACH(i) dy[i] = (y[i] - t[i]) * scale;
}

extern "C" __global__ void mae_backward(const real* y, const real* t, real scale, real* dy, long long size) {
  EACH(i) {
    real d = y[i] - t[i];
    dy[i] = d > 0 ? scale : (d < 0 ? -scale : d);
  }
}

extern "C" __global__ void bce_with_logits_backward(const real* y, const real* t, real scale, real* dy, long long size) {
  EACH(i) {
    real e = exp(-fabs(y[i]));
    dy[i] = ((y[i] >= 0 ? real(1) : e) / (1 + e) - t[i]) * scale;
  }
}
