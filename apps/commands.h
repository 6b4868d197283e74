// What each subcommand takes and does. Commands parse, call the library and print.
#pragma once

#include <CLI/CLI.hpp>
#include <atomic>
#include <functional>
#include <string>
#include <vector>

namespace sae_cli {

/// Options that every command has.
struct Common {
  bool quiet = false;
  bool json = false;
  int threads = -1;    ///< < 0: not given
  std::string device;  ///< empty: not given
};

/// Set by SIGINT and SIGTERM.
extern std::atomic<int> stop_signal;

/// Adds all subcommands to `app`. The chosen one's work is left in `action`, which returns the exit
/// status.
void add_commands(CLI::App& app, std::function<int()>& action);

}  // namespace sae_cli
