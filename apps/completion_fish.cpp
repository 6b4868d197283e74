#include "completion.h"

namespace sae_cli {
namespace {

using Kind = CompletedValue::Kind;

/// The arguments of `complete` that offer what can stand for a value.
std::string fish_offer(const CompletedValue& value) {
  switch (value.kind) {
    case Kind::kPath:
      return " -F";
    case Kind::kFolder:
      return " -f -a '(__fish_complete_directories)'";
    case Kind::kConfig:
      return " -f -a '(__fish_complete_suffix .json)'";
    case Kind::kWords:
      return " -f -a " + single_quoted(spaced(value.words));
    case Kind::kKeys:
      return " -f -a " + single_quoted(spaced(value.words));
    case Kind::kNothing:
      return " -f";
  }
  return "";
}

/// When the words on the line have chosen this command and none of its own.
std::string condition(const CompletedCommand& command) {
  std::string text;
  std::string rest = command.name;
  while (!rest.empty()) {
    const std::size_t blank = rest.find(' ');
    text +=
        (text.empty() ? "" : "; and ") + ("__fish_seen_subcommand_from " + rest.substr(0, blank));
    rest = blank == std::string::npos ? "" : rest.substr(blank + 1);
  }
  if (!command.commands.empty()) {
    text += (text.empty() ? "" : "; and ") +
            ("not __fish_seen_subcommand_from " + spaced(command.commands));
  }
  return "complete -c sae -n " + single_quoted(text);
}

}  // namespace

std::string fish_completion(const std::vector<CompletedCommand>& commands) {
  std::string text =
      "# Completion of sae for fish. In ~/.config/fish/config.fish:  sae completion fish | source\n"
      "complete -c sae -f\n";
  for (const CompletedCommand& command : commands) {
    const std::string when = condition(command);
    for (const std::string& own : command.commands) {
      const std::string full = command.name.empty() ? own : command.name + " " + own;
      for (const CompletedCommand& one : commands) {
        if (one.name != full) continue;
        text += when + " -a " + own + " -d " + single_quoted(one.meaning) + "\n";
      }
    }
    for (const CompletedOption& option : command.options) {
      text += when;
      for (const std::string& name : option.names) {
        text += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
      }
      if (option.takes_value) text += " -r" + fish_offer(option.value);
      text += " -d " + single_quoted(option.meaning) + "\n";
    }
    if (command.argument.kind != Kind::kNothing) text += when + fish_offer(command.argument) + "\n";
  }
  return text;
}

}  // namespace sae_cli
