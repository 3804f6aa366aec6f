// What stands at the ends of products: a bias written under them, and on the way back the slope, the shuffle and the bias
// gradient in one pass. Rows of K numbers: places of a picture (N OH OW, K), or a batch (N, O).
//
// Must move: fill 1 number for each number; finish and upstream 3 (dy, y, dz); sums 1. Operations: 1 to 3.
//
// The bias gradient is a sum over all rows. Each block sums `share` rows of 32 channels, in one order: thread (t, s) takes
// the rows s, s + 8, ..., then the eight are added one after the other; the blocks' sums are added in order by `add_sums`.
// A block of 256 threads, thread t + 32 s; grid (channels in 32s, parts).

// out[m, k] = bias[k]; what a product is then added to.
extern "C" __global__ void fill(const real* bias, real* out, int columns, long long size) {
  for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < size; i += (long long)gridDim.x * blockDim.x)
    out[i] = bias[i % columns];
}

__device__ void store_sum(real mine, real* partial, int columns, int k) {
  __shared__ real sums[8][33];
  int t = threadIdx.x % 32, s = threadIdx.x / 32;
  sums[s][t] = mine;
  __syncthreads();
  if (s == 0 && k < columns) {
    real total = 0;
    for (int i = 0; i < 8; i++) total += sums[i][t];
    partial[(long long)blockIdx.y * columns + k] = total;
  }
}

// partial[part, k] = the sum over the part's rows of dy[row, k].
extern "C" __global__ void sums(const real* dy, real* partial, int columns, long long rows, long long share) {
  int k = blockIdx.x * 32 + threadIdx.x % 32;
  long long first = blockIdx.y * share, last = first + share < rows ? first + share : rows;
  real mine = 0;
  if (k < columns)
    for (long long row = first + threadIdx.x / 32; row < last; row += 8) mine += dy[row * columns + k];
  store_sum(mine, partial, columns, k);
}

// Where the number (row of OW places of OH, N; channel k of K) of the convolution's output lies in the shuffled picture
// (N, OH R, OW R, K / R²).
__device__ long long shuffled(long long row, int k, int columns, int ow, int r) {
  if (r == 1) return row * columns + k;
  int run = columns / r, part = k / run;
  return ((row / ow * r + part) * ow + row % ow) * run + k % run;
}

// dz[row, k] = dy where y > 0, slope dy elsewhere, both read in their places after the shuffle; and its sums as above.
extern "C" __global__ void upstream(const real* dy, const real* y, real slope, real* dz, real* partial, int columns,
                                    long long rows, long long share, int ow, int r) {
  int k = blockIdx.x * 32 + threadIdx.x % 32;
  long long first = blockIdx.y * share, last = first + share < rows ? first + share : rows;
  real mine = 0;
  if (k < columns)
    for (long long row = first + threadIdx.x / 32; row < last; row += 8) {
      long long at = shuffled(row, k, columns, ow, r);
      real d = y[at] > 0 ? dy[at] : slope * dy[at];
      dz[row * columns + k] = d;
      mine += d;
    }
  store_sum(mine, partial, columns, k);
}

// y in its shuffled place = leaky(z[row, k]): for products that end in z itself.
extern "C" __global__ void finish(const real* z, real slope, real* y, int columns, int ow, int r, long long size) {
  for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < size; i += (long long)gridDim.x * blockDim.x)
    y[shuffled(i / columns, i % columns, columns, ow, r)] = z[i] > 0 ? z[i] : slope * z[i];
}

// sum[i] += partial[0, i] + partial[1, i] + ...
extern "C" __global__ void add_sums(const real* partial, int parts, real* sum, long long size) {
  for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < size; i += (long long)gridDim.x * blockDim.x) {
    real total = 0;
    for (int part = 0; part < parts; part++) total += partial[part * size + i];
    sum[i] += total;
  }
}
