// What nn/gpu/ptx.cuh says, in C++: the same names, the same numbers in the same lanes.

typedef unsigned int word;

#define DYNAMIC_SHARED(name) unsigned char* name = emulator::dynamic_shared

// A copy happens as late as it may: when its group is waited for. So a wait that is missing shows.
inline void copy_async(void* to, const void* from, bool there) {
  emulator::copies[emulator::now].push_back({to, from, there});
}
inline void copy_commit() { emulator::copies[emulator::now].push_back({0, 0, false}); }
template <int N>
inline void copy_wait() { emulator::arrive(N); }

inline float float_of(word bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

// To nearest, ties away from 0, as cvt.rna does.
inline word tf32(float x) {
  word bits;
  memcpy(&bits, &x, 4);
  if ((bits & 0x7f800000u) == 0x7f800000u) return bits;
  return (bits + 0x1000u) & 0xffffe000u;
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

struct Halves {
  float of[65536];
  Halves() {
    for (unsigned h = 0; h < 65536; h++) of[h] = decoded(h);
  }
};
static const Halves halves;

inline word half2(float low, float high) { return half_of(low) | half_of(high) << 16; }

// The product of two words: one number each, or the sum over two.
template <bool HALF>
inline float words_product(word a, word b) {
  if (!HALF) return float_of(a & 0xffffe000u) * float_of(b & 0xffffe000u);
  return halves.of[a & 0xffffu] * halves.of[b & 0xffffu] + halves.of[a >> 16] * halves.of[b >> 16];
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
