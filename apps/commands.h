// The subcommands. Each says what it takes, calls the library and prints.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <string>

namespace sae_cli {

/// Options that most commands have.
struct Common {
  bool quiet = false;
  bool json = false;
  std::int64_t threads = -1;  ///< < 0: not given
  std::string device;         ///< empty: not given

  std::string words() const;  ///< those given, as a command line has them: " --threads 2 --json"
};

struct Program {
  /// `called`: how the person calls the command, for lines to paste.
  explicit Program(std::string called);

  /// A subcommand of `parent` (none: of the program) that does `work` and returns the exit status.
  CLI::App* add(const std::string& name, const std::string& meaning, std::function<int()> work,
                CLI::App* parent = nullptr);

  CLI::App app;
  std::string called;
  Common common;
  std::function<int()> action;  ///< the chosen command's work
};

void add_commands(Program& program);

// One file each: command_train.cpp, ...
void add_bench(Program& program);
void add_blind(Program& program);
void add_compare(Program& program);
void add_completion(Program& program);
void add_config(Program& program);
void add_convert(Program& program);
void add_diagnose(Program& program);
void add_eval(Program& program);
void add_features(Program& program);
void add_help(Program& program);
void add_info(Program& program);
void add_inspect(Program& program);
void add_ranks(Program& program);
void add_synth(Program& program);
void add_train(Program& program);
void add_version(Program& program);

}  // namespace sae_cli
