#include <memory>

#include "command_shared.h"
#include "sae/base/error.h"
#include "sae/tools/features.h"

namespace sae_cli {
namespace {

/// What is given on the command line; numbers of options that were not are those of the format.
struct GivenFeatures {
  sae::FeaturesArguments features;
  std::string format = sae::name_of(sae::FeaturesFormat::kHtml);
  std::string results, unembedding;
  std::int64_t latents = 0, pad_token = 0;
  struct Shown {
    std::int64_t sae::FeaturesOptions::*place;
    CLI::Option* option;
  };
  std::vector<Shown> shown;
  CLI::Option *latents_option = nullptr, *pad_token_option = nullptr;
};

/// ConfigError for a number that the format shows nothing of.
sae::FeaturesArguments arguments_of(const GivenFeatures& given) {
  sae::FeaturesArguments out = given.features;
  out.format = *sae::choice_named<sae::FeaturesFormat>(given.format);
  if (!given.results.empty()) out.results = given.results;
  if (!given.unembedding.empty()) out.unembedding = given.unembedding;
  if (given.latents_option->count() > 0) out.latents = given.latents;
  if (given.pad_token_option->count() > 0) out.pad_token = given.pad_token;
  const sae::FeaturesOptions defaults = sae::defaults_of(out.format);
  for (const auto& [place, option] : given.shown) {
    if (option->count() == 0) {
      out.options.*place = defaults.*place;
    } else if (out.format == sae::FeaturesFormat::kDelphi) {
      throw sae::ConfigError(option->get_name() +
                             ": the format delphi has no use for it, as it holds every activation; "
                             "leave it out");
    }
  }
  return out;
}

int features(sae::FeaturesArguments given, const Common& common) {
  given.device = common.device;
  given.threads = static_cast<int>(common.threads);
  given.say = print_warning;
  sae::ProgressLine line(sae::progress_style(common.quiet));
  const sae::FeaturesOutcome outcome = sae::write_features(given, token_progress(line));
  line.clear();
  if (!outcome.missing.empty()) print_warning(outcome.missing);
  print_result(common, to_json(outcome), [&] {
    const bool html = given.format == sae::FeaturesFormat::kHtml;
    return formatted("%lld latents (%lld silent) on %lld tokens: %s%s\n",
                     static_cast<long long>(outcome.latents),
                     static_cast<long long>(outcome.silent), static_cast<long long>(outcome.rows),
                     given.out.c_str(), html ? "/index.html" : "");
  });
  return 0;
}

void add_shown(CLI::App* command, GivenFeatures& given) {
  const auto count = [&](const char* name, std::int64_t sae::FeaturesOptions::*place,
                         const char* meaning) {
    given.shown.push_back(
        {place, add_number(command, name, given.features.options.*place, 0, meaning)});
  };
  count("--contexts", &sae::FeaturesOptions::contexts,
        "Strongest contexts of each latent (default: 12; neuronpedia: 20)");
  count("--quantiles", &sae::FeaturesOptions::quantiles,
        "Further contexts, one from each activation quantile (default: 8); neuronpedia: intervals "
        "of activation, five contexts from each (default: 5)");
  count("--window", &sae::FeaturesOptions::window,
        "Tokens shown before and after (default: 20; neuronpedia: 127)");
  count("--seed", &sae::FeaturesOptions::seed,
        "Chooses among the contexts of a quantile (default: 0)");
}

void add_formats(CLI::App* command, GivenFeatures& given) {
  add_text(command, "--format", given.format, kName,
           "html: pages to open in a browser; neuronpedia: batches as SAEDashboard writes them; "
           "delphi: a cache of latents for Delphi")
      ->check(one_of(sae::choice_names<sae::FeaturesFormat>()))
      ->capture_default_str();
  add_text(command, "--unembedding", given.unembedding, kFile,
           "What scripts/unembed.py wrote of the model (html, neuronpedia): shows the tokens that "
           "each latent makes likelier and less likely");
  given.latents_option = add_number(command, "--latents", given.latents, 1,
                                    "Only so many latents, the first ones (neuronpedia, delphi)");
  add_text(command, "--model", given.features.model, kName,
           "The model's name for the other tool (neuronpedia, delphi; default: the store's)");
  add_text(command, "--source-set", given.features.source_set, kName,
           "Neuronpedia's name for this set of autoencoders (default: the architecture)");
  given.pad_token_option =
      add_number(command, "--pad-token", given.pad_token, 0,
                 "Delphi: the token where a row is not full (default: the first special token that "
                 "the store leaves out, or 0)");
}

}  // namespace

void add_features(Program& program) {
  auto given = std::make_shared<GivenFeatures>();
  CLI::App* command = program.add(
      "features", "Write pages that show what each latent fires on",
      [given, &common = program.common] { return features(arguments_of(*given), common); });
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
  add_shown(command, *given);
  add_formats(command, *given);
  add_common(command, program.common);
  command->footer(
      "Open OUT/index.html in a browser; the folder needs no server and no network.\n\n"
      "Neuronpedia's own tools take OUT/batch-*.json for an upload; Delphi's loader\n"
      "takes OUT as the folder of its cache, with a module in it.\n\n"
      "Examples:\n"
      "  sae features runs/topk --data acts/heldout --out pages/topk\n"
      "  sae features runs/topk --data acts/heldout --format neuronpedia \\\n"
      "      --unembedding gemma-2-2b.unembedding.safetensors --out neuronpedia/topk\n"
      "  sae features runs/topk --data acts/heldout --format delphi \\\n"
      "      --model google/gemma-2-2b --out results/topk/latents");
}

}  // namespace sae_cli
