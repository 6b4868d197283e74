#include <memory>

#include "command_shared.h"
#include "sae/base/error.h"
#include "sae/tools/inspect.h"

namespace sae_cli {
namespace {

struct InspectArguments {
  std::string path;
  sae::InspectOptions options;
};

int inspect(const InspectArguments& given, const Common& common) {
  sae::ProgressLine line(sae::progress_style(common.quiet));
  const sae::Inspection found = sae::inspect_store(given.path, given.options, token_progress(line));
  line.clear();
  print_result(common, to_json(found), [&] { return to_text(found); });
  if (found.not_finite > 0) {
    throw sae::DataError(found.not_finite_places[0] + " has a NaN or infinity; of " +
                         std::to_string(found.tokens) + " tokens " +
                         std::to_string(found.not_finite) + " have");
  }
  return 0;
}

}  // namespace

void add_inspect(Program& program) {
  auto given = std::make_shared<InspectArguments>();
  CLI::App* command =
      program.add("inspect", "Read a store through: norms, outliers, NaN, a few contexts",
                  [given, &common = program.common] { return inspect(*given, common); });
  add_text(command, "STORE", given->path, kPath,
           "Activation store: a folder, .safetensors, .npy or .pt")
      ->required();
  add_number(command, "--contexts", given->options.contexts, 0, "How many contexts to show")
      ->capture_default_str();
  add_number(command, "--seed", given->options.seed, 0, "Chooses which")->capture_default_str();
  add_output(command, program.common);
  command->footer(
      "Exit status 3 if a shard is damaged or a value is NaN or infinite.\n\n"
      "Example:\n  sae inspect activations/minilm --contexts 10");
}

}  // namespace sae_cli
