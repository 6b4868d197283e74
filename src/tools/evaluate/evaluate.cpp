#include "sae/tools/evaluate.h"

#include <torch/types.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/parallel.h"
#include "config/fields_json.h"
#include "sae/base/device.h"
#include "sae/base/error.h"
#include "sae/cuda/device_kernels.h"
#include "sae/evaluation/judge.h"
#include "sae/training/open.h"
#include "tools/evaluate/inputs.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// The data group that `--data` stands for.
ConfigNode data_group(const std::string& text) {
  if (text.front() == '{') return parse_config(text, "--data");
  if (fs::exists(text)) {
    return config_from_json(Json{{"kind", "store"}, {"path", text}, {"held_out_path", text}},
                            "--data");
  }
  return config_from_json(Json{{"kind", "synthetic"}, {"preset", text}}, "--data");
}

bool is_task_folder(const fs::path& path) {
  if (!fs::is_directory(path) || fs::exists(path / "manifest.json")) return false;
  const fs::directory_iterator entries(path);
  return std::any_of(begin(entries), end(entries),
                     [](const auto& entry) { return is_labelled_file(entry.path()); });
}

void set_once(std::string& place, const std::string& value, const char* what) {
  if (!place.empty()) {
    throw ConfigError("--data: got '" + place + "' and '" + value + "', expected one " + what);
  }
  place = value;
}

}  // namespace

EvaluateInputs::EvaluateInputs(const EvaluateArguments& arguments) {
  use_threads(arguments.threads);
  std::string store, words, tasks, judge;
  for (const std::string& text : arguments.data) {
    if (is_labelled_file(text)) {
      set_once(words, text, "file of labelled activations");
    } else if (is_judge_file(text)) {
      set_once(judge, text, "judge file");
    } else if (is_task_folder(text)) {
      set_once(tasks, text, "folder of labelled activations");
    } else {
      set_once(store, text, "store or world");
    }
  }
  files.words = words;
  if (!tasks.empty()) files.tasks = labelled_files(tasks);
  if (!judge.empty()) files.judge = judge;
  folder_ = arguments.path;
  OpenedSae opened = open_sae(arguments.path);
  loaded = std::move(opened.folder);
  if (arguments.say) {
    for (const std::string& note : opened.notes) arguments.say(note);
  }
  const Json training = loaded.config->value("training", Json::object());
  const Json trained_on = training.contains("data")
                              ? config_from_json(training.at("data"), "training data").json()
                              : Json();
  Json groups = {{"data", store.empty() ? trained_on : data_group(store).json()},
                 {"eval", training.value("eval", Json::object())},
                 {"core", Json::object()},
                 {"absorption", Json::object()},
                 {"probing", Json::object()},
                 {"interp", Json::object()}};
  ConfigNode document = config_from_json(groups, "eval");
  for (const std::string& set : arguments.sets) document = with_set(document, set);
  for (const std::string& key : document.keys()) {
    if (!groups.contains(key)) {
      document.at(key).fail(
          "unknown key; expected data, eval, core, absorption, probing or interp");
    }
  }
  eval = read_fields<EvalOptions>(document.at("eval"));
  suites = {read_fields<CoreOptions>(document.at("core")),
            read_fields<AbsorptionOptions>(document.at("absorption")),
            read_fields<SparseProbingOptions>(document.at("probing")),
            read_fields<InterpOptions>(document.at("interp")), arguments.repeats};
  Findings findings = findings_of(suites.absorption, document.at("absorption"));
  findings.add(findings_of(suites.probing, document.at("probing")));
  findings.require();
  for (const Notice& notice : findings.notices()) {
    if (arguments.say) arguments.say(notice.text);
  }
  data_group_ = document.at("data").json();
  seed_ = training.value("seed", std::uint64_t{0});
  const at::Device device = parse_device(arguments.device.empty() ? "auto" : arguments.device);
  loaded.sae->to(device);
  const auto notice = notice_about_kernels(device);
  if (notice && arguments.say) arguments.say(notice->text);
}

const Data& EvaluateInputs::data() {
  if (!has_data()) {
    throw ConfigError(
        "--data: missing; the autoencoder's config.json does not say what it was "
        "trained on");
  }
  if (!data_) {
    data_ = open_data(config_from_json(data_group_, "--data"), seed_);
    require_data_of_training();
    if (data_->d_in != sae().d_in()) {
      throw DataError("evaluation data: activations have width " + std::to_string(data_->d_in) +
                      ", the autoencoder takes " + std::to_string(sae().d_in()));
    }
  }
  return *data_;
}

/// Without --data, what is evaluated on is what the training held out: not its like by the same
/// name.
void EvaluateInputs::require_data_of_training() const try {
  const Json& config = *loaded.config;
  if (!config.contains("data") || config.at("training").at("data") != data_group_) return;
  const std::string change =
      change_of_data(fingerprint_from_json(config.at("data")), *data_->fingerprint);
  if (change.empty()) return;
  throw DataError(folder_.string() + ": was trained on other data: " + change +
                  "; put those data back, or give some to evaluate on with --data");
} catch (const Json::exception& error) {
  throw DataError((folder_ / "config.json").string() + ": damaged: " + error.what());
}

Evaluation evaluate_path(const EvaluateArguments& arguments) {
  EvaluateInputs inputs(arguments);
  if (!inputs.files.words.empty() || !inputs.files.tasks.empty()) {
    throw ConfigError(
        "--data: got labelled activations, which absorption and probing use; add --suite all");
  }
  if (inputs.files.judge) {
    throw ConfigError("--data: got a judge file, which interp uses; add --suite interp");
  }
  return evaluate(inputs.sae(), inputs.data(), inputs.eval);
}

}  // namespace sae
