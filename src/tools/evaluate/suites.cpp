#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "sae/base/error.h"
#include "sae/base/text.h"
#include "sae/evaluation/controls.h"
#include "tools/evaluate/inputs.h"

namespace sae {
namespace {

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
  const bool words = !inputs.files.words.empty();
  std::vector<std::string> suites;
  if (inputs.has_data()) suites.emplace_back("core");
  if (words) suites.emplace_back("absorption");
  if (words || !inputs.files.tasks.empty()) suites.emplace_back("probing");
  if (inputs.has_data() && inputs.files.judge) suites.emplace_back("interp");
  if (inputs.has_data() && inputs.data().world) suites.emplace_back("truth");
  return suites;
}

double of(const MetricValues& values, const char* name) {
  const auto found = values.find(name);
  return found == values.end() ? 0 : found->second;
}

/// Remarks on absorption that a dictionary of random directions has as well.
void compare_with_chance(SubjectOutcome& sae, const SubjectOutcome& random) {
  constexpr const char* kScore = "mean_full_absorption_score";
  for (std::size_t i = 0; i < sae.suites.size(); ++i) {
    SuiteOutcome& own = sae.suites[i];
    const SuiteOutcome& theirs = random.suites[i];
    if (own.suite != "absorption") continue;
    const double chance = theirs.mean.at(kScore);
    const double spread = std::hypot(of(own.sd, kScore), of(theirs.sd, kScore));
    if (!(own.mean.at(kScore) <= chance + spread)) continue;
    if (!own.remark.empty()) own.remark += "; ";
    own.remark += "a random dictionary at about this L0 has as much full absorption (" +
                  fixed(chance, 3) + "): not told from chance";
  }
}

}  // namespace

std::vector<SubjectOutcome> evaluate_suites(const EvaluateArguments& arguments) {
  if (arguments.repeats < 1) {
    throw ConfigError("--repeats: got " + std::to_string(arguments.repeats) + ", expected >= 1");
  }
  EvaluateInputs inputs(arguments);
  const std::vector<std::string> given =
      arguments.suites.empty() ? std::vector<std::string>{"core"} : arguments.suites;
  const auto contains = [](const std::vector<std::string>& names, const char* name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  const auto suites =
      chosen(given, "--suite", suite_names(),
             contains(given, "all") ? possible_suites(inputs) : std::vector<std::string>{});
  const auto all_controls = choice_names<Control>();
  const auto controls = chosen(arguments.controls, "--controls", all_controls, all_controls);
  if (suites.empty()) {
    throw ConfigError("--suite all: there is no data for any suite; give some with --data");
  }
  const bool on_data =
      contains(suites, "core") || contains(suites, "interp") || contains(suites, "truth");
  const Data* data = on_data ? &inputs.data() : nullptr;
  if (contains(suites, "truth") && !data->world) {
    throw ConfigError(kNeedsTruth);
  }
  SuiteRunner runner(suites, inputs.files, inputs.suites, inputs.sae().d_in());
  runner.check_all(inputs.sae().d_in());  // before the long part
  if (data != nullptr) runner.check_data(*data);
  std::vector<SubjectOutcome> subjects = {{"sae", runner.run(inputs.sae(), data, inputs.eval)}};
  const Data* sampled = !controls.empty() && inputs.has_data() ? &inputs.data() : nullptr;
  for (const std::string& name : controls) {
    const auto control = runner.control(*choice_named<Control>(name), inputs.loaded, sampled);
    subjects.push_back({name, runner.run(*control, data, inputs.eval)});
    if (name == name_of(Control::kRandom)) compare_with_chance(subjects.front(), subjects.back());
  }
  return subjects;
}

}  // namespace sae
