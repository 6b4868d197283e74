#include <filesystem>
#include <memory>

#include "command_shared.h"
#include "sae/base/error.h"
#include "sae/base/text.h"
#include "sae/tools/blind.h"

namespace sae_cli {
namespace {

int blind(sae::BlindArguments given, const Common& common) {
  given.device = common.device;
  given.threads = static_cast<int>(common.threads);
  given.say = print_warning;
  sae::ProgressLine line(sae::progress_style(common.quiet));
  const sae::BlindOutcome outcome =
      sae::write_blind(given, [&](std::int64_t done, std::int64_t total) {
        draw_progress(line, "autoencoders", done, total);
      });
  line.clear();
  print_result(common, to_json(outcome), [&] {
    return to_text(outcome) + "page: " + given.out + "/page.html\nkey:  " + given.out +
           "/key.json, which raters do not see\n";
  });
  return 0;
}

struct GradeArguments {
  std::string folder;
  std::vector<std::string> answers;
  std::string judge;
};

int grade(const GradeArguments& given, const Common& common) {
  std::optional<std::filesystem::path> judge;
  if (!given.judge.empty()) judge = given.judge;
  const sae::BlindGrade result =
      sae::grade_blind(given.folder, {given.answers.begin(), given.answers.end()}, judge);
  print_result(common, to_json(result), [&] { return to_text(result); });
  return 0;
}

void add_grade(Program& program, CLI::App* blind) {
  auto given = std::make_shared<GradeArguments>();
  CLI::App* command = program.add(
      "grade", "Say what raters' answers tell about the members",
      [given, &common = program.common] { return grade(*given, common); }, blind);
  add_text(command, "FOLDER", given->folder, kFolder, "What sae blind made, with key.json")
      ->required();
  add_list(command, "ANSWERS", given->answers, kFile, "Files that the page saved, one a rater")
      ->required();
  add_text(command, "--judge", given->judge, kFile,
           "Judge file of scripts/judge.py: does its margin tell what people get right?");
  add_output(command, program.common);
  // What sae blind requires is not asked of a command line that grades.
  command->preparse_callback([blind](std::size_t) {
    for (CLI::Option* option : blind->get_options()) option->required(false);
  });
  command->footer(
      "Accuracy, where chance is .20, with 95 % intervals by bootstrap over raters and\n"
      "latents; differences with p by permuting members within firing count and\n"
      "quantile; agreement between raters and with oneself.\n\n"
      "Example:\n  sae blind grade study answers/*.json --judge judge.safetensors");
}

}  // namespace

void add_blind(Program& program) {
  struct BlindArguments {
    sae::BlindArguments blind;
    std::string control, judge;
  };
  auto given = std::make_shared<BlindArguments>();
  CLI::App* command =
      program.add("blind", "Make a page where people judge latents without knowing whose",
                  [given, &common = program.common] {
                    if (!given->control.empty()) {
                      given->blind.control = sae::choice_named<sae::Control>(given->control);
                    }
                    if (!given->judge.empty()) given->blind.judge = given->judge;
                    return blind(given->blind, common);
                  });
  sae::BlindArguments& to = given->blind;
  // Not required of CLI11, which would take `grade` for the first of them.
  add_list(command, "SAE", to.members, kPath,
           "Two or more: folders of runs, checkpoints or autoencoders, or anything that sae "
           "convert reads");
  add_text(command, "--data", to.data, kPath, "Activation store with text, held out from training")
      ->required();
  add_out(command, to.out, "Folder to make")->required();
  add_text(command, "--control", given->control, kName,
           "One more member, made from the first: identity, pca, random, permuted, untrained")
      ->check(one_of(sae::choice_names<sae::Control>()));
  add_number(command, "--items", to.items, 1, "Items of each member")->capture_default_str();
  command->add_flag("--matched", to.matched,
                    "As many again whose intruder has a token of the other four");
  add_text(command, "--judge", given->judge, kFile,
           "Judge file of scripts/judge.py: take its rows, to hold it against people later");
  add_number(command, "--seed", to.interp.seed, 0, "Chooses rows, latents, items and their order")
      ->capture_default_str();
  add_common(command, program.common);
  command->footer(
      "Give page.html to people: it works from a file, without a network, and keeps\n"
      "and saves their answers. It names no member and no latent; key.json does.\n\n"
      "Examples:\n"
      "  sae blind runs/topk runs/atm --control random --data acts/heldout --out study\n"
      "  sae blind grade study answers/*.json");
  add_grade(program, command);
}

}  // namespace sae_cli
