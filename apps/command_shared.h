// What the subcommands share: common options, and results as JSON or for people.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "commands.h"
#include "progress.h"
#include "sae/metrics/metric_values.h"

namespace sae_cli {

using Json = nlohmann::ordered_json;

void add_output(CLI::App* command, Common& common);  ///< --quiet, --json
void add_common(CLI::App* command, Common& common);  ///< these, --threads and --device

/// Prints `json` with --json, nothing with --quiet, and otherwise what `for_people` prints.
void print_result(const Common& common, const Json& json, const std::function<void()>& for_people);

void print_metrics(const sae::MetricValues& metrics);  ///< in two columns

/// Draws how many of `total` are done.
void draw_progress(sae::ProgressLine& line, const std::string& label, std::int64_t done,
                   std::int64_t total);

/// Draws how many tokens are done; false when a signal asks to stop. `line` must outlive it.
std::function<bool(std::int64_t done, std::int64_t total)> token_progress(sae::ProgressLine& line);

/// "name: value" lines, objects indented.
void print_facts(const Json& facts, const std::string& indent = "");

// Commands that have a file of their own.
void add_bench(CLI::App& app, Common& common, std::function<int()>& action);
void add_convert(CLI::App& app, Common& common, std::function<int()>& action);
void add_diagnose(CLI::App& app, Common& common, std::function<int()>& action);
void add_eval(CLI::App& app, Common& common, std::function<int()>& action);
void add_features(CLI::App& app, Common& common, std::function<int()>& action);
void add_inspect(CLI::App& app, Common& common, std::function<int()>& action);

}  // namespace sae_cli
