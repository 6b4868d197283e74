// Suites of evaluation: what `sae eval` and `sae compare` measure of one autoencoder.
//
//     core        reconstruction, densities, weights; also as sae-bench defines them
//     absorption  on classes of words
//     probing     k-sparse and dense probes of labelled texts
//     truth       against the features of a synthetic world, sampled anew or stored with its truth
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "sae/base/shared_json.h"
#include "sae/data/data.h"
#include "sae/data/labelled.h"
#include "sae/evaluation/absorption.h"
#include "sae/evaluation/core.h"
#include "sae/evaluation/evaluation.h"
#include "sae/evaluation/probes.h"
#include "sae/evaluation/probing.h"
#include "sae/metrics/metric_values.h"
#include "sae/models/autoencoder.h"

namespace sae {

/// One suite's numbers about one autoencoder.
struct SuiteOutcome {
  std::string suite;
  MetricValues mean;     ///< over the repeats
  MetricValues sd;       ///< sample standard deviation; empty without repeats
  SharedJson details;    ///< a list: an object for each repeat
  std::string unranked;  ///< why its scores rank nothing; empty if they do
  std::string remark;    ///< what a reader must know, or empty
  std::string basis;     ///< what the numbers rest on and what was left out
  /// Metric -> class of words, or task -> its own value, the mean over the repeats: full and
  /// fraction of every class kept in all of them, sae_top_1 of every task.
  std::map<std::string, MetricValues> by_class{};
};

struct SubjectOutcome {
  std::string name;  ///< "sae", or a control's
  std::vector<SuiteOutcome> suites;
};

/// {"core": {...}, "absorption": {...}, "controls": {"identity": {...}}}; a suite with repeats is
/// {"mean": {...}, "sd": {...}, "repeats": [{...}, ...]}. Of each but core "ranked" says whether
/// its scores may be compared with others', and "not_ranked" why not; "rests_on" what they rest on.
nlohmann::ordered_json to_json(const std::vector<SubjectOutcome>& subjects);

/// core, absorption, probing, truth.
const std::vector<std::string>& suite_names();

SuiteOutcome core_suite(const Autoencoder& sae, const Data& data, const EvalOptions& eval,
                        const CoreOptions& options);

/// Why there is no truth suite, and what to do.
inline constexpr const char* kNeedsTruth =
    "--suite truth: needs activations whose features are known; give a world's preset, or a store "
    "that sae synth wrote, with --data";

/// ConfigError if the features behind the data are not known (Data::world).
SuiteOutcome truth_suite(const Autoencoder& sae, const Data& data, const EvalOptions& eval);

/// Files are read one at a time: the tokens of many texts may be larger than memory. Evaluation
/// seeds are `options.seed` and the `repeats` - 1 numbers after it.
SuiteOutcome probing_suite(const Autoencoder& sae, const std::vector<std::filesystem::path>& tasks,
                           const SparseProbingOptions& options, std::int64_t repeats = 1);

/// The ground truth does not depend on the autoencoder, so it is trained once for all that are
/// evaluated.
class AbsorptionSuite {
 public:
  /// Trains the probes of all evaluation seeds: `options.seed` and the `repeats` - 1 after it.
  /// DataError if too few classes can be read from the activations.
  AbsorptionSuite(LabelledActivations words, AbsorptionOptions options, std::int64_t repeats = 1);

  const LabelledActivations& words() const { return words_; }

  SuiteOutcome run(const Autoencoder& sae) const;

 private:
  LabelledActivations words_;
  AbsorptionOptions options_;
  std::vector<LinearProbe> probes_;  // one an evaluation seed
};

}  // namespace sae
