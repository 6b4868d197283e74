// Two processes and one run: only one of them writes.
#include "sae/base/error.h"
#include "sae/training/run.h"
#include "support/other_process.h"
#include "support/run_testing.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

class RunWriters : public ::testing::Test {
 protected:
  fs::path run() const { return folder_.path() / "run"; }

  std::string refusal(bool resume) {
    const Json config = tiny_config({{"architecture", "topk"}, {"d_sae", 20}, {"k", 2}}, 10);
    try {
      train(tiny_run(config), run(), resume);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "not refused";
  }

 private:
  TemporaryFolder folder_;
};

TEST_F(RunWriters, TheSecondIsRefusedWhetherItResumesOrNot) {
  {
    const OtherWriter first(run());
    for (const bool resume : {true, false}) {
      EXPECT_EQ(refusal(resume).find(run().string() + ": another process is writing it: process " +
                                     std::to_string(first.pid())),
                0U)
          << refusal(resume);
    }
    EXPECT_FALSE(fs::exists(run() / "config.json"));
  }
  EXPECT_EQ(refusal(true), "not refused") << "the first was killed";
  EXPECT_FALSE(fs::exists(run() / ".lock"));
}

TEST_F(RunWriters, AFinishedRunCanBeReadWhileAnotherProcessWrites) {
  ASSERT_EQ(refusal(false), "not refused");
  const OtherWriter other(run());
  EXPECT_EQ(refusal(true), "not refused") << "nothing is written";
}

TEST_F(RunWriters, ARunIsLockedAsLongAsItLives) {
  const RunOptions options =
      tiny_run(tiny_config({{"architecture", "topk"}, {"d_sae", 20}, {"k", 2}}, 10));
  {
    const TrainingRun first(options, open_data(options.data, 0), run(), false);
    EXPECT_NE(refusal(true).find("another process is writing it"), std::string::npos);
  }
  EXPECT_EQ(refusal(true), "not refused");
}

}  // namespace
}  // namespace sae
