#include <memory>

#include "command_shared.h"
#include "sae/tools/diagnose.h"

namespace sae_cli {
namespace {

struct DiagnoseArguments {
  std::string run;
  std::vector<std::string> sets;
};

int diagnose(const DiagnoseArguments& given, const Common& common) {
  const sae::Diagnosis diagnosis = sae::diagnose_run(given.run, sae::read_diagnose(given.sets));
  for (const std::string& note : diagnosis.notes) print_warning(note);
  print_result(common, to_json(diagnosis), [&] { return to_text(diagnosis); });
  return diagnosis.fired() > 0 ? 1 : 0;
}

}  // namespace

void add_diagnose(Program& program) {
  auto given = std::make_shared<DiagnoseArguments>();
  CLI::App* command =
      program.add("diagnose", "Say what went wrong in a run, and what to change",
                  [given, &common = program.common] { return diagnose(*given, common); });
  add_text(command, "RUN", given->run, kPath,
           "Folder of a run, finished or not; of an autoencoder without one (a checkpoint, or what "
           "sae convert reads) the weights alone are looked at")
      ->required();
  add_sets(command, given->sets, "Change a limit: dead=0.2; repeatable");
  add_output(command, program.common);
  command->footer(
      "Exit status 1 if any check fired, 0 if none did.\n\n"
      "Examples:\n"
      "  sae diagnose runs/topk\n"
      "  sae diagnose runs/atm --set drift=0.05 --json\n\n"
      "Limits: sae config print diagnose.");
}

}  // namespace sae_cli
