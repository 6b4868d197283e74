#include <filesystem>
#include <memory>

#include "command_shared.h"
#include "config_arguments.h"
#include "sae/comparison/compare.h"
#include "stop.h"

namespace sae_cli {
namespace {

int compare(const ConfigArguments& given, const Program& program) {
  const Common& common = program.common;
  const std::filesystem::path out = given.folder();
  const sae::ComparisonPlan plan = read_plan(given, common);
  set_way_on(given.way_on(program, "compare"));
  sae::ProgressLine line(sae::progress_style(common.quiet));
  const std::string runs = std::to_string(plan.runs.size());
  const sae::CompareOutcome outcome = sae::compare(
      plan, out, "sae " + given.command_line("compare"),
      {.on_progress =
           [&](std::int64_t done, std::int64_t total, std::int64_t finished) {
             draw_progress(line, std::to_string(finished) + "/" + runs + " runs", done, total);
           },
       .on_evaluation = [&](std::int64_t done,
                            std::int64_t total) { draw_progress(line, "evaluated", done, total); },
       .should_stop = {},
       .on_notice = [&](const sae::Notice& notice) { print_notices({notice}, common); }});
  line.clear();
  if (!outcome.finished) return report_stop();
  if (common.json) {
    print(sae::to_json(outcome.result) + "\n");
  } else if (!common.quiet) {
    print(sae::results_table(outcome.result) + "\nreport: " + (out / "report.html").string() +
          "\n");
  }
  return 0;
}

}  // namespace

void add_compare(Program& program) {
  auto given = std::make_shared<ConfigArguments>();
  CLI::App* command = program.add("compare", "Train and compare many on the same data",
                                  [given, &program] { return compare(*given, program); });
  add_config_arguments(command, *given);
  add_out(command, given->out, "Folder (default: runs/<config's name>)");
  add_common(command, program.common);
  command->footer(
      "Lists of values under \"axes\" make a member of each value; the report draws the\n"
      "metrics along them, and results.md and axes-*.svg beside it suit a README.\n\n"
      "An interrupted comparison goes on where it stopped when the command is repeated.\n"
      "Runs that do not fit into memory together are trained one wave after the other\n"
      "(option \"memory\"), and several devices share the runs (\"devices\"): see\n"
      "sae config print compare.\n\n"
      "Examples:\n"
      "  sae compare configs/compare/quick.json\n"
      "  sae compare configs/compare/full.json --set seeds=[0] --out runs/one-seed");
}

}  // namespace sae_cli
