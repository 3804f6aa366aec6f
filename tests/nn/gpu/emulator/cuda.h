// CUDA's words for a CPU: one block after another, each of its threads a fiber.
//
// The threads of a block run in turn, each until it meets a barrier or an instruction of the whole warp, and waits there for
// the others; so a missing barrier shows as a wrong number, the more so as the turn can be reversed. Threads that run
// through without waiting share one fiber. Shared memory that is declared static lies in static variables.

#pragma once
#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __restrict__ __restrict
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)
#define __syncthreads() emulator::wait(emulator::AT_BARRIER)
#define __syncwarp() emulator::wait(emulator::AT_WARP)

struct dim3 {
  unsigned x, y, z;
};
static dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulator {

enum State { READY, AT_BARRIER, AT_WARP, DONE };
enum { MOST = 1024, STACK = 128 * 1024 };

struct Fiber {
  ucontext_t context;
  jmp_buf here;
  bool made;
};
static Fiber fibers[MOST];
static State state[MOST];
static int fiber_of[MOST];       // which fiber a thread that waits lies on
static int idle[MOST], idle_count;
static jmp_buf scheduler;
static ucontext_t birth;
static int now, now_fiber;       // the thread that runs, and its fiber
static void (*body)(void**);
static void** body_args;
static int failed;               // 1: threads of a warp, or of a block, wait for different things; 3: products do not see
static bool unseen[MOST];        // what this thread has stored, unless it says so first

static void set_thread(int t) {
  threadIdx.x = t % blockDim.x;
  threadIdx.y = t / blockDim.x % blockDim.y;
  threadIdx.z = t / (blockDim.x * blockDim.y);
}

static void wait(State why) {
  state[now] = why;
  fiber_of[now] = now_fiber;
  if (_setjmp(fibers[now_fiber].here) == 0) _longjmp(scheduler, 1);
}

static void life(int f) {
  if (_setjmp(fibers[f].here) == 0) swapcontext(&fibers[f].context, &birth);
  for (;;) {
    body(body_args);
    state[now] = DONE;
    if (_setjmp(fibers[f].here) == 0) _longjmp(scheduler, 2);
  }
}

static void bear(int f) {
  Fiber& fiber = fibers[f];
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp =
      mmap(0, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  fiber.context.uc_stack.ss_size = STACK;
  fiber.context.uc_link = 0;
  makecontext(&fiber.context, (void (*)())life, 1, f);
  swapcontext(&birth, &fiber.context);
  fiber.made = true;
}

// Runs thread t until it waits or ends.
static void resume(int t) {
  now = t;
  set_thread(t);
  if (state[t] == READY && fiber_of[t] < 0) now_fiber = idle[--idle_count];
  else now_fiber = fiber_of[t];
  if (!fibers[now_fiber].made) bear(now_fiber);
  int how = _setjmp(scheduler);
  if (how == 0) _longjmp(fibers[now_fiber].here, 1);
  if (how == 2) {
    idle[idle_count++] = now_fiber;
    fiber_of[now] = -1;
  }
}

static void run_warp(int first, int last, bool backwards) {
  for (;;) {
    int at_warp = 0, at_barrier = 0;
    for (int i = first; i < last; i++) {
      int t = backwards ? last - 1 - (i - first) : i;
      if (state[t] == READY) resume(t);
      at_warp += state[t] == AT_WARP;
      at_barrier += state[t] == AT_BARRIER;
    }
    if (at_warp == 0) return;
    if (at_barrier > 0 || at_warp != last - first) {
      failed = 1;
      return;
    }
    for (int t = first; t < last; t++) state[t] = READY;
  }
}

// Copies that a thread has asked for and not yet waited for; one without a place closes a group.
struct Copy {
  void* to;
  const void* from;
  bool there;
};
static std::vector<Copy> copies[MOST];
static unsigned char dynamic_shared[227 * 1024] __attribute__((aligned(1024)));

// Products of a warpgroup that a thread has begun and not yet waited for; one without sums closes a group.
struct Product {
  float* sums;
  int columns;
  unsigned left, right;
  void (*run)(const Product&);
};
static std::vector<Product> products[MOST];

static void finish_products(int but) {
  std::vector<Product>& mine = products[now];
  int groups = 0, first = 0;
  for (const Product& p : mine) groups += p.sums == 0;
  for (; groups > but; first++) {
    if (mine[first].sums == 0) groups--;
    else mine[first].run(mine[first]);
  }
  mine.erase(mine.begin(), mine.begin() + first);
}

static void arrive(int but) {
  std::vector<Copy>& mine = copies[now];
  unseen[now] = true;
  int groups = 0, first = 0;
  for (const Copy& c : mine) groups += c.to == 0;
  for (; groups > but; first++) {
    const Copy& c = mine[first];
    if (c.to == 0) groups--;
    else if (c.there) memcpy(c.to, c.from, 16);
    else memset(c.to, 0, 16);
  }
  mine.erase(mine.begin(), mine.begin() + first);
}

static void run_block(bool backwards) {
  memset(dynamic_shared, 0xff, sizeof dynamic_shared);
  for (int t = 0; t < MOST; t++) copies[t].clear(), products[t].clear(), unseen[t] = false;
  int threads = blockDim.x * blockDim.y * blockDim.z, warps = (threads + 31) / 32;
  idle_count = 0;
  for (int i = MOST - 1; i >= 0; i--) idle[idle_count++] = i;
  for (int t = 0; t < threads; t++) {
    state[t] = READY;
    fiber_of[t] = -1;
  }
  for (;;) {
    for (int i = 0; i < warps; i++) {
      int w = backwards ? warps - 1 - i : i;
      run_warp(32 * w, 32 * w + 32 < threads ? 32 * w + 32 : threads, backwards);
      if (failed) return;
    }
    int waiting = 0;
    for (int t = 0; t < threads; t++) waiting += state[t] == AT_BARRIER;
    if (waiting == 0) return;
    if (waiting != threads) {
      failed = 1;
      return;
    }
    for (int t = 0; t < threads; t++) state[t] = READY;
  }
}

// What a lane gives to its warp, and reads of the others' after all have given: two sets in turn, so that the next one
// does not overwrite what a slower lane still reads.
enum { WORDS = 8 };
static uint64_t given[2][MOST][WORDS];
static unsigned char turn[MOST];

static uint64_t (*exchange(const uint64_t* words, int count))[WORDS] {
  int set = turn[now] ^= 1;
  memcpy(given[set][now], words, count * sizeof(uint64_t));
  wait(AT_WARP);
  return &given[set][now / 32 * 32];
}

static int lane() { return now % 32; }

// Calls a kernel with arguments that lie behind pointers, as cudaLaunchKernel does; 2 where their sizes do not fit.
template <class... A>
struct Caller {
  static void (*kernel)(A...);
  template <int... I>
  struct Numbers {};
  template <int N, int... I>
  struct Count : Count<N - 1, N - 1, I...> {};
  template <int... I>
  struct Count<0, I...> {
    typedef Numbers<I...> Type;
  };
  template <int... I>
  static void unpack(void** args, Numbers<I...>) {
    kernel(*(A*)args[I]...);
  }
  static void call(void** args) { unpack(args, typename Count<sizeof...(A)>::Type()); }
};
template <class... A>
void (*Caller<A...>::kernel)(A...);

template <class... A>
int launch(void (*kernel)(A...), const unsigned* dims, void** args, const int* sizes, int count) {
  int wanted[] = {int(sizeof(A))..., 0};
  if (count != int(sizeof...(A))) return 2;
  for (int i = 0; i < count; i++)
    if (sizes[i] != wanted[i]) return 2;
  Caller<A...>::kernel = kernel;
  body = Caller<A...>::call;
  body_args = args;
  gridDim = {dims[0], dims[1], dims[2]};
  blockDim = {dims[3], dims[4], dims[5]};
  bool backwards = dims[6];
  failed = 0;
  unsigned blocks = dims[0] * dims[1] * dims[2];
  for (unsigned i = 0; i < blocks && !failed; i++) {
    unsigned b = backwards ? blocks - 1 - i : i;
    blockIdx = {b % dims[0], b / dims[0] % dims[1], b / (dims[0] * dims[1])};
    run_block(backwards);
  }
  return failed;
}

template <class T>
T from_lane(T value, int source) {
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof(T));
  auto all = exchange(&bits, 1);
  T result;
  memcpy(&result, all[source], sizeof(T));
  return result;
}

}  // namespace emulator

template <class T>
inline T __shfl_down_sync(unsigned, T value, int by) {
  int from = emulator::lane() + by;
  return emulator::from_lane(value, from < 32 ? from : emulator::lane());
}
template <class T>
inline T __shfl_xor_sync(unsigned, T value, int mask) {
  return emulator::from_lane(value, emulator::lane() ^ mask);
}
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
