#include "sae/evaluation/suite_runner.h"

#include <torch/types.h>

#include <algorithm>
#include <utility>

#include "sae/base/error.h"
#include "sae/evaluation/controls.h"

namespace sae {
namespace {

constexpr std::int64_t kControlTokens = 16384;  // activations that controls are made from

}  // namespace

SuiteRunner::SuiteRunner(std::vector<std::string> suites, SuiteInputs inputs, SuiteOptions options,
                         std::int64_t d_in)
    : suites_(std::move(suites)), inputs_(std::move(inputs)), options_(std::move(options)) {
  const auto wanted = [&](const char* suite) {
    return std::find(suites_.begin(), suites_.end(), suite) != suites_.end();
  };
  if (wanted("absorption") && inputs_.words.empty()) {
    throw ConfigError(
        "--suite absorption: needs labelled activations; give them with --data FILE.safetensors");
  }
  if (inputs_.tasks.empty() && !inputs_.words.empty()) inputs_.tasks = {inputs_.words};
  if (wanted("probing") && inputs_.tasks.empty()) {
    throw ConfigError(
        "--suite probing: needs labelled activations; give a folder of them, or one "
        "file, with --data");
  }
  if (!wanted("probing")) inputs_.tasks.clear();
  // All widths before the long part.
  if (wanted("absorption") && d_in > 0) check_width(inputs_.words, d_in);
  for (const std::filesystem::path& task : inputs_.tasks) {
    if (d_in > 0) check_width(task, d_in);
  }
  if (wanted("interp")) {
    interp_ = std::make_unique<const InterpSuite>(inputs_.judge, options_.interp);
  }
  if (wanted("absorption")) {
    absorption_.emplace(read_labelled(inputs_.words), options_.absorption, options_.repeats);
  }
}

void SuiteRunner::check_all(std::int64_t d_in) {
  if (absorption_) check_width(absorption_->words(), d_in);
  for (const std::filesystem::path& task : inputs_.tasks) {
    if (!tasks_read_) read_labelled(task);
    check_width(task, d_in);
  }
  tasks_read_ = true;
}

void SuiteRunner::check_data(const Data& data) const {
  if (interp_) interp_->check(data);
}

std::vector<SuiteOutcome> SuiteRunner::run(const Autoencoder& sae, const Data* data,
                                           const EvalOptions& eval) const {
  std::vector<SuiteOutcome> outcomes;
  for (const std::string& suite : suites_) {
    if (suite == "absorption") {
      outcomes.push_back(absorption_->run(sae));
    } else if (suite == "probing") {
      outcomes.push_back(probing_suite(sae, inputs_.tasks, options_.probing, options_.repeats));
    } else if (suite == "interp") {
      outcomes.push_back(interp_->run(sae, *data));
    } else if (suite == "core") {
      outcomes.push_back(core_suite(sae, *data, eval, options_.core));
    } else {
      outcomes.push_back(truth_suite(sae, *data, eval));
    }
  }
  return outcomes;
}

at::Tensor SuiteRunner::sample(const Data* data) const {
  if (data != nullptr) {
    return data->train()->next(
        std::min(kControlTokens, data->train_tokens.value_or(kControlTokens)));
  }
  const at::Tensor x =
      absorption_ ? absorption_->words().train.x : read_labelled(inputs_.tasks.front()).train.x;
  return x.slice(0, 0, kControlTokens);
}

std::shared_ptr<Autoencoder> SuiteRunner::control(Control which, const SaeFolder& of,
                                                  const Data* data) const {
  const ControlBasis basis{of.sae, &of.config->at("model"), sample(data),
                           static_cast<std::uint64_t>(options_.absorption.seed)};
  return make_control(which, basis);
}

}  // namespace sae
