// sae: train, evaluate and compare sparse autoencoders from the command line.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <functional>
#include <string>
#include <vector>

#include "commands.h"
#include "log.h"
#include "sae/config.h"
#include "sae/error.h"
#include "sae/version.h"

namespace {

constexpr int kOther = 1;
constexpr int kConfig = 2;
constexpr int kData = 3;

/// The first signal asks for a clean stop, the second one ends the process.
void on_signal(int signal) {
  if (sae_cli::stop_signal != 0) std::_Exit(128 + signal);
  sae_cli::stop_signal = signal;
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

int run(int argc, char** argv) {
  CLI::App app("Train, evaluate and compare sparse autoencoders.", "sae");
  app.set_version_flag(
      "--version", std::string("sae ") + sae::kVersion + " (LibTorch " + sae::kTorchVersion + ")");
  app.require_subcommand(1);
  app.footer(
      "Exit status: 0 done, 2 configuration or usage, 3 data, 1 anything else, 128 + signal when\n"
      "stopped by one.\n\n"
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
    sae_cli::log_error(std::string(error.what()) + "; see sae " + command + "--help");
    return kConfig;
  }
  return action();
}

/// The first line of a message: LibTorch appends a backtrace of its own.
std::string first_line(const char* what) {
  const std::string text = what;
  return text.substr(0, text.find('\n'));
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
  } catch (const std::exception& error) {
    sae_cli::log_error(first_line(error.what()));
    return kOther;
  }
}
