// What the factors of conv.cu's products are gathered from: patches of a picture, lines of a matrix, a kernel, a kernel turned.
// What a factor has to say of itself stands in tile.cuh; `real`, `Source`, `Four`, VEC, BLOCK and ONE_LINE in conv.cu.

// Four numbers from memory, or zeros.
__device__ Four four(const real* from, bool there) {
  real v[4];
  load_four(from, there, v);
  return {v[0], v[1], v[2], v[3]};
}

// n / by for 0 <= n < 2^31 by one multiplication: with 2^(s-1) < by <= 2^s, the product with 2^(31+s) / by, rounded up, is too
// large by less than n / 2^31, which is too little to reach the next whole number.
struct Divisor {
  unsigned by, times, shift;

  __device__ explicit Divisor(int by) : by(by), shift(31) {
    while (by > 1 << (shift - 31)) shift++;
    times = ((1ull << shift) + by - 1) / by;
  }
  __device__ int quotient(int n) const { return (unsigned long long)(unsigned)n * times >> shift; }
};

// The sum over (u, v, c) of (U, V, C), in which order: with BLOCK, that many channels of all taps, then the next; so what several
// taps see of a few channels is read again while it still lies in the nearest cache. Else all channels of a tap, then the next.
struct Taps {
  Divisor channels, all, across;  // C, U V, V

  __device__ Taps(int c, int u, int v) : channels(c), all(max(u * v, 1)), across(max(v, 1)) {}
  __device__ void split(int d, int& u, int& v, int& channel) const {
#if BLOCK
    int step = d / BLOCK, block = all.quotient(step), tap = step - block * (int)all.by;
    channel = block * BLOCK + d % BLOCK;
#else
    int tap = channels.quotient(d);
    channel = d - tap * (int)channels.by;
#endif
    u = across.quotient(tap), v = tap - u * (int)across.by;
  }
};

// Rows: places (n, a, b) of (N, RH, RW). Depth: (u, v, c) of (U, V, C). The number is
// x[n, SA a + OA + DU u, SB b + OB + DV v, c] of a picture (N, H, W, C), 0 outside of it.
template <bool VEC>
struct Patches {
  static constexpr bool by_rows = true;
  const Source* x;
  int h, w, c, rh, rw, sa, oa, du, sb, ob, dv, rows, depth;
  Taps taps;

  struct Row {
    const Source* start;  // of the pixel that the first tap sees, which may lie outside
    int r, s;
  };
  struct At {  // of four channels that are one load; else the depth alone
    int r, s, offset;
  };

  __device__ Row row(int m) const {
    if (m >= rows) return {x, -(1 << 28), 0};  // outside of every picture
    int b = m % rw, rest = m / rw, r = sa * (rest % rh) + oa, s = sb * b + ob;
    return {x + ((long long)(rest / rh) * h * w + (long long)r * w + s) * c, r, s};
  }
  __device__ At tap(int d) const {
    int u, v, channel;
    taps.split(d, u, v, channel);
    int r = du * u, s = dv * v;
    return {r, s, (r * w + s) * c + channel};
  }
  __device__ At at(int d) const {
    if (!VEC) return {d, 0, 0};
    if (d >= depth) return {-(1 << 28), 0, 0};
    return tap(d);
  }
  __device__ bool there(const Row& row, const At& at) const {
    return (unsigned)(row.r + at.r) < (unsigned)h && (unsigned)(row.s + at.s) < (unsigned)w;
  }
  __device__ const Source* where(const Row& row, const At& at) const { return row.start + at.offset; }
  __device__ const Source* some() const { return x; }
  __device__ real one(const Row& row, int d) const {
    if (d >= depth) return 0;
    At at = tap(d);
    return there(row, at) ? *where(row, at) : 0;
  }
  __device__ Four load(const Row& row, const At& at) const {
    if (VEC) return four(where(row, at), there(row, at));
    Four found = {one(row, at.r), one(row, at.r + 1), one(row, at.r + 2), one(row, at.r + 3)};
    return found;
  }
};

// Rows: four neighbours of `size`. Depth: lines of a matrix (depth, size), up to `last`.
template <bool VEC>
struct Lines {
  static constexpr bool by_rows = false;
  const Source* m;
  int size, last;
  typedef int Row;
  struct At {
    const Source* line;
    int rest;  // how many lines are left
  };

  __device__ Row row(int r) const { return r < size ? r : -1; }
  __device__ At at(int d) const { return {m + (long long)d * size, last - d}; }
  __device__ void next(At& at) const { at.line += size, at.rest--; }
  __device__ bool there(Row r, const At& at) const { return at.rest > 0 && r >= 0; }
  __device__ const Source* where(Row r, const At& at) const { return at.line + r; }
  __device__ const Source* some() const { return m; }
  __device__ Four load(Row r, const At& at) const {
    const Source* from = where(r, at);
    if (VEC) return four(from, there(r, at));
    if (!there(r, at)) return {0, 0, 0, 0};
    Four found = {from[0], r + 1 < size ? from[1] : 0, r + 2 < size ? from[2] : 0, r + 3 < size ? from[3] : 0};
    return found;
  }
};

// The kernel, w (U, V, C, K). Rows: four neighbours of K. Depth: (u, v, c).
template <bool VEC>
struct Kernel : Lines<VEC> {
  typedef typename Lines<VEC>::At At;
  int v_taps, c;
  Taps taps;

