#include "sae/evaluate_command.h"

#include <ATen/Parallel.h>
#include <torch/types.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "fields_json.h"
#include "sae/error.h"
#include "sae/run.h"
#include "sae/sae_file.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// The data group that `--data` stands for.
ConfigNode data_group(const std::string& text, const Json& training) {
  if (text.empty()) {
    if (!training.contains("data")) {
      throw ConfigError(
          "--data: missing; the autoencoder's config.json does not say what it was "
          "trained on");
    }
    return config_from_json(training.at("data"), "training data");
  }
  if (text.front() == '{') return parse_config(text, "--data");
  if (fs::exists(text)) {
    return config_from_json(Json{{"kind", "store"}, {"path", text}, {"held_out_path", text}},
                            "--data");
  }
  return config_from_json(Json{{"kind", "synthetic"}, {"preset", text}}, "--data");
}

}  // namespace

Evaluation evaluate_path(const EvaluateArguments& arguments) {
  at::set_num_threads(arguments.threads > 0
                          ? arguments.threads
                          : static_cast<int>(std::max(1U, std::thread::hardware_concurrency())));
  fs::path folder = arguments.path;
  if (fs::exists(folder / "sae" / "config.json")) {
    folder /= "sae";
  } else if (fs::exists(folder / "metrics.jsonl")) {
    throw DataError(folder.string() + ": is a run that has not been finished; finish it with " +
                    "sae train CONFIG --out " + folder.string() + " --resume");
  }
  const SaeFolder loaded = load_sae(folder);
  const Json training = loaded.config->value("training", Json::object());
  ConfigNode document = config_from_json(Json{{"data", data_group(arguments.data, training).json()},
                                              {"eval", training.value("eval", Json::object())}},
                                         "eval");
  for (const std::string& set : arguments.sets) document = with_set(document, set);
  for (const std::string& key : document.keys()) {
    if (key != "data" && key != "eval") document.at(key).fail("unknown key; expected data or eval");
  }
  const auto options = read_fields<EvalOptions>(document.at("eval"));
  loaded.sae->to(parse_device(arguments.device.empty() ? "auto" : arguments.device));
  return evaluate(*loaded.sae,
                  open_data(document.at("data"), training.value("seed", std::uint64_t{0})),
                  options);
}

}  // namespace sae
