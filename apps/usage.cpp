#include "usage.h"

#include <algorithm>

#include "help.h"
#include "option_hints.h"
#include "sae/base/error.h"
#include "sae/base/text.h"

namespace sae_cli {
namespace {

/// CLI11's words about a number of values, in ours.
std::string mismatch(const std::string& text) {
  const std::string option = text.substr(0, text.find(':'));
  if (text.ends_with("missing")) return option + ": got nothing, expected a value";
  if (text.find("At Most") != std::string::npos) return option + ": given more than once";
  return text;
}

std::string see_help(const CLI::App* command) { return "; see " + full_name(command) + " --help"; }

/// The chosen subcommand of a subcommand of ..., as far as it goes.
const CLI::App* chosen(const CLI::App& app) {
  const CLI::App* command = &app;
  while (!command->get_subcommands().empty()) command = command->get_subcommands().front();
  return command;
}

/// About the first word that no option or argument took; empty if there is none.
std::string about_words_left(const CLI::App& app, const std::vector<std::string>& words) {
  const CLI::App* command = chosen(app);
  const std::vector<std::string> left = app.remaining(/*recurse=*/true);
  if (left.empty()) return "";
  const auto is_option = [](const std::string& word) { return word.starts_with('-'); };
  const auto plain = std::find_if_not(left.begin(), left.end(), is_option);
  if (plain != left.end() && !command->get_subcommands({}).empty()) {
    subcommand_named(*command, *plain);  // says that there is none
  }
  const std::string place = full_name(command) + ": ";
  const auto option = std::find_if(left.begin(), left.end(), is_option);
  if (option != left.end()) {
    const std::string hint = option_hint(*command, *option, words);
    const std::string name = option->substr(0, option->find('='));
    return place + "'" + sae::printable(name) + "' is no option" +
           (hint.empty() ? see_help(command) : "; " + hint);
  }
  const bool assignment = left.front().find('=') != std::string::npos;
  return place + "got " + sae::quoted(left.front()) + ", expected nothing more" +
         (assignment ? "; say --set before each KEY=VALUE" : see_help(command));
}

std::string usage_error(const CLI::App& app, const CLI::ParseError& error,
                        const std::vector<std::string>& words) {
  const CLI::App* command = chosen(app);
  if (dynamic_cast<const CLI::ValidationError*>(&error) != nullptr) {
    return full_name(command) + ": " + error.what();
  }
  const std::string left = about_words_left(app, words);
  if (!left.empty()) return left;
  const std::string text = error.what();
  const bool values = dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr;
  return full_name(command) + ": " + (values ? mismatch(text) : text) + see_help(command);
}

}  // namespace

const CLI::App* subcommand_named(const CLI::App& app, const std::string& name) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) {
    if (command->get_name() == name) return command;
    names.push_back(command->get_name());
  }
  const std::string place = full_name(&app) + ": ";
  if (names.empty()) {
    throw sae::ConfigError(place + "got " + sae::quoted(name) +
                           ", expected nothing: it has no commands of its own");
  }
  if (name.ends_with(".json")) {
    throw sae::ConfigError(place + "got " + sae::quoted(name) + ", expected one of " +
                           sae::joined(names) + "; did you mean 'sae train " +
                           sae::printable(name) + "'?");
  }
  throw sae::ConfigError(place + sae::expected_one_of(name, names));
}

std::string path_of(const CLI::App* command) {
  const CLI::App* parent = command->get_parent();
  if (parent == nullptr) return "";
  const std::string before = path_of(parent);
  return (before.empty() ? "" : before + " ") + command->get_name();
}

std::string full_name(const CLI::App* command) {
  const std::string path = path_of(command);
  return path.empty() ? "sae" : "sae " + path;
}

std::optional<std::string> parse(CLI::App& app, const std::vector<std::string>& words) {
  try {
    app.parse(std::vector<std::string>(words.rbegin(), words.rend()));
    return std::nullopt;
  } catch (const CLI::CallForHelp&) {
    return app.help();
  } catch (const CLI::CallForVersion&) {
    return app.version() + "\n";
  } catch (const CLI::ParseError& error) {
    const CLI::App* command = chosen(app);
    std::string path;
    for (const std::string& word : words) path += (path.empty() ? "" : " ") + word;
    if (!command->get_subcommands({}).empty() && path == path_of(command)) {
      return path.empty() ? short_help(app) : app.help();
    }
    const std::string text = usage_error(app, error, words);
    throw sae::ConfigError(text.substr(0, text.find('\n')));
  }
}

}  // namespace sae_cli
