#include "row_kernels.h"

// One binary serves every x86-64 CPU: the loader picks the widest version that the CPU runs.
// Sanitizers instrument code that runs before they are ready in such resolvers, so not under them.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__clang__)
#define SAE_MULTIVERSION \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define SAE_MULTIVERSION
#endif

namespace sae::rows {
namespace {

constexpr int kLanes = 32;  // independent sums, so that the compiler may keep them in vectors

template <class T>
inline __attribute__((always_inline)) void axpy_loop(std::int64_t n, T a, const T* x, T* y) {
  for (std::int64_t j = 0; j < n; ++j) y[j] += a * x[j];
}

template <class T>
inline __attribute__((always_inline)) T dot_loop(std::int64_t n, const T* x, const T* y) {
  T lanes[kLanes] = {};
  std::int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += x[j + lane] * y[j + lane];
  }
  T sum = 0;
  for (; j < n; ++j) sum += x[j] * y[j];
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
  }
  return sum + lanes[0];
}

template <class T>
inline T at(T threshold, std::int64_t) {
  return threshold;
}
template <class T>
inline T at(const T* threshold, std::int64_t j) {
  return threshold[j];
}

template <class T, class Threshold>
inline __attribute__((always_inline)) std::int64_t above_loop(std::int64_t n, const T* x,
                                                              Threshold threshold,
                                                              std::int64_t* out) {
  constexpr std::int64_t kBlock = 64;
  std::int64_t count = 0;
  std::int64_t j = 0;
  for (; j + kBlock <= n; j += kBlock) {
    int any = 0;  // most blocks hold nothing: find that out in vectors first
    for (std::int64_t i = 0; i < kBlock; ++i) any |= x[j + i] > at(threshold, j + i);
    if (!any) continue;
    for (std::int64_t i = 0; i < kBlock; ++i) {
      out[count] = j + i;
      count += x[j + i] > at(threshold, j + i);
    }
  }
  for (; j < n; ++j) {
    out[count] = j;
    count += x[j] > at(threshold, j);
  }
  return count;
}

}  // namespace

SAE_MULTIVERSION void axpy(std::int64_t n, float a, const float* x, float* y) {
  axpy_loop(n, a, x, y);
}
SAE_MULTIVERSION void axpy(std::int64_t n, double a, const double* x, double* y) {
  axpy_loop(n, a, x, y);
}
SAE_MULTIVERSION float dot(std::int64_t n, const float* x, const float* y) {
  return dot_loop(n, x, y);
}
SAE_MULTIVERSION double dot(std::int64_t n, const double* x, const double* y) {
  return dot_loop(n, x, y);
}
SAE_MULTIVERSION std::int64_t positions_above(std::int64_t n, const float* x, float threshold,
                                              std::int64_t* out) {
  return above_loop(n, x, threshold, out);
}
SAE_MULTIVERSION std::int64_t positions_above(std::int64_t n, const double* x, double threshold,
                                              std::int64_t* out) {
  return above_loop(n, x, threshold, out);
}
SAE_MULTIVERSION std::int64_t positions_above(std::int64_t n, const float* x,
                                              const float* threshold, std::int64_t* out) {
  return above_loop(n, x, threshold, out);
}
SAE_MULTIVERSION std::int64_t positions_above(std::int64_t n, const double* x,
                                              const double* threshold, std::int64_t* out) {
  return above_loop(n, x, threshold, out);
}

}  // namespace sae::rows
