// Where the command's output goes, and what happens when it cannot go there.
#include <poll.h>
#include <stdlib.h>

#include <csignal>

#include "support/command_testing.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

class Output : public CommandTest {
 protected:
  /// Commands that print something, on files of this folder.
  std::vector<Words> printing_commands() {
    const std::string config = write_config(topk_config());
    const std::string comparison =
        write_config({{"base", topk_config(20)}, {"members", {{{"name", "topk"}}}}}, "m.json");
    const std::string run = path("run"), store = path("store");
    EXPECT_EQ(sae({"synth", "--preset", "tiny", "--tokens", "300", "--out", store, "-q"}).status,
              0);
    EXPECT_EQ(sae({"train", config, "--out", run, "-q"}).status, 0);
    return {{"--help"},
            {"--version"},
            {},
            {"train", "--help"},
            {"help", "config"},
            {"version"},
            {"completion", "bash"},
            {"config", "print"},
            {"config", "check", config},
            {"config", "check", comparison},
            {"config", "schema"},
            {"info", run},
            {"info", store, "--json"},
            {"inspect", store},
            {"inspect", store, "--json"},
            {"diagnose", run},
            {"eval", run},
            {"eval", run, "--suite", "core", "--json"},
            {"train", config, "--out", path("run2")},
            {"compare", comparison, "--out", path("both")},
            {"compare", comparison, "--out", path("both"), "--json"},
            {"synth", "--preset", "tiny", "--tokens", "30", "--out", path("store2")},
            {"features", run, "--data", store, "--out", path("pages")},
            {"convert", run, path("converted"), "--to", "saelens"},
            {"bench", "--shape", "8,16,2,8", "--steps", "1"},
            {"bench", "--shape", "8,16,2,8", "--steps", "1", "--json"}};
  }
};

TEST_F(Output, ThatAFullDiskTakesIsAnError) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  for (const Words& words : printing_commands()) {
    const CommandResult result = finish(start(words, "/dev/full"));
    SCOPED_TRACE(testing::PrintToString(words));
    EXPECT_EQ(result.status, 3);
    EXPECT_EQ(lines_of(result.err).back(),
              "error: standard output: cannot write: No space left on device");
  }
  EXPECT_TRUE(fs::exists(path("run2") / "summary.json")) << "what was computed is kept";
  EXPECT_EQ(finish(start({"info", path("run"), "--quiet"}, "/dev/full")).status, 0)
      << "nothing was to be printed";
}

TEST_F(Output, ToAClosedPipeEndsQuietly) {
  for (const char* reader : {"head -n 1", "true"}) {
    const std::string line =
        std::string("trap '' PIPE; \"$0\" config print | ") + reader + "; exit ${PIPESTATUS[0]}";
    const CommandResult result = finish(start({"-c", line, SAE_COMMAND}, "", "", "bash"));
    EXPECT_TRUE(result.status == 128 + SIGPIPE || result.status == 0) << result.status;
    EXPECT_EQ(result.err, "");
  }
}

TEST_F(Output, ToAClosedStreamIsAnErrorAndGoesIntoNoFile) {
  const std::string config = write_config(topk_config(20));
  const CommandResult result = finish(
      start({"-c", "exec \"$0\" train \"$1\" --out \"$2\" >&-", SAE_COMMAND, config, path("run")},
            "", "", "bash"));
  EXPECT_EQ(result.status, 3);
  EXPECT_NE(result.err.find("standard output: cannot write"), std::string::npos) << result.err;
  EXPECT_EQ(sae({"info", path("run")}).status, 0) << "the run is whole";
}

TEST_F(Output, IsJsonWhateverFilesAreCalled) {
  const std::string store = path("st\xffre");
  const CommandResult made =
      sae({"synth", "--preset", "tiny", "--tokens", "30", "--out", store, "--json"});
  EXPECT_EQ(made.status, 0) << made.err;
  EXPECT_EQ(Json::parse(made.out)["tokens"], 30);
  const CommandResult shard = sae({"info", store + "/shard-00000.safetensors", "--json"});
  EXPECT_EQ(shard.status, 0) << shard.err;
  EXPECT_TRUE(Json::parse(shard.out).contains("part_of"));
}

/// A terminal of its own for the command's stderr.
class Terminal : public CommandTest {
 protected:
  Terminal() : master_(::posix_openpt(O_RDWR | O_NOCTTY)) {
    ::grantpt(master_);
    ::unlockpt(master_);
    if (const char* name = ::ptsname(master_)) name_ = name;
    terminal_ = ::open(name_.c_str(), O_RDWR | O_NOCTTY);  // kept open: reading waits, not fails
    ::setenv("TERM", "xterm", 1);
  }
  void SetUp() override {
    CommandTest::SetUp();
    if (terminal_ < 0) GTEST_SKIP() << "there are no pseudo terminals here";
  }
  ~Terminal() override {
    ::close(master_);
    ::close(terminal_);
    ::unsetenv("NO_COLOR");
  }

  std::string said_by(const Words& words) {
    finish(start(words, "", name_));
    std::string text;
    char bytes[4096];
    for (pollfd ready{master_, POLLIN, 0}; ::poll(&ready, 1, 50) == 1;) {
      const ssize_t count = ::read(master_, bytes, sizeof bytes);
      if (count <= 0) break;
      text.append(bytes, static_cast<std::size_t>(count));
    }
    return text;
  }

 private:
  int master_, terminal_;
  std::string name_;
};

TEST_F(Terminal, ShowsErrorsInColourUnlessAskedNotTo) {
  EXPECT_EQ(said_by({"trian"}).find("\x1b[31m\x1b[1merror\x1b[m: sae: got \"trian\""), 0U);
  ::setenv("NO_COLOR", "1", 1);
  const std::string plain = said_by({"trian"});
  EXPECT_EQ(plain.find("error: sae: got \"trian\""), 0U) << plain;
  EXPECT_EQ(plain.find('\x1b'), std::string::npos) << plain;
  ::setenv("NO_COLOR", "", 1);  // empty: not set
  EXPECT_NE(said_by({"trian"}).find("\x1b[31"), std::string::npos);
}

TEST_F(Terminal, ShowsWarningsInColourUnlessAskedNotTo) {
  const Words warned = {"config", "check", write_config(topk_config()), "-q", "--threads", "5000"};
  EXPECT_EQ(said_by(warned).find("\x1b[33m\x1b[1mwarning\x1b[m: --threads: got 5000"), 0U);
  ::setenv("NO_COLOR", "1", 1);
  EXPECT_EQ(said_by(warned).find("warning: --threads: got 5000"), 0U);
}

TEST_F(Terminal, ShowsTheProgressLineWithAndWithoutColour) {
  const std::string config = write_config(topk_config(60));
  for (const char* no_color : {"", "1"}) {
    ::setenv("NO_COLOR", no_color, 1);
    const std::string text =
        said_by({"train", config, "--out", path(std::string("run") + no_color)});
    EXPECT_NE(text.find("\r1/60\x1b[K"), std::string::npos) << "redrawn in place: " << text;
    EXPECT_EQ(text.find("\x1b[3"), std::string::npos) << "no colour code: " << text;
  }
}

}  // namespace
}  // namespace sae
