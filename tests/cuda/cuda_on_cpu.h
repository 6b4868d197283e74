// Runs CUDA C++ kernels on the CPU, to test them where there is no GPU: a block's threads are
// fibers that take turns at barriers and warp collectives, some warps far ahead of others at
// random, and shared memory starts as garbage in every block. Blocks run one after the other. Not a
// model of speed, nor of memory order within a turn. A collective without its whole warp aborts.
//
// Include before common.cuh and the .cu file, then:
//     cpu::launch({grid}, {block}, [&] { kernel(arguments...); });
// Compile with -Wno-unknown-pragmas (unroll), -fsanitize=address,undefined and, for bounds of
// shared memory, -fsanitize-sections=cuda_shared.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <type_traits>
#include <utility>
#include <vector>

#ifndef __x86_64__
#include <ucontext.h>
#endif

#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static __attribute__((section("cuda_shared")))
#define __launch_bounds__(...)

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) ushort4 {
  unsigned short x, y, z, w;
};
struct alignas(16) longlong2 {
  long long x, y;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline ushort4 make_ushort4(unsigned short x, unsigned short y, unsigned short z,
                            unsigned short w) {
  return {x, y, z, w};
}
inline longlong2 make_longlong2(long long x, long long y) { return {x, y}; }

inline dim3 threadIdx, blockIdx, blockDim, gridDim;
using std::max, std::min;

// Where the linker puts all shared memory, one after the other. Weak, for there may be none.
extern "C" {
extern char __start_cuda_shared[] __attribute__((weak));
extern char __stop_cuda_shared[] __attribute__((weak));
}

#ifdef __x86_64__
/// Keeps the registers that a call preserves on the stack, its place in `from`, and goes on at
/// `to`.
extern "C" void sae_switch_stack(void** from, void* to);
asm(R"(
.text
.weak sae_switch_stack
.type sae_switch_stack, @function
sae_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size sae_switch_stack, .-sae_switch_stack
)");
#endif

namespace cpu {

constexpr std::size_t kWarp = 32;
constexpr std::size_t kStack = 64 << 10;

enum class Waits { kNo, kBlock, kWarp };

#ifdef __x86_64__  // swapcontext makes two system calls a switch: ten times slower
using Place = void*;
inline void switch_to(Place& from, Place& to) { sae_switch_stack(&from, to); }
inline void start_at(Place& place, std::vector<char>& stack, void (*entry)()) {
  auto top = reinterpret_cast<std::uintptr_t>(stack.data() + stack.size()) & ~std::uintptr_t{15};
  auto* at = reinterpret_cast<void**>(top);
  *--at = nullptr;  // entry's return address: it never returns
  *--at = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--at = nullptr;  // registers
  place = at;
}
#else
using Place = ucontext_t;
inline void switch_to(Place& from, Place& to) { swapcontext(&from, &to); }
inline void start_at(Place& place, std::vector<char>& stack, void (*entry)()) {
  getcontext(&place);
  place.uc_stack.ss_sp = stack.data();
  place.uc_stack.ss_size = stack.size();
  place.uc_link = nullptr;
  makecontext(&place, entry, 0);
}
#endif

/// One thread of the block. It lives for ever and runs one block's kernel after another's.
struct Fiber {
  Place place{};
  std::vector<char> stack = std::vector<char>(kStack);
  Waits waits = Waits::kNo;
  bool done = true;
};

inline std::vector<std::unique_ptr<Fiber>> fibers;
inline Place scheduler{};
inline std::size_t running;
inline std::uint64_t posted[1024];  // what a lane gives to its warp's collective
inline std::function<void()> body;
inline std::mt19937 random;

[[noreturn]] inline void fail(const char* why) {
  std::fprintf(stderr, "cuda_on_cpu: %s (block %u, %u)\n", why, blockIdx.x, blockIdx.y);
  std::abort();
}
inline void wait(Waits what) {
  Fiber& self = *fibers[running];
  self.waits = what;
  switch_to(self.place, scheduler);
}
inline void entry() {
  for (;;) {
    body();
    fibers[running]->done = true;
    switch_to(fibers[running]->place, scheduler);
  }
}

/// Lets those that wait together go on once all of them wait for the same.
inline bool release(std::size_t first, std::size_t last, Waits what) {
  std::size_t waiting = 0;
  std::size_t alive = 0;
  for (std::size_t i = first; i < last; ++i) {
    alive += !fibers[i]->done;
    waiting += !fibers[i]->done && fibers[i]->waits == what;
  }
  if (waiting == 0 || waiting != alive) return false;
  if (what == Waits::kWarp && alive != last - first) fail("a collective without its whole warp");
  for (std::size_t i = first; i < last; ++i) fibers[i]->waits = Waits::kNo;
  return true;
}

/// Lets one warp's lanes run to their next wait, from a random lane on.
inline bool run_warp(std::size_t first) {
  bool moved = false;
  const std::size_t turn = random();
  for (std::size_t lane = 0; lane < kWarp; ++lane) {
    const std::size_t i = first + (turn + lane) % kWarp;
    if (fibers[i]->done || fibers[i]->waits != Waits::kNo) continue;
    running = i;
    threadIdx = {static_cast<unsigned>(i), 0, 0};
    switch_to(scheduler, fibers[i]->place);
    moved = true;
  }
  return release(first, first + kWarp, Waits::kWarp) || moved;
}

/// Through red zones, too, which nobody reads.
__attribute__((no_sanitize("address"))) inline void poison_shared() {
  volatile char* at = __start_cuda_shared;
  for (; __stop_cuda_shared - at >= 8; at += 8) {
    *reinterpret_cast<volatile std::uint64_t*>(at) = 0xA5A5A5A5A5A5A5A5U;
  }
}

inline void run_block(std::size_t threads) {
  poison_shared();
  while (fibers.size() < threads) {
    fibers.push_back(std::make_unique<Fiber>());
    start_at(fibers.back()->place, fibers.back()->stack, entry);
  }
  for (std::size_t i = 0; i < threads; ++i) {
    fibers[i]->waits = Waits::kNo;
    fibers[i]->done = false;
  }
  std::vector<std::size_t> warps(threads / kWarp);
  for (std::size_t w = 0; w < warps.size(); ++w) warps[w] = w;
  for (std::uint32_t awake = random();;) {  // some warps run as far as they can, then others
    bool moved = false;
    std::shuffle(warps.begin(), warps.end(), random);
    for (const std::size_t warp : warps) {
      if (awake >> warp & 1) moved |= run_warp(warp * kWarp);
    }
    if (release(0, threads, Waits::kBlock)) {
      awake = random();
    } else if (!moved) {
      if (awake == ~0U) break;
      awake = random() % 4 == 0 ? ~0U : random();
    }
  }
  for (std::size_t i = 0; i < threads; ++i) {
    if (!fibers[i]->done) fail("threads wait for each other for ever");
  }
}

inline void launch(dim3 grid, dim3 block, std::function<void()> kernel) {
  body = std::move(kernel);
  gridDim = grid;
  blockDim = block;
  if (block.x % kWarp != 0 || block.x > 1024 || block.y * block.z != 1) fail("unusual block");
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = {x, y, z};
        run_block(block.x);
      }
    }
  }
}

