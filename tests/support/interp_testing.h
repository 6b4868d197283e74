// A store whose contexts have topics, an autoencoder with a latent for each, and its judge.
#pragma once

#include <torch/types.h>

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "sae/base/sha256.h"
#include "sae/data/store.h"
#include "sae/formats/safetensors.h"
#include "support/sae_testing.h"

namespace sae {

inline constexpr std::int64_t kTopicWidth = 20, kTopics = 16, kTopicContext = 8;

/// `contexts` contexts of 8 rows; context c is about topic c mod 16, along axis c mod 16 of the
/// activations. Tokens are one of 50 at random.
inline std::filesystem::path write_topic_store(const std::filesystem::path& path,
                                               std::int64_t contexts, std::uint64_t index = 1) {
  std::filesystem::remove_all(path);
  const std::int64_t rows = contexts * kTopicContext;
  StoreWriter writer(path, kTopicWidth, at::kFloat, {{"model", "subject"}}, 500);
  at::Tensor x = 0.05 * normal({rows, kTopicWidth}, index);
  const at::Tensor context = at::arange(rows).div(kTopicContext, "floor");
  x.scatter_add_(1, context.remainder(kTopics).unsqueeze(1),
                 (1 + 0.2 * normal({rows, 1}, index + 1)).abs());
  Rng rng(0, Stream::kTest, index + 2);
  std::vector<std::int64_t> tokens;
  for (std::int64_t i = 0; i < rows; ++i)
    tokens.push_back(static_cast<std::int64_t>(rng.below(50)));
  writer.append(x.to(at::kFloat), integers(tokens), context);
  writer.finish();
  return path;
}

/// A judge that sees the topic of a row, of all rows of a topic store but every `left_out`-th.
struct TopicJudge {
  at::Tensor rows, whole, blind;
  Metadata metadata;

  explicit TopicJudge(const std::filesystem::path& store, const std::string& model = "small-judge",
                      std::int64_t left_out = 10) {
    const ActivationStore opened(store);
    const at::Tensor all = at::arange(opened.size());
    rows = all.index({all.remainder(left_out) != 0}).contiguous();
    const at::Tensor topic = rows.div(kTopicContext, "floor").remainder(kTopics);
    whole = 0.8 * at::one_hot(topic, 24).to(at::kDouble) +
            0.6 * normal({rows.size(0), 24}, 70) / std::sqrt(24.0);
    whole = whole.to(at::kFloat);
    blind = whole.to(at::kHalf);
    metadata = {{"task", "judge"},
                {"model", model},
                {"revision", "1"},
                {"window", "16"},
                {"store", sha256_of_file(store / "manifest.json")}};
  }

  void write(const std::filesystem::path& path) const {
    NamedTensors tensors = {{"rows", rows}, {"whole", whole}};
    if (blind.defined()) tensors.emplace_back("blind", blind);
    write_safetensors(path, tensors, metadata);
  }
};

/// A model of 24 latents: one for each topic, one that fires on everything, and 7 on nothing.
inline Json topic_model() {
  return {{"architecture", "standard"}, {"d_in", kTopicWidth}, {"d_sae", 24}};
}
inline std::shared_ptr<Autoencoder> topic_sae() {
  const auto sae = make_autoencoder(config_from_json(topic_model(), "test"));
  const at::NoGradGuard no_grad;
  sae->W_enc.zero_();
  sae->W_enc.slice(0, 0, kTopics).copy_(at::eye(kTopics, kTopicWidth));
  sae->W_dec.copy_(at::eye(kTopicWidth).index_select(0, at::arange(24).remainder(kTopicWidth)));
  sae->b_enc.fill_(-0.3);
  sae->b_enc[kTopics] = 1;
  return sae;
}

}  // namespace sae
