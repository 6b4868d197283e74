// Ranks of a group, as threads of the test.
#pragma once

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "sae/base/error.h"
#include "sae/distributed/group.h"

namespace sae {

/// A port that nobody listens at; held open, so that nobody else can, where `taken` wants it.
inline int free_port(std::optional<int>* taken = nullptr) {
  const int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(taken != nullptr ? INADDR_ANY : INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  EXPECT_EQ(bind(descriptor, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(getsockname(descriptor, reinterpret_cast<sockaddr*>(&address), &size), 0);
  if (taken != nullptr) {
    EXPECT_EQ(listen(descriptor, 1), 0);
    *taken = descriptor;
  } else {
    close(descriptor);
  }
  return ntohs(address.sin_port);
}

/// Runs `work` on `size` ranks, threads here. Returns what each threw, empty where nothing.
inline std::vector<std::string> on_ranks(int size, const std::function<void(const Group&)>& work) {
  Membership member;
  member.size = size;
  member.local_size = size;
  member.port = static_cast<std::uint16_t>(free_port());
  member.timeout = std::chrono::seconds(60);
  // c10d's record of calls is one for a process, and made for one group at a time.
  setenv("TORCH_FR_BUFFER_SIZE", "0", /*overwrite=*/1);
  std::vector<std::string> errors(static_cast<std::size_t>(size));
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < size; ++rank) {
    ranks.emplace_back([&, rank, member]() mutable {
      std::string& error = errors[static_cast<std::size_t>(rank)];
      member.rank = rank;
      try {
        together(member, work);
      } catch (const ConfigError& thrown) {
        error = std::string("config: ") + thrown.what();
      } catch (const DistributedError& thrown) {
        error = std::string("others: ") + thrown.what();
      } catch (const std::exception& thrown) {
        error = thrown.what();
      }
    });
  }
  for (std::thread& rank : ranks) rank.join();
  return errors;
}

inline void expect_none(const std::vector<std::string>& errors) {
  for (const std::string& error : errors) EXPECT_EQ(error, "");
}

}  // namespace sae
