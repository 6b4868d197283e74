#include "sae/tools/config_reference.h"

#include <torch/types.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "config/fields_json.h"
#include "sae/base/error.h"
#include "sae/comparison/compare.h"
#include "sae/evaluation/absorption_options.h"
#include "sae/evaluation/core.h"
#include "sae/evaluation/interp_options.h"
#include "sae/evaluation/probing.h"
#include "sae/models/architectures.h"
#include "sae/tools/diagnose.h"
#include "sae/tools/synth.h"
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

/// The paths of options under `prefix`, each once.
void add_paths(const std::vector<FieldDoc>& docs, const std::string& prefix,
               std::vector<std::string>& paths) {
  for (const FieldDoc& doc : docs) {
    const std::string path = prefix + doc.name;
    add_paths(doc.fields, path + ".", paths);
    if (!doc.fields.empty() || std::find(paths.begin(), paths.end(), path) != paths.end()) continue;
    paths.push_back(path);
  }
}

void add_run_paths(const std::string& prefix, std::vector<std::string>& paths) {
  add_paths(describe_fields<RunBasics>(), prefix, paths);
  add_paths(describe_fields<RunTrainOptions>(), prefix + "train.", paths);
  paths.push_back(prefix + "model.architecture");
  for (const Architecture& one : architectures()) {
    add_paths(one.options, prefix + "model.", paths);
  }
  paths.push_back(prefix + "data.kind");
  for (const auto& [kind, docs] : data_kinds()) add_paths(docs, prefix + "data.", paths);
  add_paths(describe_fields<EvalOptions>(), prefix + "eval.", paths);
}

constexpr const char* kDistributed = "distributed";  // of a run, not of a comparison's

}  // namespace

std::vector<std::string> reference_topics() {
  std::vector<std::string> names = architecture_names();
  for (const char* name : {"run", "model", "data", "train", "eval", kDistributed, "core",
                           "absorption", "probing", "interp", "diagnose", "compare"}) {
    names.emplace_back(name);
  }
  return names;
}

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
  if (wanted(kDistributed)) {
    text += section(kDistributed, describe_fields<DistributedOptions>(), kDistributed);
  }
  if (wanted("core")) text += suite_section<CoreOptions>("core");
  if (wanted("absorption")) text += suite_section<AbsorptionOptions>("absorption");
  if (wanted("probing")) text += suite_section<SparseProbingOptions>("probing");
  if (wanted("interp")) text += suite_section<InterpOptions>("interp");
  if (wanted("diagnose")) {
    text += section("sae diagnose", describe_fields<DiagnoseOptions>(), "");
  }
  if (wanted("compare")) {
    text += section("A comparison, besides base, members and axes",
                    describe_fields<CompareBasics>(), "");
    text += section("A comparison's evaluate", describe_fields<CompareEvaluation>(), "evaluate");
  }
  if (text.empty()) {
    throw ConfigError("config print: " + expected_one_of(only, reference_topics()));
  }
  return text;
}

nlohmann::ordered_json config_schema() {
  nlohmann::ordered_json schema = json_schema(describe_fields<RunBasics>());
  schema["properties"]["model"] = json_schema_by("architecture", model_choices());
  schema["properties"]["data"] = json_schema_by("kind", data_kinds());
  schema["properties"]["train"] = json_schema(describe_fields<RunTrainOptions>());
  schema["properties"]["eval"] = json_schema(describe_fields<EvalOptions>());
  schema["properties"][kDistributed] = json_schema(describe_fields<DistributedOptions>());
  schema["required"] = {"model", "data"};
  return schema_document("sae run configuration", std::move(schema));
}

std::vector<std::string> settable_paths(const std::string& command) {
  std::vector<std::string> paths;
  if (command == "train" || command == "config check") {
    add_run_paths("", paths);
    add_paths(describe_fields<DistributedOptions>(), std::string(kDistributed) + ".", paths);
  }
  if (command == "compare") {
    add_paths(describe_fields<CompareBasics>(), "", paths);
    add_run_paths("base.", paths);
    add_paths(describe_fields<CompareEvaluation>(), "evaluate.", paths);
  }
  if (command == "eval") {
    add_paths(describe_fields<EvalOptions>(), "eval.", paths);
    add_paths(describe_fields<CoreOptions>(), "core.", paths);
    add_paths(describe_fields<AbsorptionOptions>(), "absorption.", paths);
    add_paths(describe_fields<SparseProbingOptions>(), "probing.", paths);
    add_paths(describe_fields<InterpOptions>(), "interp.", paths);
  }
  if (command == "synth") add_paths(describe_fields<SynthOptions>(), "", paths);
  if (command == "diagnose") add_paths(describe_fields<DiagnoseOptions>(), "", paths);
  return paths;
}

}  // namespace sae
