// What the command says about itself, and about command lines that it cannot obey.
#include "commands.h"
#include "sae/base/error.h"
#include "support/command_testing.h"
#include "usage.h"

namespace sae {
namespace {

using Usage = CommandTest;
using Words = std::vector<std::string>;

/// What the command answers to words that only ask; empty if they are to be obeyed.
std::string answer(const Words& words) {
  sae_cli::Program program("sae");
  sae_cli::add_commands(program);
  return sae_cli::parse(program.app, words).value_or("");
}

/// The line that says why the words cannot be obeyed; empty if they can.
std::string refusal(const Words& words) {
  try {
    answer(words);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

void expect_refusal(const std::string& part, const Words& words) {
  const std::string said = refusal(words);
  EXPECT_NE(said.find(part), std::string::npos) << "got \"" << said << "\", expected " << part;
  EXPECT_EQ(said.find('\n'), std::string::npos) << said;
  EXPECT_LT(said.size(), 240U) << said;
}

const std::vector<Words>& all_commands() {
  static const std::vector<Words> commands = {{},
                                              {"train"},
                                              {"eval"},
                                              {"compare"},
                                              {"synth"},
                                              {"info"},
                                              {"inspect"},
                                              {"convert"},
                                              {"diagnose"},
                                              {"features"},
                                              {"blind"},
                                              {"blind", "grade"},
                                              {"bench"},
                                              {"ranks"},
                                              {"config"},
                                              {"config", "print"},
                                              {"config", "check"},
                                              {"config", "schema"},
                                              {"version"},
                                              {"help"},
                                              {"completion"}};
  return commands;
}

Words with(Words words, const std::string& last) {
  words.push_back(last);
  return words;
}

TEST_F(Usage, HelpFitsATerminalShowsExamplesAndSpeaksOfNoTypes) {
  for (const Words& words : all_commands()) {
    const std::string help = answer(with(words, "--help"));
    SCOPED_TRACE(help);
    for (const std::string& line : lines_of(help)) EXPECT_LE(line.size(), 80U) << line;
    EXPECT_NE(help.find("Example"), std::string::npos);
    for (const char* jargon : {"TEXT", "INT", "REQUIRED", "NONNEGATIVE", "::"}) {
      EXPECT_EQ(help.find(jargon), std::string::npos) << jargon;
    }
    EXPECT_EQ(answer(with(words, "-h")), help);
  }
}

TEST_F(Usage, HelpIsTheSameHoweverItIsAskedFor) {
  for (const Words& words : std::vector<Words>{{}, {"train"}, {"config", "check"}}) {
    Words asked = {"help"};
    asked.insert(asked.end(), words.begin(), words.end());
    const CommandResult result = sae(asked);
    EXPECT_EQ(result.status, 0);
    EXPECT_EQ(result.err, "");
    EXPECT_EQ(result.out, answer(with(words, "--help")));
    EXPECT_EQ(sae(with(words, "--help")).out, result.out);
  }
}

TEST_F(Usage, ACommandAloneSaysWhatThereIs) {
  const CommandResult alone = sae({});
  EXPECT_EQ(alone.status, 0);
  EXPECT_EQ(alone.err, "");
  EXPECT_NE(alone.out.find("\n  train "), std::string::npos) << alone.out;
  EXPECT_LT(lines_of(alone.out).size(), 24U) << "it fits a screen";
  for (const std::string& line : lines_of(alone.out)) EXPECT_LE(line.size(), 80U) << line;
  EXPECT_EQ(answer({"config"}), answer({"config", "--help"}));
  expect_refusal("sae train: CONFIG is required; see sae train --help", {"train"});
  expect_refusal("sae config check: CONFIG is required", {"config", "check"});
}

TEST_F(Usage, SaysItsVersionInEveryWay) {
  const std::string version = answer({"--version"});
  EXPECT_EQ(version.find("sae "), 0U);
  EXPECT_NE(version.find("LibTorch"), std::string::npos);
  EXPECT_EQ(answer({"-V"}), version);
  EXPECT_EQ(sae({"version"}).out, version);
  EXPECT_EQ(sae({"--version"}).out, version);
}

TEST_F(Usage, ErrorsAreOneLineOnStandardErrorAndStatusTwo) {
  expect_error(2, "did you mean 'train'?", {"trian"});
  expect_error(2, "sae: got \"evl\", expected one of", {"help", "evl"});
  expect_error(2, "sae train: got \"run\", expected nothing", {"help", "train", "run"});
  expect_error(2, "did you mean 'tiny'?", {"synth", "--preset", "tiyn", "--out", path("s")});
}

TEST_F(Usage, MisspeltCommandsAndOptionsSuggestTheNearest) {
  expect_refusal("did you mean 'train'?", {"trian"});
  expect_refusal("did you mean 'features'?", {"feature", "run", "--data", "x"});
  expect_refusal("sae config: got \"chek\", expected one of print, check, schema; did you mean",
                 {"config", "chek", "c.json"});
  expect_refusal("did you mean 'sae train configs/topk.json'?", {"configs/topk.json"});
  expect_refusal("sae train: '--resum' is no option; did you mean '--resume'?",
                 {"train", "c.json", "--resum"});
  expect_refusal("'--zzzz' is no option; see sae info --help", {"info", "x", "--zzzz"});
  expect_refusal("did you mean 'topk'?", {"config", "print", "topkk"});
  expect_refusal("did you mean 'absorption'?", {"eval", "run", "--suite", "core,absorbtion"});
  expect_refusal("got \"b.json\", expected nothing more; see sae train --help",
                 {"train", "a.json", "b.json"});
  expect_refusal("say --set before each KEY=VALUE",
                 {"train", "a.json", "--set", "seed=1", "train.lr=2"});
}

TEST_F(Usage, OptionsOfHabitPointToTheRightWay) {
  const auto hint = expect_refusal;
  hint("'--lr' is no option; say --set train.lr=0.1", {"train", "c.json", "--lr", "0.1"});
  hint("'--lr' is no option; say --set train.lr=1e-3", {"train", "--lr=1e-3", "c.json"});
  hint("say --set train.lr=2", {"train", "c.json", "--learning-rate", "2"});
  hint("say --set train.steps=50", {"train", "c.json", "--steps", "50"});
  hint("say --set train.tokens=9", {"train", "c.json", "--training-tokens", "9"});
  hint("say --set train.batch=64", {"train", "c.json", "--batch-size", "64"});
  hint("say --set seed=3", {"train", "c.json", "--seed", "3"});
  hint("say --set model.k=-1", {"train", "c.json", "-k", "-1"});
  hint("say --set model.d_sae=512", {"train", "c.json", "--d_sae", "512"});
  hint("say --set model.d_sae=512", {"train", "c.json", "--dict-size", "512"});
  hint("say --set model.target_l0=20", {"train", "c.json", "--l0", "20"});
  hint("say --set model.architecture=topk", {"train", "c.json", "--arch", "topk"});
  hint("say --set data.path='my acts'", {"train", "c.json", "--data", "my acts"});
  hint("say --set train.checkpoint_every=...", {"train", "c.json", "--checkpoint-every", "--json"});
  hint("did you mean '--out'?", {"train", "c.json", "-o", "run"});
  hint("did you mean '--out'?", {"compare", "c.json", "--output-dir", "run"});
  hint("did you mean '--device cuda'?", {"eval", "run", "--gpu"});
  hint("say sae train c.json", {"train", "--config", "c.json"});
  hint("say sae config check CONFIG", {"config", "check", "-c"});
  hint("say --set seeds=4", {"compare", "c.json", "--seed", "4"});
  hint("say --set base.train.lr=4", {"compare", "c.json", "--lr", "4"});
  hint("say --set eval.tokens=77", {"eval", "run", "--tokens", "77"});
  hint("say --set bias_norm=0", {"synth", "--out", "s", "--bias-norm", "0"});
  hint("say --set dead=0.5", {"diagnose", "run", "--dead=0.5"});
}

TEST_F(Usage, ValuesOutOfRangeGetAShortMessageInWords) {
  const std::string count = ", expected a whole number, 0 or more";
  expect_refusal("sae train: --threads: got \"-1\"" + count, {"train", "c.json", "--threads=-1"});
  expect_refusal("--threads: got \"-2\"" + count, {"train", "c.json", "--threads", "-2"});
  expect_refusal("--threads: got \"two\"" + count, {"eval", "r", "--threads", "two"});
  expect_refusal("--threads: got \"99999999999999999999\"" + count,
                 {"eval", "r", "--threads", "99999999999999999999"});
  expect_refusal("--repeats: got \"-1\", expected a whole number, 1 or more",
                 {"eval", "r", "--repeats=-1"});
  expect_refusal("--tokens: got \"0.5\", expected a whole number, 1 or more",
                 {"synth", "--out", "s", "--tokens", "0.5"});
  expect_refusal("--contexts: got \"-3\"" + count, {"inspect", "s", "--contexts", "-3"});
  expect_refusal("--verify-tokens: got \"0\", expected a whole number, 1 or more",
                 {"convert", "a", "b", "--to", "sae", "--verify-tokens", "0"});
  expect_refusal("--density: got \"7\", expected a number from 1e-06 to 1",
                 {"bench", "--density", "7"});
  expect_refusal("--to: got \"saelen\", expected one of", {"convert", "a", "b", "--to", "saelen"});
  expect_refusal("--threads: got nothing, expected a value", {"train", "c.json", "--threads"});
  expect_refusal("--threads: given more than once",
                 {"train", "c.json", "--threads", "1", "--threads", "2"});
}

TEST_F(Usage, AnEmptyValueIsAnErrorEverywhere) {
  for (const Words& words : std::vector<Words>{{"train", "c.json"},
                                               {"compare", "c.json"},
                                               {"synth", "--preset", "tiny"},
                                               {"features", "run", "--data", "store"},
                                               {"blind", "a", "b", "--data", "store"}}) {
    Words both = with(words, "--out");
    expect_refusal("--out: got nothing, expected a value", with(both, ""));
    expect_refusal("--out: got nothing, expected a value", with(words, "--out="));
  }
  expect_refusal("OUT: got nothing, expected a value", {"convert", "in", "", "--to", "sae"});
  expect_refusal("SAE: got nothing, expected a value", {"blind", "a", "", "--data", "d"});
  expect_refusal("PATH: got nothing, expected a value", {"info", ""});
  expect_refusal("--data: got nothing, expected a value", {"eval", "run", "--data", ""});
  expect_refusal("--device: got nothing, expected a value", {"eval", "run", "--device", ""});
}

TEST_F(Usage, MoreThreadsThanCoresAreCappedWithAWarning) {
  const std::string config = write_config(topk_config(30));
  const auto warned = [&](Words words, const std::string& place) {
    const CommandResult result = sae(words);
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(result.err.find("warning: " + place + ": got 4096, this process may use "), 0U)
        << result.err;
    EXPECT_EQ(lines_of(result.err).size(), 1U) << result.err;
  };
  warned({"train", config, "--out", path("a"), "-q", "--threads", "4096"}, "--threads");
  warned({"train", config, "--out", path("b"), "-q", "--set", "threads=4096"}, "threads");
  warned({"eval", path("a"), "-q", "--threads", "4096"}, "--threads");
  warned({"config", "check", config, "-q", "--threads", "4096"}, "--threads");
  const std::string comparison = write_config(
      {{"base", topk_config(30)}, {"members", {{{"name", "topk"}}}}, {"jobs", 4096}}, "m.json");
  warned({"compare", comparison, "--out", path("c"), "-q"}, "jobs");
}

}  // namespace
}  // namespace sae
