// Suites of evaluation: what `sae eval` and `sae compare` measure of one autoencoder.
//
//     core        reconstruction, densities, weights; also as sae-bench defines them
//     absorption  on classes of words
//     probing     k-sparse and dense probes of labelled texts
//     interp      how well a judge of likeness can tell what latents stand for (interp.h)
//     truth       against the features of a synthetic world, sampled anew or stored with its truth
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "sae/base/shared_json.h"
#include "sae/data/data.h"
#include "sae/data/labelled.h"
#include "sae/evaluation/absorption.h"
#include "sae/evaluation/core.h"
#include "sae/evaluation/evaluation.h"
#include "sae/evaluation/interp_options.h"
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
  /// fraction of every class kept in all of them, sae_top_1 of every task. Of interp instead what
  /// comparisons rest on (interpretability.h), by bin of firing count or by quantile.
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

/// core, absorption, probing, interp, truth.
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

struct JudgeFile;
class InterpSample;

/// Judges latents on the held-out rows of a store. What all autoencoders on one store share, the
/// sample and what the judge says of it, is made once. May be used from several threads at once.
class InterpSuite {
 public:
  /// `judge`: a judge file (judge.h); none: the judge `token`. DataError for a damaged file.
  InterpSuite(const std::optional<std::filesystem::path>& judge, InterpOptions options);
  ~InterpSuite();

  /// DataError unless the data are a store with tokens and contexts that the judge was made for.
  void check(const Data& data) const { prepared(data); }

  SuiteOutcome run(const Autoencoder& sae, const Data& data) const;

  std::int64_t rows() const;  ///< most rows that its sample may have

 private:
  struct Prepared;
  std::shared_ptr<const Prepared> prepared(const Data& data) const;

  std::shared_ptr<const JudgeFile> judge_;  // null: the tokens
  InterpOptions options_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, std::shared_ptr<const Prepared>> prepared_;  // by data
};

}  // namespace sae
