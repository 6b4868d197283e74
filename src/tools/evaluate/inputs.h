// What `sae eval` was given, and the data of the autoencoder, opened when it is asked for.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>

#include "sae/data/data.h"
#include "sae/evaluation/suite_runner.h"
#include "sae/models/sae_folder.h"
#include "sae/tools/evaluate.h"

namespace sae {

class EvaluateInputs {
 public:
  explicit EvaluateInputs(const EvaluateArguments& arguments);

  SaeFolder loaded;
  SuiteInputs files;
  EvalOptions eval;
  SuiteOptions suites;

  const Autoencoder& sae() const { return *loaded.sae; }
  bool has_data() const { return !data_group_.is_null(); }
  const Data& data();  ///< ConfigError if there is none

 private:
  void require_data_of_training() const;

  std::filesystem::path folder_;
  nlohmann::ordered_json data_group_;
  std::uint64_t seed_ = 0;
  std::optional<Data> data_;
};

}  // namespace sae
