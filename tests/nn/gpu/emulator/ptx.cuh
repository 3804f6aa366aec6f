// What nn/gpu/ptx.cuh says, in C++: the same names, the same numbers in the same lanes.

typedef unsigned int word;

#define DYNAMIC_SHARED(name) unsigned char* name = emulator::dynamic_shared

template <class T>
inline void load_four(const T* from, bool there, T (&v)[4]) {
  if (there && (uintptr_t)from % (4 * sizeof(T)) && (uintptr_t)from % 16) abort();  // a card would refuse it
  for (int i = 0; i < 4; i++) v[i] = there ? from[i] : 0;
}

// A copy happens as late as it may: when its group is waited for. So a wait that is missing shows.
inline void copy_async(void* to, const void* from, bool there) {
  emulator::copies[emulator::now].push_back({to, from, there});
}
inline void copy_near(void* to, const void* from, bool there) { copy_async(to, from, there); }
inline void copy_commit() { emulator::copies[emulator::now].push_back({0, 0, false}); }
template <int N>
inline void copy_wait() { emulator::arrive(N); }

inline float float_of(word bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

inline float __uint_as_float(word bits) { return float_of(bits); }

// The last bits stay, as on the card: products take no notice of them.
inline word tf32(float x) {
  x = fmaf(x, 0.7f / 2048, x);
  word bits;
  memcpy(&bits, &x, 4);
  return bits;
}

// To nearest, ties to even, with numbers below the smallest normal one.
inline unsigned half_of(float x) {
  word bits;
  memcpy(&bits, &x, 4);
  unsigned sign = bits >> 16 & 0x8000u, rest = bits & 0x7fffffffu;
  if (rest > 0x7f800000u) return sign | 0x7e00u;
  double size = fabs((double)x);
  if (size >= 65520.0) return sign | 0x7c00u;
  int exponent = size == 0 ? -14 : ilogb(size);
  if (exponent < -14) exponent = -14;
  double ulps = nearbyint(ldexp(size, 10 - exponent));
  if (ulps >= 2048) {
    ulps /= 2;
    exponent++;
  }
  if (ulps < 1024) return sign | (unsigned)ulps;
  return sign | (unsigned)(exponent + 15) << 10 | ((unsigned)ulps - 1024);
}

inline float decoded(unsigned h) {
  int exponent = h >> 10 & 31, fraction = h & 1023;
  float size = exponent == 31  ? (fraction ? NAN : INFINITY)
               : exponent == 0 ? ldexpf((float)fraction, -24)
                               : ldexpf((float)(1024 + fraction), exponent - 25);
  return h & 0x8000u ? -size : size;
}

struct DecodedHalves {
  float of[65536];
  DecodedHalves() {
    for (unsigned h = 0; h < 65536; h++) of[h] = decoded(h);
  }
};
static const DecodedHalves decoded_halves;

inline word half2(float low, float high) { return half_of(low) | half_of(high) << 16; }

// The product of two words: one number each, or the sum over two.
template <bool HALF>
inline float words_product(word a, word b) {
  if (!HALF) return float_of(a & 0xffffe000u) * float_of(b & 0xffffe000u);
  return decoded_halves.of[a & 0xffffu] * decoded_halves.of[b & 0xffffu] + decoded_halves.of[a >> 16] * decoded_halves.of[b >> 16];
}

template <bool HALF>
inline void mma(float (&c)[4], const word (&a)[4], const word (&b)[2]) {
  uint64_t mine[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
  auto all = emulator::exchange(mine, 6);
  int g = emulator::lane() / 4, t = emulator::lane() % 4;
  for (int i = 0; i < 4; i++) {
    int row = g + (i >= 2 ? 8 : 0), column = 2 * t + i % 2;
    for (int k = 0; k < 8; k++) {
      word left = (word)all[4 * (row % 8) + k % 4][(row >= 8 ? 1 : 0) + (k >= 4 ? 2 : 0)];
      word right = (word)all[4 * column + k % 4][4 + (k >= 4 ? 1 : 0)];
      c[i] += words_product<HALF>(left, right);
    }
  }
}

inline void mma_tf32(float (&c)[4], const word (&a)[4], const word (&b)[2]) { mma<false>(c, a, b); }
inline void mma_half(float (&c)[4], const word (&a)[4], const word (&b)[2]) { mma<true>(c, a, b); }

// Products of a warpgroup happen as late as they may, too: when their group is waited for. By then, what is written too early
// over their factors is what they read.

// Where a factor lies: its low word, in units of 16 bytes from the start of shared memory.
inline unsigned matrix(const void* p) {
  return ((const unsigned char*)p - emulator::dynamic_shared & 0x3ffff) >> 4 | 1 << 16;
}

// Word w of row r of such a factor, as NVIDIA documents the swizzle of 128 bytes: eight rows of 128 bytes, then the next eight;
// bits 4 .. 6 of an address are replaced by their exclusive or with bits 7 .. 9.
inline word word_at(unsigned matrix, int r, int w) {
  unsigned at = ((matrix & 0x3fff) << 4) + r / 8 * 1024 + r % 8 * 128 + 4 * w;
  at ^= (at >> 7 & 7) << 4;
  word found;
  memcpy(&found, emulator::dynamic_shared + at, 4);
  return found;
}

template <bool HALF>
inline void run_product(const emulator::Product& p) {
  int warp = emulator::now / 32 % 4, g = emulator::lane() / 4, t = emulator::lane() % 4;
  for (int i = 0; i < p.columns / 2; i++) {
    int row = 16 * warp + g + (i % 4 >= 2 ? 8 : 0), column = i / 4 * 8 + 2 * t + i % 2;
    for (int k = 0; k < 8; k++) p.sums[i] += words_product<HALF>(word_at(p.left, row, k), word_at(p.right, column, k));
  }
}

// What a thread stored, or copied, is not yet there for products: they go another way to shared memory.
inline void begin_product() {
  for (unsigned t = 0; t < blockDim.x; t++)
    if (emulator::unseen[t]) emulator::failed = 3;
}
template <int HELD>
inline void multiply_tf32(float (&c)[HELD], unsigned a, unsigned b) {
  begin_product();
  emulator::products[emulator::now].push_back({c, 2 * HELD, a, b, run_product<false>});
}
template <int HELD>
inline void multiply_half(float (&c)[HELD], unsigned a, unsigned b) {
  begin_product();
  emulator::products[emulator::now].push_back({c, 2 * HELD, a, b, run_product<true>});
}
template <int N>
inline void load_words(const void* from, bool there, word (&v)[N]) {
  if (there && (uintptr_t)from % sizeof v) abort();  // a card would refuse it
  memset(v, 0, sizeof v);
  if (there) memcpy(v, from, sizeof v);
}
inline void store_words(void* to, const word (&v)[4]) {
  if ((uintptr_t)to % 16) abort();
  memcpy(to, v, 16);
  emulator::unseen[emulator::now] = true;
}
inline word halves(word low, word high, bool upper) {
  return upper ? low >> 16 | high & 0xffff0000u : low & 0xffffu | high << 16;
}
inline void stored_for_products() { emulator::unseen[emulator::now] = false; }
inline void products_begin() {}
inline void products_commit() { emulator::products[emulator::now].push_back({0, 0, 0, 0, 0}); }
template <int N>
inline void products_wait() { emulator::finish_products(N); }
