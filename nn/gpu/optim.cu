// Optimizers: w, dw, m, v flat (P), one weight a thread; the equations: nn/reference/optim.py.
//
// Must move: SGD 3 numbers a weight (w, dw, w), with momentum 5, Adam 7 (w, dw, m, v read, w, m, v written).
// Operations: 2 to 15. One kernel over the whole arena, so nothing is read twice.
//
// What changes from step to step is read from `now` on the card, so that a recorded graph need not be recorded again:
//   now[0]   learning rate; Adam: rate / (1 - b1^t)      now[1]   Adam: 1 / sqrt(1 - b2^t)
//   now[2]   what gradients are multiplied by: 1 / scale of the loss
// flag: null, or a count of gradients that are no numbers; where it is not 0 the step is left out (loss scaling).

// VEC numbers are one load: 4 where all arrays begin at multiples of 16 bytes; what is left over is taken one by one.

struct alignas(VEC * sizeof(real)) Some {
  real v[VEC];
};

__device__ void put(real* p, long long i, const Some& a) { *(Some*)(p + i * VEC) = a; }
__device__ void put(const real* p, long long i, const Some& a) {}  // was only read

// step(p[i]...) for i = 0 .. size - 1.
template <class Step, class... P>
__device__ void each(long long size, Step step, P*... p) {
  long long first = blockIdx.x * (long long)blockDim.x + threadIdx.x, threads = (long long)gridDim.x * blockDim.x;
  for (long long i = first; i < size / VEC; i += threads) {
    auto several = [&](auto... a) {
      for (int e = 0; e < VEC; e++) step(a.v[e]...);
      (put(p, i, a), ...);
    };
    several(*(const Some*)(p + i * VEC)...);
  }
  for (long long i = size / VEC * VEC + first; i < size; i += threads) step(p[i]...);
}

extern "C" __global__ void sgd(real* w, const real* dw, const real* now, const int* flag, real decay, long long size) {
  if (flag && flag[0]) return;
  real rate = now[0], scale = now[2];
  each(size, [=](real& w, real dw) { w -= rate * (dw * scale + decay * w); }, w, dw);
}

extern "C" __global__ void momentum(real* w, const real* dw, real* v, const real* now, const int* flag, real mu,
                                    int nesterov, real decay, long long size) {
  if (flag && flag[0]) return;
  real rate = now[0], scale = now[2];
  auto step = [=](real& w, real dw, real& v) {
    real g = dw * scale + decay * w;
    v = mu * v + g;
    w -= rate * (nesterov ? g + mu * v : v);
  };
  each(size, step, w, dw, v);
}

extern "C" __global__ void adam(real* w, const real* dw, real* m, real* v, const real* now, const int* flag, real beta1,
                                real rest1, real beta2, real rest2, real eps, real decay, long long size) {
  if (flag && flag[0]) return;
  real rate = now[0], root = now[1], scale = now[2];
  auto step = [=](real& w, real dw, real& m, real& v) {
    real g = dw * scale + decay * w;
    m = beta1 * m + rest1 * g;
    v = beta2 * v + rest2 * (g * g);
    w -= rate * m / (sqrt(v) * root + eps);
  };
  each(size, step, w, dw, m, v);
}

// flag[0] = 1 where a gradient is no number or infinite. Every thread that finds one writes the same, so the order of
// writing makes no difference.
extern "C" __global__ void not_finite(const real* dw, int* flag, long long size) {
  bool found = false;
  each(size, [&](real d) { found |= d * 0 != 0; }, dw);
  if (found) flag[0] = 1;
}
