// Options and positional arguments of the subcommands: what they are called in the help, which
// values they take, and what is said about others.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sae_cli {

// What a value names, as the help shows it. Completion offers files for all but the last two.
inline constexpr const char* kFile = "FILE";
inline constexpr const char* kFolder = "FOLDER";
inline constexpr const char* kPath = "PATH";
inline constexpr const char* kConfig = "CONFIG.json";
inline constexpr const char* kName = "NAME";
inline constexpr const char* kNumber = "N";

/// A text that is not empty. `names` is "--out", or "SAE" for a positional one.
CLI::Option* add_text(CLI::App* command, const std::string& names, std::string& place,
                      const char* kind, const std::string& meaning);

/// The same, as often as wanted, one value each time.
CLI::Option* add_texts(CLI::App* command, const std::string& names, std::vector<std::string>& place,
                       const char* kind, const std::string& meaning);

/// Positional ones, as many as there are.
CLI::Option* add_list(CLI::App* command, const std::string& name, std::vector<std::string>& place,
                      const char* kind, const std::string& meaning);

/// A whole number, at least `least`.
CLI::Option* add_number(CLI::App* command, const std::string& names, std::int64_t& place,
                        std::int64_t least, const std::string& meaning);

/// --set PATH=VALUE, repeatable.
CLI::Option* add_sets(CLI::App* command, std::vector<std::string>& place,
                      const std::string& meaning);

/// One of `names`; a check for add_text and add_texts.
CLI::Validator one_of(const std::vector<std::string>& names);

/// A number in [least, most]; a check for floating-point options.
CLI::Validator number_between(double least, double most);

/// The values that `one_of` allows at this option; empty where anything is.
std::vector<std::string> choices_of(const CLI::Option* option);

}  // namespace sae_cli
