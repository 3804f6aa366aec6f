// Every instruction that C++ has no word for, each in a small function. Nothing else in this folder holds assembler.
//
//   tf32(x)              float32 rounded to TF32 (8 bits of exponent, 10 of fraction), in the bits of a float32
//   half2(low, high)     two float32 rounded to float16, in one word
//   mma_tf32, mma_half   c (16 x 8, float32) += a (16 x 8 words) b (8 words x 8), by all 32 lanes of a warp together
//   copy_async           16 bytes from global into shared memory, or zeros, past all registers; copy_commit closes a group of
//                        such copies, copy_wait<N> waits until all but the last N groups of this thread have arrived
//   DYNAMIC_SHARED       declares the shared memory whose size the launch names
//
// A word holds one number of TF32 or two of float16 that follow each other along the sum. With lane = 4 g + t, each lane
// holds of a the words (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4), of b the words (t, g), (t + 4, g), and of c the
// numbers (g, 2 t), (g, 2 t + 1), (g + 8, 2 t), (g + 8, 2 t + 1). Needs sm_80.
//
// The tests compile the same sources for a CPU, with another file of this name, which computes the same.

typedef unsigned int word;

#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]

__device__ __forceinline__ void copy_async(void* to, const void* from, bool there) {
  unsigned at = (unsigned)__cvta_generic_to_shared(to);
  int bytes = there ? 16 : 0;  // of the 16; the rest are zeros
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(bytes) : "memory");
}

__device__ __forceinline__ void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int N>
__device__ __forceinline__ void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

__device__ __forceinline__ word tf32(float x) {
  word bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
}

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
