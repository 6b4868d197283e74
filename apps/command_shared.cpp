#include "command_shared.h"

#include <cmath>
#include <cstdio>
#include <iostream>

namespace sae_cli {

void add_output(CLI::App* command, Common& common) {
  command->add_flag("-q,--quiet", common.quiet, "Print nothing but errors and JSON");
  command->add_flag("--json", common.json, "Print the result as JSON");
}

void add_common(CLI::App* command, Common& common) {
  add_output(command, common);
  command->add_option("--threads", common.threads, "CPU threads (0: all cores)")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--device", common.device, "auto, cpu, cuda or cuda:N");
}

void print_result(const Common& common, const Json& json, const std::function<void()>& for_people) {
  if (common.json) {
    std::cout << json.dump(2) << "\n";
  } else if (!common.quiet) {
    for_people();
  }
}

void print_metrics(const sae::MetricValues& metrics) {
  for (const auto& [name, value] : metrics) std::printf("%-28s %.5g\n", name.c_str(), value);
}

void draw_progress(sae::ProgressLine& line, const std::string& label, std::int64_t done,
                   std::int64_t total) {
  sae::Progress progress;
  progress.label = label;
  progress.step = done;
  progress.total = total;
  line.update(progress);
}

std::function<bool(std::int64_t, std::int64_t)> token_progress(sae::ProgressLine& line) {
  return [&line](std::int64_t done, std::int64_t total) {
    if (done > 0) draw_progress(line, "tokens", done, total);
    return stop_signal == 0;
  };
}

void print_facts(const Json& facts, const std::string& indent) {
  for (const auto& [name, value] : facts.items()) {
    if (value.is_object()) {
      std::cout << indent << name << "\n";
      print_facts(value, indent + "  ");
    } else {
      std::cout << indent << name << ": "
                << (value.is_string() ? value.get<std::string>() : value.dump()) << "\n";
    }
  }
}

}  // namespace sae_cli
