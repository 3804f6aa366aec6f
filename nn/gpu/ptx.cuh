// Every instruction that C++ has no word for, each in a small function. Nothing else in this folder holds assembler.
//
//   tf32(x)              float32 for a product of TF32 (8 bits of exponent, 10 of fraction), which takes no notice of the last
//                        13 bits. Rounding to nearest is four instructions on Hopper; this is one: 0.35 to 0.7 of the last
//                        place that stays are added, so that what is cut off then is right on average. The error is below 0.7
//                        of a place, its root mean square 0.31 (to nearest: 0.5 and 0.29). Factors of 11 bits stay as they are
//   half2(low, high)     two float32 rounded to float16, in one word
//   mma_tf32, mma_half   c (16 x 8, float32) += a (16 x 8 words) b (8 words x 8), by all 32 lanes of a warp together
//   load_four            four numbers that lie side by side, or zeros: one load that is left out, and no branch
//   load_words           the same of 16 or 8 bytes, whatever they mean
//   copy_async           16 bytes from global into shared memory, or zeros, past all registers; copy_commit closes a group of
//                        such copies, copy_wait<N> waits until all but the last N groups of this thread have arrived
//   DYNAMIC_SHARED       declares the shared memory whose size the launch names; it begins at a multiple of 1024 bytes
//   multiply_tf32, multiply_half   c (64 x N, float32) += a (64 x 8 words) b (8 words x N) by the 128 threads of a warpgroup,
//                        N = 32, 64, 128, 256; both from shared memory, where matrix(p) says that they lie. products_begin() stands
//                        before them, products_commit() closes a group, products_wait<N>() waits until all but the last N groups
//                        are done. What threads stored is theirs to read after stored_for_products() and a barrier
//
// A word holds one number of TF32 or two of float16 that follow each other along the sum. With lane = 4 g + t, each lane
// holds of a the words (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4), of b the words (t, g), (t + 4, g), and of c the
// numbers (g, 2 t), (g, 2 t + 1), (g + 8, 2 t), (g + 8, 2 t + 1). Needs sm_80.
// Warp w of a warpgroup holds rows 16 w .. 16 w + 15 of c likewise, four numbers of each eight columns. Needs sm_90a.
//
// The tests compile the same sources for a CPU, with another file of this name, which computes the same.

typedef unsigned int word;

#define DYNAMIC_SHARED(name) extern __shared__ __align__(1024) unsigned char name[]

__device__ __forceinline__ void load_four(const float* from, bool there, float (&v)[4]) {
  asm("{.reg .pred p; setp.ne.u32 p, %5, 0; mov.f32 %0, 0f00000000; mov.f32 %1, 0f00000000; mov.f32 %2, 0f00000000; "
      "mov.f32 %3, 0f00000000; @p ld.global.v4.f32 {%0, %1, %2, %3}, [%4];}"
      : "=&f"(v[0]), "=&f"(v[1]), "=&f"(v[2]), "=&f"(v[3])
      : "l"(from), "r"((unsigned)there));
}

__device__ __forceinline__ void load_four(const double* from, bool there, double (&v)[4]) {
  for (int i = 0; i < 4; i++) v[i] = there ? from[i] : 0;
}

__device__ __forceinline__ void load_words(const void* from, bool there, word (&v)[4]) {
  float bits[4];
  load_four((const float*)from, there, bits);
  for (int i = 0; i < 4; i++) v[i] = __float_as_uint(bits[i]);
}

__device__ __forceinline__ void load_words(const void* from, bool there, word (&v)[2]) {
  asm("{.reg .pred p; setp.ne.u32 p, %3, 0; mov.u32 %0, 0; mov.u32 %1, 0; @p ld.global.v2.u32 {%0, %1}, [%2];}"
      : "=&r"(v[0]), "=&r"(v[1])
      : "l"(from), "r"((unsigned)there));
}

__device__ __forceinline__ void copy_async(void* to, const void* from, bool there) {
  unsigned at = (unsigned)__cvta_generic_to_shared(to);
  int bytes = there ? 16 : 0;  // of the 16; the rest are zeros
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(bytes) : "memory");
}

// The same by way of the nearest cache, for what is read again soon.
__device__ __forceinline__ void copy_near(void* to, const void* from, bool there) {
  unsigned at = (unsigned)__cvta_generic_to_shared(to);
  int bytes = there ? 16 : 0;
  asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(bytes) : "memory");
}

__device__ __forceinline__ void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int N>
__device__ __forceinline__ void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

