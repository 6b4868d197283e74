#include "training/batch_pass.h"

#include <torch/types.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/stages.h"
#include "training/autocast.h"

namespace sae {
namespace {

/// Adds `share` times the losses of a part to those of the batch; returns their sum, with a graph.
at::Tensor add_losses(const Losses& part, double share, BatchPass& batch) {
  at::Tensor sum;
  for (std::size_t i = 0; i < part.size(); ++i) {
    const auto& [name, value] = part[i];
    sum = sum.defined() ? sum + value : value;
    if (batch.losses.size() == i) batch.losses.emplace_back(name, at::zeros_like(batch.total));
    batch.losses[i].second += value.detach() * share;
  }
  if (share < 1) sum = sum * share;
  batch.total += sum.detach();
  return sum;
}

void measure(const Forward& pass, const InputMap& input, ReconstructionMetrics& metrics) {
  metrics.add(input.undo(pass.x), input.undo(pass.x_hat.detach()), pass.latents);
}

}  // namespace

BatchPass run_batch(const Autoencoder& sae, const at::Tensor& x, Step step,
                    const BatchPassOptions& options) {
  const Spread& spread = sae.spread();
  BatchPass batch{.tokens = spread.tokens(x.size(0)).all,
                  .losses = {},
                  .total = at::zeros({}, x.options()),
                  .statistics = {},
                  .metrics = ReconstructionMetrics(sae.d_sae()),
                  .mask = {},
                  .errors = {}};
  const std::vector<at::Tensor> parts = x.chunk(std::min(options.parts, x.size(0)));
  const auto autocast = [&] { return Bf16Scope(options.bf16, x.device().type()); };
  std::vector<BatchPart> plan;
  {
    const Bf16Scope bf16 = autocast();
    plan = sae.plan(parts, step);
  }
  std::vector<at::Tensor> errors;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const double share = static_cast<double>(parts[i].size(0)) / static_cast<double>(batch.tokens);
    Forward pass;
    Losses losses;
    {
      const Bf16Scope bf16 = autocast();
      pass = sae.forward(parts[i], step, std::exchange(plan[i], {}));
      losses = sae.losses(pass, step);
    }
    const at::Tensor loss = add_losses(losses, share, batch);
    {
      const StageScope stage(Stage::kBackward);
      loss.backward();
    }
    const StageScope stage(Stage::kStatistics);
    batch.statistics.add(sae.statistics(pass, share));
    if (options.measure) measure(pass, options.input, batch.metrics);
    if (sae.resamples(step)) errors.push_back(squared_errors(pass));
    batch.mask = pass.mask;
  }
  if (!errors.empty()) batch.errors = at::cat(errors);
  std::vector<at::Tensor*> losses{&batch.total};
  for (auto& [name, value] : batch.losses) losses.push_back(&value);
  spread.sum_tokens(losses);
  if (options.measure) batch.metrics.join(spread, TokensOfRanks::kParts);
  return batch;
}

}  // namespace sae
