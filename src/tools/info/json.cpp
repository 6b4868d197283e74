// JSON documents, by their keys.
#include <algorithm>
#include <initializer_list>
#include <vector>

#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/comparison/plan.h"
#include "sae/config/config_node.h"
#include "sae/data/vocabulary.h"
#include "sae/results/results.h"
#include "sae/training/run.h"
#include "tools/info/kinds.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::uintmax_t kMostBytes = std::uintmax_t{1} << 30;

/// A kind, how it is told, and what is said of it.
struct JsonRow {
  const char* name;
  bool (*is)(const Json& json);
  Json (*describe)(const fs::path& path);
};

bool has_keys(const Json& json, std::initializer_list<const char*> keys) {
  return json.is_object() &&
         std::all_of(keys.begin(), keys.end(), [&](const char* key) { return json.contains(key); });
}

bool is_of_format(const Json& json, const char* format) {
  return has_keys(json, {"format"}) && json["format"] == format;
}

/// What the configuration's own reader says; a mistake in it is a fact about it.
template <class Describe>
Json checked(const Describe& describe) {
  try {
    return describe();
  } catch (const ConfigError& error) {
    return {{"problem", error.what()}};
  }
}

Json describe_run_config(const fs::path& path) {
  Json facts{{"command", "sae train " + path.string()}};
  facts.update(checked([&] {
    const RunOptions options = read_run(read_config(path.string()));
    const Json resolved = resolve_run(options);
    return Json{{"architecture", resolved.at("model").at("architecture")},
                {"data", resolved.at("data").at("kind")},
                {"steps", options.train.train.total_steps()},
                {"batch", options.train.train.batch}};
  }));
  return facts;
}

Json describe_comparison_config(const fs::path& path) {
  Json facts{{"command", "sae compare " + path.string()}};
  facts.update(checked([&] {
    const ComparisonPlan plan = plan_comparison(read_config(path.string()));
    Json members = Json::array();
    for (const Member& member : plan.members) members.push_back(member.label);
    return Json{{"title", plan.basics.title}, {"runs", plan.runs.size()}, {"members", members}};
  }));
  return facts;
}

Json describe_results(const fs::path& path) {
  const ComparisonResult result = comparison_from_json(read_file(path), path.string());
  Json members = Json::array();
  for (const Member& member : result.members) members.push_back(member.label);
  return {{"title", result.title},
          {"command", result.command},
          {"runs", result.runs.size()},
          {"controls", result.controls.size()},
          {"members", members}};
}

Json describe_consistency(const fs::path& path) {
  return {{"pairs", read_json(path).at("pairs").size()}};
}

Json describe_vocabulary(const fs::path& path) { return {{"tokens", Vocabulary(path).size()}}; }

Json describe_evaluation(const fs::path& path) {
  const Json json = read_json(path);
  Json suites = Json::array();
  for (const char* suite : {"core", "absorption", "probing", "interp", "truth"}) {
    if (json.contains(suite)) suites.push_back(suite);
  }
  Json facts{{"suites", suites}};
  if (json.contains("controls")) {
    facts["controls"] = Json::array();
    for (const auto& [name, control] : json["controls"].items()) facts["controls"].push_back(name);
  }
  if (json.contains("comparison")) facts["metrics"] = json["comparison"].at("metrics");
  return facts;
}

bool is_evaluation(const Json& json) {
  if (!json.is_object()) return false;
  return std::any_of(json.begin(), json.end(), [](const Json& suite) {
    return suite.is_object() &&
           (suite.contains("sae_bench") || suite.contains("eval_type_id") ||
            suite.contains("repeats") || suite.contains("true_l0") || suite.contains("judge"));
  });
}

/// The document itself is the facts.
Json describe_whole(const fs::path& path) {
  Json json = read_json(path);
  json.erase("format");
  json.erase("version");
  return json;
}

Json describe_part_of(const fs::path& path) {
  return {{"part_of", path.has_parent_path() ? path.parent_path().string() : "."}};
}

Json describe_timings(const fs::path& path) {
  const Json json = read_json(path);
  return {{"cases", (json.is_array() ? json : json.at("cases")).size()}};
}

bool is_timings(const Json& json) {
  return json.is_array() && !json.empty() && json[0].is_object() && json[0].contains("gemm_s");
}

}  // namespace

Json read_json(const fs::path& path) {
  try {
    return Json::parse(read_file(path), nullptr, true, /*ignore_comments=*/true);
  } catch (const Json::exception& error) {
    throw DataError(path.string() + ": damaged: " + error.what());
  }
}

std::optional<FoundKind> json_kind(const fs::path& path) {
  static const std::vector<JsonRow> rows = {
      {"results of a comparison",
       [](const Json& json) { return is_of_format(json, "sae-comparison"); }, describe_results},
      {"consistency between seeds of a comparison",
       [](const Json& json) { return is_of_format(json, "sae-consistency"); },
       describe_consistency},
      {"vocabulary", [](const Json& json) { return is_of_format(json, "sae-vocabulary"); },
       describe_vocabulary},
      {"summary of a run", [](const Json& json) { return is_of_format(json, "sae-summary"); },
       describe_whole},
      {"state of a checkpoint",
       [](const Json& json) { return is_of_format(json, "sae-checkpoint"); }, describe_whole},
      {"list of a checkpoint's files",
       [](const Json& json) { return is_of_format(json, "sae-manifest"); }, describe_part_of},
      {"manifest of an activation store",
       [](const Json& json) { return is_of_format(json, "sae-activations"); }, describe_part_of},
      {"configuration of an autoencoder",
       [](const Json& json) { return is_of_format(json, "sae"); }, describe_whole},
      {"configuration of a comparison",
       [](const Json& json) { return has_keys(json, {"members"}); }, describe_comparison_config},
      {"configuration of a run",
       [](const Json& json) {
         return has_keys(json, {"model", "data"});
       },
       describe_run_config},
      {"evaluation", is_evaluation, describe_evaluation},
      {"metrics of an autoencoder",
       [](const Json& json) {
         return has_keys(json, {"l0", "explained_variance"});
       },
       describe_whole},
      {"costs for sae bench --check",
       [](const Json& json) {
         return has_keys(json, {"tolerance", "cases"});
       },
       describe_timings},
      {"timings of sae bench", is_timings, describe_timings},
      {"options of a synthetic world",
       [](const Json& json) {
         return has_keys(json, {"preset", "features", "d_in"});
       },
       describe_whole},
  };
  std::error_code error;
  if (fs::file_size(path, error) > kMostBytes || error) return std::nullopt;
  const std::string text = read_file(path);
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false, true);
  return first_kind(rows, json, path);
}

}  // namespace sae
