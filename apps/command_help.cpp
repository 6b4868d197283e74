#include <memory>
#include <vector>

#include "commands.h"
#include "output.h"
#include "usage.h"

namespace sae_cli {

void add_help(Program& program) {
  auto words = std::make_shared<std::vector<std::string>>();
  CLI::App* command = program.add("help", "Say how a command is used", [words, &program] {
    const CLI::App* about = &program.app;
    std::string name = "sae";
    for (const std::string& word : *words) {
      about = subcommand_named(*about, word);
      name += " " + word;
    }
    print(about->get_formatter()->make_help(about, name, CLI::AppFormatMode::Normal));
    return 0;
  });
  command->add_option("COMMAND", *words, "A command, and one of its own (default: all)");
  command->footer("Examples:\n  sae help train\n  sae help config check");
}

}  // namespace sae_cli
