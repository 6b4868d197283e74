#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "evaluate_inputs.h"
#include "numbers.h"
#include "sae/controls.h"
#include "sae/error.h"
#include "sae/results.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

const std::vector<std::string> kReconstruction = {"l0",     "explained_variance", "nmse", "mse",
                                                  "cosine", "l2_ratio",           "dead"};

Json object(const MetricValues& values) {
  Json out = Json::object();
  for (const auto& [name, value] : values) {
    out[name] = std::isfinite(value) ? Json(value) : Json(nullptr);
  }
  return out;
}

Json parent_row(const ParentTruth& parent) {
  const auto number = [](double value) { return std::isfinite(value) ? Json(value) : Json(); };
  return {{"feature", parent.feature},
          {"latent", parent.latent},
          {"cosine", number(parent.cosine)},
          {"events_on", parent.events_on},
          {"events_off", parent.events_off},
          {"miss_on", number(parent.miss_on)},
          {"miss_off", number(parent.miss_off)},
          {"full", number(parent.full)},
          {"fraction", number(parent.fraction)},
          {"ratio_on", number(parent.ratio_on)},
          {"ratio_off", number(parent.ratio_off)},
          {"tracked", parent.tracked}};
}

/// One repeat of a suite.
struct Measured {
  MetricValues values;
  std::string detail;
};

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
  return out;
}

/// Everything that is evaluated, kept as long as several subjects share it.
class Suites {
 public:
  Suites(EvaluateInputs& inputs, std::int64_t repeats) : inputs_(inputs), repeats_(repeats) {}

  SuiteOutcome run(const std::string& suite, const Autoencoder& sae) {
    if (suite == "absorption") return absorption(sae);
    if (suite == "probing") return probing(sae);
    return suite == "core" ? core(sae) : truth(sae);
  }

 private:
  SuiteOutcome core(const Autoencoder& sae) {
    Evaluation evaluation;
    const CoreResult result =
        evaluate_core(sae, inputs_.data(), inputs_.eval, inputs_.core, evaluation);
    MetricValues values = result.values;
    for (const auto& [name, value] : result.sae_bench) values["sae_bench." + name] = value;
    return summarised("core", {{values, result.json().dump()}});
  }

  SuiteOutcome truth(const Autoencoder& sae) {
    if (!inputs_.data().world) {
      throw ConfigError("--suite truth: needs a synthetic world; give a preset with --data");
    }
    Evaluation result = evaluate(sae, inputs_.data(), inputs_.eval);
    for (const std::string& name : kReconstruction) result.values.erase(name);
    Json json = object(result.values);
    json["parents"] = Json::array();
    for (const ParentTruth& parent : result.parents) json["parents"].push_back(parent_row(parent));
    return summarised("truth", {{result.values, json.dump()}});
  }

  SuiteOutcome absorption(const Autoencoder& sae) {
    const LabelledActivations& data = inputs_.words();
    const AbsorptionSubject subject = encode_words(sae, data, inputs_.absorption.batch);
    std::vector<Measured> repeats;
    bool ranked = true;
    for (std::int64_t i = 0; i < repeats_; ++i) {
      const std::int64_t seed = inputs_.absorption.seed + i;
      if (!probes_.contains(seed)) {
        probes_[seed] = train_ground_truth(data, inputs_.absorption, seed);
      }
      const AbsorptionResult result =
          evaluate_absorption(subject, data, probes_[seed], inputs_.absorption, seed);
      repeats.push_back({result.values(), result.json().dump()});
      ranked = result.ranked;
    }
    SuiteOutcome out = summarised("absorption", repeats);
    if (!ranked) {
      out.remark = "not ranked: L0 " + brief(subject.l0) + " is above " +
                   trimmed(inputs_.absorption.max_l0_share, 3) +
                   " of D = " + std::to_string(data.d_in()) +
                   ", where low absorption comes from dense codes alone";
    }
    return out;
  }

