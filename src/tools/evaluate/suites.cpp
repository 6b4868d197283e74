#include <torch/types.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "sae/base/error.h"
#include "sae/evaluation/controls.h"
#include "tools/evaluate/inputs.h"

namespace sae {
namespace {

SuiteOutcome run_suite(const std::string& suite, const Autoencoder& sae, EvaluateInputs& inputs,
                       std::int64_t repeats) {
  if (suite == "absorption") return inputs.words().run(sae);
  if (suite == "probing") return probing_suite(sae, inputs.tasks(), inputs.probing, repeats);
  if (suite == "core") return core_suite(sae, inputs.data(), inputs.eval, inputs.core);
  return truth_suite(sae, inputs.data(), inputs.eval);
}

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
      std::vector<std::string> names = known;
      names.emplace_back("all");
      throw ConfigError(option + ": " + expected_one_of(name, names));
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

}  // namespace

std::vector<SubjectOutcome> evaluate_suites(const EvaluateArguments& arguments) {
  if (arguments.repeats < 1) {
    throw ConfigError("--repeats: got " + std::to_string(arguments.repeats) + ", expected >= 1");
  }
  EvaluateInputs inputs(arguments);
  const std::vector<std::string> given =
      arguments.suites.empty() ? std::vector<std::string>{"core"} : arguments.suites;
  const bool all = std::find(given.begin(), given.end(), "all") != given.end();
  const auto suites = chosen(given, "--suite", suite_names(),
                             all ? possible_suites(inputs) : std::vector<std::string>{});
  const auto all_controls = choice_names<Control>();
  const auto controls = chosen(arguments.controls, "--controls", all_controls, all_controls);
  if (suites.empty()) {
    throw ConfigError("--suite all: there is no data for any suite; give some with --data");
  }
  std::vector<SubjectOutcome> subjects;
  const auto evaluate_subject = [&](const std::string& name, const Autoencoder& sae) {
    SubjectOutcome subject;
    subject.name = name;
    for (const std::string& suite : suites) {
      subject.suites.push_back(run_suite(suite, sae, inputs, arguments.repeats));
    }
    subjects.push_back(std::move(subject));
  };
  evaluate_subject("sae", inputs.sae());
  if (controls.empty()) return subjects;
  const ControlBasis basis{inputs.shared_sae(), &inputs.model(), inputs.sample(),
                           static_cast<std::uint64_t>(inputs.absorption.seed)};
  for (const std::string& name : controls)
    evaluate_subject(name, *make_control(*choice_named<Control>(name), basis));
  return subjects;
}

}  // namespace sae
