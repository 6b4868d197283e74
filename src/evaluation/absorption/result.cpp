#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <vector>

#include "config/fields_json.h"
#include "evaluation/absorption/parts.h"
#include "sae/base/error.h"
#include "sae/base/text.h"
#include "sae/evaluation/absorption.h"
#include "sae/metrics/metric_values.h"
#include "sae/metrics/statistics.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

/// Mean and sample standard deviation over some of the classes.
template <class Counts, class Get>
SeedStatistic over_classes(const std::vector<ClassAbsorption>& classes, Counts&& counts,
                           Get&& get) {
  std::vector<double> values;
  for (const ClassAbsorption& one : classes) {
    if (counts(one)) values.push_back(static_cast<double>(get(one)));
  }
  SeedStatistic statistic = over_seeds(values);
  if (values.empty()) statistic.mean = std::numeric_limits<double>::quiet_NaN();
  if (values.size() < 2) statistic.sd = std::numeric_limits<double>::quiet_NaN();
  return statistic;
}

/// Of the `k` best latents together; codes that were not probed have none.
double f1_of(const ClassAbsorption& one, std::int64_t k) {
  const bool there = k >= 1 && k <= std::ssize(one.sparse.f1);
  return there ? one.sparse.f1[static_cast<std::size_t>(k - 1)]
               : std::numeric_limits<double>::quiet_NaN();
}
double k1_f1(const ClassAbsorption& one) { return f1_of(one, 1); }
double main_f1(const ClassAbsorption& one) { return f1_of(one, one.sparse.main); }
double full_of(const ClassAbsorption& one) { return one.full; }
double fraction_of(const ClassAbsorption& one) { return one.fraction; }

Json detail(const ClassAbsorption& one) {
  return {{"first_letter", one.name},
          {"mean_absorption_fraction", to_json(one.fraction)},
          {"full_absorption_rate", to_json(one.full)},
          {"num_full_absorption", one.full_count},
          {"num_probe_true_positives", one.words},
          {"num_split_features", one.sparse.main}};
}

Json absorbers(const std::vector<Absorber>& all) {
  Json out = Json::array();
  for (const Absorber& one : all) {
    out.push_back({{"latent", one.latent},
                   {"words", one.words},
                   {"share", to_json(one.share)},
                   {"examples", one.examples}});
  }
  return out;
}

Json own_detail(const ClassAbsorption& one) {
  const auto main = one.sparse.latents.begin() + one.sparse.main;
  return {{"class", one.name},
          {"kept", one.kept},
          {"probe_f1", to_json(one.probe_f1)},
          {"probe_recall", to_json(one.probe_recall)},
          {"k1_f1", to_json(k1_f1(one))},
          {"main_f1", to_json(main_f1(one))},
          {"f1_by_k", one.sparse.f1},
          {"main_latents", std::vector<std::int64_t>(one.sparse.latents.begin(), main)},
          {"main_recall", to_json(one.sparse.recall)},
          {"main_latents_carry", one.sparse.carried},
          {"words", one.words},
          {"fraction", to_json(one.fraction)},
          {"full", to_json(one.full)},
          {"fraction_open", to_json(one.fraction_open)},
          {"truncated_fraction", to_json(one.truncated_fraction)},
          {"truncated_full", to_json(one.truncated_full)},
          {"absorbers", absorbers(one.absorbers)}};
}

std::vector<LeftOut> classes_left_out(const AbsorptionResult& result) {
  const double least = absorption_rules(result.options).min_probe_f1;
  std::vector<LeftOut> out;
  for (const ClassAbsorption& one : result.classes) {
    if (one.kept) continue;
    out.push_back({one.name, one.probe_f1 > least ? "no word that the probe reads"
                                                  : "probe F1 " + fixed(one.probe_f1, 2) +
                                                        ", expected above " + trimmed(least, 3)});
  }
  return out;
}

std::int64_t words_scored(const AbsorptionResult& result) {
  std::int64_t words = 0;
  for (const ClassAbsorption& one : result.classes) words += one.kept ? one.words : 0;
  return words;
}

Json rests_on(const AbsorptionResult& result) {
  return {{"train_words", result.train_words.samples},
          {"distinct_train_words", result.train_words.distinct},
          {"test_words", result.test_words.samples},
          {"distinct_test_words", result.test_words.distinct},
          {"words_scored", words_scored(result)},
          {"classes", result.classes.size()},
          {"left_out", to_json(classes_left_out(result))}};
}

}  // namespace

