// Activations, one number a thread. x, y, dy, dx (N, ...), `size` numbers in all; the equations: nn/reference/activation.py.
//
// Must move: 2 numbers for each number forward (x, y), 3 backward (dy, y, dx). Operations: 1 to 3, about 20 with exp or tanh.
// So memory is all that counts; what stands behind a convolution is done by it instead (conv.cu, ends.cu).

#define EACH(i) \
  for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < size; i += (long long)gridDim.x * blockDim.x)

extern "C" __global__ void leaky_relu(const real* x, real slope, real* y, long long size) {
  EACH(i) y[i] = x[i] > 0 ? x[i] : slope * x[i];
}

extern "C" __global__ void leaky_relu_backward(const real* dy, const real* y, real slope, real* dx, long long size) {
  EACH(i) dx[i] = y[i] > 0 ? dy[i] : slope * dy[i];
}

// e = exp(-|x|) is at most 1, so nothing overflows.
extern "C" __global__ void sigmoid(const real* x, real* y, long long size) {
  EACH(i) {
    real e = exp(-fabs(x[i]));
    y[i] = (x[i] >= 0 ? real(1) : e) / (1 + e);
  }
}

extern "C" __global__ void sigmoid_backward(const real* dy, const real* y, real* dx, long long size) {
  EACH(i) dx[i] = dy[i] * y[i] * (1 - y[i]);
}

extern "C" __global__ void tanh_forward(const real* x, real* y, long long size) {
  EACH(i) y[i] = tanh(x[i]);
}

extern "C" __global__ void tanh_backward(const real* dy, const real* y, real* dx, long long size) {
  EACH(i) dx[i] = dy[i] * (1 - y[i] * y[i]);
}
