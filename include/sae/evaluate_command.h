// `sae eval`: an autoencoder's folder and some data in, metrics out.
#pragma once

#include <string>
#include <vector>

#include "sae/evaluation.h"

namespace sae {

struct EvaluateArguments {
  std::string path;               ///< folder of an autoencoder, or of a finished run
  std::string data;               ///< store, preset or JSON data group; empty: that of the training
  std::vector<std::string> sets;  ///< "eval.tokens=1000", "data.held_out=0.2"
  std::string device;             ///< empty: auto
  int threads = -1;               ///< < 1: all cores
};

/// ConfigError for arguments that make no sense, DataError for folders that do not hold what they
/// should.
Evaluation evaluate_path(const EvaluateArguments& arguments);

}  // namespace sae
