#include "kernels/nested.h"

#include "kernels/target_clones.h"

namespace sae::nested {
namespace {

/// In a fixed order. What is beyond the token's columns must be 0.
template <class T>
SAE_INLINE T sum_of(T* values) {
  for (std::int64_t width = kColumns / 2; width > 0; width /= 2) {
    for (std::int64_t j = 0; j < width; ++j) values[j] += values[j + width];
  }
  return values[0];
}

/// e_0 .. e_count, each kept in `path` but the last, which `e` is left with.
template <class T>
SAE_INLINE T there(const Token<T>& token, std::int64_t n, bool keep, T* e) {
  T sums[kColumns] = {};
  for (std::int64_t j = 0; j < n; ++j) e[j] = token.x[j] - token.bias[j];
  for (std::int64_t m = 0; m < token.count; ++m) {
    const T* row = token.table + token.which[m] * token.stride;
    const T value = token.values[m];
    const T weight = token.weights[m];
    if (keep) {
      T* kept = token.path + m * kColumns;
#pragma GCC ivdep
      for (std::int64_t j = 0; j < n; ++j) kept[j] = e[j];
    }
#pragma GCC ivdep
    for (std::int64_t j = 0; j < n; ++j) {
      sums[j] += weight * e[j] * e[j];
      e[j] -= value * row[j];
    }
  }
  const T weight = token.weights[token.count];
  for (std::int64_t j = 0; j < n; ++j) {
    sums[j] += weight * e[j] * e[j];
    token.x_hat[j] = token.x[j] - e[j];
  }
  return sum_of(sums);
}

template <class T>
SAE_INLINE void back(const Token<T>& token, std::int64_t n, const T* e) {
  T s[kColumns];
  const T last = token.weights[token.count];
  for (std::int64_t j = 0; j < n; ++j) s[j] = last * e[j];
  for (std::int64_t m = token.count - 1; m >= 0; --m) {
    const std::int64_t place = token.which[m] * token.stride;
    const T* row = token.table + place;
    const T* kept = token.path + m * kColumns;
    T* slope = token.table_gradient + place;
    const T scale = token.scale * token.values[m];
    const T weight = token.weights[m];
    T products[kColumns] = {};
#pragma GCC ivdep
    for (std::int64_t j = 0; j < n; ++j) {
      products[j] = s[j] * row[j];
      slope[j] += scale * s[j];
      s[j] += weight * kept[j];
    }
    token.dots[m] = sum_of(products);
  }
  for (std::int64_t j = 0; j < n; ++j) token.bias_gradient[j] += s[j];
}

template <class T>
SAE_INLINE T errors_of(const Token<T>& token, std::int64_t n) {
  T e[kColumns];
  return there(token, n, /*keep=*/false, e);
}

template <class T>
SAE_INLINE T errors_and_gradients_of(const Token<T>& token, std::int64_t n) {
  T e[kColumns];
  const T sum = there(token, n, /*keep=*/true, e);
  back(token, n, e);
  return sum;
}

}  // namespace

// A whole slice has a constant number of columns, which the compiler unrolls into registers.
SAE_MULTIVERSION float errors(const Token<float>& token) {
  return token.columns == kColumns ? errors_of(token, kColumns) : errors_of(token, token.columns);
}
SAE_MULTIVERSION double errors(const Token<double>& token) {
  return token.columns == kColumns ? errors_of(token, kColumns) : errors_of(token, token.columns);
}
SAE_MULTIVERSION float errors_and_gradients(const Token<float>& token) {
  return token.columns == kColumns ? errors_and_gradients_of(token, kColumns)
                                   : errors_and_gradients_of(token, token.columns);
}
SAE_MULTIVERSION double errors_and_gradients(const Token<double>& token) {
  return token.columns == kColumns ? errors_and_gradients_of(token, kColumns)
                                   : errors_and_gradients_of(token, token.columns);
}

}  // namespace sae::nested
