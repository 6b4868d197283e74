// What `sae eval` was given, opened as far as its suites ask for it.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "sae/data/data.h"
#include "sae/evaluation/absorption.h"
#include "sae/evaluation/core.h"
#include "sae/evaluation/probing.h"
#include "sae/evaluation/suites.h"
#include "sae/models/sae_folder.h"
#include "sae/tools/evaluate.h"

namespace sae {

class EvaluateInputs {
 public:
  explicit EvaluateInputs(const EvaluateArguments& arguments);

  EvalOptions eval;
  CoreOptions core;
  AbsorptionOptions absorption;
  SparseProbingOptions probing;

  const Autoencoder& sae() const { return *loaded_.sae; }
  std::shared_ptr<const Autoencoder> shared_sae() const { return loaded_.sae; }
  const nlohmann::ordered_json& model() const { return loaded_.config->at("model"); }

  bool has_data() const { return has_data_; }
  bool has_words() const { return !words_.empty(); }
  bool has_tasks() const { return !tasks_.empty(); }

  const Data& data();                                ///< ConfigError if there is none
  const AbsorptionSuite& words();                    ///< ConfigError if there are none
  std::vector<std::filesystem::path> tasks() const;  ///< ConfigError if there are none
  at::Tensor sample();                               ///< [n, D] activations to make controls of

 private:
  void require_data_of_training() const;

  std::filesystem::path folder_;
  SaeFolder loaded_;
  bool has_data_ = false;
  std::string words_;
  std::vector<std::filesystem::path> tasks_;
  nlohmann::ordered_json data_group_;
  std::uint64_t seed_ = 0;
  std::optional<Data> data_;
  std::int64_t repeats_ = 1;
  std::optional<AbsorptionSuite> absorption_suite_;
};

}  // namespace sae
