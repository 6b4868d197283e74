#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "command_shared.h"
#include "log.h"
#include "sae/tools/diagnose.h"

namespace sae_cli {

void add_diagnose(CLI::App& app, Common& common, std::function<int()>& action) {
  struct Arguments {
    std::string run;
    std::vector<std::string> sets;
  };
  auto given = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "diagnose", "Say what went wrong in a run, from its own metrics, and what to change");
  command
      ->add_option("RUN", given->run,
                   "Folder of a run, finished or not; of an autoencoder without one (a checkpoint, "
                   "or what sae convert reads) the weights alone are looked at")
      ->required();
  command->add_option("--set", given->sets, "Change a limit: dead=0.2; repeatable")
      ->allow_extra_args(false);
  add_output(command, common);
  command->footer(
      "Exit status 1 if any check fired, 0 if none did.\n\n"
      "Examples:\n"
      "  sae diagnose runs/topk\n"
      "  sae diagnose runs/atm --set drift=0.05 --json\n\n"
      "Limits: sae config print diagnose.");
  command->callback([given, &common, &action] {
    action = [given, &common] {
      const sae::Diagnosis diagnosis =
          sae::diagnose_run(given->run, sae::read_diagnose(given->sets));
      for (const std::string& note : diagnosis.notes) log_warning(note);
      print_result(common, to_json(diagnosis), [&] { std::cout << to_text(diagnosis); });
      std::cout.flush();
      return diagnosis.fired() > 0 ? 1 : 0;
    };
  });
}

}  // namespace sae_cli
