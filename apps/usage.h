// Command lines parsed, and what is said about those that cannot be obeyed: what was got, and what
// to say instead.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

namespace sae_cli {

/// The subcommand `name` of `app`; sae::ConfigError with the nearest one if there is none.
const CLI::App* subcommand_named(const CLI::App& app, const std::string& name);

/// A command's name with those it belongs to: "config check"; "" for the program itself.
std::string path_of(const CLI::App* command);
std::string full_name(const CLI::App* command);  ///< "sae config check"

/// Parses a command line, `words` being what follows the program's name. Returns the text that
/// answers one that only asks (--help, --version, `sae` or `sae config` alone). sae::ConfigError,
/// one line, for one that cannot be obeyed.
std::optional<std::string> parse(CLI::App& app, const std::vector<std::string>& words);

}  // namespace sae_cli
