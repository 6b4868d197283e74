#include <memory>

#include "command_shared.h"
#include "sae/base/text.h"
#include "sae/data/world_options.h"
#include "sae/tools/synth.h"

namespace sae_cli {
namespace {

struct SynthArguments {
  std::string preset = "small";
  std::int64_t tokens = 100'000;
  std::vector<std::string> sets;
  std::string out;
};

int synth(const SynthArguments& given, const Common& common) {
  std::vector<sae::Notice> notices;
  const sae::SynthOptions options =
      sae::read_synth(given.preset, given.tokens, given.sets, &notices);
  print_notices(notices, common);
  const std::int64_t total = options.tokens;
  sae::ProgressLine line(sae::progress_style(common.quiet));
  sae::write_world(options, given.out,
                   [&](std::int64_t done) { draw_progress(line, "samples", done, total); });
  line.clear();
  print_result(common, Json{{"folder", given.out}, {"tokens", total}},
               [&] { return std::to_string(total) + " samples in " + given.out + "\n"; });
  return 0;
}

}  // namespace

void add_synth(Program& program) {
  auto given = std::make_shared<SynthArguments>();
  CLI::App* command =
      program.add("synth", "Write a synthetic world with its ground truth as a store",
                  [given, &common = program.common] { return synth(*given, common); });
  add_text(command, "--preset", given->preset, kName, sae::joined(sae::world_presets()))
      ->check(one_of(sae::world_presets()))
      ->capture_default_str();
  add_number(command, "--tokens", given->tokens, 1, "Samples to write")->capture_default_str();
  add_sets(command, given->sets, "Change an option of the world: bias_norm=0; repeatable");
  add_out(command, given->out, "Folder of the store")->required();
  add_output(command, program.common);
  command->footer(
      "A store like any other (data.kind store), whose features are known: training,\n"
      "comparing and evaluating on it measure the truth as on a world sampled anew.\n\n"
      "Examples:\n"
      "  sae synth --preset small-zipf --tokens 1000000 --out acts/zipf\n"
      "  sae eval runs/topk --data acts/zipf --suite truth");
}

}  // namespace sae_cli
