#include "sae/evaluation/suites.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "sae/base/error.h"
#include "sae/base/text.h"
#include "sae/evaluation/basis.h"
#include "sae/metrics/catalogue.h"
#include "sae/metrics/statistics.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;
using ByClass = std::map<std::string, MetricValues>;

/// One repeat of a suite.
struct Measured {
  MetricValues values;
  Json detail;
  std::string unranked;
  ByClass by_class;
};

/// Means over repeats of what every repeat has.
ByClass averaged(const std::vector<Measured>& repeats) {
  ByClass out;
  for (const auto& [metric, values] : repeats.front().by_class) {
    for (const auto& [name, value] : values) {
      std::vector<double> all;
      for (const Measured& one : repeats) {
        const auto found = one.by_class.at(metric).find(name);
        if (found != one.by_class.at(metric).end()) all.push_back(found->second);
      }
      if (all.size() == repeats.size()) out[metric][name] = over_seeds(all).mean;
    }
  }
  return out;
}

SuiteOutcome summarised(const std::string& suite, const std::vector<Measured>& repeats) {
  SuiteOutcome out;
  out.suite = suite;
  Json details = Json::array();
  for (const Measured& one : repeats) {
    details.push_back(one.detail);
    if (out.unranked.empty()) out.unranked = one.unranked;
  }
  out.details = std::move(details);
  if (!out.unranked.empty()) out.remark = "not ranked: " + out.unranked;
  for (const auto& [name, value] : repeats.front().values) {
    std::vector<double> all;
    for (const Measured& one : repeats) all.push_back(one.values.at(name));
    const SeedStatistic statistic = over_seeds(all);
    out.mean[name] = statistic.mean;
    if (repeats.size() > 1) out.sd[name] = statistic.sd;
  }
  out.by_class = averaged(repeats);
  return out;
}

Json parent_row(const ParentTruth& parent) {
  return {{"feature", parent.feature},
          {"latent", parent.latent},
          {"cosine", to_json(parent.cosine)},
          {"events_on", parent.events_on},
          {"events_off", parent.events_off},
          {"miss_on", to_json(parent.miss_on)},
          {"miss_off", to_json(parent.miss_off)},
          {"full", to_json(parent.full)},
          {"fraction", to_json(parent.fraction)},
          {"ratio_on", to_json(parent.ratio_on)},
          {"ratio_off", to_json(parent.ratio_off)},
          {"tracked", parent.tracked},
          {"missing", parent.missing}};
}

/// Parents of a world that the absorption averages do not rest on.
std::vector<LeftOut> parents_left_out(const World& world, const Evaluation& result,
                                      const TruthOptions& options) {
  std::int64_t all = 0, rare = 0, poor = 0, missing = 0;
  for (const std::int64_t children : world.tables().child_count) all += children > 0 ? 1 : 0;
  for (const ParentTruth& parent : result.parents) {
    missing += parent.missing ? 1 : 0;
    if (parent.tracked) continue;
    ++(parent.events_on < options.min_events ? rare : poor);
  }
  std::vector<LeftOut> out;
  const auto add = [&](std::int64_t count, const std::string& why) {
    if (count > 0)
      out.push_back({std::to_string(count) + (count == 1 ? " parent" : " parents"), why});
  };
  add(all - std::ssize(result.parents), "without a latent of its own");
  add(rare, "in fewer than " + std::to_string(options.min_events) + " samples with a child");
  add(poor, "with a |cosine| to its latent below " + trimmed(options.min_match_cosine, 3));
  add(missing, "that no latent fires with");
  return out;
}

ByClass of_classes(const AbsorptionResult& result) {
  ByClass out;
  for (const ClassAbsorption& one : result.classes) {
    if (!one.kept) continue;
    out["fraction"][one.name] = one.fraction;
    out["full"][one.name] = one.full;
  }
  return out;
}

ByClass of_tasks(const ProbingResult& result) {
  ByClass out;
  for (const ProbingDataset& dataset : result.datasets) {
    for (const ProbingTask& task : dataset.tasks) {
      const bool alone = result.datasets.size() == 1 || task.name == dataset.name;
      const std::string name = alone ? task.name : dataset.name + ": " + task.name;
      for (const auto& [metric, value] : task.accuracy) {
        if (metric.starts_with("sae_top_")) out[metric][name] = value;
      }
    }
  }
  return out;
}

Json suite_json(const SuiteOutcome& suite) {
  if (suite.details->size() == 1) return suite.details->front();
  return {{"mean", to_json(suite.mean)}, {"sd", to_json(suite.sd)}, {"repeats", *suite.details}};
}

}  // namespace

Json to_json(const std::vector<SubjectOutcome>& subjects) {
  Json out = Json::object();
  for (const SubjectOutcome& subject : subjects) {
    Json& place = subject.name == "sae" ? out : out["controls"][subject.name];
    for (const SuiteOutcome& suite : subject.suites) place[suite.suite] = suite_json(suite);
  }
  return out;
}

