// Ranks of a group, as processes of the command.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "support/command_testing.h"

namespace sae {

/// Processes of the command, as a launcher starts them.
class RankProcesses : public CommandTest {
 protected:
  pid_t begin(int rank, int size, int port, const std::vector<std::string>& command,
              const std::string& address = "127.0.0.1") const {
    std::vector<std::string> words{"RANK=" + std::to_string(rank),
                                   "WORLD_SIZE=" + std::to_string(size),
                                   "MASTER_ADDR=" + address,
                                   "MASTER_PORT=" + std::to_string(port),
                                   "OMP_NUM_THREADS=1",
                                   SAE_COMMAND};
    words.insert(words.end(), command.begin(), command.end());
    const std::string name = std::to_string(rank);
    return start(words, path("out" + name), path("err" + name), "env");
  }

  std::string out_of(int rank) const { return read_file(path("out" + std::to_string(rank))); }
  std::string err_of(int rank) const { return read_file(path("err" + std::to_string(rank))); }

  /// Ranks other than `culprit` end within `limit` with status 4 and this one line.
  void expect_told(const std::vector<pid_t>& ranks, int culprit, const std::string& line,
                   std::chrono::seconds limit) const {
    const auto began = std::chrono::steady_clock::now();
    for (int rank = 0; rank < static_cast<int>(ranks.size()); ++rank) {
      if (rank == culprit) continue;
      EXPECT_EQ(finish(ranks[static_cast<std::size_t>(rank)]).status, 4) << err_of(rank);
      EXPECT_EQ(err_of(rank), "error: " + line + "\n") << "rank " << rank;
    }
    EXPECT_LT(std::chrono::steady_clock::now() - began, limit);
  }
};

}  // namespace sae
