#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "command_shared.h"
#include "progress.h"
#include "sae/base/error.h"
#include "sae/tools/inspect.h"

namespace sae_cli {

void add_inspect(CLI::App& app, Common& common, std::function<int()>& action) {
  struct Arguments {
    std::string path;
    sae::InspectOptions options;
  };
  auto given = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "inspect", "Read a store through: norms, outlier dimensions, NaN, a few contexts");
  command->add_option("STORE", given->path, "Activation store: a folder, .safetensors or .npy")
      ->required();
  command->add_option("--contexts", given->options.contexts, "How many contexts to show")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--seed", given->options.seed, "Chooses which")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  add_output(command, common);
  command->footer(
      "Exit status 3 if a shard is damaged or a value is NaN or infinite.\n\n"
      "Example:\n  sae inspect activations/minilm --contexts 10");
  command->callback([given, &common, &action] {
    action = [given, &common] {
      sae::ProgressLine line(sae::progress_style(common.quiet));
      const sae::Inspection found =
          sae::inspect_store(given->path, given->options, token_progress(line));
      line.clear();
      if (stop_signal != 0) return 128 + stop_signal;
      print_result(common, to_json(found), [&] { std::cout << to_text(found); });
      std::cout.flush();
      if (found.not_finite > 0) {
        throw sae::DataError(found.not_finite_places[0] + " has a NaN or infinity; of " +
                             std::to_string(found.tokens) + " tokens " +
                             std::to_string(found.not_finite) + " have");
      }
      return 0;
    };
  });
}

}  // namespace sae_cli
