#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "base/parallel.h"
#include "sae/base/files.h"
#include "sae/base/interrupt.h"
#include "sae/base/machine.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

struct Interrupt : testing::Test {
  ~Interrupt() override { withdraw_interrupt(); }
};

TEST_F(Interrupt, IsThrownWhereALoopListensAndNotBefore) {
  EXPECT_NO_THROW(check_interrupt());
  request_interrupt();
  EXPECT_TRUE(interrupt_requested());
  EXPECT_THROW(check_interrupt(), Interrupted);
  withdraw_interrupt();
  EXPECT_NO_THROW(check_interrupt());
}

TEST_F(Interrupt, IsNoErrorThatAHandlerOfErrorsCouldSwallow) {
  request_interrupt();
  const auto careless = [] {
    try {
      check_interrupt();
    } catch (const std::exception&) {
    }
  };
  EXPECT_THROW(careless(), Interrupted);
}

TEST_F(Interrupt, StopsJobsOnEveryThread) {
  std::atomic<int> listening = 0;
  std::thread person([&] {
    while (listening < 3) std::this_thread::yield();
    request_interrupt();
  });
  const auto endless = [&](std::size_t) {
    ++listening;
    for (;;) check_interrupt();
  };
  EXPECT_THROW(run_jobs(100, 3, endless), Interrupted);
  person.join();
  EXPECT_EQ(listening, 3) << "jobs that had not begun do not begin";
}

TEST_F(Interrupt, KnowsWhetherWorkWouldBeLost) {
  EXPECT_FALSE(has_unsaved_work());
  {
    const UnsavedWork one, two;
    EXPECT_TRUE(has_unsaved_work());
  }
  EXPECT_FALSE(has_unsaved_work());
}

TEST(Threads, AreNoMoreThanTheCoresThatMayBeUsed) {
  const int cores = usable_cores();
  const char* set = std::getenv("OMP_NUM_THREADS");
  const std::string before = set != nullptr ? set : "";
  EXPECT_EQ(threads_for(100'000), cores);
  EXPECT_EQ(threads_for(1), 1);
  unsetenv("OMP_NUM_THREADS");
  EXPECT_EQ(threads_for(0), cores);
  EXPECT_EQ(threads_for(-1), cores);
  setenv("OMP_NUM_THREADS", "1,2", 1);
  EXPECT_EQ(threads_for(0), 1) << "whoever set it meant it";
  EXPECT_EQ(threads_for(cores), cores) << "asked for by name";
  setenv("OMP_NUM_THREADS", "4096", 1);
  EXPECT_EQ(threads_for(0), cores);
  if (before.empty()) {
    unsetenv("OMP_NUM_THREADS");
  } else {
    setenv("OMP_NUM_THREADS", before.c_str(), 1);
  }
}

TEST(Temporaries, AProcessThatIsEndedLeavesNone) {
  TemporaryFolder folder;
  EXPECT_EXIT(
      {
        StagedDirectory staged(folder.path() / "store");
        write_file_atomically(staged.path() / "shard", "bytes");
        AtomicFile file(folder.path() / "results");
        file.append("half of it");
        write_file_atomically(folder.path() / "before", "whole");
        discard_temporaries();
        std::thread([&] {
          try {
            staged.commit();  // too late
          } catch (const std::exception&) {
          }
        }).detach();
        ::usleep(50'000);
        ::_exit(7);
      },
      testing::ExitedWithCode(7), "");
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder.path())) {
    names.push_back(entry.path().filename().string());
  }
  EXPECT_EQ(names, std::vector<std::string>{"before"});
}

}  // namespace
}  // namespace sae