const std::vector<std::string>& suite_names() {
  static const std::vector<std::string> names = {"core", "absorption", "probing", "interp",
                                                 "truth"};
  return names;
}

SuiteOutcome core_suite(const Autoencoder& sae, const Data& data, const EvalOptions& eval,
                        const CoreOptions& options) {
  Evaluation evaluation;
  const CoreResult result = evaluate_core(sae, data, eval, options, evaluation);
  MetricValues values = result.values;
  for (const auto& [name, value] : result.sae_bench) values["sae_bench." + name] = value;
  Json json = result.json();
  json["rests_on"] = {{"tokens", evaluation.tokens}};
  if (!evaluation.degenerate.empty()) json["degenerate"] = evaluation.degenerate;
  SuiteOutcome out = summarised("core", {{values, std::move(json), "", {}}});
  // What core measures is true of any codes; it is the other suites that cannot tell.
  if (!evaluation.degenerate.empty()) out.remark = "degenerate: " + evaluation.degenerate;
  out.basis = std::to_string(evaluation.tokens) + " held-out tokens";
  return out;
}

SuiteOutcome truth_suite(const Autoencoder& sae, const Data& data, const EvalOptions& eval) {
  if (!data.world) {
    throw ConfigError(kNeedsTruth);
  }
  Evaluation result = evaluate(sae, data, eval);
  for (const char* name : kReconstructionMetrics) result.values.erase(name);
  Json json = to_json(result.values);
  json["parents"] = Json::array();
  for (const ParentTruth& parent : result.parents) json["parents"].push_back(parent_row(parent));
  const std::vector<LeftOut> left_out = parents_left_out(*data.world, result, eval.truth);
  const double parents = result.values.at(metric::kAbsorptionParents);
  Json reasons = Json::object();
  for (const LeftOut& one : left_out) reasons[one.why] = one.name;
  json["rests_on"] = {{"samples", result.tokens},
                      {"parents", parents},
                      {"min_match_cosine", eval.truth.min_match_cosine},
                      {"left_out", reasons}};
  json["ranked"] = result.degenerate.empty();
  if (!result.degenerate.empty()) json["not_ranked"] = result.degenerate;
  SuiteOutcome out = summarised("truth", {{result.values, std::move(json), result.degenerate, {}}});
  out.basis = std::to_string(result.tokens) + " samples; absorption on " + trimmed(parents, 0) +
              " parents" + left_out_text(left_out);
  return out;
}

SuiteOutcome probing_suite(const Autoencoder& sae, const std::vector<std::filesystem::path>& tasks,
                           const SparseProbingOptions& options, std::int64_t repeats) {
  std::vector<ProbingResult> results(static_cast<std::size_t>(repeats));
  for (std::size_t i = 0; i < results.size(); ++i) {
    results[i].options = options;
    results[i].options.seed += static_cast<std::int64_t>(i);
  }
  for (const std::filesystem::path& path : tasks) {
    const LabelledActivations data = read_labelled(path);
    const ProbingSubject subject = encode_texts(sae, data, options.batch);
    for (ProbingResult& result : results) {
      result.datasets.push_back(probe_dataset(subject, data, result.options, result.options.seed));
    }
  }
  std::vector<Measured> measured;
  for (const ProbingResult& result : results) {
    measured.push_back({result.values(), result.json(), result.unranked(), of_tasks(result)});
  }
  SuiteOutcome out = summarised("probing", measured);
  out.basis = results.front().basis();
  return out;
}

AbsorptionSuite::AbsorptionSuite(LabelledActivations words, AbsorptionOptions options,
                                 std::int64_t repeats)
    : words_(std::move(words)), options_(std::move(options)) {
  for (std::int64_t i = 0; i < repeats; ++i) {
    probes_.push_back(train_ground_truth(words_, options_, options_.seed + i));
    check_gate(read_classes(words_, probes_.back()), absorption_rules(options_), words_.place);
  }
}

SuiteOutcome AbsorptionSuite::run(const Autoencoder& sae) const {
  const AbsorptionSubject subject = encode_words(sae, words_, options_.batch);
  std::vector<Measured> repeats;
  std::string basis;
  for (std::size_t i = 0; i < probes_.size(); ++i) {
    const AbsorptionResult result = evaluate_absorption(
        subject, words_, probes_[i], options_, options_.seed + static_cast<std::int64_t>(i));
    repeats.push_back({result.values(), result.json(), result.unranked, of_classes(result)});
    if (i == 0) basis = result.basis();
  }
  SuiteOutcome out = summarised("absorption", repeats);
  if (out.unranked.empty() && out.mean.at("mean_k1_f1") < kLeastMainF1) {
    out.remark = "the main latents have a mean F1 below " + trimmed(kLeastMainF1, 3) +
                 ": this measures whether a latent for a class exists at all";
  }
  out.basis = std::move(basis);
  return out;
}

}  // namespace sae
