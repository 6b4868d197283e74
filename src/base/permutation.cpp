#include "base/permutation.h"

#include <cmath>
#include <stdexcept>
#include <utility>

namespace sae {
namespace {

constexpr std::uint32_t kRounds = 6;  // even: left and right end in their own ranges

}  // namespace

Permutation::Permutation(std::uint64_t size, std::uint64_t seed, Stream stream, std::uint64_t index)
    : size_(size) {
  if (size < 1 || size >= std::uint64_t{1} << 62) {
    throw std::invalid_argument("Permutation: size must be at least 1 and below 2^62");
  }
  ranges_[0] = static_cast<std::uint64_t>(std::sqrt(static_cast<double>(size)));
  while (ranges_[0] * ranges_[0] < size) ++ranges_[0];
  ranges_[1] = (size + ranges_[0] - 1) / ranges_[0];
  // A key of its own for each (stream, index), so that the rounds may use the whole counter.
  const auto key =
      philox({0xFFFFFFFF, static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(index),
              static_cast<std::uint32_t>(index >> 32)},
             {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
  key_ = {key[0], key[1]};
}

std::uint64_t Permutation::operator()(std::uint64_t position) const {
  if (position >= size_) throw std::invalid_argument("Permutation: position outside");
  do {
    position = walk(position);
  } while (position >= size_);
  return position;
}

std::uint64_t Permutation::walk(std::uint64_t value) const {
  std::uint64_t left = value % ranges_[0];
  std::uint64_t right = value / ranges_[0];
  for (std::uint32_t round = 0; round < kRounds; ++round) {
    const auto bits = philox({static_cast<std::uint32_t>(right), round, 0, 0}, key_);
    const std::uint64_t draw = std::uint64_t{bits[0]} << 32 | bits[1];
    const std::uint64_t range = ranges_[round % 2];
    left = (left + draw % range) % range;
    std::swap(left, right);
  }
  return left + right * ranges_[0];
}

}  // namespace sae
