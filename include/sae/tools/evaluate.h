// `sae eval`: an autoencoder's folder and some data in, metrics out.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "sae/evaluation/evaluation.h"
#include "sae/evaluation/suites.h"

namespace sae {

struct EvaluateArguments {
  std::string path;  ///< an autoencoder, run or checkpoint; see training/open.h
  /// A store, preset or JSON data group (none: that of the training), a file of labelled
  /// activations, a folder of such files, a judge file: at most one of each, in any order.
  std::vector<std::string> data;
  std::vector<std::string> sets;  ///< "eval.tokens=1000", "absorption.l1_batch_size=256"
  std::string device;             ///< empty: auto
  int threads = -1;               ///< < 1: all cores

  std::vector<std::string> suites;    ///< of suite_names(), or "all": those there is data for
  std::vector<std::string> controls;  ///< names of Control, or "all"
  std::int64_t repeats = 1;           ///< evaluation seeds of the suites that draw numbers
  std::function<void(const std::string&)> say;  ///< told how `path` was opened, if that is news
};

/// Reconstruction, and ground truth where there is one: what training reports at its end.
///
/// ConfigError for arguments that make no sense, DataError for folders that do not hold what they
/// should.
Evaluation evaluate_path(const EvaluateArguments& arguments);

/// The suites asked for, of the autoencoder and then of each control. Evaluation seeds are the
/// suites' own `seed` and the numbers after it.
std::vector<SubjectOutcome> evaluate_suites(const EvaluateArguments& arguments);

}  // namespace sae