inline std::size_t warp() { return running / kWarp * kWarp; }
inline void check_mask(unsigned mask) {
  if (mask != ~0U) fail("a collective of a part of a warp");
}

/// What `from(lane)` posted, for each lane.
template <class T, class From>
T exchange(unsigned mask, T value, const From& from) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(std::uint64_t));
  check_mask(mask);
  std::memcpy(&posted[running], &value, sizeof value);
  wait(Waits::kWarp);
  std::memcpy(&value, &posted[warp() + from(running % kWarp)], sizeof value);
  wait(Waits::kWarp);
  return value;
}

}  // namespace cpu

inline void __syncthreads() { cpu::wait(cpu::Waits::kBlock); }
inline void __syncwarp(unsigned mask = ~0U) {
  cpu::check_mask(mask);
  cpu::wait(cpu::Waits::kWarp);
}
inline void __threadfence() {}
inline unsigned __ballot_sync(unsigned mask, bool vote) {
  cpu::check_mask(mask);
  cpu::posted[cpu::running] = vote;
  cpu::wait(cpu::Waits::kWarp);
  unsigned votes = 0;
  for (std::size_t lane = 0; lane < cpu::kWarp; ++lane) {
    votes |= static_cast<unsigned>(cpu::posted[cpu::warp() + lane]) << lane;
  }
  cpu::wait(cpu::Waits::kWarp);
  return votes;
}
inline int __any_sync(unsigned mask, bool vote) { return __ballot_sync(mask, vote) != 0; }
inline int __all_sync(unsigned mask, bool vote) { return __ballot_sync(mask, vote) == ~0U; }
template <class T>
T __shfl_sync(unsigned mask, T value, int lane) {
  return cpu::exchange(mask, value, [&](std::size_t) { return std::size_t(lane) % cpu::kWarp; });
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int with) {
  return cpu::exchange(mask, value, [&](std::size_t lane) { return lane ^ std::size_t(with); });
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, int step) {
  const std::size_t by(step);
  return cpu::exchange(mask, value, [&](std::size_t lane) { return lane < by ? lane : lane - by; });
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, int step) {
  const std::size_t by(step);
  return cpu::exchange(mask, value,
                       [&](std::size_t lane) { return lane + by < cpu::kWarp ? lane + by : lane; });
}

// Of integers only: sums of floats by atomics depend on the order of arrival.
template <class T, class Change>
T cuda_atomic(T* at, const Change& change) {
  static_assert(std::is_integral_v<T>);
  return std::exchange(*at, static_cast<T>(change(*at)));
}
template <class T>
T atomicAdd(T* at, std::type_identity_t<T> v) {
  return cuda_atomic(at, [&](T old) { return old + v; });
}
template <class T>
T atomicMax(T* at, std::type_identity_t<T> v) {
  return cuda_atomic(at, [&](T old) { return max(old, v); });
}
template <class T>
T atomicMin(T* at, std::type_identity_t<T> v) {
  return cuda_atomic(at, [&](T old) { return min(old, v); });
}
template <class T>
T atomicOr(T* at, std::type_identity_t<T> v) {
  return cuda_atomic(at, [&](T old) { return old | v; });
}
template <class T>
T atomicExch(T* at, std::type_identity_t<T> v) {
  return cuda_atomic(at, [&](T) { return v; });
}

template <class T>
T __ldg(const T* from) {
  return *from;
}
template <class T>
T __ldcs(const T* from) {
  return *from;
}
template <class T>
void __stcs(T* to, T value) {
  *to = value;
}
inline int __popc(unsigned v) { return std::popcount(v); }
inline int __ffs(int v) { return v == 0 ? 0 : std::countr_zero(static_cast<unsigned>(v)) + 1; }
inline int __clz(int v) { return std::countl_zero(static_cast<unsigned>(v)); }
inline unsigned __float_as_uint(float v) { return std::bit_cast<unsigned>(v); }
inline int __float_as_int(float v) { return std::bit_cast<int>(v); }
inline float __uint_as_float(unsigned v) { return std::bit_cast<float>(v); }
inline float __int_as_float(int v) { return std::bit_cast<float>(v); }
inline float rsqrtf(float v) { return 1 / std::sqrt(v); }
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(std::uint64_t{a} * b >> 32);
}
