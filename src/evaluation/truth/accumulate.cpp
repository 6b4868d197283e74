// Counting, sample by sample.
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>

#include "evaluation/assignment.h"
#include "evaluation/truth/state.h"

namespace sae {

using truth::Absorbers;
using truth::dot;
using truth::index;
using truth::mean;
using truth::ParentSums;

namespace {

// Of a feature's mean magnitude. Fainter ones have no ratio: one of them, with any latent at all,
// would outweigh thousands of others.
constexpr double kFaint = 1e-3;

at::Tensor checked(const at::Tensor& tensor, const char* name, at::IntArrayRef shape) {
  if (!tensor.defined() || tensor.sizes() != shape) {
    throw std::invalid_argument(
        "TruthEvaluation: " + std::string(name) + " is " +
        (tensor.defined() ? c10::str(tensor.sizes()) : std::string("undefined")) + ", " +
        c10::str(shape) + " expected");
  }
  return tensor.detach().to(torch::kCPU, torch::kFloat32).contiguous();
}

void axpy(float scale, const float* row, std::span<float> sum) {
  for (std::size_t k = 0; k < sum.size(); ++k) sum[k] += scale * row[k];
}

double norm(std::span<const float> a) { return std::sqrt(dot(a, a.data())); }

}  // namespace

TruthEvaluation::State::State(std::shared_ptr<const World> shared_world, const TruthSubject& given,
                              const TruthOptions& given_options)
    : world(std::move(shared_world)), options(given_options) {
  const at::NoGradGuard no_grad;
  const std::int64_t d = world->d_in();
  const std::size_t n = index(world->features());
  d_sae = given.W_dec.defined() && given.W_dec.dim() == 2 ? given.W_dec.size(0) : 0;
  W_dec = checked(given.W_dec, "W_dec", {d_sae, d});
  b_dec = checked(given.b_dec, "b_dec", {d});
  if (given.W_enc.defined()) W_enc = checked(given.W_enc, "W_enc", {d_sae, d});
  match();

  fired.assign(index(d_sae), 0);
  hits.assign(index(d_sae), 0);
  feature_on.assign(n, 0);
  sums.resize(parents.size());
  activation.assign(n, 0);
  code.assign(index(d_sae), 0);
  child_on.assign(n, 0);
  signal.resize(index(d));
  rebuilt.resize(index(d));
}

void TruthEvaluation::State::match() {
  const std::int64_t n = world->features();
  const at::Tensor row_norms = W_dec.square().sum(1).sqrt();
  norms.assign(row_norms.const_data_ptr<float>(), row_norms.const_data_ptr<float>() + d_sae);
  const at::Tensor divisors = at::where(row_norms > 0, row_norms, at::ones_like(row_norms));
  const at::Tensor unit = W_dec / divisors.unsqueeze(1);
  const at::Tensor cosines = at::mm(unit, world->dictionary().t());  // [F, N]
  const at::Tensor sizes = cosines.abs();
  const Assignment found = assign({sizes.const_data_ptr<float>(), index(sizes.numel())}, d_sae, n);
  latent_of = found.row_of_column;
  mcc = mean(found.total, std::min(d_sae, n));
  const at::Tensor best = sizes.argmax(1);
  best_feature.assign(best.const_data_ptr<std::int64_t>(),
                      best.const_data_ptr<std::int64_t>() + d_sae);

  slot_of.assign(index(n), -1);
  for (std::int64_t p = 0; p < n; ++p) {
    if (world->tables().child_count[index(p)] == 0 || latent_of[index(p)] < 0) continue;
    slot_of[index(p)] = std::ssize(parents);
    parents.push_back(p);
  }
  const at::Tensor chosen = torch::tensor(at::IntArrayRef(parents), torch::kInt64);
  parent_cosines = cosines.index_select(1, chosen).t().contiguous();
}

void TruthEvaluation::State::add_sample(SparseView truth, SparseView latents, std::int64_t row) {
  const std::vector<std::int64_t>& parent_of = world->tables().parent;
  for (std::int64_t e = truth.begin(row); e < truth.end(row); ++e) {
    const std::int64_t feature = truth.indices[index(e)];
    activation[index(feature)] = truth.values[index(e)];
    const std::int64_t parent = parent_of[index(feature)];
    if (parent >= 0 && truth.values[index(e)] > 0) child_on[index(parent)] = 1;
  }
  for (std::int64_t e = latents.begin(row); e < latents.end(row); ++e) {
    code[index(latents.indices[index(e)])] = latents.values[index(e)];
  }
  ++samples;
  count_firing(truth, latents, row);
  reconstruct(truth, latents, row);
  for (std::int64_t e = truth.begin(row); e < truth.end(row); ++e) {
    const std::int64_t slot = slot_of[index(truth.indices[index(e)])];
    if (slot >= 0 && truth.values[index(e)] > 0) count_parent(index(slot), latents, row);
  }
  for (std::int64_t e = truth.begin(row); e < truth.end(row); ++e) {
    const std::int64_t feature = truth.indices[index(e)];
    const std::int64_t parent = parent_of[index(feature)];
    activation[index(feature)] = 0;
    if (parent >= 0) child_on[index(parent)] = 0;
  }
  for (std::int64_t e = latents.begin(row); e < latents.end(row); ++e) {
    code[index(latents.indices[index(e)])] = 0;
  }
}

void TruthEvaluation::State::count_firing(SparseView truth, SparseView latents, std::int64_t row) {
  for (std::int64_t e = truth.begin(row); e < truth.end(row); ++e) {
    if (truth.values[index(e)] <= 0) continue;
    ++true_total;
    ++feature_on[index(truth.indices[index(e)])];
  }
  for (std::int64_t e = latents.begin(row); e < latents.end(row); ++e) {
    if (latents.values[index(e)] <= 0) continue;
    const std::size_t j = index(latents.indices[index(e)]);
    ++fired_total;
    ++fired[j];
    hits[j] += activation[index(best_feature[j])] > 0;
  }
}

void TruthEvaluation::State::reconstruct(SparseView truth, SparseView latents, std::int64_t row) {
  const std::int64_t d = world->d_in();
  const float* dictionary = world->dictionary().const_data_ptr<float>();
  const float* decoder = W_dec.const_data_ptr<float>();
  std::fill(signal.begin(), signal.end(), 0.0F);
  for (std::int64_t e = truth.begin(row); e < truth.end(row); ++e) {
    axpy(truth.values[index(e)], dictionary + truth.indices[index(e)] * d, signal);
  }
  std::copy_n(b_dec.const_data_ptr<float>(), d, rebuilt.begin());
  for (std::int64_t e = latents.begin(row); e < latents.end(row); ++e) {
    axpy(latents.values[index(e)], decoder + latents.indices[index(e)] * d, rebuilt);
  }
  const double rebuilt_norm = norm(rebuilt);
  rebuilt = signal;  // from here on x itself
  axpy(1, world->bias().const_data_ptr<float>(), rebuilt);
  const double x_norm = norm(rebuilt);
  if (x_norm > 1e-6) {
    shrinkage_sum += rebuilt_norm / x_norm;
    ++shrinkage_count;
  }
}

Absorbers TruthEvaluation::State::absorbers(std::size_t slot, SparseView latents,
                                            std::int64_t row) {
  const std::int64_t own = latent_of[index(parents[slot])];
  const float* cosines = parent_cosines.const_data_ptr<float>() + slot * index(d_sae);
  Absorbers result;
  candidates.clear();
  for (std::int64_t e = latents.begin(row); e < latents.end(row); ++e) {
    const std::int64_t j = latents.indices[index(e)];
    if (j == own || latents.values[index(e)] <= 0) continue;
    const double cosine = cosines[j];
    const double projection = double{latents.values[index(e)]} * norms[index(j)] * cosine;
    if (projection > result.largest) {
      result.largest = projection;
      result.largest_cosine = cosine;
    }
    if (cosine >= options.fraction_cosine && projection > 0) candidates.push_back(projection);
  }
  const auto top = std::min(std::ssize(candidates), std::ptrdiff_t{options.fraction_top});
  std::partial_sort(candidates.begin(), candidates.begin() + top, candidates.end(),
                    std::greater<>());
  for (std::ptrdiff_t k = 0; k < top; ++k) result.top += candidates[index(k)];
  return result;
}

void TruthEvaluation::State::count_parent(std::size_t slot, SparseView latents, std::int64_t row) {
  const std::int64_t p = parents[slot];
  const std::size_t own = index(latent_of[index(p)]);
  ParentSums& sum = sums[slot];
  const bool on = child_on[index(p)] != 0;
  const double magnitude = double{code[own]} * norms[own];
  ++sum.events[on];
  sum.misses[on] += code[own] <= 0;
  if (activation[index(p)] >= kFaint * world->tables().mu[index(p)]) {
    sum.ratio[on] += magnitude / activation[index(p)];
    ++sum.ratios[on];
  }
  if (!on) return;

  const double v = dot(signal, world->dictionary().const_data_ptr<float>() + p * world->d_in());
  if (v <= 0) return;
  const Absorbers others = absorbers(slot, latents, row);
  sum.full += code[own] <= 0 && others.largest_cosine >= options.full_cosine &&
              others.largest >= options.share * v && others.largest > 0;
  const double cosine = parent_cosines.const_data_ptr<float>()[slot * index(d_sae) + own];
  const double main = magnitude * cosine;
  if (main >= v || others.top < options.share * v || others.top <= 0) return;
  if (main <= 0) {
    sum.fraction += 1;
  } else {
    const double absorbed = std::min(others.top, v - main);
    sum.fraction += absorbed / (absorbed + main);
  }
}

TruthEvaluation::TruthEvaluation(std::shared_ptr<const World> world, TruthSubject subject,
                                 TruthOptions options)
    : state_(std::make_unique<State>(std::move(world), subject, options)) {}
TruthEvaluation::~TruthEvaluation() = default;
TruthEvaluation::TruthEvaluation(TruthEvaluation&&) noexcept = default;

void TruthEvaluation::add(SparseView truth, SparseView latents) {
  const auto check = [](SparseView rows, std::int64_t columns, const char* name) {
    const bool shape = rows.rows() >= 0 && rows.values.size() == rows.indices.size() &&
                       rows.offsets.back() == std::ssize(rows.indices);
    const bool range = std::all_of(rows.indices.begin(), rows.indices.end(),
                                   [&](std::int64_t i) { return i >= 0 && i < columns; });
    if (shape && range) return;
    throw std::invalid_argument("TruthEvaluation::add: " + std::string(name) +
                                " is not a batch of " + "sparse rows over " +
                                std::to_string(columns) + " columns");
  };
  check(truth, state_->world->features(), "truth");
  check(latents, state_->d_sae, "latents");
  if (truth.rows() != latents.rows()) {
    throw std::invalid_argument("TruthEvaluation::add: " + std::to_string(latents.rows()) +
                                " rows of latents, " + std::to_string(truth.rows()) +
                                " of truth; the same samples expected");
  }
  for (std::int64_t row = 0; row < truth.rows(); ++row) state_->add_sample(truth, latents, row);
}

}  // namespace sae
