#include <ATen/detail/CUDAHooksInterface.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <unistd.h>

#include <chrono>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "distributed/backend.h"
#include "sae/base/error.h"
#include "sae/distributed/group.h"
#include "support/rank_processes.h"
#include "support/ranks_testing.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

using namespace std::chrono_literals;

TEST(Group, OfOneReturnsItsArguments) {
  const Group group;
  at::Tensor x = at::arange(3);
  group.sum(x);
  group.broadcast(x);
  group.agree({{"a", "b"}});
  group.meet();
  EXPECT_TRUE(at::equal(x, at::arange(3)));
  EXPECT_TRUE(at::equal(group.gather(x), at::arange(3).unsqueeze(0)));
  EXPECT_TRUE(at::equal(group.sum_of_parts(x.unsqueeze(0)), x));
  EXPECT_EQ(group.size(), 1);
  EXPECT_EQ(group.split(3).size(), 1);
  EXPECT_EQ(group.traffic().calls, 0);
  bool done = false;
  together({}, [&](const Group& alone) { done = alone.is_one(); });
  EXPECT_TRUE(done);
}

TEST(Group, EveryCallDoesWhatItSaysInEveryType) {
  for (const int size : {2, 3, 4}) {
    expect_none(on_ranks(size, [size](const Group& group) {
      const int rank = group.rank();
      EXPECT_EQ(group.size(), size);
      for (const at::ScalarType type :
           {at::kFloat, at::kDouble, at::kBFloat16, at::kLong, at::kInt}) {
        at::Tensor x = at::arange(6).reshape({2, 3}).to(type) + rank;
        const at::Tensor own = x.clone();
        group.sum(x);
        const at::Tensor sum = (size * at::arange(6).reshape({2, 3}) + size * (size - 1) / 2);
        EXPECT_TRUE(at::equal(x, sum.to(type))) << type;
        x = own.clone();
        group.max(x);
        EXPECT_TRUE(at::equal(x, own + (size - 1 - rank))) << type;
        x = own.clone();
        group.min(x);
        EXPECT_TRUE(at::equal(x, own - rank)) << type;
        const at::Tensor all = group.gather(own);
        EXPECT_EQ(all.sizes(), (std::vector<std::int64_t>{size, 2, 3}));
        for (int other = 0; other < size; ++other) {
          EXPECT_TRUE(at::equal(all[other], own + (other - rank))) << type;
        }
        x = own.clone();
        group.broadcast(x, size - 1);
        EXPECT_TRUE(at::equal(x, own + (size - 1 - rank))) << type;
      }
      // Parts p of rank r: 10 p + r; the part of this rank is the sum over ranks.
      at::Tensor parts = 10 * at::arange(size, at::kDouble).unsqueeze(1).expand({size, 2}) + rank;
      EXPECT_EQ(numbers(group.sum_of_parts(parts)),
                std::vector<double>(2, 10.0 * rank * size + size * (size - 1) / 2.0));
      EXPECT_THROW(group.sum_of_parts(at::ones({size + 1, 2})), std::invalid_argument);
    }));
  }
}

TEST(Group, ATensorThatIsNoWholeIsChangedInItsPlaceAlone) {
  expect_none(on_ranks(2, [](const Group& group) {
    at::Tensor whole = at::zeros({3, 4});
    at::Tensor column = whole.select(1, 2);
    column.fill_(group.rank() + 1);
    group.sum(column);
    EXPECT_EQ(numbers(column), (std::vector<double>{3, 3, 3}));
    EXPECT_EQ(whole.sum().item<double>(), 9);
    at::Tensor none = at::empty({0, 4});
    group.sum(none);
    EXPECT_EQ(group.gather(none).sizes(), (std::vector<std::int64_t>{2, 0, 4}));
  }));
}

