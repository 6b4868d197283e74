// Numbers for the tests of kernels.
#pragma once

#include <cstddef>
#include <limits>
#include <random>
#include <vector>

using Floats = std::vector<float>;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

inline std::size_t at(long long i) { return static_cast<std::size_t>(i); }
inline long long ceiling(long long a, long long b) { return (a + b - 1) / b; }

inline Floats normal(long long n, unsigned seed, float scale = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> distribution;
  Floats all(at(n));
  for (float& x : all) x = scale * distribution(random);
  return all;
}