void check_gate(const std::vector<ClassAbsorption>& classes, const AbsorptionRules& rules,
                const std::string& place) {
  const auto passing =
      std::count_if(classes.begin(), classes.end(),
                    [&](const ClassAbsorption& one) { return one.probe_f1 > rules.min_probe_f1; });
  if (passing >= rules.min_classes) return;
  throw DataError(place + ": " + std::to_string(passing) + " of " + std::to_string(classes.size()) +
                  " classes have a probe F1 above " + trimmed(rules.min_probe_f1, 3) +
                  ", expected at least " + std::to_string(rules.min_classes) +
                  " (absorption.min_feats_for_eval): the classes cannot be read from these "
                  "activations");
}

void keep_classes(std::vector<ClassAbsorption>& classes, const AbsorptionRules& rules) {
  for (ClassAbsorption& one : classes) {
    one.kept = one.probe_f1 > rules.min_probe_f1 && one.words > 0;
  }
}

MetricValues AbsorptionResult::values() const {
  const auto kept = [](const ClassAbsorption& one) { return one.kept; };
  const auto with_main = [&](const ClassAbsorption& one) {
    return one.kept && main_f1(one) >= options.min_main_f1;
  };
  const auto count = [&](auto counts) {
    return static_cast<double>(std::count_if(classes.begin(), classes.end(), counts));
  };
  const auto mean = [&](auto get) { return over_classes(classes, kept, get).mean; };
  const auto fraction = over_classes(classes, kept, fraction_of);
  const auto full = over_classes(classes, kept, full_of);
  const auto main = over_classes(classes, kept, [](const auto& one) { return one.sparse.main; });
  return {
      {"mean_absorption_fraction_score", fraction.mean},
      {"mean_full_absorption_score", full.mean},
      {"mean_num_split_features", main.mean},
      {"std_dev_absorption_fraction_score", fraction.sd},
      {"std_dev_full_absorption_score", full.sd},
      {"std_dev_num_split_features", main.sd},
      {"l0", l0},
      {"explained_variance", explained_variance},
      {"classes_kept", count(kept)},
      {"classes_with_main", count(with_main)},
      {"mean_full_absorption_score_given_main", over_classes(classes, with_main, full_of).mean},
      {"mean_absorption_fraction_score_given_main",
       over_classes(classes, with_main, fraction_of).mean},
      {"mean_probe_f1", mean([](const auto& one) { return one.probe_f1; })},
      {"mean_k1_f1", mean(k1_f1)},
      {"mean_recall_gap",
       mean([](const auto& one) { return one.probe_recall - one.sparse.recall; })},
      {"mean_absorption_fraction_open", mean([](const auto& one) { return one.fraction_open; })},
      {"mean_truncated_fraction", mean([](const auto& one) { return one.truncated_fraction; })},
      {"mean_truncated_full", mean([](const auto& one) { return one.truncated_full; })},
      {"ranked", ranked ? 1.0 : 0.0},
  };
}

Json AbsorptionResult::json() const {
  const MetricValues all = values();
  Json mean = Json::object();
  Json more = Json::object();
  for (const auto& [name, value] : all) {
    const bool theirs = name.ends_with("_score") || name.ends_with("_num_split_features");
    (theirs ? mean : more)[name] = to_json(value);
  }
  more["ranked"] = ranked;
  if (!ranked) more["not_ranked"] = unranked;
  Json details = Json::array();
  Json own = Json::array();
  for (const ClassAbsorption& one : classes) {
    if (one.kept) details.push_back(detail(one));
    own.push_back(own_detail(one));
  }
  return {{"eval_type_id", "absorption_first_letter"},
          {"task", task},
          {"d_sae", d_sae},
          {"scored_on", fresh_prompts ? "score_x" : "test_x"},
          {"eval_config", write_fields(options)},
          {"eval_result_metrics", {{"mean", mean}}},
          {"eval_result_details", details},
          {"more", more},
          {"classes", own},
          {"rests_on", rests_on(*this)}};
}

std::string AbsorptionResult::basis() const {
  const std::vector<LeftOut> left_out = classes_left_out(*this);
  return std::to_string(words_scored(*this)) + " words of " +
         std::to_string(classes.size() - left_out.size()) + " of " +
         std::to_string(classes.size()) + " classes, from " + counted(test_words, "test words") +
         "; probes from " + counted(train_words, "training words") + left_out_text(left_out);
}

}  // namespace sae
