// Optimizers: w, dw, m, v flat (P), one weight a thread; the equations: nn/reference/optim.py.
//
// Must move: SGD 3 numbers a weight (w, dw, w), with momentum 5, Adam 7 (w, dw, m, v read, w, m, v written).
// Operations: 2 to 15. One kernel over the whole arena, so nothing is read twice.
//
// What changes from step to step is read from `now` on the card, so that a recorded graph need not be recorded again:
//   now[0]   learning rate; Adam: rate / (1 - b1^t)      now[1]   Adam: 1 / sqrt(1 - b2^t)
//   now[2]   what gradients are multiplied by: 1 / scale of the loss
// flag: null, or a count of gradients that are no numbers; where it is not 0 the step is left out (loss scaling).

#define EACH(i) \
  for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < size; i += (long long)gridDim.x * blockDim.x)

extern "C" __global__ void sgd(real* w, const real* dw, const real* now, const int* flag, real decay, long long size) {
  if (flag && flag[0]) return;
  EACH(i) w[i] -= now[0] * (dw[i] * now[2] + decay * w[i]);
}

extern "C" __global__ void momentum(real* w, const real* dw, real* v, const real* now, const int* flag, real mu,
                                    int nesterov, real decay, long long size) {
  if (flag && flag[0]) return;
  EACH(i) {
    real g = dw[i] * now[2] + decay * w[i];
    v[i] = mu * v[i] + g;
    w[i] -= now[0] * (nesterov ? g + mu * v[i] : v[i]);
  }
}

extern "C" __global__ void adam(real* w, const real* dw, real* m, real* v, const real* now, const int* flag, real beta1,
                                real rest1, real beta2, real rest2, real eps, real decay, long long size) {
  if (flag && flag[0]) return;
  EACH(i) {
    real g = dw[i] * now[2] + decay * w[i];
    m[i] = beta1 * m[i] + rest1 * g;
    v[i] = beta2 * v[i] + rest2 * (g * g);
    w[i] -= now[0] * m[i] / (sqrt(v[i]) * now[1] + eps);
  }
}

// flag[0] = 1 where a gradient is no number or infinite. Every thread that finds one writes the same, so the order of
// writing makes no difference.
extern "C" __global__ void not_finite(const real* dw, int* flag, long long size) {
  EACH(i) {
    real zero = dw[i] * 0;
    if (zero != 0) flag[0] = 1;
  }
}
