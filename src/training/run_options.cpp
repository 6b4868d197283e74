// Reading a run's configuration, and what in it contradicts itself, the run's length or the data.
#include "training/run_options.h"

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "config/fields_json.h"
#include "sae/base/device.h"
#include "sae/base/error.h"
#include "sae/base/text.h"
#include "sae/models/architectures.h"
#include "sae/training/run.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

/// A group of the document; an empty one if it has none.
ConfigNode group_of(const ConfigNode& document, const char* name) {
  if (document.has(name)) return document.at(name);
  return config_from_json(Json{{name, Json::object()}}, document.place()).at(name);
}

/// The model group with every option; d_in is null where it is left to the data.
Json resolve_open_model(const ConfigNode& model) {
  if (!wants_width(model)) return resolve_model(model);
  Json resolved = resolve_model(complete_model(model, 1));  // no option depends on it
  resolved["d_in"] = nullptr;
  return resolved;
}

/// What the data are too few for.
Findings check_size(const RunTrainOptions& options, const ConfigNode& node, std::int64_t tokens) {
  const TrainOptions& train = options.train;
  Findings findings(node);
  const auto too_many = [&](const char* key, std::int64_t got, const char* so) {
    findings.warn(key, "got " + std::to_string(got) + ", the data have about " +
                           std::to_string(tokens) + " tokens to train on: " + so);
  };
  if (train.batch > tokens) {
    too_many("batch", train.batch, "a batch has some more than once; lower it");
  }
  return findings;
}

/// What one group of options makes of another.
Findings check_groups(const RunOptions& options, const ConfigNode& document) {
  Findings findings(document);
  if (options.train.train.screening == Screening::kOn &&
      options.basics.device.starts_with("cuda")) {
    findings.unused("train.screening", "on a GPU, where it means what auto does");
  }
  const TrainOptions& train = options.train.train;
  if (!options.train.start.from.empty() && train.b_dec_init != TrainOptions{}.b_dec_init) {
    findings.unused("train.b_dec_init", "with from, whose b_dec is taken");
  }
  if (!knows_truth(options.data) &&
      write_fields(options.eval.truth) != write_fields(TruthOptions{})) {
    findings.unused("eval.truth", "with data whose true features are not known");
  }
  return findings;
}

/// Everything that can be said before the data are opened. Throws the first error.
std::vector<Notice> check_run(const RunOptions& options, const ConfigNode& document) {
  const ConfigNode train = group_of(document, "train");
  findings_of(options.train, train).require();
  const RunLength length{options.train.train.total_steps(), options.train.train.batch};
  Findings findings = findings_of(options.basics, document);
  findings.add(check_data(options.data));
  findings.require();
  const std::optional<DataSize> size = data_size(options.data);
  const bool open = wants_width(options.model);
  findings.add(check_model(
      open ? complete_model(options.model, size ? size->d_in : 1) : options.model, length));
  findings.require();
  if (size) complete_model(options.model, size->d_in);  // throws for another width
  findings.add(findings_of(options.train, train, length));
  findings.add(findings_of(options.eval, group_of(document, "eval"), length));
  findings.add(check_groups(options, document));
  if (size && size->tokens) findings.add(check_size(options.train, train, *size->tokens));
  findings.require();
  return findings.notices();
}

}  // namespace

bool wants_width(const ConfigNode& model) {
  return !model.has("d_in") || model.at("d_in").is_null();
}

ConfigNode complete_model(const ConfigNode& model, std::int64_t d_in) {
  if (wants_width(model)) {
    return with_value(model, "d_in", config_from_json(Json{{"d_in", d_in}}, "data").at("d_in"),
                      "data");
  }
  const ConfigNode given = model.at("d_in");
  if (given.json() != Json(d_in)) {
    given.fail("got " + given.got() + ", the data has width " + std::to_string(d_in) +
               "; leave d_in out to take the data's");
  }
  return model;
}

void RunBasics::check(Findings& findings) const {
  const std::string wrong = wrong_device_name(device);
  if (!wrong.empty()) findings.error("device", wrong);
  if (device == "cpu" && precision == Precision::kTf32) {
    findings.error("precision",
                   "got tf32 with device cpu, which has no such products; expected fp32 or bf16");
  }
  if (device == "cpu" && kernels != DeviceKernels::kAuto) {
    findings.unused("kernels", "on a CPU");
  }
}

void RunTrainOptions::check(Findings& findings) const { train.check(findings); }

void RunTrainOptions::check(Findings& findings, const RunLength& run) const {
  train.check(findings, run);
  checkpoint.check(findings, run);
}

RunOptions read_recorded_run(const ConfigNode& document) {
  require_command(document, "train");
  auto basics =
      read_fields<RunBasics>(document.without({"model", "data", "train", "eval", "distributed"}));
  auto train = read_fields<RunTrainOptions>(group_of(document, "train"));
  auto eval = read_fields<EvalOptions>(group_of(document, "eval"));
  const auto distributed = read_fields<DistributedOptions>(group_of(document, "distributed"));
  RunOptions options{std::move(basics),
                     document.at("model"),
                     document.at("data"),
                     std::move(train),
                     std::move(eval),
                     distributed,
                     {}};
  if (!options.model.is_object()) {
    options.model.fail("got " + options.model.got() + ", expected an object");
  }
  resolve_open_model(options.model);
  resolve_data(options.data);
  return options;
}

RunOptions read_run(const ConfigNode& document) {
  RunOptions options = read_recorded_run(document);
  options.notices = check_run(options, document);
  return options;
}

Json resolve_run(const RunOptions& options) {
  Json config = write_fields(options.basics);
  config["model"] = resolve_open_model(options.model);
  config["data"] = resolve_data(options.data);
  config["train"] = write_fields(options.train);
  config["eval"] = write_fields(options.eval);
  const Json distributed = write_fields(options.distributed);
  if (distributed != write_fields(DistributedOptions{})) config["distributed"] = distributed;
  return config;
}

}  // namespace sae
