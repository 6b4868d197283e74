// The completion scripts, by running the shell itself.
#include <fstream>

#include "support/command_testing.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

class Completion : public CommandTest {
 protected:
  /// What bash offers for the last word of a line, in this test's folder.
  std::vector<std::string> offered(const std::vector<std::string>& words) {
    std::string line = "cd \"$1\"; source <(\"$0\" completion bash); COMP_WORDS=(sae";
    for (const std::string& word : words) line += " '" + word + "'";
    line += "); COMP_CWORD=" + std::to_string(words.size()) +
            "; _sae sae; printf '%s\\n' \"${COMPREPLY[@]}\"";
    fs::create_directories(path("here"));
    const CommandResult result =
        finish(start({"--norc", "-c", line, SAE_COMMAND, path("here")}, "", "", "bash"));
    EXPECT_EQ(result.err, "");
    std::vector<std::string> lines = lines_of(result.out);
    std::sort(lines.begin(), lines.end());
    if (lines == std::vector<std::string>{""}) lines.clear();
    return lines;
  }
};

using Words = std::vector<std::string>;

bool contains(const Words& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

TEST_F(Completion, OffersCommandsAndTheirOwn) {
  EXPECT_EQ(offered({"tr"}), Words{"train"});
  EXPECT_TRUE(contains(offered({""}), "compare"));
  EXPECT_EQ(offered({"config", ""}), (Words{"check", "print", "schema"}));
  EXPECT_EQ(offered({"config", "print", "ato"}), Words{});
  EXPECT_EQ(offered({"config", "print", "topk"}), Words{"topk"});
  EXPECT_EQ(offered({"completion", "z"}), Words{"zsh"});
}

TEST_F(Completion, OffersOptionsAndTheirValues) {
  EXPECT_EQ(offered({"train", "c.json", "--r"}), Words{"--resume"});
  EXPECT_EQ(offered({"eval", "run", "--contr"}), Words{"--controls"});
  EXPECT_EQ(offered({"eval", "run", "--suite", "ab"}), Words{"absorption"});
  EXPECT_EQ(offered({"bench", "--storage", ""}), (Words{"auto", "dense", "sparse"}));
  EXPECT_EQ(offered({"train", "c.json", "--set", "train.lr_de"}),
            (Words{"train.lr_decay=", "train.lr_decay_share="}));
  EXPECT_EQ(offered({"train", "c.json", "--threads", ""}), Words{});
}

TEST_F(Completion, OffersFilesWhereFilesAreMeant) {
  fs::create_directories(path("here") / "my configs");
  write_text(path("here") / "a.json", "{}");
  write_text(path("here") / "notes b.txt", "");
  EXPECT_EQ(offered({"train", ""}), (Words{"a.json", "my configs"}));
  EXPECT_EQ(offered({"train", "a.json", "--out", ""}), Words{"my configs"});
  EXPECT_EQ(offered({"info", "n"}), Words{"notes b.txt"});
  EXPECT_EQ(offered({"blind", "n"}), Words{"notes b.txt"});
  EXPECT_EQ(offered({"blind", ""}), (Words{"a.json", "grade", "my configs", "notes b.txt"}));
  EXPECT_EQ(offered({"blind", "grade", "m"}), Words{"my configs"});
}

TEST_F(Completion, ScriptsOfOtherShellsAreReadByThem) {
  int shells = 0;
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const CommandResult script = sae({"completion", shell});
    ASSERT_EQ(script.status, 0);
    EXPECT_NE(script.out.find("--help says more"), 0U);
    EXPECT_NE(script.out.find("compare"), std::string::npos);
    write_text(path("script"), script.out);
    const CommandResult there =
        finish(start({"-c", std::string("command -v ") + shell}, "", "", "sh"));
    if (there.status != 0) continue;
    ++shells;
    const CommandResult read = finish(start({"-n", path("script")}, "", "", shell));
    EXPECT_EQ(read.status, 0) << shell << ": " << read.err;
  }
  EXPECT_GE(shells, 1);
}

}  // namespace
}  // namespace sae
