#include "sae/base/error.h"
#include "sae/tools/info.h"
#include "sae/tools/synth.h"
#include "support/run_testing.h"
#include "support/sae_testing.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

TEST(Info, TellsRunsAutoencodersCheckpointsAndStoresApart) {
  const TemporaryFolder folder;
  const fs::path run = folder.path() / "run";
  const RunOptions options =
      tiny_run(tiny_config({{"architecture", "topk"}, {"d_sae", 16}, {"k", 2}}, 20));
  train(options, run, false);
  const Json facts = describe_path(run);
  EXPECT_EQ(facts["kind"], "run");
  EXPECT_EQ(facts["state"], "finished");
  EXPECT_EQ(facts["steps"], 20);
  EXPECT_EQ(facts["architecture"], "topk");

  const Json autoencoder = describe_path(run / "sae");
  EXPECT_EQ(autoencoder["kind"], "autoencoder");
  EXPECT_EQ(autoencoder["parameters"], 2 * 16 * 20 + 16 + 20);
  EXPECT_EQ(autoencoder["source"]["kind"], "synthetic");

  const fs::path checkpoint = run / "checkpoints" / "step-00000020";
  EXPECT_EQ(describe_path(checkpoint)["kind"], "checkpoint");
  EXPECT_EQ(describe_path(checkpoint)["step"], 20);
  EXPECT_EQ(describe_path(checkpoint)["complete"], true);
  fs::resize_file(checkpoint / "sae.safetensors", 8);
  EXPECT_EQ(describe_path(checkpoint)["complete"], false);

  fs::remove(run / "summary.json");
  EXPECT_EQ(describe_path(run)["state"], "unfinished");
  EXPECT_TRUE(describe_path(run)["newest_checkpoint"].is_null()) << "the only one is damaged";

  write_world(read_synth("tiny", 30, {}), folder.path() / "store");
  const Json store = describe_path(folder.path() / "store");
  EXPECT_EQ(store["kind"], "activation store");
  EXPECT_EQ(store["tokens"], 30);
  EXPECT_EQ(store["d_in"], 20);
}

TEST(Info, DescribesAutoencodersOfOtherTools) {
  const fs::path golden = fs::path(SAE_SOURCE_DIR) / "tests/golden/convert";
  const Json facts = describe_path(golden / "sparsify_run/layers.3");
  EXPECT_EQ(facts["kind"], "autoencoder");
  EXPECT_EQ(facts["format"], "sparsify");
  EXPECT_EQ(facts["architecture"], "topk");
  EXPECT_EQ(facts["d_sae"], 16);
  EXPECT_EQ(facts["source"]["store"]["hook_name"], "blocks.3.hook_resid_post");
  EXPECT_EQ(describe_path(golden / "saelens_before_6")["format"], "saelens");
}

TEST(Info, SaysInOneLineWhatItCannotRead) {
  const TemporaryFolder folder;
  const auto error = [](const fs::path& path) {
    try {
      describe_path(path);
    } catch (const DataError& caught) {
      return std::string(caught.what());
    }
    return std::string("no error");
  };
  EXPECT_EQ(error(folder.path() / "none"),
            (folder.path() / "none").string() + ": no such file or folder");
  EXPECT_NE(error(folder.path()).find("is no run, autoencoder"), std::string::npos);
  for (const char* text : {"[1]", "{}", "{\"model\": 3}", "{", "{\"format\": 3}"}) {
    write_text(folder.path() / "config.json", text);
    const std::string message = error(folder.path());
    EXPECT_EQ(message.find(folder.path().string()), 0U) << text << ": " << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
  write_text(folder.path() / "file", "no tensors");
  EXPECT_NE(error(folder.path() / "file"), "no error");
}

}  // namespace
}  // namespace sae
