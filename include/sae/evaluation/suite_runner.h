// The one way to evaluate autoencoders by the suites, for `sae eval` and for `sae compare`: opens
// what the suites look at, checks that it fits the autoencoder, makes controls.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sae/evaluation/controls.h"
#include "sae/evaluation/suites.h"
#include "sae/models/sae_folder.h"

namespace sae {

struct SuiteOptions {
  CoreOptions core;
  AbsorptionOptions absorption;
  SparseProbingOptions probing;
  InterpOptions interp;
  std::int64_t repeats = 1;  ///< evaluation seeds of absorption and probing
};

/// Files for the suites; each may be missing.
struct SuiteInputs {
  std::filesystem::path words;                   ///< a file, for absorption
  std::vector<std::filesystem::path> tasks;      ///< files, for probing; none: the words
  std::optional<std::filesystem::path> judge{};  ///< a file, for interp; none: the judge `token`
};

class SuiteRunner {
 public:
  /// For autoencoders that take activations of width `d_in`; 0: not known yet, see check_all. Opens
  /// what `suites` (of suite_names()) need beside the data of a run, and trains their ground truth.
  /// DataError for what cannot be evaluated; ConfigError that names the option of `sae eval` if
  /// there are no words or tasks for a suite.
  SuiteRunner(std::vector<std::string> suites, SuiteInputs inputs, SuiteOptions options,
              std::int64_t d_in);

  /// DataError unless autoencoders of this input width can be evaluated. Reads every file that
  /// `run` will read, once: for those who train for hours before they evaluate.
  void check_all(std::int64_t d_in);

  /// DataError unless autoencoders can be evaluated on these held-out data, as far as the suites
  /// ask more of them than their width.
  void check_data(const Data& data) const;

  /// The suites in their order. `data` may be null where none of them is core, interp or truth.
  std::vector<SuiteOutcome> run(const Autoencoder& sae, const Data* data,
                                const EvalOptions& eval) const;

  /// A control of an autoencoder (controls.h), made from the first training activations of
  /// `data`, or of the labelled ones if it is null.
  std::shared_ptr<Autoencoder> control(Control which, const SaeFolder& of, const Data* data) const;

  const AbsorptionSuite* absorption() const { return absorption_ ? &*absorption_ : nullptr; }
  const InterpSuite* interp() const { return interp_.get(); }
  const std::vector<std::filesystem::path>& tasks() const { return inputs_.tasks; }

 private:
  at::Tensor sample(const Data* data) const;  // [n, D]

  std::vector<std::string> suites_;
  SuiteInputs inputs_;
  SuiteOptions options_;
  std::optional<AbsorptionSuite> absorption_;
  std::unique_ptr<const InterpSuite> interp_;
  bool tasks_read_ = false;
};

}  // namespace sae
