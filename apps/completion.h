// Scripts that complete the command line in a shell, made from the definitions of the commands.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace sae_cli {

/// What can stand for a value.
struct CompletedValue {
  enum class Kind { kNothing, kPath, kFolder, kConfig, kWords, kKeys };
  Kind kind = Kind::kNothing;      ///< kNothing: numbers and the like, or no value at all
  std::vector<std::string> words;  ///< of kWords; of kKeys those that "=value" follows
};

struct CompletedOption {
  std::vector<std::string> names;  ///< "-q", "--quiet"
  std::string meaning;
  bool takes_value = false;
  bool repeatable = false;
  CompletedValue value;
};

struct CompletedCommand {
  std::string name;     ///< "train", "config print"; the program itself: ""
  std::string meaning;  ///< one line
  std::vector<CompletedOption> options;
  CompletedValue argument;            ///< what positional arguments are
  std::vector<std::string> commands;  ///< its own
};

/// The program and all of its commands, each before its own.
std::vector<CompletedCommand> completed_commands(const CLI::App& app);

std::string bash_completion(const std::vector<CompletedCommand>& commands);
std::string zsh_completion(const std::vector<CompletedCommand>& commands);
std::string fish_completion(const std::vector<CompletedCommand>& commands);

/// Words with blanks in between.
std::string spaced(const std::vector<std::string>& words);

/// In the single quotes of all three shells. No text of ours has a backslash.
std::string single_quoted(const std::string& text);

}  // namespace sae_cli
