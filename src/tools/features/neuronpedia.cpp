#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "sae/base/files.h"
#include "sae/base/interrupt.h"
#include "sparse/row_norms.h"
#include "tools/features/codes_on_disk.h"
#include "tools/features/collector.h"
#include "tools/features/correlations.h"
#include "tools/features/encoded.h"
#include "tools/features/exports.h"
#include "tools/features/intervals.h"
#include "tools/features/origin.h"
#include "tools/features/text.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::int64_t kFileLatents = 128;  // NeuronpediaRunnerConfig.n_features_at_a_time
constexpr std::int64_t kAligned = 3;

/// Three decimals, as a floating-point number whatever it is: Python tells 1.0 from 1.
double thousandths(double value) { return std::round(value * 1000) / 1000 + 0.0; }

Json thousandths(const std::vector<double>& values) {
  Json out = Json::array();
  for (const double value : values) out.push_back(thousandths(value));
  return out;
}

/// Everything that is known of latents, gathered in two readings: of the store, and of its codes.
struct Gathered {
  Gathered(const FeaturesInput& input, const fs::path& scratch)
      : codes(scratch, input.latents()),
        neurons(input.latents(), input.store.d_in(), input.sae.sae->W_enc.device()),
        cofiring(input.latents(), kFileLatents) {
    rows = for_each_encoded(*input.sae.sae, input.store, 0, input.go_on,
                            [&](const EncodedBatch& batch) {
                              codes.append(batch.rows);
                              neurons.add(batch);
                            });
    codes.finish();
    if (rows < input.store.size()) return;
    FeaturesOptions top_only = input.arguments.options;
    top_only.quantiles = 0;
    FeatureCollector strongest(input.latents(), top_only);
    IntervalCollector by_size(codes.ranges(), input.arguments.options);
    for_each_batch(codes, input.store, input.arguments.options.window, [&](FeatureBatch batch) {
      by_size.add(batch);
      cofiring.add(batch);
      batch.tokens = {};  // which would be counted
      strongest.add(batch);
    });
    intervals = by_size.finish();
    latents = strongest.finish();
  }

  CodesOnDisk codes;
  NeuronSums neurons;
  CofiringSums cofiring;
  std::int64_t rows = 0;
  std::vector<LatentIntervals> intervals;
  std::vector<LatentFeature> latents;
};

/// The files' content, given what was gathered.
class Batches {
 public:
  Batches(const FeaturesInput& input, const Gathered& gathered)
      : input_(input),
        gathered_(gathered),
        contexts_(contexts_of(input.store)),
        origin_(origin_of(input.store, *input.sae.config)),
        directions_(unit_rows(input.sae.sae->W_dec).to(at::kCPU, at::kFloat)) {}

  Json file(std::int64_t number) const {
    const std::int64_t first = number * kFileLatents;
    const std::int64_t count = std::min(kFileLatents, input_.latents() - first);
    const FeaturesArguments& given = input_.arguments;
    const Json& model = input_.sae.config->at("model");
    Json out{{"model_id", given.model.empty() ? origin_.model : given.model},
             {"layer", origin_.layer},
             {"sae_set", given.source_set.empty() ? model.at("architecture").get<std::string>()
                                                  : given.source_set},
             {"sae_id_suffix", nullptr},
             {"features", Json::array()}};
    const auto neurons = gathered_.neurons.most(gathered_.codes.ranges(), first, count);
    std::vector<LatentLogits> logits(static_cast<std::size_t>(count));
    if (input_.unembedding) {
      logits = latent_logits(*input_.unembedding, directions_.slice(0, first, first + count));
    }
    for (std::int64_t i = 0; i < count; ++i) {
      const auto at = static_cast<std::size_t>(i);
      out["features"].push_back(latent(first + i, neurons[at], logits[at]));
    }
    return out;
  }

 private:
  Json latent(std::int64_t number, const Correlated& neurons, const LatentLogits& logits) const {
    const auto at = static_cast<std::size_t>(number);
    const LatentRange& range = gathered_.codes.ranges()[at];
    Json out{{"feature_index", number}};
    alignment(out, directions_[number]);
    correlations(out, "correlated_neurons", neurons);
    correlations(out, "correlated_features",
                 gathered_.cofiring.most(gathered_.codes.ranges(), number));
    tokens(out, "neg", logits.bottom);
    tokens(out, "pos", logits.top);
    out["frac_nonzero"] = share(range.firings);
    histogram(out, "freq", gathered_.intervals[at].heights, range.least, range.most);
    histogram(out, "logits", logits.heights, logits.least, logits.most);
    out["n_prompts_total"] = contexts_.count;
    out["n_tokens_in_prompt"] = contexts_.longest;
    out["dataset"] = origin_.dataset;
    out["decoder_weights_dist"] = Json::array();
    out["activations"] = activations(number);
    out["vector"] = Json::array();
    return out;
  }

  double share(std::int64_t rows) const {
    return static_cast<double>(rows) / static_cast<double>(gathered_.rows);
  }

