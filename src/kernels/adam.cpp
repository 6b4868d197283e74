#include "kernels/adam.h"

#include <algorithm>
#include <cmath>

#include "kernels/target_clones.h"

namespace sae::adam {
namespace {

constexpr int kLanes = 16;

/// sum_j value(j), in float64 and a fixed order.
template <class Value>
SAE_INLINE double sum(std::int64_t n, const Value& value) {
  double lanes[kLanes] = {};
  std::int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += value(j + lane);
  }
  double total = 0;
  for (; j < n; ++j) total += value(j);
  for (int lane = 0; lane < kLanes; ++lane) total += lanes[lane];
  return total;
}

template <class T>
SAE_INLINE Products products_loop(std::int64_t n, const T* g, const T* w) {
  const auto square = [g](std::int64_t j) __attribute__((always_inline)) {
    return static_cast<double>(g[j]) * static_cast<double>(g[j]);
  };
  const auto product = [ g, w ](std::int64_t j) __attribute__((always_inline)) {
    return static_cast<double>(g[j]) * static_cast<double>(w[j]);
  };
  return {sum(n, square), sum(n, product)};
}

template <class T>
SAE_INLINE void update_row_loop(std::int64_t n, const Scalars& scalars, double parallel_in,
                                bool unit, const T* __restrict g, T* __restrict w, T* __restrict m,
                                T* __restrict v) {
  const T step = static_cast<T>(scalars.step);
  const T inverse_root = static_cast<T>(1 / scalars.root);
  const T epsilon = static_cast<T>(scalars.epsilon);
  const T keep1 = static_cast<T>(scalars.beta1);
  const T take1 = static_cast<T>(1 - scalars.beta1);
  const T keep2 = static_cast<T>(scalars.beta2);
  const T take2 = static_cast<T>(1 - scalars.beta2);
  const T scale = static_cast<T>(scalars.gradient_scale);
  const T parallel = static_cast<T>(parallel_in);
  for (std::int64_t j = 0; j < n; ++j) {
    const T gradient = (g[j] - parallel * w[j]) * scale;
    m[j] = keep1 * m[j] + take1 * gradient;
    v[j] = keep2 * v[j] + take2 * gradient * gradient;
    w[j] -= step * m[j] / (std::sqrt(v[j]) * inverse_root + epsilon);
  }
  if (!unit) return;
  const double square = sum(
      n, [w](std::int64_t j) __attribute__((always_inline)) {
        return static_cast<double>(w[j]) * static_cast<double>(w[j]);
      });
  const T inverse = static_cast<T>(1 / std::max(std::sqrt(square), 1e-12));
  for (std::int64_t j = 0; j < n; ++j) w[j] *= inverse;
}

}  // namespace

SAE_MULTIVERSION Products products(std::int64_t n, const float* g, const float* w) {
  return products_loop(n, g, w);
}
SAE_MULTIVERSION Products products(std::int64_t n, const double* g, const double* w) {
  return products_loop(n, g, w);
}
SAE_MULTIVERSION void update_row(std::int64_t n, const Scalars& scalars, double parallel, bool unit,
                                 const float* g, float* w, float* m, float* v) {
  update_row_loop(n, scalars, parallel, unit, g, w, m, v);
}
SAE_MULTIVERSION void update_row(std::int64_t n, const Scalars& scalars, double parallel, bool unit,
                                 const double* g, double* w, double* m, double* v) {
  update_row_loop(n, scalars, parallel, unit, g, w, m, v);
}

}  // namespace sae::adam
