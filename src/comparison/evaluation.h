// Evaluation of a comparison's runs and controls by the suites, kept in their folders.
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "comparison/preflight.h"
#include "comparison/training.h"
#include "sae/comparison/compare.h"
#include "sae/data/data.h"
#include "sae/evaluation/suite_runner.h"

namespace sae {

class RunEvaluator {
 public:
  /// Opens what the suites look at and trains their ground truth, whose numbers depend on how many
  /// threads the caller computes on.
  explicit RunEvaluator(CompareEvaluation options);

  /// DataError unless autoencoders of this input width can be evaluated; reads what it will need.
  void check_input(std::int64_t d_in) { runner_.check_all(d_in); }

  /// DataError unless the runs can be evaluated on these data.
  void check_data(const Data& data) const { runner_.check_data(data); }

  /// A control of an autoencoder, made from the training data of its run.
  std::shared_ptr<Autoencoder> control(Control which, const SaeFolder& of, const Data& data) const {
    return runner_.control(which, of, &data);
  }

  struct Record {
    MetricValues metrics;  ///< after the suite's name; core's own under theirs
    std::map<std::string, MetricValues> by_class;
    std::map<std::string, std::string> unranked;  ///< suite -> why
    nlohmann::ordered_json judge;                 ///< of interp; null: none
  };

  /// Bytes that encoding the words and one of the tasks takes, about, with codes of `l0` of `d_sae`
  /// latents.
  std::int64_t memory(std::int64_t d_in, std::int64_t d_sae, double l0) const;

  /// What `place` holds, if it was evaluated so and on these data; else evaluates and writes it.
  Record evaluate(const Autoencoder& sae, const Data& data, const EvalOptions& eval,
                  const std::filesystem::path& place) const;

 private:
  std::optional<Record> recorded(const std::filesystem::path& place, const Data& data) const;

  SuiteInputs inputs_;
  nlohmann::ordered_json settings_;  // options, and checksums of the files
  SuiteRunner runner_;
};

/// The suites of every finished run of ours in `entrants`, which `result.runs` follows, and of the
/// controls, added to `result`. False if it was told to stop.
bool evaluate_runs(const ComparisonPlan& plan, const RunEvaluator& evaluator,
                   const std::vector<Entrant>& entrants, ComparisonData& data,
                   const std::filesystem::path& folder, std::size_t threads,
                   const CompareHooks& hooks, ComparisonResult& result);

}  // namespace sae
