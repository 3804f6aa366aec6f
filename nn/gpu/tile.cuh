// One tile of a matrix product (rows x depth) (depth x columns) by one block, whatever its factors are gathered from.
//
// Set before compiling:  BM, BN tile (rows, columns);  WARPS_M, WARPS_N how warps share it;  MATH:
//   0  multiply and add in `real` (float or double)     1  TF32 on tensor cores     2  float16 on tensor cores
// both with sums in float32.
//
// A step along the sum brings DEPTH numbers of each row and column from memory into registers, while the step before is
// multiplied from shared memory (two buffers, one barrier a step). Factors are rounded as they are stored there.
//
// A factor says how it lies in memory:
//   by_rows   four numbers that follow each other along the sum lie side by side (patches of a picture: channels)
//   else      four rows (or columns) lie side by side (weights; and both factors of the weight gradient)
//   row(r)    what can be known of row r, or of the rows r .. r + 3, once for all
//   at(d)     what can be known of depth d, or d .. d + 3
//   there(row, at)  whether there are such numbers;  where(row, at): where four of them lie;  some(): where any lie
//   load(row, at)   the four numbers, 0 where there are none
//   next(at)        goes on to the next depth; of factors that are not by_rows, for warpgroup.cuh
//
// PIPELINED (with MATH 1, where four numbers are one load): factors go from global into shared memory by copies that pass no
// register, STAGES - 1 steps ahead, and are rounded as they are read from there. One barrier a step.
//
// In shared memory the words lie as they came: [row][word] with 4 words of padding, or [word][row] with 8: then the lanes
// of a warp, which read words (g, t), meet all 32 banks. MATH 0 keeps [depth][row], so that four rows are one load.

#if MATH == 2
#define DEPTH 32
#define PACK 2  // numbers of the sum in a word
#else
#define DEPTH 16
#define PACK 1
#endif
#define WORDS 16  // of the sum in a step
#define STAGES 3
#if MATH == 0 || PIPELINED
typedef real Stored;
#else
typedef word Stored;
#endif

template <class Factor, int SIZE>
struct Loader {
  static constexpr bool by_rows = Factor::by_rows;
  static constexpr int EACH = SIZE * DEPTH / 4 / THREADS;  // fours a thread
  static constexpr int BESIDE = by_rows ? DEPTH / 4 : SIZE / 4;  // threads that share a row, or a depth
  static constexpr int APART = THREADS / BESIDE;
  static constexpr int ROWS = by_rows ? EACH : 1;
#if MATH == 0
  static constexpr int LINE = SIZE + 4;
  static constexpr int ROOM = WORDS * LINE;
#else
  static constexpr int LINE = by_rows ? WORDS + 4 : SIZE + 8;
  static constexpr int ROOM = by_rows ? SIZE * LINE : WORDS * LINE;
#endif

  const Factor factor;
  typename Factor::Row rows[ROWS];
  Four held[EACH];
  int beside, first;

  __device__ Loader(const Factor& f, int start) : factor(f) {
    beside = threadIdx.x % BESIDE;
    first = threadIdx.x / BESIDE;
    for (int i = 0; i < ROWS; i++) rows[i] = factor.row(by_rows ? start + first + i * APART : start + 4 * beside);
  }

  __device__ void fetch(int depth) {
    if (by_rows) {
      typename Factor::At at = factor.at(depth + 4 * beside);
#pragma unroll
      for (int i = 0; i < EACH; i++) held[i] = factor.load(rows[by_rows ? i : 0], at);
    } else {
#pragma unroll
      for (int i = 0; i < EACH; i++) {
        int d = (first + i / PACK * APART) * PACK + i % PACK;
        held[i] = factor.load(rows[0], factor.at(depth + d));
      }
    }
  }

