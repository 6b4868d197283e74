#include "sae/evaluation/suites.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "sae/base/error.h"
#include "sae/base/text.h"
#include "sae/metrics/metric_values.h"
#include "sae/metrics/statistics.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;
using ByClass = std::map<std::string, MetricValues>;

const std::vector<std::string> kReconstruction = {"l0",     "explained_variance", "nmse", "mse",
                                                  "cosine", "l2_ratio",           "dead"};

/// One repeat of a suite.
struct Measured {
  MetricValues values;
  std::string detail;
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
  for (const Measured& one : repeats) out.details.push_back(one.detail);
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
          {"tracked", parent.tracked}};
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
  if (suite.details.size() == 1) return Json::parse(suite.details.front());
  Json repeats = Json::array();
  for (const std::string& detail : suite.details) repeats.push_back(Json::parse(detail));
  return {{"mean", to_json(suite.mean)}, {"sd", to_json(suite.sd)}, {"repeats", repeats}};
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
  static const std::vector<std::string> names = {"core", "absorption", "probing", "truth"};
  return names;
}

SuiteOutcome core_suite(const Autoencoder& sae, const Data& data, const EvalOptions& eval,
                        const CoreOptions& options) {
  Evaluation evaluation;
  const CoreResult result = evaluate_core(sae, data, eval, options, evaluation);
  MetricValues values = result.values;
  for (const auto& [name, value] : result.sae_bench) values["sae_bench." + name] = value;
  return summarised("core", {{values, result.json().dump(), {}}});
}

SuiteOutcome truth_suite(const Autoencoder& sae, const Data& data, const EvalOptions& eval) {
  if (!data.world) {
    throw ConfigError("--suite truth: needs a synthetic world; give a preset with --data");
  }
  Evaluation result = evaluate(sae, data, eval);
  for (const std::string& name : kReconstruction) result.values.erase(name);
  Json json = to_json(result.values);
  json["parents"] = Json::array();
  for (const ParentTruth& parent : result.parents) json["parents"].push_back(parent_row(parent));
  return summarised("truth", {{result.values, json.dump(), {}}});
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
    measured.push_back({result.values(), result.json().dump(), of_tasks(result)});
  }
  return summarised("probing", measured);
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
  bool ranked = true;
  for (std::size_t i = 0; i < probes_.size(); ++i) {
    const AbsorptionResult result = evaluate_absorption(
        subject, words_, probes_[i], options_, options_.seed + static_cast<std::int64_t>(i));
    repeats.push_back({result.values(), result.json().dump(), of_classes(result)});
    ranked = result.ranked;
  }
  SuiteOutcome out = summarised("absorption", repeats);
  if (!ranked) {
    out.remark = "not ranked: L0 " + brief(subject.l0) + " is above " +
                 trimmed(options_.max_l0_share, 3) + " of D = " + std::to_string(words_.d_in()) +
                 ", where low absorption comes from dense codes alone";
  }
  return out;
}

}  // namespace sae
