// A configuration as commands take it: CONFIG, --set, --threads and --device, applied in this
// order.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "commands.h"
#include "sae/comparison/plan.h"
#include "sae/training/run.h"

namespace sae_cli {

struct ConfigArguments {
  std::string file;
  std::vector<std::string> sets;
  std::string out;

  /// The configuration, as `verb` is said to use it; where and how it is computed left out.
  std::string command_line(const std::string& verb) const;

  /// `--out`, or runs/<the configuration's name>.
  std::filesystem::path folder() const;

  /// The command to paste that goes on where this one was stopped.
  std::string way_on(const Program& program, const std::string& verb) const;
};

/// Read and checked; what there is to say about it is printed.
sae::RunOptions read_run(const ConfigArguments& given, const Common& common);
sae::ComparisonPlan read_plan(const ConfigArguments& given, const Common& common);

void add_config_arguments(CLI::App* command, ConfigArguments& config);

}  // namespace sae_cli
