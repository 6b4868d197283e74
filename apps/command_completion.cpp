#include <memory>

#include "arguments.h"
#include "commands.h"
#include "completion.h"
#include "output.h"

namespace sae_cli {

void add_completion(Program& program) {
  auto shell = std::make_shared<std::string>();
  CLI::App* command =
      program.add("completion", "Print a script that completes sae in a shell", [shell, &program] {
        const auto commands = completed_commands(program.app);
        print(*shell == "bash"  ? bash_completion(commands)
              : *shell == "zsh" ? zsh_completion(commands)
                                : fish_completion(commands));
        return 0;
      });
  add_text(command, "SHELL", *shell, kName, "bash, zsh or fish")
      ->check(one_of({"bash", "zsh", "fish"}))
      ->required();
  command->footer(
      "Examples:\n"
      "  source <(sae completion bash)          in ~/.bashrc\n"
      "  source <(sae completion zsh)           in ~/.zshrc, after compinit\n"
      "  sae completion fish | source           in ~/.config/fish/config.fish");
}

}  // namespace sae_cli
