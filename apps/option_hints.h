// Options that people try from habit: what a command calls them.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace sae_cli {

/// How `command` is told what `word` ("--lr", "--lr=1e-3", "-o"), which is no option of its, was to
/// tell it: "say --set train.lr=1e-3", "did you mean '--out'?"; empty if that cannot be guessed.
/// Values are taken from `words`, the whole command line.
std::string option_hint(const CLI::App& command, const std::string& word,
                        const std::vector<std::string>& words);

}  // namespace sae_cli