  __device__ Kernel(const Source* w, int k, int u, int v, int c)
      : Lines<VEC>{w, k, u * v * c}, v_taps(v), c(c), taps(c, u, v) {}
  __device__ At at(int d) const {
    int u, v, channel;
    taps.split(d, u, v, channel);
    return {this->m + ((long long)(u * v_taps + v) * c + channel) * this->size, this->last - d};
  }
};

// The kernel, turned: w (K, U V C). Rows: K. Depth: (u, v, c).
struct Across {
  static constexpr bool by_rows = true;
  const Source* w;
  int k, v_taps, c, depth;
  Taps taps;
  typedef int Row;
  typedef int At;  // where a row has it, or -1

  __device__ Row row(int r) const { return r < k ? r : -1; }
  __device__ At at(int d) const {
    if (d >= depth) return -1;
    int u, v, channel;
    taps.split(d, u, v, channel);
    return (u * v_taps + v) * c + channel;
  }
  __device__ bool there(Row r, At at) const { return r >= 0 && at >= 0; }
  __device__ const Source* where(Row r, At at) const { return w + (long long)r * depth + at; }
  __device__ const Source* some() const { return w; }
};

// The kernel of the way back. Rows: channels c of C. Depth: (u, v, k) of (U, V, K). The number is
// w[I0 + SH u, J0 + SW v, c, k].
template <bool VEC>
struct Turned {
  static constexpr bool by_rows = true;
  const Source* w;
  int kw, c, k, i0, sh, j0, sw, depth;
  Taps taps;
  typedef int Row;
  typedef long long At;  // where row 0 has it, or -1; without VEC the depth alone

  __device__ Row row(int r) const { return r < c ? r : -1; }
  __device__ long long tap(int d) const {
    int u, v, channel;
    taps.split(d, u, v, channel);
    return (long long)((i0 + sh * u) * kw + j0 + sw * v) * c * k + channel;
  }
  __device__ At at(int d) const { return !VEC ? d : d < depth ? tap(d) : -1; }
  __device__ bool there(Row r, At at) const { return r >= 0 && at >= 0; }
  __device__ const Source* where(Row r, At at) const { return w + at + (long long)r * k; }
  __device__ const Source* some() const { return w; }
  __device__ real one(Row r, int d) const { return r >= 0 && d < depth ? w[tap(d) + (long long)r * k] : 0; }
  __device__ Four load(Row r, At d) const {
    if (VEC) return four(where(r, d), there(r, d));
    Four found = {one(r, d), one(r, d + 1), one(r, d + 2), one(r, d + 3)};
    return found;
  }
};

// The left factor of the weight gradient. Rows: four neighbours of (i, j, c) of (KH, KW, C). Depth: places (n, p, q). The
// number is x[n, SH p + i - top, SW q + j - left, c].
template <bool VEC>
struct Places {
  static constexpr bool by_rows = false;
  const Source* x;
  int h, w, c, kw, sh, sw, top, left, rows, last;
  Divisor oh, ow;

  struct Row {
    int r[VEC ? 1 : 4], s[VEC ? 1 : 4], offset[VEC ? 1 : 4];
  };
  struct At {
    const Source* start;
    int r, s, rest;  // rest: how many places are left of this part
  };

  __device__ Row row(int first) const {
    Row found;
    for (int e = 0; e < (VEC ? 1 : 4); e++) {
      int tap = (first + e) / c;
      found.r[e] = first + e < rows ? tap / kw : -(1 << 28);
      found.s[e] = tap % kw;
      found.offset[e] = (tap / kw * w + tap % kw) * c + (first + e) % c;
    }
    return found;
  }
  __device__ At at(int d) const {
    int line = ow.quotient(d), n = oh.quotient(line);
    int r = sh * (line - n * (int)oh.by) - top, s = sw * (d - line * (int)ow.by) - left;
    return {x + ((long long)n * h * w + (long long)r * w + s) * c, r, s, last - d};
  }
  // The place after it: beside it, or the first of the next row, or of the next picture.
  __device__ void next(At& at) const {
    at.rest--;
    at.s += sw, at.start += sw * c;
    if (!ONE_LINE && at.s + left >= sw * (int)ow.by) {
      int back = sw * (int)ow.by;
      at.s -= back, at.r += sh, at.start += (long long)(sh * w - back) * c;
      if (at.r + top >= sh * (int)oh.by) {
        int up = sh * (int)oh.by;
        at.r -= up, at.start += (long long)(h - up) * w * c;
      }
    }
  }
  __device__ bool there(const Row& row, const At& at, int e = 0) const {
    return at.rest > 0 && (unsigned)(at.r + row.r[e]) < (unsigned)h && (unsigned)(at.s + row.s[e]) < (unsigned)w;
  }
  __device__ const Source* where(const Row& row, const At& at, int e = 0) const { return at.start + row.offset[e]; }
  __device__ const Source* some() const { return x; }
  __device__ Four load(const Row& row, const At& at) const {
    if constexpr (VEC) {
      return four(where(row, at), there(row, at));
    } else {
      real v[4];
      for (int e = 0; e < 4; e++) v[e] = there(row, at, e) ? *where(row, at, e) : 0;
      return {v[0], v[1], v[2], v[3]};
    }
  }
};
