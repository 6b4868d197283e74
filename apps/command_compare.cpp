#include <filesystem>
#include <memory>

#include "arguments.h"
#include "command_line.h"
#include "command_shared.h"
#include "config_arguments.h"
#include "sae/comparison/compare.h"
#include "sae/comparison/share.h"
#include "stop.h"

namespace sae_cli {
namespace {

struct CompareArguments : ConfigArguments {
  std::string share;
};

/// What is left to do when a share has ended.
std::string share_ended(const sae::ComparisonPlan& plan, const sae::Share& share,
                        const std::string& whole) {
  const std::string runs = std::to_string(runs_of(plan, share).size());
  return "share " + name_of(share) + ": its " + runs + " of " + std::to_string(plan.runs.size()) +
         " runs are trained and evaluated; when all shares are:\n  " + whole + "\n";
}

int compare(const CompareArguments& given, const Program& program) {
  const Common& common = program.common;
  const std::filesystem::path out = given.folder();
  const sae::Share share = given.share.empty() ? sae::Share{} : sae::share_named(given.share);
  const sae::ComparisonPlan plan = read_plan(given, common);
  const std::string whole = given.way_on(program, "compare");
  set_way_on(share.is_whole() ? whole : whole + option_words("--share", given.share));
  sae::ProgressLine line(sae::progress_style(common.quiet));
  const std::string runs = std::to_string(runs_of(plan, share).size());
  const sae::CompareOutcome outcome = sae::compare(
      plan, out, "sae " + given.command_line("compare"),
      {.on_progress =
           [&](std::int64_t done, std::int64_t total, std::int64_t finished) {
             draw_progress(line, std::to_string(finished) + "/" + runs + " runs", done, total);
           },
       .on_evaluation = [&](std::int64_t done,
                            std::int64_t total) { draw_progress(line, "evaluated", done, total); },
       .should_stop = {},
       .on_notice = [&](const sae::Notice& notice) { print_notices({notice}, common); }},
      share);
  line.clear();
  if (!outcome.finished) return report_stop();
  if (common.json) {
    print(sae::to_json(outcome.result) + "\n");
  } else if (!share.is_whole()) {
    if (!common.quiet) print(share_ended(plan, share, whole));
  } else if (!common.quiet) {
    print(sae::results_table(outcome.result) + "\nreport: " + (out / "report.html").string() +
          "\n");
  }
  return 0;
}

}  // namespace

void add_compare(Program& program) {
  auto given = std::make_shared<CompareArguments>();
  CLI::App* command = program.add("compare", "Train and compare many on the same data",
                                  [given, &program] { return compare(*given, program); });
  add_config_arguments(command, *given);
  add_out(command, given->out, "Folder (default: runs/<config's name>)");
  add_text(command, "--share", given->share, "I/N",
           "Only the I-th of N parts of the runs, for N processes on any machines that see --out; "
           "without it the same command does what is left and reports");
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
      "  sae compare configs/compare/full.json --set seeds=[0] --out runs/one-seed\n"
      "  sae compare c.json --out /shared/c --share $SLURM_ARRAY_TASK_ID/16");
}

}  // namespace sae_cli
