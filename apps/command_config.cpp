#include <memory>

#include "command_shared.h"
#include "config_arguments.h"
#include "sae/tools/config_reference.h"

namespace sae_cli {
namespace {

int check(const ConfigArguments& given, const Common& common) {
  const std::string command = sae::command_for(sae::read_config(given.file));
  std::string text;
  if (command == "compare") {
    for (const sae::PlannedRun& run : read_plan(given, common).runs) text += run.name + "\n";
  } else {
    text = sae::resolve_run(read_run(given, common)).dump(2) + "\n";
  }
  if (!common.quiet) print(text);
  print_note(common.quiet, given.file + ": for sae " + command);
  return 0;
}

}  // namespace

void add_config(Program& program) {
  CLI::App* command =
      program.add("config", "Print, check or describe configurations", /*work=*/nullptr);
  command->require_subcommand(1);
  command->footer("Examples:\n  sae config print topk\n  sae config check configs/atm.json");

  auto only = std::make_shared<std::string>();
  CLI::App* print_options = program.add(
      "print", "Every option: default, range and meaning",
      [only] {
        print(sae::config_reference(*only));
        return 0;
      },
      command);
  add_text(print_options, "WHICH", *only, kName,
           "An architecture, or run, model, data, train, eval, core, absorption, probing, "
           "interp, diagnose, compare (default: all)")
      ->check(one_of(sae::reference_topics()));
  print_options->footer("Examples:\n  sae config print\n  sae config print topk");

  auto given = std::make_shared<ConfigArguments>();
  CLI::App* check_config = program.add(
      "check", "Check a configuration and print it resolved",
      [given, &common = program.common] { return check(*given, common); }, command);
  add_config_arguments(check_config, *given);
  add_common(check_config, program.common);
  check_config->footer(
      "A run's configuration is printed with every option; of a comparison, the names\n"
      "of its runs.\n\nExample:\n  sae config check configs/atm.json --set train.lr=1e-4");

  CLI::App* schema = program.add(
      "schema", "JSON Schema of a run's configuration, for editors",
      [] {
        print(sae::config_schema().dump(2) + "\n");
        return 0;
      },
      command);
  schema->footer("Example:\n  sae config schema > sae.schema.json");
}

}  // namespace sae_cli
