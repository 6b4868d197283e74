#include "command_shared.h"

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdio>
#include <utility>
#include <vector>

#include "sae/base/machine.h"

namespace sae_cli {
namespace {

constexpr std::array kReconstruction = {"explained_variance", "nmse", "mse", "cosine", "l2_ratio"};
constexpr std::array kSparsity = {"l0", "true_l0", "never_fired", "dead"};
constexpr std::array kTruth = {"mcc", "uniqueness", "f1", "precision", "recall"};

}  // namespace

void add_output(CLI::App* command, Common& common) {
  command->add_flag("-q,--quiet", common.quiet, "Print nothing but errors, warnings and JSON");
  command->add_flag("--json", common.json, "Print the result as JSON");
}

void add_common(CLI::App* command, Common& common) {
  add_output(command, common);
  add_number(command, "--threads", common.threads, 0,
             "CPU threads (0: what OMP_NUM_THREADS says, or all cores)");
  add_text(command, "--device", common.device, kName, "auto, cpu, cuda or cuda:N");
}

CLI::Option* add_out(CLI::App* command, std::string& out, const std::string& meaning) {
  return add_text(command, "--out", out, kFolder, meaning);
}

std::string json_text(const Json& json, int indent) {
  return json.dump(indent, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

void print_result(const Common& common, const Json& json,
                  const std::function<std::string()>& for_people) {
  if (common.json) {
    print(json_text(json, 2) + "\n");
  } else if (!common.quiet) {
    print(for_people());
  }
}

std::vector<std::pair<std::string, double>> by_importance(const sae::MetricValues& metrics) {
  std::vector<std::pair<std::string, double>> rows;
  const auto take = [&](const auto& names) {
    for (const char* name : names) {
      if (metrics.contains(name)) rows.emplace_back(name, metrics.at(name));
    }
  };
  take(kReconstruction);
  take(kSparsity);
  take(kTruth);
  const auto taken = rows;
  for (const auto& row : metrics) {
    const bool first = std::any_of(taken.begin(), taken.end(),
                                   [&](const auto& other) { return other.first == row.first; });
    if (!first) rows.emplace_back(row);
  }
  return rows;
}

std::string metrics_text(const sae::MetricValues& metrics) {
  std::string text;
  for (const auto& [name, value] : by_importance(metrics)) {
    text += formatted("%-28s %.5g\n", name.c_str(), value);
  }
  return text;
}

void warn_of_threads(std::int64_t asked, const std::string& place) {
  const int cores = sae::usable_cores();
  if (asked <= cores) return;
  print_warning(place + ": got " + std::to_string(asked) + ", this process may use " +
                std::to_string(cores) + (cores == 1 ? " core" : " cores") + " and takes no more");
}

void print_notices(const std::vector<sae::Notice>& notices, const Common& common) {
  for (const sae::Notice& notice : notices) {
    if (notice.kind == sae::Notice::Kind::kWarning) {
      print_warning(notice.text);
    } else {
      print_note(common.quiet, notice.text);
    }
  }
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
    return true;
  };
}

std::string formatted(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  va_list again;
  va_copy(again, arguments);
  const int size = std::vsnprintf(nullptr, 0, format, arguments);
  std::string text(static_cast<std::size_t>(std::max(size, 0)) + 1, '\0');
  std::vsnprintf(text.data(), text.size(), format, again);
  va_end(again);
  va_end(arguments);
  text.pop_back();
  return text;
}

}  // namespace sae_cli
