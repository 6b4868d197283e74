#include "commands.h"

#include <memory>
#include <utility>

#include "command_line.h"
#include "help.h"
#include "output.h"
#include "sae/base/version.h"

namespace sae_cli {
namespace {

std::string version_text() {
  return std::string("sae ") + sae::kVersion + " (LibTorch " + sae::kTorchVersion + ")";
}

}  // namespace

std::string Common::words() const {
  std::string text;
  if (threads >= 0) text += " --threads " + std::to_string(threads);
  if (!device.empty()) text += option_words("--device", device);
  if (quiet) text += " --quiet";
  if (json) text += " --json";
  return text;
}

Program::Program(std::string called_as)
    : app("Train, evaluate and compare sparse autoencoders.", "sae"), called(std::move(called_as)) {
  app.formatter(std::make_shared<HelpFormatter>(26));
  app.set_help_flag("-h,--help", "Print this help");
  app.set_version_flag("-V,--version", version_text(), "Print the versions of sae and LibTorch");
  app.require_subcommand(1);
  app.footer(
      "Exit status: 0 done, 2 configuration or usage, 3 data, files or output,\n"
      "4 another rank failed, 1 anything else, 128 + signal when stopped by one.\n\n"
      "Ctrl-C stops any command within a second and leaves nothing half-written; train\n"
      "and compare save first, which may take longer. A second one ends them at once.\n\n"
      "Examples:\n"
      "  sae compare configs/compare/quick.json     the six architectures side by side\n"
      "  sae train configs/topk.json --out runs/topk\n"
      "  sae eval runs/topk\n"
      "  sae info runs/topk                         what any file or folder is\n"
      "  sae config print topk                      every option with its meaning");
}

CLI::App* Program::add(const std::string& name, const std::string& meaning,
                       std::function<int()> work, CLI::App* parent) {
  CLI::App* command = (parent != nullptr ? parent : &app)->add_subcommand(name, meaning);
  command->group("Commands");
  if (work) {
    command->callback([this, work = std::move(work)] {
      if (!action) action = work;  // else one of this command's own was chosen
    });
  }
  return command;
}

void add_version(Program& program) {
  CLI::App* command = program.add("version", "Print the versions of sae and LibTorch", [] {
    print(version_text() + "\n");
    return 0;
  });
  command->footer("Example:\n  sae version");
}

void add_commands(Program& program) {
  add_train(program);
  add_eval(program);
  add_compare(program);
  add_synth(program);
  add_info(program);
  add_inspect(program);
  add_features(program);
  add_blind(program);
  add_diagnose(program);
  add_convert(program);
  add_bench(program);
  add_ranks(program);
  add_config(program);
  add_completion(program);
  add_help(program);
  add_version(program);
  // Its own list is of short names, and wide.
  program.app.formatter(std::make_shared<HelpFormatter>(16));
}

}  // namespace sae_cli