  /// The dimensions in which the decoder's row is largest, and what they have of its L1 norm.
  static void alignment(Json& out, const at::Tensor& direction) {
    const auto [values, indices] = direction.topk(std::min(kAligned, direction.size(0)));
    const double norm = direction.abs().sum().item<double>();
    for (const char* list : {"indices", "values", "l1"}) {
      out[std::string("neuron_alignment_") + list] = Json::array();
    }
    for (std::int64_t i = 0; i < values.size(0); ++i) {
      const double value = values[i].item<double>();
      out["neuron_alignment_indices"].push_back(indices[i].item<std::int64_t>());
      out["neuron_alignment_values"].push_back(thousandths(value));
      out["neuron_alignment_l1"].push_back(thousandths(norm > 0 ? std::abs(value) / norm : 0));
    }
  }

  /// What the format calls l1 here is the cosine.
  static void correlations(Json& out, const std::string& name, const Correlated& most) {
    out[name + "_indices"] = most.indices;
    out[name + "_l1"] = thousandths(most.cosine);
    out[name + "_pearson"] = thousandths(most.pearson);
  }

  void tokens(Json& out, const std::string& name,
              const std::vector<std::pair<std::int64_t, float>>& list) const {
    Json& texts = out[name + "_str"] = Json::array();
    Json& values = out[name + "_values"] = Json::array();
    for (const auto& [token, value] : list) {
      texts.push_back(text_of_token(input_.vocabulary, token));
      values.push_back(thousandths(value));
    }
  }

  static void histogram(Json& out, const std::string& name,
                        const std::vector<std::int64_t>& heights, double least, double most) {
    const std::string stem = name + "_hist_data_bar_";
    out[stem + "heights"] = heights;
    out[stem + "values"] = heights.empty() ? Json::array() : thousandths(bar_centres(least, most));
  }

  /// The strongest, then examples of each interval, strongest interval first. Of the interval that
  /// begins at 0 `bin_contains` counts the tokens, too, on which the latent is silent.
  Json activations(std::int64_t number) const {
    const auto at = static_cast<std::size_t>(number);
    const double most = gathered_.codes.ranges()[at].most;
    const auto& intervals = gathered_.intervals[at].intervals;
    Json out = Json::array();
    for (const FeatureExample& one : gathered_.latents[at].top) {
      out.push_back(activation(one, -1, thousandths(most), -1));
    }
    const double width = most / static_cast<double>(std::max<std::size_t>(1, intervals.size()));
    for (std::size_t i = intervals.size(); i-- > 0;) {
      std::int64_t inside = intervals[i].firings;
      if (i == 0) inside += gathered_.rows - gathered_.codes.ranges()[at].firings;
      for (const FeatureExample& one : intervals[i].examples) {
        out.push_back(activation(one, thousandths(width * static_cast<double>(i)),
                                 thousandths(width * static_cast<double>(i + 1)), share(inside)));
      }
    }
    return out;
  }

  Json activation(const FeatureExample& example, const Json& least, const Json& most,
                  const Json& contains) const {
    Json out{{"bin_min", least},        {"bin_max", most},         {"bin_contains", contains},
             {"tokens", Json::array()}, {"values", Json::array()}, {"qualifying_token_index", 0}};
    auto mark = example.marks.begin();
    std::int64_t end = 0;
    for (const auto& piece :
         text_of_rows(input_.store, input_.vocabulary, example.first_row, example.rows)) {
      const std::int64_t begin = std::exchange(end, end + static_cast<std::int64_t>(piece.tokens));
      const std::int64_t own = example.row - example.first_row;
      if (own >= begin && own < end) out["qualifying_token_index"] = out["tokens"].size();
      float largest = 0;
      for (; mark != example.marks.end() && mark->offset < end; ++mark) {
        largest = std::max(largest, mark->activation);
      }
      out["tokens"].push_back(piece.text);
      out["values"].push_back(thousandths(largest));
    }
    return out;
  }

  const FeaturesInput& input_;
  const Gathered& gathered_;
  Contexts contexts_;
  FeaturesOrigin origin_;
  at::Tensor directions_;  // [F, D], rows of norm 1
};

}  // namespace

FeaturesOutcome write_neuronpedia(const FeaturesInput& input, const fs::path& folder) {
  check_options(input.arguments.options);
  const Gathered gathered(input, folder / ".codes");
  FeaturesOutcome outcome = outcome_of(gathered.codes.ranges(), gathered.rows);
  outcome.finished = gathered.rows == input.store.size();
  if (!outcome.finished) return outcome;
  const Batches batches(input, gathered);
  for (std::int64_t i = 0; i * kFileLatents < input.latents(); ++i) {
    check_interrupt();
    // As Python writes it: whoever reads it may open it in any encoding.
    write_file_atomically(
        folder / ("batch-" + std::to_string(i) + ".json"),
        batches.file(i).dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace));
  }
  return outcome;
}

}  // namespace sae
