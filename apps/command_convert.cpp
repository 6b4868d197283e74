#include <memory>

#include "command_shared.h"
#include "sae/base/text.h"
#include "sae/tools/convert.h"

namespace sae_cli {
namespace {

std::string verification_text(const sae::Verification& result) {
  std::string text = formatted("\non %lld tokens           in         out\n",
                               static_cast<long long>(result.tokens));
  text += formatted("%-28s %-10.5g %.5g\n", "l0", result.l0_in, result.l0_out);
  text += formatted("%-28s %-10.5g %.5g\n", "explained_variance", result.explained_variance_in,
                    result.explained_variance_out);
  text += formatted("\n%-28s %-10s %s\n", "largest difference", "absolute", "relative");
  text += formatted("%-28s %-10.3g %.3g\n", "latents", result.latents.absolute,
                    result.latents.relative);
  text += formatted("%-28s %-10.3g %.3g\n", "reconstruction", result.reconstruction.absolute,
                    result.reconstruction.relative);
  return text + formatted("%-28s %lld\n", "latents active on one side",
                          static_cast<long long>(result.active_on_one_side));
}

int convert(const sae::ConvertArguments& given, const Common& common) {
  const sae::ConvertReport report = sae::convert(given);
  for (const std::string& warning : report.warnings) print_warning(warning);
  print_result(common, sae::to_json(report), [&] {
    return given.output.string() + ": " + report.function + " from " + report.from +
           ", written for " + report.to + "\n" +
           (report.verification ? verification_text(*report.verification) : "");
  });
  return 0;
}

}  // namespace

void add_convert(Program& program) {
  struct ConvertArguments {
    sae::ConvertArguments convert;
    std::string input, output;
  };
  auto given = std::make_shared<ConvertArguments>();
  CLI::App* command =
      program.add("convert", "Read and write autoencoders of SAELens and other tools",
                  [given, &common = program.common] {
                    given->convert.input = given->input;
                    given->convert.output = given->output;
                    return convert(given->convert, common);
                  });
  const std::vector<std::string> formats = sae::convert_formats();
  add_text(command, "IN", given->input, kPath,
           "Folder or file to read; of ours also a run, finished or not, or a checkpoint")
      ->required();
  add_text(command, "OUT", given->output, kFolder, "Folder to make")->required();
  add_text(command, "--to", given->convert.to, kName, "Format to write: " + sae::joined(formats))
      ->check(one_of(formats))
      ->required();
  add_text(command, "--from", given->convert.from, kName,
           "Format to read: " + sae::joined(sae::readable_formats()) +
               " (default: found by the files' names)");
  add_text(command, "--model", given->convert.model, kName,
           "Language model that it is for (default: what the files say)");
  add_text(command, "--hook", given->convert.hook, kName,
           "Place in that model: blocks.12.hook_resid_post, or a module like layers.12.mlp "
           "(default: what the files and their folders' names say)");
  add_text(command, "--verify", given->convert.verify, kPath,
           "Activation store to compare both autoencoders on");
  add_number(command, "--verify-tokens", given->convert.verify_tokens, 1, "Tokens of it")
      ->capture_default_str();
  add_output(command, program.common);
  command->footer(
      "Examples:\n"
      "  sae convert runs/topk exported --to saelens --verify acts/heldout\n"
      "  sae convert downloads/layer_12 sae-12 --to sae\n"
      "  sae convert SAE-Res-Qwen3-1.7B-Base-W32K-L0_50/layer9.sae.pt qwen-9 --to sae\n"
      "  sae convert params.npz out --to saelens --model gemma-2-2b \\\n"
      "      --hook blocks.12.hook_mlp_out\n\n"
      "Names of models and hooks are translated into those of the tool; what a format\n"
      "has no place for is said on standard error, kept beside, and found again when it\n"
      "is read by sae.");
}

}  // namespace sae_cli
