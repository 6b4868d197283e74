#include <memory>

#include "command_shared.h"
#include "sae/tools/features.h"

namespace sae_cli {
namespace {

int features(sae::FeaturesArguments given, const Common& common) {
  given.device = common.device;
  given.threads = static_cast<int>(common.threads);
  given.say = print_warning;
  sae::ProgressLine line(sae::progress_style(common.quiet));
  const sae::FeaturesOutcome outcome = sae::write_features(given, token_progress(line));
  line.clear();
  if (!outcome.missing.empty()) print_warning(outcome.missing);
  print_result(common, to_json(outcome), [&] {
    return formatted("%lld latents (%lld silent) on %lld tokens: %s/index.html\n",
                     static_cast<long long>(outcome.latents),
                     static_cast<long long>(outcome.silent), static_cast<long long>(outcome.rows),
                     given.out.c_str());
  });
  return 0;
}

}  // namespace

void add_features(Program& program) {
  struct FeaturesArguments {
    sae::FeaturesArguments features;
    std::string results;
  };
  auto given = std::make_shared<FeaturesArguments>();
  CLI::App* command = program.add("features", "Write pages that show what each latent fires on",
                                  [given, &common = program.common] {
                                    if (!given->results.empty()) {
                                      given->features.results = given->results;
                                    }
                                    return features(given->features, common);
                                  });
  sae::FeaturesArguments& to = given->features;
  add_text(command, "SAE", to.sae, kPath,
           "Folder of a run, finished or not, of a checkpoint or an autoencoder, or anything that "
           "sae convert reads")
      ->required();
  add_text(command, "--data", to.data, kPath, "Activation store, with tokens to show text")
      ->required();
  add_out(command, to.out, "Folder to make")->required();
  add_text(
      command, "--results", given->results, kFile,
      "What `sae eval SAE --suite absorption,probing,interp --json` printed: shows which class or "
      "task a latent reads, what absorbs it and what it absorbs");
  sae::FeaturesOptions& options = to.options;
  const auto count = [&](const char* name, std::int64_t& place, const char* meaning) {
    add_number(command, name, place, 0, meaning)->capture_default_str();
  };
  count("--contexts", options.contexts, "Strongest contexts of each latent");
  count("--quantiles", options.quantiles, "Further contexts, one from each activation quantile");
  count("--window", options.window, "Tokens shown before and after");
  count("--seed", options.seed, "Chooses among the contexts of a quantile");
  add_common(command, program.common);
  command->footer(
      "Open OUT/index.html in a browser; the folder needs no server and no network.\n\n"
      "Example:\n  sae features runs/topk --data acts/heldout --out pages/topk");
}

}  // namespace sae_cli
