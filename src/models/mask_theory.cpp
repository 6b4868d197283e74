#include "sae/models/mask_theory.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>
#include <stdexcept>
#include <string>

#include "sae/base/text.h"

namespace sae {
namespace {

using std::numbers::sqrt2;

void require(bool holds, const char* what, double got, const char* expected) {
  if (holds) return;
  throw std::invalid_argument(std::string(what) + ": got " + shortest(got) + ", expected " +
                              expected);
}

void require_sparsity(double sparsity) {
  require(sparsity >= 0 && sparsity < 2, "sparsity", sparsity, "0 to below 2");
}

void require_rank(std::int64_t rank, std::int64_t d_sae) {
  require(rank >= 1 && rank <= d_sae, "rank", static_cast<double>(rank), "1 to d_sae");
}

void require_weight(double weight) {
  require(weight >= 0 && weight <= 1, "weight", weight, "0 to 1");
}

void require_rate(double rate) { require(rate > 0 && rate <= 1, "rate", rate, "above 0, up to 1"); }

void require_memory(double memory) { require(memory > 0, "memory", memory, "tokens above 0"); }

}  // namespace

at::Tensor expected_masked_error(const at::Tensor& x, const at::Tensor& f, const at::Tensor& p,
                                 const at::Tensor& W_dec) {
  const at::Tensor variance = f.square() * (p * (1 - p) * W_dec.square().sum(1));
  return (x - at::mm(f * (1 - p), W_dec)).square().sum(1) + variance.sum(1);
}

at::Tensor expected_masked_slope(const at::Tensor& x, const at::Tensor& f, const at::Tensor& p,
                                 const at::Tensor& W_dec) {
  const at::Tensor residual = x - at::mm(f * (1 - p), W_dec);
  const at::Tensor owed =
      f * (p * W_dec.square().sum(1));  // (1 - p) f of its own is in the residual
  return 2 * (1 - p) * (at::mm(residual, W_dec.t()) - owed);
}

double pair_mask_threshold(double sparsity) {
  require_sparsity(sparsity);
  return (sparsity * (2 - sqrt2) - sparsity * sparsity / 4) / (1 - sparsity * (sqrt2 - 1));
}

double pair_pull_threshold(double sparsity) {
  require_sparsity(sparsity);
  return sparsity * (1 - 1 / sqrt2) / (2 - sparsity / sqrt2);
}

double nested_chance(std::int64_t rank, std::int64_t d_sae, double weight) {
  require_rank(rank, d_sae);
  require_weight(weight);
  if (rank == 1) return 1;
  return 1 - weight * std::log(static_cast<double>(rank)) / std::log(static_cast<double>(d_sae));
}

double nested_pair_gain(std::int64_t parent_rank, std::int64_t child_rank, std::int64_t d_sae,
                        double weight) {
  return nested_chance(parent_rank, d_sae, weight) - nested_chance(child_rank, d_sae, weight);
}

double nested_pair_ratio(double price, std::int64_t d_sae, double weight) {
  require(price >= 0, "price", price, "0 or more");
  require(d_sae >= 1, "d_sae", static_cast<double>(d_sae), "1 or more");
  require_weight(weight);
  if (weight == 0) return std::numeric_limits<double>::infinity();
  return std::pow(static_cast<double>(d_sae), price / weight);
}

double average_memory(std::int64_t batch, double decay, double steps) {
  require(batch >= 1, "batch", static_cast<double>(batch), "1 or more");
  require(decay >= 0 && decay < 1, "decay", decay, "0 to below 1");
  require(steps >= 1, "steps", steps, "1 or more");
  const double forgotten = std::pow(decay, steps);
  return static_cast<double>(batch) * (1 + decay) / (1 - decay) * (1 - forgotten) / (1 + forgotten);
}

double rate_deviation(double rate, double memory) {
  require_rate(rate);
  require_memory(memory);
  return std::sqrt((1 - rate) / (rate * memory));
}

double wrong_order_chance(double rate, double other, double memory) {
  require_rate(rate);
  require_rate(other);
  require_memory(memory);
  const double variance = (rate * (1 - rate) + other * (1 - other)) / memory;
  if (variance == 0) return rate == other ? 0.5 : 0;
  return 0.5 * std::erfc(std::abs(rate - other) / std::sqrt(2 * variance));
}

}  // namespace sae
