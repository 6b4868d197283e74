#include <torch/types.h>

#include <algorithm>
#include <span>
#include <string>
#include <unordered_set>

#include "evaluation/interp/encode.h"
#include "sae/base/error.h"
#include "sae/base/interrupt.h"
#include "sae/evaluation/interp_items.h"

namespace sae {
namespace {

std::int64_t most_rows(std::int64_t sample, const InterpOptions& options) {
  return static_cast<std::int64_t>(options.max_share * static_cast<double>(sample));
}

std::int64_t contexts_of(const InterpSample& sample, const Firings& firings) {
  std::unordered_set<std::int32_t> contexts;
  for (const std::int32_t row : firings.rows) contexts.insert(sample.context(row));
  return std::ssize(contexts);
}

LatentStanding standing_of(const InterpSample& sample, std::int64_t count, const Firings& firings,
                           const InterpOptions& options) {
  if (count == 0) return LatentStanding::kSilent;
  if (count > most_rows(sample.size(), options)) return LatentStanding::kDense;
  const bool often =
      count >= options.min_rows && contexts_of(sample, firings) >= options.min_contexts;
  return often ? LatentStanding::kEligible : LatentStanding::kRare;
}

}  // namespace

bool Firings::contain(std::int32_t row) const {
  return std::binary_search(rows.begin(), rows.end(), row);
}

void encode_rows(const Autoencoder& sae, const ActivationStore& store,
                 std::span<const std::int64_t> rows, std::int64_t batch,
                 const std::function<void(std::int64_t first, const SparseView& codes)>& visit) {
  if (store.d_in() != sae.d_in()) {
    throw DataError(store.path().string() + ": activations have width " +
                    std::to_string(store.d_in()) + ", the autoencoder takes " +
                    std::to_string(sae.d_in()));
  }
  const at::NoGradGuard no_grad;
  for (std::int64_t first = 0; first < std::ssize(rows); first += batch) {
    check_interrupt();
    const std::int64_t count = std::min(batch, std::ssize(rows) - first);
    const at::Tensor x =
        store.rows(rows.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count)));
    const Codes codes = to_cpu(sae.encode(x.to(sae.W_enc.device())));
    visit(first, view_of(codes));
  }
}

SampleFirings collect_firings(const Autoencoder& sae, const ActivationStore& store,
                              const InterpSample& sample, const InterpOptions& options) {
  const std::int64_t most = most_rows(sample.size(), options);
  const auto latents = static_cast<std::size_t>(sae.d_sae());
  SampleFirings out{std::vector<std::int64_t>(latents, 0), std::vector<Firings>(latents)};
  encode_rows(sae, store, sample.rows(), options.batch, [&](std::int64_t first, auto& codes) {
    for (std::int64_t i = 0; i < codes.rows(); ++i) {
      for (std::int64_t entry = codes.begin(i); entry < codes.end(i); ++entry) {
        const float value = codes.values[static_cast<std::size_t>(entry)];
        if (!(value > 0)) continue;
        const auto latent =
            static_cast<std::size_t>(codes.indices[static_cast<std::size_t>(entry)]);
        Firings& own = out.latents[latent];
        // A latent that fires on more rows is not looked at, and would take memory.
        if (++out.counts[latent] > most) {
          own = {};
        } else {
          own.rows.push_back(static_cast<std::int32_t>(first + i));
          own.values.push_back(value);
        }
      }
    }
  });
  return out;
}

LatentSelection select_latents(const InterpSample& sample, const SampleFirings& firings,
                               const InterpOptions& options) {
  LatentSelection out;
  double all = 0, covered = 0;
  for (std::size_t latent = 0; latent < firings.counts.size(); ++latent) {
    const std::int64_t count = firings.counts[latent];
    const LatentStanding standing = standing_of(sample, count, firings.latents[latent], options);
    out.standing.push_back(standing);
    ++out.counts[static_cast<std::size_t>(standing)];
    all += static_cast<double>(count);
    if (standing != LatentStanding::kEligible) continue;
    out.eligible.push_back(static_cast<std::int64_t>(latent));
    covered += static_cast<double>(count);
  }
  out.coverage = all > 0 ? covered / all : 0;
  return out;
}

}  // namespace sae
