// Where the results of conv.cu's products go: into a picture, finished; into one phase of a gradient; into a matrix.
//
// row(r): where its row begins, or -1. column(k): what two columns, k and k + 1, have in common in all rows.
// store(row, column, u, v): both numbers, or one at the end of a row.

struct Columns {
  int k, count, second;  // how many of them there are: 0, 1, 2; where the second lies, from the start of a row
  real under[2];         // bias
};

__device__ Columns columns_of(int k, int all) {
  int count = max(0, min(all - k, 2));
  return {k, count, k + 1, {0, 0}};
}

__device__ void store_two(real* row, const Columns& at, real u, real v) {
#if PAIRS
  Two two = {u, v};
  *(Two*)(row + at.k) = two;
#else
  row[at.k] = u;
  if (at.count > 1) row[at.second] = v;
#endif
}

// y = shuffle(leaky(z + bias), R), where z is the product.
struct Finished {
  real* y;
  const real* bias;
  real slope;
  int rows, k, ow, r;
  Divisor run;  // K / R channels lie side by side

  typedef long long Row;

  __device__ Row row(int m) const {
    if (m >= rows) return -1;
    return r == 1 ? (long long)m * k : ((long long)(m / ow) * r * ow + m % ow) * run.by;
  }
  __device__ int shuffled(int column) const {
    return r == 1 ? column : column + run.quotient(column) * (ow - 1) * (int)run.by;
  }
  __device__ Columns column(int column) const {
    Columns found = columns_of(column, k);
    if (bias && found.count > 0) found.under[0] = bias[column];
    if (bias && found.count > 1) found.under[1] = bias[column + 1];
    found.k = shuffled(column), found.second = shuffled(column + 1);
    return found;
  }
  __device__ void store(Row start, const Columns& at, real u, real v) const {
    if (start < 0 || at.count == 0) return;
    u += at.under[0], v += at.under[1];
    store_two(y + start, at, u > 0 ? u : slope * u, v > 0 ? v : slope * v);
  }
};

// One phase of dx (N, H, W, C): places (SH a + I, SW b + J).
struct Phase {
  real* dx;
  int h, w, c, rh, rw, sh, sw, i, j, rows;
  typedef long long Row;

  __device__ Row row(int m) const {
    if (m >= rows) return -1;
    int b = m % rw, rest = m / rw;
    return (((long long)(rest / rh) * h + sh * (rest % rh) + i) * w + sw * b + j) * c;
  }
  __device__ Columns column(int column) const { return columns_of(column, c); }
  __device__ void store(Row start, const Columns& at, real u, real v) const {
    if (start >= 0 && at.count > 0) store_two(dx + start, at, u, v);
  }
};

// A matrix (rows, columns), written or added to.
struct Gradient {
  real* m;
  int rows, columns;
  bool add;
  typedef long long Row;

  __device__ Row row(int r) const { return r < rows ? (long long)r * columns : -1; }
  __device__ Columns column(int column) const { return columns_of(column, columns); }
  __device__ void store(Row start, const Columns& at, real u, real v) const {
    if (start < 0 || at.count == 0) return;
    real* row = m + start;
    if (add) u += row[at.k], v += at.count > 1 ? row[at.second] : 0;
    store_two(row, at, u, v);
  }
};