  __device__ void store(Stored* to) const {
#pragma unroll
    for (int i = 0; i < EACH; i++) {
      const Four& v = held[i];
#if MATH == 0
      if (by_rows) {
        Stored* at = to + 4 * beside * LINE + first + i * APART;
        at[0] = v.x, at[LINE] = v.y, at[2 * LINE] = v.z, at[3 * LINE] = v.w;
      } else {
        *(Four*)(to + (first + i * APART) * LINE + 4 * beside) = v;
      }
#elif MATH == 1
      Words at = {tf32(v.x), tf32(v.y), tf32(v.z), tf32(v.w)};
      int line = first + i * APART;
      *(Words*)(to + line * LINE + 4 * beside) = at;
#else
      if (by_rows) {
        Pair at = {half2(v.x, v.y), half2(v.z, v.w)};
        *(Pair*)(to + (first + i * APART) * LINE + 2 * beside) = at;
      } else if (i % 2 == 1) {
        const Four& u = held[i - 1];  // the depth before: a word holds both
        Words at = {half2(u.x, v.x), half2(u.y, v.y), half2(u.z, v.z), half2(u.w, v.w)};
        *(Words*)(to + (first + i / 2 * APART) * LINE + 4 * beside) = at;
      }
#endif
    }
  }

#if PIPELINED
  __device__ void bring(Stored* to, int depth) const {
    typename Factor::At at = factor.at(depth + 4 * beside);
#pragma unroll
    for (int i = 0; i < EACH; i++) {
      int line = first + i * APART;
      const typename Factor::Row& row = rows[by_rows ? i : 0];
      if (!by_rows) at = factor.at(depth + line);
      bool there = factor.there(row, at);
      copy_async(to + line * LINE + 4 * beside, there ? factor.where(row, at) : factor.some(), there);
    }
  }
#endif

  struct alignas(16) Words {
    word x, y, z, w;
  };
  struct alignas(8) Pair {
    word x, y;
  };

  // Word w of the step, of row r of the tile.
#if MATH != 0
  __device__ static word read(const Stored* from, int r, int w) {
    Stored found = by_rows ? from[r * LINE + w] : from[w * LINE + r];
#if PIPELINED
    return tf32(found);
#else
    return found;
#endif
  }
#endif
};

#if MATH == 0

constexpr int TN = BN == 128 ? 8 : 4, TX = BN / TN, TY = THREADS / TX, TM = BM / TY;

struct Sums {
  real c[TM][TN];

  // Fours of rows and columns lie apart, so that the threads of a warp read neighbouring ones.
  __device__ static int row(int i) { return threadIdx.x / TX * 4 + i / 4 * (TY * 4) + i % 4; }
  __device__ static int column(int j) { return threadIdx.x % TX * 4 + j / 4 * (TX * 4) + j % 4; }

  __device__ void clear() {
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
      for (int j = 0; j < TN; j++) c[i][j] = 0;
  }
  template <class A, class B>
  __device__ void add(const Stored* a, const Stored* b) {
#pragma unroll
    for (int d = 0; d < DEPTH; d++) {
      real left[TM], right[TN];
#pragma unroll
      for (int i = 0; i < TM; i += 4) *(Four*)(left + i) = *(const Four*)(a + d * A::LINE + row(i));
#pragma unroll
      for (int j = 0; j < TN; j += 4) *(Four*)(right + j) = *(const Four*)(b + d * B::LINE + column(j));
#pragma unroll
      for (int i = 0; i < TM; i++)
#pragma unroll
        for (int j = 0; j < TN; j++) c[i][j] += left[i] * right[j];
    }
  }
  template <class Out>
  __device__ void give(Out& out, int first_row, int first_column) const {
    typename Out::Row rows[TM];
#pragma unroll
    for (int i = 0; i < TM; i++) rows[i] = out.row(first_row + row(i));
#pragma unroll
    for (int j = 0; j < TN; j += 2) {
      auto at = out.column(first_column + column(j));
#pragma unroll
      for (int i = 0; i < TM; i++) out.store(rows[i], at, c[i][j], c[i][j + 1]);
    }
  }
};

#else

constexpr int MT = BM / WARPS_M / 16, NT = BN / WARPS_N / 8;

struct Sums {
  float c[MT][NT][4];

  __device__ static int warp_row() { return threadIdx.x / 32 / WARPS_N * (BM / WARPS_M); }
  __device__ static int warp_column() { return threadIdx.x / 32 % WARPS_N * (BN / WARPS_N); }

