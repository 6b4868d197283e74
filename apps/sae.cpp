// sae: train, evaluate and compare sparse autoencoders from the command line.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

#include "commands.h"
#include "log.h"
#include "sae/base/error.h"
#include "sae/base/version.h"
#include "sae/config/config_node.h"

namespace {

constexpr int kOther = 1;
constexpr int kConfig = 2;
constexpr int kData = 3;

/// The first signal asks for a clean stop, the second one ends the process.
void on_signal(int signal) {
  if (sae_cli::stop_signal != 0) std::_Exit(128 + signal);
  sae_cli::stop_signal = signal;
}

/// Help within 80 columns: CLI11 does not break lines.
class Help : public CLI::Formatter {
 public:
  std::string make_option_desc(const CLI::Option* option) const override {
    return wrapped(option->get_description());
  }
  std::string make_subcommand(const CLI::App* command) const override {
    std::ostringstream out;
    CLI::detail::format_help(out, command->get_name(), wrapped(command->get_description()),
                             column_width_);
    return out.str();
  }

 private:
  std::string wrapped(const std::string& text) const {
    const std::size_t width = 80 - column_width_;
    std::istringstream words(text);
    std::string lines;
    std::size_t used = 0;
    for (std::string word; words >> word;) {
      const bool fits = used + 1 + word.size() <= width;
      lines += used == 0 ? "" : fits ? " " : "\n";
      used = fits && used > 0 ? used + 1 + word.size() : word.size();
      lines += word;
    }
    return lines;
  }
};

/// What an option that does not exist was probably meant to be, as the end of a sentence.
std::string suggest_option(const CLI::App& app) {
  const CLI::App* command = &app;
  while (!command->get_subcommands().empty()) command = command->get_subcommands().front();
  std::vector<std::string> names;
  for (const CLI::Option* option : command->get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  for (const std::string& word : app.remaining(/*recurse=*/true)) {
    const std::string near = sae::nearest_name(word.substr(0, word.find('=')), names);
    if (!near.empty()) return "; did you mean '" + near + "'?";
  }
  return "";
}

/// CLI11 says "a subcommand is required" to a misspelt one; this says which was meant.
void suggest_command(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return;
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
  if (std::find(names.begin(), names.end(), argv[1]) != names.end()) return;
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  const std::string near = sae::nearest_name(argv[1], names);
  throw sae::ConfigError(std::string("sae: got '") + argv[1] + "', expected one of " + list +
                         (near.empty() ? "" : "; did you mean '" + near + "'?"));
}

/// The first line of a message: LibTorch appends a backtrace of its own.
std::string first_line(const char* what) {
  const std::string text = what;
  return text.substr(0, text.find('\n'));
}

int run(int argc, char** argv) {
  CLI::App app("Train, evaluate and compare sparse autoencoders.", "sae");
  app.set_version_flag(
      "--version", std::string("sae ") + sae::kVersion + " (LibTorch " + sae::kTorchVersion + ")");
  app.require_subcommand(1);
  app.formatter(std::make_shared<Help>());
  app.footer(
      "Exit status: 0 done, 2 configuration or usage, 3 data or files, 1 anything else,\n"
      "128 + signal when stopped by one.\n\n"
      "Examples:\n"
      "  sae compare configs/compare/quick.json     the six architectures side by side\n"
      "  sae train configs/topk.json --out runs/topk\n"
      "  sae eval runs/topk\n"
      "  sae config print topk                      every option with its meaning");
  std::function<int()> action;
  sae_cli::add_commands(app, action);
  suggest_command(app, argc, argv);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    const std::string command = argc > 1 && argv[1][0] != '-' ? std::string(argv[1]) + " " : "";
    const std::string hint = suggest_option(app);
    sae_cli::log_error(first_line(error.what()) +
                       (hint.empty() ? "; see sae " + command + "--help" : hint));
    return kConfig;
  }
  return action();
}

}  // namespace

int main(int argc, char** argv) {
  sae_cli::open_log();
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
  try {
    return run(argc, argv);
  } catch (const sae::ConfigError& error) {
    sae_cli::log_error(error.what());
    return kConfig;
  } catch (const sae::DataError& error) {
    sae_cli::log_error(error.what());
    return kData;
  } catch (const std::system_error& error) {  // a full disk, a file that cannot be written
    sae_cli::log_error(first_line(error.what()));
    return kData;
  } catch (const std::exception& error) {
    sae_cli::log_error(first_line(error.what()));
    return kOther;
  }
}
