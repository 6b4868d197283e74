#include "completion.h"

namespace sae_cli {
namespace {

using Kind = CompletedValue::Kind;

/// An action of _arguments.
std::string action(const CompletedValue& value) {
  switch (value.kind) {
    case Kind::kPath:
      return "_files";
    case Kind::kFolder:
      return "_files -/";
    case Kind::kConfig:
      return "_files -g \"*.json(-.)\"";
    case Kind::kWords:
      return "(" + spaced(value.words) + ")";
    case Kind::kKeys:
      return "compadd -S = -- " + spaced(value.words);
    case Kind::kNothing:
      return " ";
  }
  return " ";
}

/// A text inside [...] or before a colon of a specification.
std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':') out += '\\';
    out += c;
  }
  return out;
}

std::string specification(const CompletedOption& option, const std::string& name) {
  std::string others;
  if (option.repeatable) {
    others = "*";
  } else if (option.names.size() > 1) {
    others = "(" + spaced(option.names) + ")";
  }
  return single_quoted(others + name + "[" + escaped(option.meaning) + "]" +
                       (option.takes_value ? ":value:" + action(option.value) : ""));
}

std::string function_name(const std::string& command) {
  std::string name = "_sae" + (command.empty() ? "" : "_" + command);
  for (char& c : name) c = c == ' ' ? '_' : c;
  return name;
}

/// One function a command; those with commands of their own call theirs.
std::string function(const CompletedCommand& command,
                     const std::vector<CompletedCommand>& commands) {
  const bool leaf = command.commands.empty();
  std::string text = function_name(command.name) + "() {\n";
  if (!leaf) {
    text += "  local state context line\n  typeset -A opt_args\n  local -a commands=(\n";
    for (const std::string& own : command.commands) {
      const std::string full = command.name.empty() ? own : command.name + " " + own;
      for (const CompletedCommand& one : commands) {
        if (one.name == full)
          text += "    " + single_quoted(own + ":" + escaped(one.meaning)) + "\n";
      }
    }
    text += "  )\n";
  }
  text += leaf ? "  _arguments" : "  _arguments -C";
  for (const CompletedOption& option : command.options) {
    for (const std::string& name : option.names) {
      text += " \\\n    " + specification(option, name);
    }
  }
  if (leaf) {
    text += " \\\n    " + single_quoted("*:argument:" + action(command.argument)) + "\n";
  } else {
    const bool arguments = command.argument.kind != Kind::kNothing;  // beside its own commands
    const std::string offer = arguments ? action(command.argument) : "";
    text += std::string(" \\\n    '1: :->command' '*:: :->arguments'\n") +
            "  case $state in\n    command) _describe command commands" +
            (arguments ? "; " + offer : "") + " ;;\n" + "    arguments)\n      case $words[1] in\n";
    for (const std::string& own : command.commands) {
      const std::string full = command.name.empty() ? own : command.name + " " + own;
      text += "        " + own + ") " + function_name(full) + " ;;\n";
    }
    if (arguments) text += "        *) " + offer + " ;;\n";
    text += "      esac ;;\n  esac\n";
  }
  return text + "}\n";
}

}  // namespace

std::string zsh_completion(const std::vector<CompletedCommand>& commands) {
  std::string text =
      "#compdef sae\n"
      "# Completion of sae for zsh. In ~/.zshrc, after compinit:  source <(sae completion zsh)\n";
  for (const CompletedCommand& command : commands) text += function(command, commands);
  // Read by `source` it only registers itself; as a file of $fpath it is the function.
  return text + "compdef _sae sae\nif [[ $funcstack[1] == _sae ]]; then _sae \"$@\"; fi\n";
}

}  // namespace sae_cli
