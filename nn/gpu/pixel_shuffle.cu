// Pixel shuffle, one number a thread: tall (N, H R, W R, C) and wide (N, H, W, R R C); equations: nn/reference/pixel_shuffle.py.
//
// Must move: 2 numbers for each number. Operations: none. Runs of R C numbers lie side by side in both, so neighbouring
// threads read and write neighbouring numbers. `lines`: N H, rows of the wide picture; `run`: R C.

extern "C" __global__ void shuffle(const real* from, real* to, int w, int run, int r, int forward, long long size) {
  for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < size; i += (long long)gridDim.x * blockDim.x) {
    // i counts through tall: (line, part of the shuffle's row, pixel, number of the run)
    int within = i % run;
    long long rest = i / run;
    int q = rest % w;
    rest /= w;
    int part = rest % r;
    long long line = rest / r;
    long long wide = ((line * w + q) * r + part) * run + within;
    if (forward) to[i] = from[wide];
    else to[wide] = from[i];
  }
}
