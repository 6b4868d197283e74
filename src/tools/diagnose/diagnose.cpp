#include "sae/tools/diagnose.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "config/fields_json.h"
#include "sae/base/text.h"
#include "sae/config/config_node.h"
#include "sae/config/findings.h"
#include "sae/metrics/metric_values.h"
#include "sae/training/checkpoint.h"
#include "sae/training/open.h"
#include "tools/diagnose/checks.h"
#include "tools/diagnose/record.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

/// `text` in lines of at most 80 columns behind `indent`.
std::string paragraph(const std::string& text, const std::string& indent) {
  std::string out;
  for (const std::string& line : wrapped(text, 80 - indent.size())) out += indent + line + "\n";
  return out;
}

std::string evidence_line(const Check& check) {
  std::string text;
  for (const auto& [name, value] : check.evidence) {
    text += (text.empty() ? "" : ", ") + name + " " +
            (std::isfinite(value) ? value == std::floor(value) ? trimmed(value, 0) : brief(value)
                                  : "unknown");
  }
  return text;
}

/// Why there is no record of training to look at, of what has weights to look at instead; else "".
std::string missing_record(const std::filesystem::path& path) {
  const std::string advice = "; sae eval measures it on data";
  switch (const PathKind kind = what_is_at(path)) {
    case PathKind::kAutoencoder:
    case PathKind::kForeign:
    case PathKind::kCheckpoint:
      return "this is " + describe(kind) + ", which has no record of its training" + advice;
    case PathKind::kRun:
      if (std::filesystem::exists(path / "metrics.jsonl")) return "";
      return "this run has no metrics.jsonl any more" + advice;
    case PathKind::kUnfinishedRun:
      if (std::filesystem::exists(path / "metrics.jsonl") ||
          !newest_checkpoint(path / "checkpoints")) {
        return "";
      }
      return "this run has no metrics.jsonl any more" + advice;
    default:
      return "";  // read_record says what is wrong
  }
}

Diagnosis diagnose_weights(const std::filesystem::path& path, const DiagnoseOptions& limits,
                           const std::string& missing) {
  OpenedSae opened = open_sae(path);
  const Autoencoder& sae = *opened.folder.sae;
  return {path.string(),
          {diagnose::skipped("training", missing), diagnose::check_zero_rows(sae, limits),
           diagnose::check_twins(sae, limits)},
          std::move(opened.notes)};
}

}  // namespace

void DiagnoseOptions::check(Findings& findings) const {
  if (masked_least > masked_most) {
    findings.at_most("masked_least", masked_least, masked_most, "masked_most");
  }
}

std::int64_t Diagnosis::fired() const {
  return std::count_if(checks.begin(), checks.end(),
                       [](const Check& check) { return check.state == CheckState::kFired; });
}

const Check& Diagnosis::check(const std::string& name) const {
  for (const Check& check : checks) {
    if (check.name == name) return check;
  }
  throw std::invalid_argument("Diagnosis::check: there is no check '" + name + "' of this run");
}

Diagnosis diagnose_run(const std::filesystem::path& path, const DiagnoseOptions& limits) {
  check_fields(limits, "DiagnoseOptions");
  if (const std::string missing = missing_record(path); !missing.empty()) {
    return diagnose_weights(path, limits, missing);
  }
  const diagnose::RunRecord run = diagnose::read_record(path);
  Diagnosis diagnosis{path.string(), {diagnose::check_unfinished(run)}, {}};
  using CheckFunction = Check (*)(const diagnose::RunRecord&, const DiagnoseOptions&);
  for (const CheckFunction check :
       {diagnose::check_divergence, diagnose::check_spikes, diagnose::check_dead,
        diagnose::check_dense, diagnose::check_l0_target, diagnose::check_l0_width,
        diagnose::check_gap, diagnose::check_words_l0, diagnose::check_words_latents,
        diagnose::check_large_inputs, diagnose::check_mean_input}) {
    diagnosis.checks.push_back(check(run, limits));
  }
  if (!run.mask) return diagnosis;
  for (const CheckFunction check :
       {diagnose::check_mask_share, diagnose::check_mask_warmup, diagnose::check_mask_importance,
        diagnose::check_mask_theta, diagnose::check_mask_retention}) {
    diagnosis.checks.push_back(check(run, limits));
  }
  return diagnosis;
}

DiagnoseOptions read_diagnose(const std::vector<std::string>& sets) {
  ConfigNode options = config_from_json(Json{{"diagnose", Json::object()}}, "sae diagnose");
  for (const std::string& set : sets) {
    options = with_set(options, set.starts_with("diagnose.") ? set : "diagnose." + set);
  }
  return read_fields<DiagnoseOptions>(options.at("diagnose"));
}

Json to_json(const Diagnosis& diagnosis) {
  Json checks = Json::array();
  for (const Check& check : diagnosis.checks) {
    Json evidence = Json::object();
    for (const auto& [name, value] : check.evidence) {
      evidence[name] = to_json(value);
    }
    checks.push_back({{"name", check.name},
                      {"state", name_of(check.state)},
                      {"found", check.found},
                      {"evidence", std::move(evidence)},
                      {"change", check.change.empty() ? Json() : Json(check.change)}});
  }
  return {{"run", diagnosis.run}, {"fired", diagnosis.fired()}, {"checks", std::move(checks)}};
}

std::string to_text(const Diagnosis& diagnosis) {
  const std::int64_t fired = diagnosis.fired();
  std::string text =
      std::to_string(fired) + " of " + std::to_string(diagnosis.checks.size()) + " checks fired\n";
  for (const Check& check : diagnosis.checks) {
    if (check.state != CheckState::kFired) continue;
    text += "\n" + check.name + "\n" + paragraph(check.found, "  ") +
            paragraph("evidence: " + evidence_line(check), "  ") +
            paragraph("change: " + check.change, "  ");
  }
  for (const CheckState state : {CheckState::kClear, CheckState::kSkipped}) {
    std::string lines;
    for (const Check& check : diagnosis.checks) {
      if (check.state == state) lines += paragraph(check.name + ": " + check.found, "  ");
    }
    if (!lines.empty()) text += "\n" + name_of(state) + "\n" + lines;
  }
  return text;
}

}  // namespace sae
