#include "sae/evaluation/judge.h"

#include <torch/types.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "sae/base/error.h"

namespace sae {
namespace {

/// Sum of get(i) over [0, count), in eight interleaved parts: a plain sum waits for itself.
template <class Get>
double interleaved_sum(std::size_t count, const Get& get) {
  std::array<double, 8> part{};
  std::size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    for (std::size_t j = 0; j < 8; ++j) part[j] += get(i + j);
  }
  for (; i < count; ++i) part[0] += get(i);
  return ((part[0] + part[4]) + (part[1] + part[5])) + ((part[2] + part[6]) + (part[3] + part[7]));
}

}  // namespace

JudgeVectors::JudgeVectors(const at::Tensor& vectors, const std::string& place)
    : size_(vectors.size(0)), width_(vectors.size(1)) {
  const at::Tensor plain = vectors.to(at::kFloat).contiguous();
  const auto* begin = plain.const_data_ptr<float>();
  dense_.assign(begin, begin + plain.numel());
  const auto width = static_cast<std::size_t>(width_);
  for (std::int64_t row = 0; row < size_; ++row) {
    float* const own = dense_.data() + static_cast<std::size_t>(row) * width;
    const double norm = std::sqrt(
        interleaved_sum(width, [&](std::size_t i) { return double{own[i]} * double{own[i]}; }));
    if (!std::isfinite(norm)) {
      throw DataError(place + ": row " + std::to_string(row) + " is not finite");
    }
    if (norm == 0) {
      throw DataError(place + ": row " + std::to_string(row) +
                      " is zero, expected a vector with a direction");
    }
    for (std::size_t i = 0; i < width; ++i) own[i] = static_cast<float>(double{own[i]} / norm);
  }
}

JudgeVectors JudgeVectors::of_tokens(const InterpSample& sample) {
  JudgeVectors out;
  out.size_ = sample.size();
  std::map<std::int32_t, std::int32_t> entry_of;
  for (std::int32_t row = 0; row < static_cast<std::int32_t>(sample.size()); ++row) {
    const auto next = static_cast<std::int32_t>(entry_of.size());
    out.hot_.push_back(entry_of.try_emplace(sample.token(row), next).first->second);
  }
  out.width_ = std::ssize(entry_of);
  return out;
}

double JudgeVectors::dot(std::int32_t a, std::int32_t b) const {
  const auto i = static_cast<std::size_t>(a), j = static_cast<std::size_t>(b);
  if (!hot_.empty()) return hot_[i] == hot_[j] ? 1 : 0;
  const auto width = static_cast<std::size_t>(width_);
  const float* const left = dense_.data() + i * width;
  const float* const right = dense_.data() + j * width;
  return interleaved_sum(width, [&](std::size_t k) { return double{left[k]} * double{right[k]}; });
}

double JudgeVectors::dot(std::int32_t row, std::span<const double> v) const {
  const auto i = static_cast<std::size_t>(row);
  if (!hot_.empty()) return v[static_cast<std::size_t>(hot_[i])];
  const auto width = static_cast<std::size_t>(width_);
  const float* const own = dense_.data() + i * width;
  return interleaved_sum(width, [&](std::size_t k) { return double{own[k]} * v[k]; });
}

void JudgeVectors::add(std::int32_t row, double weight, std::span<double> sum) const {
  const auto i = static_cast<std::size_t>(row);
  if (!hot_.empty()) {
    sum[static_cast<std::size_t>(hot_[i])] += weight;
    return;
  }
  const auto width = static_cast<std::size_t>(width_);
  const float* const own = dense_.data() + i * width;
  for (std::size_t k = 0; k < width; ++k) sum[k] += weight * double{own[k]};
}

double JudgeVectors::take_square(std::span<const std::int32_t> rows, std::span<double> sum) const {
  if (hot_.empty()) {
    const double square = interleaved_sum(sum.size(), [&](auto k) { return sum[k] * sum[k]; });
    std::fill(sum.begin(), sum.end(), 0.0);
    return square;
  }
  double square = 0;
  for (const std::int32_t row : rows) {
    double& own = sum[static_cast<std::size_t>(hot_[static_cast<std::size_t>(row)])];
    square += own * own;
    own = 0;  // counts once, however many rows share it
  }
  return square;
}

}  // namespace sae
