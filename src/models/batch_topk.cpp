#include "sae/models/batch_topk.h"

#include <torch/types.h>

#include <algorithm>
#include <string>
#include <utility>

#include "sae/base/text.h"
#include "sae/config/findings.h"

namespace sae {

void BatchTopKOptions::check(Findings& findings) const {
  base.check(findings);
  aux.check(findings, base.d_sae);
  const auto d_sae = static_cast<double>(base.d_sae);
  if (k > d_sae) {
    findings.at_most("k", k, d_sae, "d_sae");
  } else if (k == d_sae) {
    findings.warn("k", "got all of d_sae: nothing is sparse");
  }
}

void BatchTopKOptions::check(Findings& findings, const RunLength& run) const {
  base.check(findings, run);
  if (k * static_cast<double>(run.batch) < 1) {
    findings.warn("k", "got " + shortest(k) + ", less than one latent in a batch of " +
                           std::to_string(run.batch) + " tokens, which keeps one; raise it");
  }
}

BatchTopK::BatchTopK(BatchTopKOptions options)
    : Autoencoder(options.base), options_(std::move(options)) {
  threshold_ = register_buffer("threshold", at::full({}, -1.0F));
}

SelectionRule BatchTopK::rule(std::int64_t batch) const {
  const auto count = static_cast<std::int64_t>(options_.k * static_cast<double>(batch));
  return LargestOfBatch{
      std::clamp<std::int64_t>(count, 1, std::max<std::int64_t>(1, batch * all_latents()))};
}

SelectionRule BatchTopK::inference_rule(std::int64_t /*batch*/) const {
  // Only positive activations exist, whatever the threshold.
  return Above{threshold_.clamp_min(0), /*activation_cuts=*/false};
}

Losses BatchTopK::penalties(const Forward& pass, Step) const {
  return aux_k_loss(*this, pass, options_.aux);
}

void BatchTopK::observe_more(const BatchStatistics& batch, Step) {
  const at::Tensor least = spread().least(batch.min_positive);
  const at::Tensor smallest = at::where(least.isfinite(), least, threshold_);
  const at::Tensor next = threshold_.lerp(smallest, 1 - options_.threshold_decay);
  threshold_.copy_(at::where(threshold_ < 0, smallest, next));
}

void BatchTopK::fold_more(double scale) { threshold_.div_(scale); }

}  // namespace sae
