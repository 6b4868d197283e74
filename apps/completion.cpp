#include "completion.h"

#include <utility>

#include "arguments.h"
#include "sae/base/text.h"
#include "sae/tools/config_reference.h"

namespace sae_cli {
namespace {

using Kind = CompletedValue::Kind;

CompletedValue value_of(const CLI::Option* option, const std::string& command) {
  if (auto words = choices_of(option); !words.empty()) return {Kind::kWords, std::move(words)};
  const std::string type = option->get_type_name();
  if (option->get_name() == "--set") return {Kind::kKeys, sae::settable_paths(command)};
  if (type == kPath || type == kFile) return {Kind::kPath, {}};
  if (type == kFolder) return {Kind::kFolder, {}};
  if (type == kConfig) return {Kind::kConfig, {}};
  return {};
}

void add(const CLI::App& app, const std::string& name, std::vector<CompletedCommand>& commands) {
  CompletedCommand command{name, app.get_description(), {}, {}, {}};
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional()) {
      if (command.argument.kind == Kind::kNothing) command.argument = value_of(option, name);
      continue;
    }
    CompletedOption one;
    for (const std::string& letter : option->get_snames()) one.names.push_back("-" + letter);
    for (const std::string& word : option->get_lnames()) one.names.push_back("--" + word);
    one.meaning = option->get_description();
    one.takes_value = option->get_type_size() != 0;
    one.repeatable = option->get_expected_max() > 1;
    if (one.takes_value) one.value = value_of(option, name);
    command.options.push_back(std::move(one));
  }
  for (const CLI::App* own : app.get_subcommands({})) command.commands.push_back(own->get_name());
  commands.push_back(std::move(command));
  for (const CLI::App* own : app.get_subcommands({})) {
    add(*own, name.empty() ? own->get_name() : name + " " + own->get_name(), commands);
  }
}

}  // namespace

std::vector<CompletedCommand> completed_commands(const CLI::App& app) {
  std::vector<CompletedCommand> commands;
  add(app, "", commands);
  return commands;
}

std::string spaced(const std::vector<std::string>& words) { return sae::joined(words, " "); }

std::string single_quoted(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

}  // namespace sae_cli
