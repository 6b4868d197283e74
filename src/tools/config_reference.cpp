#include "sae/tools/config_reference.h"

#include <torch/types.h>

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "config/fields_json.h"
#include "sae/base/error.h"
#include "sae/comparison/compare.h"
#include "sae/evaluation/absorption_options.h"
#include "sae/evaluation/core.h"
#include "sae/evaluation/probing.h"
#include "sae/models/architectures.h"
#include "sae/tools/diagnose.h"
#include "sae/training/run.h"

namespace sae {
namespace {

std::string section(const std::string& title, const std::vector<FieldDoc>& docs,
                    const std::string& prefix) {
  return title + "\n\n" + field_table(docs, prefix) + "\n";
}

/// Options that `sae eval --suite` takes by --set, and no run's configuration has.
template <class Options>
std::string suite_section(const std::string& suite) {
  return section("sae eval, suite " + suite, describe_fields<Options>(), suite);
}

std::vector<std::pair<std::string, std::vector<FieldDoc>>> model_choices() {
  std::vector<std::pair<std::string, std::vector<FieldDoc>>> choices;
  for (const Architecture& one : architectures()) choices.emplace_back(one.name, one.options);
  return choices;
}

}  // namespace

std::string config_reference(const std::string& only) {
  std::string text;
  const auto wanted = [&](const std::string& name) { return only.empty() || only == name; };
  if (wanted("run")) text += section("The run", describe_fields<RunBasics>(), "");
  for (const Architecture& one : architectures()) {
    if (!wanted("model") && only != one.name) continue;
    text +=
        section("model, architecture \"" + one.name + "\": " + one.summary, one.options, "model");
  }
  for (const auto& [kind, docs] : data_kinds()) {
    if (wanted("data")) text += section("data, kind \"" + kind + "\"", docs, "data");
  }
  if (wanted("train")) text += section("train", describe_fields<RunTrainOptions>(), "train");
  if (wanted("eval")) text += section("eval", describe_fields<EvalOptions>(), "eval");
  if (wanted("core")) text += suite_section<CoreOptions>("core");
  if (wanted("absorption")) text += suite_section<AbsorptionOptions>("absorption");
  if (wanted("probing")) text += suite_section<SparseProbingOptions>("probing");
  if (wanted("diagnose")) {
    text += section("sae diagnose", describe_fields<DiagnoseOptions>(), "");
  }
  if (wanted("compare")) {
    text += section("A comparison, besides base, members and axes",
                    describe_fields<CompareBasics>(), "");
    text += section("A comparison's evaluate", describe_fields<CompareEvaluation>(), "evaluate");
  }
  if (text.empty()) {
    std::vector<std::string> names = architecture_names();
    for (const char* name : {"run", "model", "data", "train", "eval", "core", "absorption",
                             "probing", "diagnose", "compare"})
      names.emplace_back(name);
    throw ConfigError("config print: " + expected_one_of(only, names));
  }
  return text;
}

nlohmann::ordered_json config_schema() {
  nlohmann::ordered_json schema = json_schema(describe_fields<RunBasics>());
  schema["properties"]["model"] = json_schema_by("architecture", model_choices());
  schema["properties"]["data"] = json_schema_by("kind", data_kinds());
  schema["properties"]["train"] = json_schema(describe_fields<RunTrainOptions>());
  schema["properties"]["eval"] = json_schema(describe_fields<EvalOptions>());
  schema["required"] = {"model", "data"};
  return schema_document("sae run configuration", std::move(schema));
}

}  // namespace sae
