// What the subcommands share: common options, and results as JSON or for people.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "arguments.h"
#include "commands.h"
#include "output.h"
#include "progress.h"
#include "sae/base/notice.h"
#include "sae/metrics/metric_values.h"

namespace sae_cli {

using Json = nlohmann::ordered_json;

void add_output(CLI::App* command, Common& common);  ///< --quiet, --json
void add_common(CLI::App* command, Common& common);  ///< these, --threads and --device

/// --out, required of commands that make a folder and have no name for it.
CLI::Option* add_out(CLI::App* command, std::string& out, const std::string& meaning);

/// As UTF-8 whatever the names of files in it are.
std::string json_text(const Json& json, int indent = -1);

/// Prints `json` with --json, nothing with --quiet, and otherwise the text made for people.
void print_result(const Common& common, const Json& json,
                  const std::function<std::string()>& for_people);

/// What matters first: reconstruction, sparsity, ground truth, then the rest by name.
std::vector<std::pair<std::string, double>> by_importance(const sae::MetricValues& metrics);

std::string metrics_text(const sae::MetricValues& metrics);  ///< so, in two columns

/// Warns where more threads are asked for than this process may use; the library takes as many.
void warn_of_threads(std::int64_t asked, const std::string& place);

/// Warnings always, notes unless --quiet.
void print_notices(const std::vector<sae::Notice>& notices, const Common& common);

/// Draws how many of `total` are done.
void draw_progress(sae::ProgressLine& line, const std::string& label, std::int64_t done,
                   std::int64_t total);

/// Draws how many tokens are done, and never asks to stop. `line` must outlive it.
std::function<bool(std::int64_t done, std::int64_t total)> token_progress(sae::ProgressLine& line);

/// printf into a string.
[[gnu::format(printf, 1, 2)]] std::string formatted(const char* format, ...);

}  // namespace sae_cli
