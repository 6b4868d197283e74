#include <memory>

#include "command_shared.h"
#include "sae/tools/info.h"

namespace sae_cli {
namespace {

/// "name: value" lines, objects indented.
std::string facts_text(const Json& facts, const std::string& indent = "") {
  std::string text;
  for (const auto& [name, value] : facts.items()) {
    text += indent + name;
    if (value.is_object()) {
      text += "\n" + facts_text(value, indent + "  ");
    } else {
      text += ": " + (value.is_string() ? value.get<std::string>() : json_text(value)) + "\n";
    }
  }
  return text;
}

}  // namespace

void add_info(Program& program) {
  auto path = std::make_shared<std::string>();
  CLI::App* command = program.add("info", "Say what any file or folder is, and what it holds",
                                  [path, &common = program.common] {
                                    const Json facts = sae::describe_path(*path);
                                    print_result(common, facts, [&] { return facts_text(facts); });
                                    return 0;
                                  });
  add_text(command, "PATH", *path, kPath, "File or folder")->required();
  add_output(command, program.common);
  command->footer(
      "Knows runs, comparisons, checkpoints, autoencoders of every format that sae\n"
      "convert reads, stores of activations, labelled words and tasks, configurations,\n"
      "logs, results and pages.\n\n"
      "Examples:\n"
      "  sae info runs/topk\n"
      "  sae info downloads/params.npz --json");
}

}  // namespace sae_cli
