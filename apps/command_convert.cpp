#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>

#include "command_shared.h"
#include "log.h"
#include "sae/tools/convert.h"

namespace sae_cli {
namespace {

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

void print_verification(const sae::Verification& result) {
  std::printf("\non %lld tokens           in         out\n", static_cast<long long>(result.tokens));
  std::printf("%-28s %-10.5g %.5g\n", "l0", result.l0_in, result.l0_out);
  std::printf("%-28s %-10.5g %.5g\n", "explained_variance", result.explained_variance_in,
              result.explained_variance_out);
  std::printf("\n%-28s %-10s %s\n", "largest difference", "absolute", "relative");
  std::printf("%-28s %-10.3g %.3g\n", "latents", result.latents.absolute, result.latents.relative);
  std::printf("%-28s %-10.3g %.3g\n", "reconstruction", result.reconstruction.absolute,
              result.reconstruction.relative);
  std::printf("%-28s %lld\n", "latents active on one side",
              static_cast<long long>(result.active_on_one_side));
}

}  // namespace

void add_convert(CLI::App& app, Common& common, std::function<int()>& action) {
  auto given = std::make_shared<sae::ConvertArguments>();
  const std::string formats = joined(sae::convert_formats());
  CLI::App* command = app.add_subcommand(
      "convert", "Read and write autoencoders of SAELens, dictionary_learning and others");
  command
      ->add_option("IN", given->input,
                   "Folder or file to read; of ours also a run, finished or not, or a checkpoint")
      ->required();
  command->add_option("OUT", given->output, "Folder to make")->required();
  command->add_option("--to", given->to, "Format to write: " + formats)->required();
  command->add_option("--from", given->from, "Format to read (default: found by the files' names)");
  command->add_option("--model", given->model,
                      "Language model that it is for (default: what the files say)");
  command->add_option("--hook", given->hook,
                      "Place in that model: blocks.12.hook_resid_post, or a module like "
                      "layers.12.mlp (default: what the files and their folders' names say)");
  command->add_option("--verify", given->verify,
                      "Activation store to compare both autoencoders on");
  command->add_option("--verify-tokens", given->verify_tokens, "Tokens of it (default: 8192)")
      ->check(CLI::PositiveNumber);
  add_output(command, common);
  command->footer(
      "Examples:\n"
      "  sae convert runs/topk exported --to saelens --verify acts/heldout\n"
      "  sae convert downloads/layer_12 sae-12 --to sae\n"
      "  sae convert params.npz out --to saelens --model gemma-2-2b --hook "
      "blocks.12.hook_mlp_out\n\n"
      "Names of models and hooks are translated into those of the tool; what a format has no "
      "place\n"
      "for is said on standard error, kept beside, and found again when it is read by sae.");
  command->callback([given, &common, &action] {
    action = [given, &common] {
      const sae::ConvertReport report = sae::convert(*given);
      for (const std::string& warning : report.warnings) log_warning(warning);
      print_result(common, sae::to_json(report), [&] {
        std::printf("%s: %s from %s, written for %s\n", given->output.c_str(),
                    report.function.c_str(), report.from.c_str(), report.to.c_str());
        if (report.verification) print_verification(*report.verification);
      });
      return 0;
    };
  });
}

}  // namespace sae_cli
