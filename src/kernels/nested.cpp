#include "kernels/nested.h"

#include <cstring>

#include "kernels/target_clones.h"

namespace sae::nested {
namespace {

/// As many numbers as the widest registers hold; narrower machines take several.
template <class T>
struct Vector {
  static constexpr std::int64_t kLanes = 64 / static_cast<std::int64_t>(sizeof(T));
  typedef T Type __attribute__((vector_size(64)));
};

/// A slice of kColumns columns in registers.
template <class T>
struct Whole {
  using V = typename Vector<T>::Type;
  static constexpr std::int64_t kLanes = Vector<T>::kLanes;
  static constexpr int kParts = static_cast<int>(kColumns / kLanes);
  V part[kParts];

  SAE_INLINE void load(const T* from, std::int64_t) {
    for (int i = 0; i < kParts; ++i) std::memcpy(&part[i], from + i * kLanes, sizeof(V));
  }
  SAE_INLINE void store(T* to, std::int64_t) const {
    for (int i = 0; i < kParts; ++i) std::memcpy(to + i * kLanes, &part[i], sizeof(V));
  }
  SAE_INLINE void clear() {
    for (int i = 0; i < kParts; ++i) part[i] = V{};
  }
  SAE_INLINE void add(T scale, const Whole& other) {  // += scale other
    for (int i = 0; i < kParts; ++i) part[i] += scale * other.part[i];
  }
  SAE_INLINE T dot(const Whole& other) const {
    V sum = part[0] * other.part[0];
    for (int i = 1; i < kParts; ++i) sum += part[i] * other.part[i];
    T lanes[kLanes];
    std::memcpy(lanes, &sum, sizeof(V));
    for (std::int64_t width = kLanes / 2; width > 0; width /= 2) {
      for (std::int64_t j = 0; j < width; ++j) lanes[j] += lanes[j + width];
    }
    return lanes[0];
  }
};

/// The last, narrower slice of a row.
template <class T>
struct Rest {
  T value[kColumns] = {};

  SAE_INLINE void load(const T* from, std::int64_t n) {
    for (std::int64_t j = 0; j < n; ++j) value[j] = from[j];
  }
  SAE_INLINE void store(T* to, std::int64_t n) const {
    for (std::int64_t j = 0; j < n; ++j) to[j] = value[j];
  }
  SAE_INLINE void clear() {
    for (T& v : value) v = 0;
  }
  SAE_INLINE void add(T scale, const Rest& other) {
    for (std::int64_t j = 0; j < kColumns; ++j) value[j] += scale * other.value[j];
  }
  SAE_INLINE T dot(const Rest& other) const {
    T sum = 0;
    for (std::int64_t j = 0; j < kColumns; ++j) sum += value[j] * other.value[j];
    return sum;
  }
};

/// Brings a slice of a row closer: the next latent's is anywhere in the table.
template <class T>
SAE_INLINE void prefetch(const T* row) {
  constexpr std::int64_t kLine = 64 / static_cast<std::int64_t>(sizeof(T));
  for (std::int64_t j = 0; j < kColumns; j += kLine) __builtin_prefetch(row + j);
}

/// e_0 of x.
template <class Slice, class T>
SAE_INLINE Slice without_bias(const Token<T>& token, const Slice& x) {
  Slice e = x, bias;
  bias.load(token.bias, token.columns);
  e.add(-1, bias);
  return e;
}

template <class Slice, class T>
SAE_INLINE T errors_of(const Token<T>& token) {
  const std::int64_t n = token.columns;
  Slice x, row;
  x.load(token.x, n);
  Slice e = without_bias(token, x);
  T sum = 0;
  for (std::int64_t m = 0; m < token.count; ++m) {
    sum += token.weights[m] * e.dot(e);
    row.load(token.table + token.which[m] * token.stride, n);
    e.add(-token.values[m], row);
  }
  sum += token.weights[token.count] * e.dot(e);
  x.add(-1, e);
  x.store(token.x_hat, n);
  return sum;
}

template <class Slice, class T>
SAE_INLINE T errors_and_gradients_of(const Token<T>& token) {
  const std::int64_t n = token.columns;
  const std::int64_t count = token.count;
  Slice x, row;
  x.load(token.x, n);
  const Slice first = without_bias(token, x);
  Slice e = first;
  for (std::int64_t m = 0; m < count; ++m) {
    if (m + 1 < count) prefetch(token.table + token.which[m + 1] * token.stride);
    row.load(token.table + token.which[m] * token.stride, n);
    e.add(-token.values[m], row);
  }
  x.add(-1, e);
  x.store(token.x_hat, n);

  Slice s, slope;
  s.clear();
  s.add(token.weights[count], e);
  T taken = 0;
  for (std::int64_t m = count - 1; m >= 0; --m) {
    const std::int64_t place = token.which[m] * token.stride;
    if (m > 0) prefetch(token.table_gradient + token.which[m - 1] * token.stride);
    const T value = token.values[m];
    row.load(token.table + place, n);
    const T dot = s.dot(row);
    slope.load(token.table_gradient + place, n);
    slope.add(token.scale * value, s);
    slope.store(token.table_gradient + place, n);
    e.add(value, row);
    s.add(token.weights[m], e);
    token.dots[m] = dot;
    taken += value * dot;
  }
  slope.load(token.bias_gradient, n);
  slope.add(1, s);
  slope.store(token.bias_gradient, n);
  return s.dot(first) - taken;
}

}  // namespace

SAE_MULTIVERSION float errors(const Token<float>& token) {
  return token.columns == kColumns ? errors_of<Whole<float>>(token) : errors_of<Rest<float>>(token);
}
SAE_MULTIVERSION double errors(const Token<double>& token) {
  return token.columns == kColumns ? errors_of<Whole<double>>(token)
                                   : errors_of<Rest<double>>(token);
}
SAE_MULTIVERSION float errors_and_gradients(const Token<float>& token) {
  return token.columns == kColumns ? errors_and_gradients_of<Whole<float>>(token)
                                   : errors_and_gradients_of<Rest<float>>(token);
}
SAE_MULTIVERSION double errors_and_gradients(const Token<double>& token) {
  return token.columns == kColumns ? errors_and_gradients_of<Whole<double>>(token)
                                   : errors_and_gradients_of<Rest<double>>(token);
}

}  // namespace sae::nested
