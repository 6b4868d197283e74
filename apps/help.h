// The help texts: within 80 columns, and without CLI11's words for types and requirements.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace sae_cli {

class HelpFormatter : public CLI::Formatter {
 public:
  /// Descriptions begin at `column`.
  explicit HelpFormatter(std::size_t column);

  std::string make_usage(const CLI::App* command, std::string name) const override;
  std::string make_option_opts(const CLI::Option* option) const override;
  std::string make_option_desc(const CLI::Option* option) const override;
  std::string make_subcommand(const CLI::App* command) const override;
};

/// What `sae` alone prints: the commands, and where to read on.
std::string short_help(const CLI::App& app);

}  // namespace sae_cli
