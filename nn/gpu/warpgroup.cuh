// One tile of a matrix product (rows x depth) (depth x columns) by one block, with the instructions that Hopper has for it
// (sm_90a): four warps, a warpgroup, multiply 64 rows by all columns of the tile, both factors straight from shared memory, and
// go on with something else while that runs. Factors, tile and MATH are those of tile.cuh; MATH is 1 or 2 here, and four
// neighbours are always one load.
//
// Set before compiling:  BM rows, 64 for each warpgroup;  BN columns, 32, 64, 128 or 256;  WARPS_M = BM / 16, WARPS_N = 1.
//
// Operations: 2 BM BN DEPTH a step. What ends the speed is the way through the processor's own memory, 128 bytes a cycle: all
// that is fetched passes it once on its way to registers and once when it is stored, 128 (BM + BN) bytes each, and each
// warpgroup reads 128 (64 + BN). With 128 x 128 that is 896 cycles a step, of which the products take 512; with 128 x 256 it is
// 1,408 of 1,024. Of the smaller tiles two blocks are on a processor: one's products run while the other stores.
//
// Three buffers, one barrier a step, and in step s:
//     products of buffer s                     begun, not waited for
//     what was fetched for s + 1  -> shared    TF32 is rounded on the way; laid out as the instruction wants it
//     s + 2 from memory -> registers           arrives during the next step
//     products of s - 1                        waited for: their buffer is the next to be written
//
// COPIED, for factors whose rows lie along the sum, and which were rounded beforehand (factors.cu): they are copied straight into
// shared memory, one or two steps ahead (AHEAD), past all registers, and so pass it once instead of twice; and a barrier
// stands before the products of a step instead of behind them.
//
// In shared memory a row is 128 bytes of the sum: 32 numbers of TF32, or 64 of float16, in 8 chunks of 16 bytes. Chunk j of row
// r lies at chunk j ^ (r % 8) ("128-byte swizzle"), so that eight rows of one chunk, and eight chunks of one row, meet all
// 32 banks. Factors whose rows are neighbours in memory (by_rows false) are turned in registers: a thread fetches four rows of
// a chunk's depths and stores four chunks. Lanes 8 q + 2 c + b fetch rows 8 q + 4 b of chunk c: eight lanes read 128 bytes of
// a line, and eight that store together meet all banks.

#define LINE 32  // words of a row in shared memory
#define PACK (MATH == 2 ? 2 : 1)  // numbers of the sum in a word
#define DEPTH (LINE * PACK)
#if COPIED
#define STAGES (BM * BN > 128 * 128 ? 4 : 3)
#define AHEAD (STAGES - 2)  // steps
#else
#define STAGES 3
#endif

struct alignas(16) Chunk {
  word v[4];
};
// Four neighbours as they lie in memory: words of TF32, or two words of float16.
struct alignas(16 / PACK) Neighbours {
  word v[4 / PACK];
};

// Chunk j of row r.
__device__ __forceinline__ Chunk* place(word* to, int r, int j) { return (Chunk*)(to + r * LINE + (j ^ r % 8) * 4); }

#if COPIED

template <class Factor, int SIZE>
struct Loader {
  static constexpr int ROOM = SIZE * LINE;
  static constexpr int EACH = SIZE * 8 / THREADS;  // chunks a thread

  const Factor factor;
  typename Factor::Row rows[EACH];

  __device__ static int row(int i) { return threadIdx.x / 8 + i * (THREADS / 8); }

  __device__ Loader(const Factor& f, int start) : factor(f) {
#pragma unroll
    for (int i = 0; i < EACH; i++) rows[i] = factor.row(start + row(i));
  }
  __device__ void bring(word* to, int depth) const {
    int chunk = threadIdx.x % 8;
    typename Factor::At at = factor.at(depth + 4 * PACK * chunk);
#pragma unroll
    for (int i = 0; i < EACH; i++) {
      bool there = factor.there(rows[i], at);
      copy_near(place(to, row(i), chunk), there ? factor.where(rows[i], at) : factor.some(), there);
    }
  }
};

#else

template <bool FIRST, class A, class B>
struct Either {
  typedef A Type;
};
template <class A, class B>
struct Either<false, A, B> {
  typedef B Type;
};

template <class Factor, int SIZE>
struct Loader {
  static constexpr bool by_rows = Factor::by_rows;
  static constexpr int ROOM = SIZE * LINE;
  static constexpr int UNITS = by_rows ? SIZE * 8 : SIZE * 2;  // chunks, or four chunks below each other
  static constexpr int EACH = (UNITS + THREADS - 1) / THREADS;
  static constexpr int LOADS = by_rows ? 1 : 4 * PACK;  // of a unit: a chunk, or four rows at each of its depths
  typedef typename Either<by_rows, Chunk, Neighbours>::Type Load;

  const Factor factor;
  typename Factor::Row rows[EACH];
  Load held[EACH][LOADS];

  __device__ static int unit(int i) { return threadIdx.x + i * THREADS; }
  __device__ static bool mine(int i) { return UNITS % THREADS == 0 || unit(i) < UNITS; }
  __device__ static int row(int i) {
    int u = unit(i), lane = u % 32;
    return by_rows ? u / 8 : u / 32 % (SIZE / 32) * 32 + 8 * (lane / 8) + 4 * (lane % 2);
  }
  __device__ static int chunk(int i) {
    int u = unit(i);
    return by_rows ? u % 8 : u / 32 / (SIZE / 32) * 4 + u / 2 % 4;
  }

