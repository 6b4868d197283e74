#include "sae/evaluation/consistency.h"

#include <torch/types.h>

#include <cmath>
#include <limits>
#include <span>

#include "evaluation/assignment.h"
#include "sae/base/rng.h"

namespace sae {
namespace {

constexpr double kShared = 0.7;
constexpr std::int64_t kMostCosines = std::int64_t{1} << 29;  // 2 GB
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr std::uint64_t kChanceRows = std::uint64_t{24} << 56;  // | side << 48

bool can_be_matched(std::int64_t a, std::int64_t b) {
  return a > 0 && b > 0 && a <= kMostCosines / b;
}

at::Tensor unit_directions(const at::Tensor& rows) {
  const at::Tensor plain = rows.detach().to(at::kCPU, at::kFloat);
  return (plain / plain.norm(2, 1, true).clamp_min(1e-30)).contiguous();
}

at::Tensor random_directions(std::int64_t rows, std::int64_t width, std::uint64_t side) {
  at::Tensor out = at::empty({rows, width}, at::kFloat);
  auto* value = out.mutable_data_ptr<float>();
  Rng rng(0, Stream::kEvaluation, kChanceRows | side << 48);
  for (std::int64_t i = 0; i < out.numel(); ++i) value[i] = static_cast<float>(rng.normal());
  return out;
}

}  // namespace

SeedConsistency consistency_of(const FiringRows& a, const FiringRows& b) {
  if (!can_be_matched(a.decoder.size(0), b.decoder.size(0))) return {kNan, kNan};
  const at::Tensor cosines =
      at::mm(unit_directions(a.decoder), unit_directions(b.decoder).t()).contiguous();
  const std::span<const float> scores(cosines.const_data_ptr<float>(),
                                      static_cast<std::size_t>(cosines.numel()));
  const Assignment matched = assign(scores, cosines.size(0), cosines.size(1));
  const at::Tensor encoder_a = unit_directions(a.encoder), encoder_b = unit_directions(b.encoder);
  double total = 0, shared = 0, pairs = 0;
  for (std::int64_t i = 0; i < cosines.size(0); ++i) {
    const std::int64_t j = matched.column_of_row[static_cast<std::size_t>(i)];
    if (j < 0) continue;
    const double cosine = double{scores[static_cast<std::size_t>(i * cosines.size(1) + j)]};
    total += cosine;
    ++pairs;
    if (cosine > kShared && encoder_a[i].dot(encoder_b[j]).item<double>() > kShared) ++shared;
  }
  return {total / pairs, shared / pairs};
}

SeedConsistency consistency_by_chance(std::int64_t a, std::int64_t b, std::int64_t width) {
  if (!can_be_matched(a, b)) return {kNan, kNan};
  const at::Tensor left = random_directions(a, width, 0), right = random_directions(b, width, 1);
  return consistency_of({left, left}, {right, right});
}

}  // namespace sae
