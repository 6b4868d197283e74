#include "config_arguments.h"

#include "command_line.h"
#include "command_shared.h"
#include "sae/config/config_node.h"
#include "sae/models/architectures.h"

namespace sae_cli {
namespace {

/// `prefix` is where a run's options are. `notices` gets what --set made of the document.
sae::ConfigNode read(const ConfigArguments& given, const Common& common, const std::string& prefix,
                     std::vector<sae::Notice>& notices) {
  sae::ConfigNode config = sae::with_sets(sae::read_config(given.file), given.sets, notices);
  if (common.threads >= 0) {
    config = sae::with_set(config, prefix + "threads=" + std::to_string(common.threads));
  }
  if (!common.device.empty()) {
    config = sae::with_set(config, prefix + "device=\"" + common.device + "\"");
    if (config.has("devices")) config = sae::with_set(config, "devices=[]");
  }
  return config;
}

}  // namespace

std::string ConfigArguments::command_line(const std::string& verb) const {
  std::string line = verb + " " + shell_word(file.starts_with('-') ? "./" + file : file);
  for (const std::string& set : sets) line += option_words("--set", set);
  return line;
}

std::filesystem::path ConfigArguments::folder() const {
  if (!out.empty()) return out;
  return std::filesystem::path("runs") / std::filesystem::path(file).stem();
}

std::string ConfigArguments::way_on(const Program& program, const std::string& verb) const {
  return shell_word(program.called) + " " + command_line(verb) +
         option_words("--out", folder().string()) + program.common.words();
}

sae::RunOptions read_run(const ConfigArguments& given, const Common& common) {
  std::vector<sae::Notice> notices;
  const sae::ConfigNode document = read(given, common, "", notices);
  sae::RunOptions options = sae::read_run(document);
  print_notices(notices, common);
  print_notices(options.notices, common);
  if (common.threads < 0) warn_of_threads(options.basics.threads, "threads");
  return options;
}

sae::ComparisonPlan read_plan(const ConfigArguments& given, const Common& common) {
  std::vector<sae::Notice> notices;
  const sae::ConfigNode document = read(given, common, "base.", notices);
  sae::ComparisonPlan plan = sae::plan_comparison(document);
  print_notices(notices, common);
  print_notices(plan.notices, common);
  warn_of_threads(plan.basics.jobs, "jobs");
  if (common.threads < 0 && !plan.runs.empty()) {
    warn_of_threads(plan.runs.front().options.basics.threads, "base.threads");
  }
  if (common.threads > 0) plan.basics.jobs = common.threads;
  return plan;
}

void add_config_arguments(CLI::App* command, ConfigArguments& config) {
  add_text(command, "CONFIG", config.file, kConfig, "Configuration file (JSON)")->required();
  add_sets(
      command, config.sets,
      "Change an option: a.b=value, where value is JSON or else a string; a.b= goes back to the "
      "default; repeatable");
}

}  // namespace sae_cli
