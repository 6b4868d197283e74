#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "command_shared.h"
#include "log.h"
#include "progress.h"
#include "sae/tools/features.h"

namespace sae_cli {

void add_features(CLI::App& app, Common& common, std::function<int()>& action) {
  auto given = std::make_shared<sae::FeaturesArguments>();
  sae::FeaturesOptions& options = given->options;
  CLI::App* command =
      app.add_subcommand("features", "Write pages that show what each latent fires on");
  command
      ->add_option("SAE", given->sae,
                   "Folder of a run, finished or not, of a checkpoint or an autoencoder, or "
                   "anything that sae convert reads")
      ->required();
  command->add_option("--data", given->data, "Activation store, with tokens to show text")
      ->required();
  command->add_option("--out", given->out, "Folder to make")->required();
  command->add_option("--results", given->results,
                      "What `sae eval SAE --suite absorption,probing --json` printed: shows which "
                      "class or task a latent reads, what absorbs it and what it absorbs");
  const auto count = [&](const char* name, std::int64_t& place, const char* meaning) {
    command->add_option(name, place, meaning)->check(CLI::NonNegativeNumber)->capture_default_str();
  };
  count("--contexts", options.contexts, "Strongest contexts of each latent");
  count("--quantiles", options.quantiles, "Further contexts, one from each activation quantile");
  count("--window", options.window, "Tokens shown before and after");
  count("--seed", options.seed, "Chooses among the contexts of a quantile");
  add_common(command, common);
  command->footer(
      "Open OUT/index.html in a browser; the folder needs no server and no network.\n\n"
      "Example:\n  sae features runs/topk --data acts/heldout --out pages/topk");
  command->callback([given, &common, &action] {
    action = [given, &common] {
      given->device = common.device;
      given->threads = common.threads;
      given->say = log_warning;
      sae::ProgressLine line(sae::progress_style(common.quiet));
      const auto outcome = sae::write_features(*given, token_progress(line));
      line.clear();
      if (!outcome.finished) return 128 + stop_signal;
      if (!outcome.missing.empty()) log_warning(outcome.missing);
      print_result(common, to_json(outcome), [&] {
        std::printf("%lld latents (%lld silent) on %lld tokens: %s/index.html\n",
                    static_cast<long long>(outcome.latents), static_cast<long long>(outcome.silent),
                    static_cast<long long>(outcome.rows), given->out.c_str());
      });
      return 0;
    };
  });
}

}  // namespace sae_cli