TEST(Group, RepeatedSumsAreTheSameBytesOnAllRanksAndEveryTime) {
  std::mutex guard;
  std::vector<at::Tensor> seen;
  const auto work = [&](const Group& group) {
    at::Tensor x = normal({10'007}, group.rank() + 1).to(at::kFloat);
    group.sum(x);
    const std::lock_guard lock(guard);
    seen.push_back(x);
  };
  for (int repeat = 0; repeat < 3; ++repeat) expect_none(on_ranks(3, work));
  ASSERT_EQ(seen.size(), 9U);
  for (const at::Tensor& x : seen) EXPECT_TRUE(at::equal(x, seen.front()));
}

TEST(Group, SendsBetweenGpusWhereThereAreTwo) {
  if (!has_nccl() || at::detail::getCUDAHooks().deviceCount() < 2) {
    GTEST_SKIP() << "needs a build with NCCL and two GPUs";
  }
  expect_none(on_ranks(2, [](const Group& group) {
    const at::Device device(at::kCUDA, static_cast<at::DeviceIndex>(group.rank()));
    at::Tensor x = at::full({5}, group.rank() + 1.0, at::TensorOptions(device).dtype(at::kFloat));
    const at::Tensor all = group.gather(x);
    group.sum(x);
    EXPECT_EQ(x.device(), device);
    EXPECT_TRUE((x == 3).all().item<bool>());
    EXPECT_TRUE((all[0] == 1).all().item<bool>() && (all[1] == 2).all().item<bool>());
  }));
}

TEST(Group, CountsWhatARankSends) {
  expect_none(on_ranks(4, [](const Group& group) {
    const Traffic before = group.traffic();
    at::Tensor x = at::ones({100});
    group.sum(x);
    EXPECT_EQ(group.traffic().bytes - before.bytes, 2 * 400 * 3 / 4);
    group.gather(x);
    EXPECT_EQ(group.traffic().bytes - before.bytes, 600 + 400 * 3);
    EXPECT_EQ(group.traffic().calls - before.calls, 2);
    EXPECT_GE(group.traffic().seconds, before.seconds);
  }));
}

TEST(Group, SplitsIntoAMeshOfNeighbours) {
  expect_none(on_ranks(4, [](const Group& group) {
    const Mesh mesh = mesh_of(group, 2, 2);
    EXPECT_EQ(mesh.latents.size(), 2);
    EXPECT_EQ(mesh.data.size(), 2);
    EXPECT_EQ(mesh.latents.rank(), group.rank() % 2);
    EXPECT_EQ(mesh.data.rank(), group.rank() / 2);
    at::Tensor x = at::tensor({1 << group.rank()});
    at::Tensor y = x.clone();
    mesh.latents.sum(x);
    mesh.data.sum(y);
    EXPECT_EQ(x.item<int>(), group.rank() < 2 ? 3 : 12);
    EXPECT_EQ(y.item<int>(), group.rank() % 2 == 0 ? 5 : 10);
    EXPECT_EQ(mesh_of(group, 0, 1).latents.size(), 4);
    EXPECT_EQ(mesh_of(group, 0, 1).data.size(), 1);
    try {
      mesh_of(group, 3, 1);
      ADD_FAILURE();
    } catch (const ConfigError& error) {
      EXPECT_STREQ(error.what(),
                   "distributed: got latents 3 and data 1, expected 4 ranks in all (WORLD_SIZE)");
    }
  }));
}

TEST(Group, RanksThatDifferAreToldInWhatAndNobodyGoesOn) {
  bool went_on = false;
  const std::vector<std::string> errors = on_ranks(3, [&](const Group& group) {
    group.agree({{"seed", "1"}});
    const std::string batch = group.rank() == 1 ? "2048" : "4096";
    group.agree({{"seed", "1"}, {"train.batch", batch}});
    went_on = true;
  });
  EXPECT_EQ(errors[1],
            "config: train.batch: rank 0 has 4096, rank 1 has 2048; expected the same on all "
            "ranks");
  for (const int other : {0, 2}) {
    EXPECT_EQ(errors[static_cast<std::size_t>(other)], "others: rank 1: " + errors[1].substr(8));
  }
  EXPECT_FALSE(went_on);
}

TEST(Group, APartOfTheRanksAgreesByItself) {
  expect_none(on_ranks(4, [](const Group& group) {
    const Group part = group.split(group.rank() / 2);
    // In one part once, in the other twice: each has its own agreements.
    part.agree({{"part", std::to_string(group.rank() / 2)}});
    if (group.rank() >= 2) part.agree({{"again", "yes"}});
    group.agree({{"all", "yes"}});
  }));
  const std::vector<std::string> errors = on_ranks(4, [](const Group& group) {
    group.split(group.rank() / 2).agree({{"seed", group.rank() == 3 ? "2" : "1"}});
    group.meet();
  });
  EXPECT_EQ(errors[3], "config: seed: rank 0 has 1, rank 1 has 2; expected the same on all ranks");
  EXPECT_EQ(errors[0], "others: rank 3: " + errors[3].substr(8));
}

TEST(Group, WhatOneRankFailsForIsToldToTheOthersAtTheirNextCall) {
  for (const int culprit : {0, 2}) {
    const auto began = std::chrono::steady_clock::now();
    const std::vector<std::string> errors = on_ranks(3, [&](const Group& group) {
      group.meet();
      if (group.rank() == culprit) throw DataError("shard-1: is damaged");
      at::Tensor x = at::ones({1});
      try {
        group.sum(x);
        ADD_FAILURE();
      } catch (const DistributedError&) {
        EXPECT_THROW(group.sum(x), DistributedError) << "from then on always";
        throw;
      }
    });
    for (int rank = 0; rank < 3; ++rank) {
      EXPECT_EQ(errors[static_cast<std::size_t>(rank)],
                rank == culprit
                    ? "shard-1: is damaged"
                    : "others: rank " + std::to_string(culprit) + ": shard-1: is damaged");
    }
    EXPECT_LT(std::chrono::steady_clock::now() - began, 10s);
  }
}

class Ranks : public RankProcesses {
 protected:
  pid_t begin(int rank, int size, int port, std::vector<std::string> more,
              const std::string& address = "127.0.0.1") const {
    more.insert(more.begin(), "ranks");
    return RankProcesses::begin(rank, size, port, more, address);
  }

  std::vector<pid_t> begin_all(int size, const std::vector<std::string>& more) const {
    const int port = free_port();
    std::vector<pid_t> all;
    for (int rank = 0; rank < size; ++rank) all.push_back(begin(rank, size, port, more));
    return all;
  }

  /// Returns when all have met and send to each other.
  void let_them_meet() const {
    for (int i = 0; i < 3000 && lines_of(out_of(0)).empty(); ++i) std::this_thread::sleep_for(10ms);
    EXPECT_FALSE(out_of(0).empty()) << err_of(0);
    std::this_thread::sleep_for(100ms);
  }
};

TEST_F(Ranks, MeetAndRankZeroPrintsWhatTheySend) {
  const std::vector<pid_t> ranks = begin_all(3, {"--seconds", "0.2"});
  for (const pid_t rank : ranks) EXPECT_EQ(finish(rank).status, 0);
  for (int rank = 0; rank < 3; ++rank) EXPECT_EQ(err_of(rank), "");
  EXPECT_EQ(out_of(0).find("3 ranks met at 127.0.0.1:"), 0U) << out_of(0);
  EXPECT_EQ(lines_of(out_of(0)).size(), 6U);
  for (const std::string& line : lines_of(out_of(0))) EXPECT_LE(line.size(), 80U);
  EXPECT_EQ(out_of(1) + out_of(2), "");
}

TEST_F(Ranks, OneThatDoesNotComeIsNamed) {
  const int port = free_port();
  const std::vector<pid_t> ranks{begin(0, 3, port, {"--timeout-s", "6"}),
                                 begin(2, 3, port, {"--timeout-s", "6"})};
  for (const pid_t rank : ranks) EXPECT_EQ(finish(rank).status, 4);
  const std::string line = "error: 2 of 3 ranks came to 127.0.0.1:" + std::to_string(port) +
                           " within 6 s; rank 1 is missing\n";
  EXPECT_EQ(err_of(0), line);
  EXPECT_TRUE(err_of(2) == line ||
              err_of(2).find("error: rank 0 left while ranks were coming to") == 0)
      << err_of(2);
}

TEST_F(Ranks, OneThatIsKilledIsNamedWithinSeconds) {
  for (const int culprit : {0, 1, 2}) {
    SCOPED_TRACE(culprit);
    const std::vector<pid_t> ranks = begin_all(3, {"--seconds", "60"});
    let_them_meet();
    kill(ranks[static_cast<std::size_t>(culprit)], SIGKILL);
    expect_told(ranks, culprit, "rank " + std::to_string(culprit) + " vanished", 15s);
    EXPECT_EQ(finish(ranks[static_cast<std::size_t>(culprit)]).status, 128 + SIGKILL);
  }
}

TEST_F(Ranks, OneThatHangsIsNamedWhenItsTimeIsOver) {
  const std::vector<pid_t> ranks = begin_all(3, {"--seconds", "60", "--timeout-s", "3"});
  let_them_meet();
  kill(ranks[1], SIGSTOP);
  expect_told(ranks, 1, "rank 1 did not answer for 3 s", 20s);
  kill(ranks[1], SIGKILL);
  finish(ranks[1]);
}

TEST_F(Ranks, OneThatIsToldToStopTellsTheOthers) {
  const std::vector<pid_t> ranks = begin_all(3, {"--seconds", "60"});
  let_them_meet();
  kill(ranks[2], SIGTERM);
  expect_told(ranks, 2, "rank 2: it was interrupted", 15s);
  EXPECT_EQ(finish(ranks[2]).status, 128 + SIGTERM);
}

TEST_F(Ranks, PortsAndHostsThatCannotBeAreRefusedInOneLine) {
  std::optional<int> taken;
  const int port = free_port(&taken);
  EXPECT_EQ(finish(begin(0, 2, port, {})).status, 2);
  EXPECT_EQ(err_of(0), "error: MASTER_PORT: got " + std::to_string(port) +
                           ", which another process uses; choose another\n");
  close(*taken);
  EXPECT_EQ(finish(begin(1, 2, port, {}, "no-such-host.invalid")).status, 2);
  EXPECT_EQ(err_of(1).find("error: MASTER_ADDR: got 'no-such-host.invalid', which is no host"), 0U)
      << err_of(1);
  EXPECT_EQ(finish(begin(1, 2, port, {"--timeout-s", "1"})).status, 4);
  EXPECT_EQ(err_of(1).find("error: rank 1 of 2: rank 0 is not at 127.0.0.1:"), 0U) << err_of(1);
  EXPECT_EQ(lines_of(err_of(1)).size(), 1U) << err_of(1);
}

TEST_F(Ranks, LaunchedTogetherEndTogether) {
  const std::string launch = std::string(SAE_SOURCE_DIR) + "/scripts/launch";
  const auto launched = [&](const std::string& command) {
    return start({"3", "bash", "-c",
                  command + " exec " + SAE_COMMAND + " ranks --seconds " +
                      (command.empty() ? "0.1" : "60") + " --timeout-s 60"},
                 "", "", launch.c_str());
  };
  const CommandResult whole = finish(launched(""));
  EXPECT_EQ(whole.status, 0) << whole.err;
  EXPECT_EQ(whole.out.find("3 ranks met at 127.0.0.1:"), 0U) << whole.out;

  // The status is that of the rank that failed by itself, not that of those who saw it fail.
  const CommandResult killed =
      finish(launched("[ $RANK = 1 ] && { sleep 3; kill -KILL $$; } >/dev/null 2>&1 &"));
  EXPECT_EQ(killed.status, 128 + SIGKILL) << killed.err;
  EXPECT_NE(killed.err.find("error: rank 1 vanished\n"), std::string::npos) << killed.err;

  const pid_t stopped = launched("true;");
  for (int i = 0; i < 3000 && read_file(path("stdout")).empty(); ++i) {
    std::this_thread::sleep_for(10ms);
  }
  kill(stopped, SIGTERM);
  EXPECT_EQ(finish(stopped).status, 128 + SIGTERM);
  EXPECT_EQ(finish(start({"0", "true"}, "", "", launch.c_str())).status, 2) << "no ranks";
}

}  // namespace
}  // namespace sae