  SuiteOutcome probing(const Autoencoder& sae) {
    std::vector<Measured> repeats;
    for (std::int64_t i = 0; i < repeats_; ++i) {
      ProbingResult result;
      result.options = inputs_.probing;
      result.options.seed += i;
      for (const auto& path : inputs_.tasks()) {
        result.datasets.push_back(
            probe_dataset(sae, read_labelled(path), result.options, result.options.seed));
      }
      repeats.push_back({result.values(), result.json().dump()});
    }
    return summarised("probing", repeats);
  }

  EvaluateInputs& inputs_;
  std::int64_t repeats_;
  std::map<std::int64_t, LinearProbe> probes_;  // by seed
};

std::vector<std::string> chosen(const std::vector<std::string>& given, const std::string& option,
                                const std::vector<std::string>& known,
                                const std::vector<std::string>& all) {
  std::vector<std::string> out;
  for (const std::string& name : given) {
    if (name == "all") {
      out.insert(out.end(), all.begin(), all.end());
      continue;
    }
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      std::string list;
      for (const std::string& one : known) list += one + ", ";
      const std::string near = nearest_name(name, known);
      throw ConfigError(option + ": got '" + name + "', expected one of " + list + "all" +
                        (near.empty() ? "" : "; did you mean '" + near + "'?"));
    }
    out.push_back(name);
  }
  std::vector<std::string> unique;
  for (const std::string& name : out) {
    if (std::find(unique.begin(), unique.end(), name) == unique.end()) unique.push_back(name);
  }
  return unique;
}

/// What "all" stands for: the suites that there is data for.
std::vector<std::string> possible_suites(EvaluateInputs& inputs) {
  std::vector<std::string> suites;
  if (inputs.has_data()) suites.emplace_back("core");
  if (inputs.has_words()) suites.emplace_back("absorption");
  if (inputs.has_words() || inputs.has_tasks()) suites.emplace_back("probing");
  if (inputs.has_data() && inputs.data().world) suites.emplace_back("truth");
  return suites;
}

Json suite_json(const SuiteOutcome& suite) {
  if (suite.details.size() == 1) return Json::parse(suite.details.front());
  Json repeats = Json::array();
  for (const std::string& detail : suite.details) repeats.push_back(Json::parse(detail));
  return {{"mean", object(suite.mean)}, {"sd", object(suite.sd)}, {"repeats", repeats}};
}

}  // namespace

const std::vector<std::string>& suite_names() {
  static const std::vector<std::string> names = {"core", "absorption", "probing", "truth"};
  return names;
}

std::vector<SubjectOutcome> evaluate_suites(const EvaluateArguments& arguments) {
  if (arguments.repeats < 1) {
    throw ConfigError("--repeats: got " + std::to_string(arguments.repeats) + ", expected >= 1");
  }
  EvaluateInputs inputs(arguments);
  const std::vector<std::string> given =
      arguments.suites.empty() ? std::vector<std::string>{"core"} : arguments.suites;
  const auto suites = chosen(given, "--suite", suite_names(), possible_suites(inputs));
  const auto controls = chosen(arguments.controls, "--controls", control_names(), control_names());
  if (suites.empty()) {
    throw ConfigError("--suite all: there is no data for any suite; give some with --data");
  }
  Suites runner(inputs, arguments.repeats);
  std::vector<SubjectOutcome> subjects;
  const auto evaluate_subject = [&](const std::string& name, const Autoencoder& sae) {
    SubjectOutcome subject;
    subject.name = name;
    for (const std::string& suite : suites) subject.suites.push_back(runner.run(suite, sae));
    subjects.push_back(std::move(subject));
  };
  evaluate_subject("sae", inputs.sae());
  if (controls.empty()) return subjects;
  const ControlBasis basis{inputs.shared_sae(), &inputs.model(), inputs.sample(),
                           static_cast<std::uint64_t>(inputs.absorption.seed)};
  for (const std::string& name : controls) evaluate_subject(name, *make_control(name, basis));
  return subjects;
}

Json to_json(const std::vector<SubjectOutcome>& subjects) {
  Json out = Json::object();
  for (const SubjectOutcome& subject : subjects) {
    Json& place = subject.name == "sae" ? out : out["controls"][subject.name];
    for (const SuiteOutcome& suite : subject.suites) place[suite.suite] = suite_json(suite);
  }
  return out;
}

}  // namespace sae