  __device__ void clear() {
#pragma unroll
    for (int i = 0; i < MT; i++)
#pragma unroll
      for (int j = 0; j < NT; j++)
#pragma unroll
        for (int k = 0; k < 4; k++) c[i][j][k] = 0;
  }
  template <class A, class B>
  __device__ void add(const Stored* a, const Stored* b) {
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int w = 0; w < WORDS; w += 8) {
      word left[MT][4], right[NT][2];
#pragma unroll
      for (int i = 0; i < MT; i++)
#pragma unroll
        for (int k = 0; k < 4; k++)
          left[i][k] = A::read(a, warp_row() + 16 * i + g + k % 2 * 8, w + t + k / 2 * 4);
#pragma unroll
      for (int j = 0; j < NT; j++)
#pragma unroll
        for (int k = 0; k < 2; k++) right[j][k] = B::read(b, warp_column() + 8 * j + g, w + t + k * 4);
#pragma unroll
      for (int i = 0; i < MT; i++)
#pragma unroll
        for (int j = 0; j < NT; j++) {
#if MATH == 1
          mma_tf32(c[i][j], left[i], right[j]);
#else
          mma_half(c[i][j], left[i], right[j]);
#endif
        }
    }
  }
  template <class Out>
  __device__ void give(Out& out, int first_row, int first_column) const {
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
typename Out::Row rows[MT][2];
#pragma unroll
    for (int i = 0; i < MT; i++)
#pragma unroll
      for (int half = 0; half < 2; half++) rows[i][half] = out.row(first_row + warp_row() + 16 * i + g + 8 * half);
#pragma unroll
    for (int j = 0; j < NT; j++) {
      auto at = out.column(first_column + warp_column() + 8 * j + 2 * t);
#pragma unroll
      for (int i = 0; i < MT; i++)
#pragma unroll
        for (int half = 0; half < 2; half++) out.store(rows[i][half], at, c[i][j][2 * half], c[i][j][2 * half + 1]);
    }
  }
};

#endif

#if PIPELINED

template <class FactorA, class FactorB, class Out>
__device__ void multiply(const FactorA& fa, const FactorB& fb, Out& out, int row, int column, int from, int to) {
  typedef Loader<FactorA, BM> A;
  typedef Loader<FactorB, BN> B;
  DYNAMIC_SHARED(memory);
  Stored *a = (Stored*)memory, *b = a + STAGES * A::ROOM;
  A left(fa, row);
  B right(fb, column);
  Sums sums;
  sums.clear();
  int steps = from < to ? (to - from + DEPTH - 1) / DEPTH : 0;
  for (int step = 0; step < STAGES - 1; step++) {
    if (step < steps) left.bring(a + step * A::ROOM, from + step * DEPTH), right.bring(b + step * B::ROOM, from + step * DEPTH);
    copy_commit();  // a group for each step, empty ones too, so that they can be counted
  }
  for (int step = 0; step < steps; step++) {
    copy_wait<STAGES - 2>();
    __syncthreads();  // the step has arrived for all, and all are done with the one before
    int next = step + STAGES - 1, place = next % STAGES;
    if (next < steps) left.bring(a + place * A::ROOM, from + next * DEPTH), right.bring(b + place * B::ROOM, from + next * DEPTH);
    copy_commit();
    place = step % STAGES;
    sums.template add<A, B>(a + place * A::ROOM, b + place * B::ROOM);
  }
  sums.give(out, row, column);
}

#else

// The tile at (row, column): the sum over the depths from .. to - 1 goes to `out`.
template <class FactorA, class FactorB, class Out>
__device__ void multiply(const FactorA& fa, const FactorB& fb, Out& out, int row, int column, int from, int to) {
  typedef Loader<FactorA, BM> A;
  typedef Loader<FactorB, BN> B;
  __shared__ __align__(16) Stored a[2][A::ROOM], b[2][B::ROOM];
  A left(fa, row);
  B right(fb, column);
  Sums sums;
  sums.clear();
  if (from < to) {
    left.fetch(from), right.fetch(from);
    left.store(a[0]), right.store(b[0]);
  }
  __syncthreads();
  int buffer = 0;
  for (int depth = from; depth < to; depth += DEPTH) {
    bool more = depth + DEPTH < to;
    if (more) left.fetch(depth + DEPTH), right.fetch(depth + DEPTH);
    sums.template add<A, B>(a[buffer], b[buffer]);
    buffer ^= 1;
    if (more) left.store(a[buffer]), right.store(b[buffer]);
    __syncthreads();
  }
  sums.give(out, row, column);
}

#endif
