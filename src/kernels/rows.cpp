#include "kernels/rows.h"

#include <cmath>

#include "kernels/positions.h"
#include "kernels/target_clones.h"

namespace sae::rows {
namespace {

constexpr int kLanes = 16;  // independent sums, so that the compiler may keep them in vectors

template <class T>
SAE_INLINE T sum_of_lanes(T* lanes) {
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
  }
  return lanes[0];
}

template <class T>
SAE_INLINE T dot(std::int64_t n, const T* x, const T* y) {
  T lanes[kLanes] = {};
  std::int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += x[j + lane] * y[j + lane];
  }
  T sum = 0;
  for (; j < n; ++j) sum += x[j] * y[j];
  return sum + sum_of_lanes(lanes);
}

/// Four rows at a time: x is read once for all of them, and four rows of the table, which is too
/// large for a cache, are on their way from memory at once.
template <class T>
SAE_INLINE void dots_loop(std::int64_t n, const T* x, std::int64_t count, const std::int64_t* which,
                          const T* table, T* out) {
  std::int64_t e = 0;
  for (; e + 4 <= count; e += 4) {
    const T* row[4];
    for (int r = 0; r < 4; ++r) row[r] = table + which[e + r] * n;
    T sums[4][kLanes] = {};
    std::int64_t j = 0;
    for (; j + kLanes <= n; j += kLanes) {
      for (int lane = 0; lane < kLanes; ++lane) {
        for (int r = 0; r < 4; ++r) sums[r][lane] += x[j + lane] * row[r][j + lane];
      }
    }
    for (int r = 0; r < 4; ++r) {
      T rest = 0;
      for (std::int64_t i = j; i < n; ++i) rest += x[i] * row[r][i];
      out[e + r] = rest + sum_of_lanes(sums[r]);
    }
  }
  for (; e < count; ++e) out[e] = dot(n, x, table + which[e] * n);
}

/// Four rows at a time, as above: the output is read and written once for all of them.
template <class T>
SAE_INLINE void weighted_sum_loop(std::int64_t n, std::int64_t count, const T* values,
                                  const std::int64_t* which, const T* table, T* out) {
  for (std::int64_t j = 0; j < n; ++j) out[j] = 0;
  std::int64_t e = 0;
  for (; e + 4 <= count; e += 4) {
    const T* a = table + which[e] * n;
    const T* b = table + which[e + 1] * n;
    const T* c = table + which[e + 2] * n;
    const T* d = table + which[e + 3] * n;
    const T va = values[e], vb = values[e + 1], vc = values[e + 2], vd = values[e + 3];
#pragma GCC ivdep
    for (std::int64_t j = 0; j < n; ++j) out[j] += va * a[j] + vb * b[j] + vc * c[j] + vd * d[j];
  }
  for (; e < count; ++e) {
    const T* a = table + which[e] * n;
    const T va = values[e];
#pragma GCC ivdep
    for (std::int64_t j = 0; j < n; ++j) out[j] += va * a[j];
  }
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
SAE_INLINE std::int64_t above_loop(std::int64_t n, const T* x, Threshold threshold,
                                   std::int64_t* out) {
  return collect_positions(
      n, [=](std::int64_t j) __attribute__((always_inline)) { return x[j] > at(threshold, j); },
      out);
}

}  // namespace

SAE_MULTIVERSION void dots(std::int64_t n, const float* x, std::int64_t count,
                           const std::int64_t* which, const float* table, float* out) {
  dots_loop(n, x, count, which, table, out);
}
SAE_MULTIVERSION void dots(std::int64_t n, const double* x, std::int64_t count,
                           const std::int64_t* which, const double* table, double* out) {
  dots_loop(n, x, count, which, table, out);
}
SAE_MULTIVERSION void weighted_sum(std::int64_t n, std::int64_t count, const float* values,
                                   const std::int64_t* which, const float* table, float* out) {
  weighted_sum_loop(n, count, values, which, table, out);
}
SAE_MULTIVERSION void weighted_sum(std::int64_t n, std::int64_t count, const double* values,
                                   const std::int64_t* which, const double* table, double* out) {
  weighted_sum_loop(n, count, values, which, table, out);
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

SAE_MULTIVERSION void add_statistics(std::int64_t n, const float* __restrict x,
                                     float* __restrict positive, float* __restrict sum,
                                     float* __restrict smallest) {
  for (std::int64_t j = 0; j < n; ++j) {
    positive[j] += x[j] > 0 ? 1.0F : 0.0F;
    sum[j] += x[j];
    const float candidate = x[j] > 0 ? x[j] : smallest[j];
    smallest[j] = candidate < smallest[j] ? candidate : smallest[j];
  }
}
SAE_MULTIVERSION void add_products(std::int64_t n, const float* __restrict x,
                                   const float* __restrict y, float* __restrict sum) {
  for (std::int64_t j = 0; j < n; ++j) sum[j] += std::fabs(x[j] * y[j]);
}

}  // namespace sae::rows
