#include "completion.h"

namespace sae_cli {
namespace {

using Kind = CompletedValue::Kind;

/// The statement that offers what can stand for a value.
std::string bash_offer(const CompletedValue& value) {
  switch (value.kind) {
    case Kind::kPath:
      return "_sae_files -f";
    case Kind::kFolder:
      return "_sae_files -d";
    case Kind::kConfig:
      return "_sae_files -f -X '!*.json'; _sae_files -d";
    case Kind::kWords:
      return "_sae_words " + single_quoted(spaced(value.words));
    case Kind::kKeys:
      return "compopt -o nospace 2>/dev/null; _sae_words " + single_quoted(spaced(value.words)) +
             " -S =";
    case Kind::kNothing:
      return ":";
  }
  return ":";
}

/// The pattern of a case arm for an option of a command: 'train:--out' | 'train:-o'.
std::string pattern(const CompletedCommand& command, const CompletedOption& option) {
  std::string text;
  for (const std::string& name : option.names) {
    text += (text.empty() ? "" : " | ") + single_quoted(command.name + ":" + name);
  }
  return text;
}

}  // namespace

std::string bash_completion(const std::vector<CompletedCommand>& commands) {
  std::string names, values, options, arguments;
  for (const CompletedCommand& command : commands) {
    const std::string arm = "      " + single_quoted(command.name) + ") ";
    if (!command.name.empty()) {  // the commands before it on the line, a colon, its own word
      const std::size_t blank = command.name.rfind(' ');
      const bool nested = blank != std::string::npos;
      names += "      " +
               single_quoted(nested ? command.name.substr(0, blank) + ":" +
                                          command.name.substr(blank + 1)
                                    : ":" + command.name) +
               ") command=" + single_quoted(command.name) + " ;;\n";
    }
    std::vector<std::string> all;
    for (const CompletedOption& option : command.options) {
      all.insert(all.end(), option.names.begin(), option.names.end());
      if (!option.takes_value) continue;
      values +=
          "    " + pattern(command, option) + ") " + bash_offer(option.value) + "; return ;;\n";
    }
    options += arm + bash_offer({Kind::kWords, all}) + " ;;\n";
    std::string offer =
        command.commands.empty() ? "" : bash_offer({Kind::kWords, command.commands});
    if (offer.empty() || command.argument.kind != Kind::kNothing) {
      offer += (offer.empty() ? "" : "; ") + bash_offer(command.argument);
    }
    arguments += arm + offer + " ;;\n";
  }
  return R"(# Completion of sae for bash. In ~/.bashrc:  source <(sae completion bash)
_sae_words() { COMPREPLY=($(compgen "${@:2}" -W "$1" -- "$word")); }
_sae_files() {
  local IFS=$'\n'
  compopt -o filenames 2>/dev/null
  COMPREPLY+=($(compgen "$@" -- "$word"))
}
_sae() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command= i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; ++i)); do
    case "$command:${COMP_WORDS[i]}" in
)" + names +
         R"(    esac
  done
  case "$command:$before" in
)" + values +
         R"(  esac
  if [[ $word == -* ]]; then
    case "$command" in
)" + options +
         R"(    esac
  else
    case "$command" in
)" + arguments +
         R"(    esac
  fi
}
complete -F _sae sae
)";
}

}  // namespace sae_cli
