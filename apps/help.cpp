#include "help.h"

#include <sstream>

#include "sae/base/text.h"

namespace sae_cli {
namespace {

constexpr std::size_t kColumns = 80;

/// CLI11 does not break lines.
std::string broken(const std::string& text, std::size_t width) {
  return sae::joined(sae::wrapped(text, width), "\n");
}

}  // namespace

HelpFormatter::HelpFormatter(std::size_t column) {
  label("Positionals", "Arguments");
  label("SUBCOMMAND", "COMMAND");
  column_width(column);
}

/// Required options are part of the usage; CLI11 hides them among the others.
std::string HelpFormatter::make_usage(const CLI::App* command, std::string name) const {
  std::string required;
  for (const CLI::Option* option : command->get_options()) {
    if (!option->get_required() || option->get_positional()) continue;
    required += " " + option->get_name(false, true) + make_option_opts(option);
  }
  std::string usage = "\n" + Formatter::make_usage(command, std::move(name));
  const std::size_t place = usage.find(" [OPTIONS]");
  return place == std::string::npos ? usage : usage.insert(place, required);
}

std::string HelpFormatter::make_option_opts(const CLI::Option* option) const {
  if (option->get_positional() || option->get_type_size() == 0) return "";
  std::string type = option->get_type_name();
  type = type.substr(0, type.find(':'));
  return " " + type;
}

std::string HelpFormatter::make_option_desc(const CLI::Option* option) const {
  std::string text = option->get_description();
  std::string usual = option->get_default_str();
  if (usual.starts_with('[')) usual = usual.substr(1, usual.size() - 2);  // a list of one
  if (!usual.empty()) text += " (default: " + usual + ")";
  return broken(text, kColumns - column_width_);
}

std::string HelpFormatter::make_subcommand(const CLI::App* command) const {
  std::ostringstream out;
  CLI::detail::format_help(out, command->get_name(),
                           broken(command->get_description(), kColumns - column_width_),
                           column_width_);
  return out.str();
}

std::string short_help(const CLI::App& app) {
  std::ostringstream out;
  out << app.get_description() << "\n\nUsage: sae COMMAND ...\n\n";
  for (const CLI::App* command : app.get_subcommands({})) {
    CLI::detail::format_help(out, command->get_name(), broken(command->get_description(), 66), 14);
  }
  out << "\nHow a command is used: sae help COMMAND. More, with examples: sae --help\n";
  return out.str();
}

}  // namespace sae_cli