  __device__ Loader(const Factor& f, int start) : factor(f) {
#pragma unroll
    for (int i = 0; i < EACH; i++) rows[i] = factor.row(start + row(i));
  }

  __device__ void fetch(int depth) {
    typename Factor::At at = factor.at(depth + 4 * PACK * chunk(0));  // the same for all units of a thread that is by_rows
#pragma unroll
    for (int i = 0; i < EACH; i++) {
      if (!by_rows && i > 0) at = factor.at(depth + 4 * PACK * chunk(i));
#pragma unroll
      for (int d = 0; d < LOADS; d++) {
        load_words(factor.where(rows[i], at), mine(i) && factor.there(rows[i], at), held[i][d].v);
        if constexpr (!by_rows) factor.next(at);
      }
    }
  }

  __device__ void store(word* to) const {
#pragma unroll
    for (int i = 0; i < EACH; i++)
      if (mine(i)) {
        if constexpr (by_rows) {
          put(to, row(i), chunk(i), held[i][0]);
        } else {
#pragma unroll
          for (int e = 0; e < 4; e++) put(to, row(i) + e, chunk(i), turned(held[i], e));
        }
      }
  }

  __device__ static void put(word* to, int r, int j, Chunk chunk) {
#if MATH == 1
#pragma unroll
    for (int i = 0; i < 4; i++) chunk.v[i] = tf32(__uint_as_float(chunk.v[i]));
#endif
    store_words(place(to, r, j), chunk.v);
  }
  // Row e of four, at the depths of a chunk.
  __device__ static Chunk turned(const Load (&held)[LOADS], int e) {
    Chunk found;
#pragma unroll
    for (int i = 0; i < 4; i++) {
#if MATH == 1
      found.v[i] = held[i].v[e];
#else
      found.v[i] = halves(held[2 * i].v[e / 2], held[2 * i + 1].v[e / 2], e % 2);
#endif
    }
    return found;
  }
};

#endif

// The tile at (row, column): the sum over the depths from .. to - 1 goes to `out`.
template <class FactorA, class FactorB, class Out>
__device__ void multiply(const FactorA& fa, const FactorB& fb, Out& out, int row, int column, int from, int to) {
  typedef Loader<FactorA, BM> A;
  typedef Loader<FactorB, BN> B;
  DYNAMIC_SHARED(memory);
  word *a = (word*)memory, *b = a + STAGES * A::ROOM;
  A left(fa, row);
  B right(fb, column);
  float sums[BN / 2];
#pragma unroll
  for (int i = 0; i < BN / 2; i++) sums[i] = 0;
  int steps = max(1, (to - from + DEPTH - 1) / DEPTH);  // an empty sum is a step of zeros
#if COPIED
#pragma unroll
  for (int s = 0; s < AHEAD; s++) {
    if (s < steps) left.bring(a + s * A::ROOM, from + s * DEPTH), right.bring(b + s * B::ROOM, from + s * DEPTH);
    copy_commit();  // a group for each step, empty ones too, so that they can be counted
  }
#else
  left.fetch(from), right.fetch(from);
  left.store(a), right.store(b);
  if (steps > 1) left.fetch(from + DEPTH), right.fetch(from + DEPTH);
  stored_for_products();
  __syncthreads();
#endif
  // In units of 16 bytes: a row is 8, a warpgroup's part of the left factor 64 rows.
  unsigned lefts = matrix(a) + threadIdx.x / 128 * (64 * 8), rights = matrix(b);
  int now = 0, step = 0;
  do {
#if COPIED
    copy_wait<AHEAD - 1>();
    stored_for_products();
    __syncthreads();  // the step has arrived for all, and the products before the last are done for all
#endif
    products_begin();
#pragma unroll
    for (int k = 0; k < 4; k++) {  // 32 bytes of each row
#if MATH == 1
      multiply_tf32(sums, lefts + now * (BM * 8) + 2 * k, rights + now * (BN * 8) + 2 * k);
#else
      multiply_half(sums, lefts + now * (BM * 8) + 2 * k, rights + now * (BN * 8) + 2 * k);
#endif
    }
    products_commit();
#if COPIED
    int next = step + AHEAD, free = now >= 2 ? now - 2 : now + STAGES - 2;
    if (next < steps) left.bring(a + free * A::ROOM, from + next * DEPTH), right.bring(b + free * B::ROOM, from + next * DEPTH);
    copy_commit();
    products_wait<1>();
    now = now + 1 < STAGES ? now + 1 : 0;
#else
    int next = now + 1 < STAGES ? now + 1 : 0;
    if (step + 1 < steps) left.store(a + next * A::ROOM), right.store(b + next * B::ROOM);
    if (step + 2 < steps) left.fetch(from + (step + 2) * DEPTH), right.fetch(from + (step + 2) * DEPTH);
    products_wait<1>();
    stored_for_products();
    __syncthreads();
    now = next;
#endif
  } while (++step < steps);
  products_wait<0>();
  // Of the 64 rows of its warpgroup warp w has 16 w .. 16 w + 15, in the places of ptx.cuh.
  int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  typename Out::Row rows[2];
  for (int half = 0; half < 2; half++) rows[half] = out.row(row + threadIdx.x / 32 * 16 + g + 8 * half);
#pragma unroll
  for (int j = 0; j < BN / 8; j++) {
    auto at = out.column(column + 8 * j + 2 * t);
    for (int half = 0; half < 2; half++) out.store(rows[half], at, sums[4 * j + 2 * half], sums[4 * j + 2 * half + 1]);
  }
}