__device__ __forceinline__ word tf32(float x) { return __float_as_uint(fmaf(x, 0.7f / 2048, x)); }

__device__ __forceinline__ word half2(float low, float high) {
  word bits;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  return bits;
}

__device__ __forceinline__ void mma_tf32(float (&c)[4], const word (&a)[4], const word (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ void mma_half(float (&c)[4], const word (&a)[4], const word (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#if WARPGROUP

// Where a factor lies: the low word of what the instruction is given, in units of 16 bytes, and the high word, which is the same
// for all. Rows of 128 bytes, swizzled by 16-byte chunks, eight rows 1024 bytes apart from the next eight.
__device__ __forceinline__ unsigned matrix(const void* p) {
  return ((unsigned)__cvta_generic_to_shared(p) & 0x3ffff) >> 4 | 1 << 16;
}
#define MATRIX_HIGH "0x40000040"

__device__ __forceinline__ void stored_for_products() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
__device__ __forceinline__ void products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void products_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

template <int N>
__device__ __forceinline__ void products_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}

// 16 bytes into shared memory.
__device__ __forceinline__ void store_words(void* to, const word (&v)[4]) { *(uint4*)to = make_uint4(v[0], v[1], v[2], v[3]); }

// The low halves of two words, or their high ones, as a word.
__device__ __forceinline__ word halves(word low, word high, bool upper) {
  return __byte_perm(low, high, upper ? 0x7632 : 0x5410);
}

// Each size of c is an instruction of its own; all of its numbers are named.
#define NAMES_16 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define NAMES_32 NAMES_16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define NAMES_64                                                                     \
  NAMES_32                                                                           \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47" \
  ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define NAMES_128                                                                                    \
  NAMES_64                                                                                           \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"                 \
  ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"                 \
  ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111"     \
  ", %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define FOUR(c, i) "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3])
#define HELD_16(c, i) FOUR(c, i), FOUR(c, i + 4), FOUR(c, i + 8), FOUR(c, i + 12)
#define HELD_32(c) HELD_16(c, 0), HELD_16(c, 16)
#define HELD_64(c) HELD_32(c), HELD_16(c, 32), HELD_16(c, 48)
#define HELD_128(c) HELD_64(c), HELD_16(c, 64), HELD_16(c, 80), HELD_16(c, 96), HELD_16(c, 112)
// The last numbers of the instruction: c is added to, neither factor is negated; of float16, neither is turned.
#define MULTIPLY(name, count, shape, names, held, left, right, ends)                            \
  __device__ __forceinline__ void name(float (&c)[count], unsigned a, unsigned b) {             \
    asm volatile("{.reg .pred p; .reg .b64 a, b; setp.eq.u32 p, 0, 0; "                         \
                 "mov.b64 a, {" left ", " MATRIX_HIGH "}; mov.b64 b, {" right ", " MATRIX_HIGH "}; " \
                 "wgmma.mma_async.sync.aligned." shape " {" names "}, a, b, p, " ends ";}"      \
                 : held                                                                         \
                 : "r"(a), "r"(b));                                                             \
  }
MULTIPLY(multiply_tf32, 16, "m64n32k8.f32.tf32.tf32", NAMES_16, HELD_16(c, 0), "%16", "%17", "1, 1")
MULTIPLY(multiply_tf32, 32, "m64n64k8.f32.tf32.tf32", NAMES_32, HELD_32(c), "%32", "%33", "1, 1")
MULTIPLY(multiply_tf32, 64, "m64n128k8.f32.tf32.tf32", NAMES_64, HELD_64(c), "%64", "%65", "1, 1")
MULTIPLY(multiply_tf32, 128, "m64n256k8.f32.tf32.tf32", NAMES_128, HELD_128(c), "%128", "%129", "1, 1")
MULTIPLY(multiply_half, 16, "m64n32k16.f32.f16.f16", NAMES_16, HELD_16(c, 0), "%16", "%17", "1, 1, 0, 0")
MULTIPLY(multiply_half, 32, "m64n64k16.f32.f16.f16", NAMES_32, HELD_32(c), "%32", "%33", "1, 1, 0, 0")
MULTIPLY(multiply_half, 64, "m64n128k16.f32.f16.f16", NAMES_64, HELD_64(c), "%64", "%65", "1, 1, 0, 0")
MULTIPLY(multiply_half, 128, "m64n256k16.f32.f16.f16", NAMES_128, HELD_128(c), "%128", "%129", "1, 1, 0, 0")

#endif
