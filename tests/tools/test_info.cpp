#include "sae/base/error.h"
#include "sae/report/report.h"
#include "sae/results/results.h"
#include "sae/tools/info.h"
#include "sae/tools/synth.h"
#include "support/example_comparison.h"
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
  EXPECT_EQ(error(folder.path()),
            folder.path().string() + ": is not something sae knows: an empty folder");
  write_text(folder.path() / "notes.txt", "by hand");
  EXPECT_EQ(error(folder.path()),
            folder.path().string() + ": is not something sae knows: a folder with notes.txt");
  EXPECT_EQ(
      error(folder.path() / "notes.txt"),
      (folder.path() / "notes.txt").string() + ": is not something sae knows: a file of 7 bytes");
  for (const char* text : {"[1]", "{}", "{\"model\": 3}", "{", "{\"format\": 3}"}) {
    write_text(folder.path() / "config.json", text);
    const std::string message = error(folder.path());
    EXPECT_EQ(message.find(folder.path().string()), 0U) << text << ": " << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
  write_text(folder.path() / "file", "no tensors");
  EXPECT_NE(error(folder.path() / "file"), "no error");
}

std::string kind_of_path(const fs::path& path) { return describe_path(path)["kind"]; }

TEST(Info, KnowsEveryFileOfARunAndOfAStore) {
  const TemporaryFolder folder;
  const fs::path run = folder.path() / "run", store = folder.path() / "store";
  train(tiny_run(tiny_config({{"architecture", "topk"}, {"d_sae", 16}, {"k", 2}}, 20)), run, false);
  write_world(read_synth("tiny", 30, {}), store);
  EXPECT_EQ(kind_of_path(run / "config.json"), "configuration of a run");
  EXPECT_EQ(describe_path(run / "config.json")["steps"], 20);
  EXPECT_EQ(kind_of_path(run / "summary.json"), "summary of a run");
  const Json log = describe_path(run / "metrics.jsonl");
  EXPECT_EQ(log["kind"], "log of a run");
  EXPECT_EQ(log["last_step"], 20);
  for (const fs::directory_entry& entry : fs::directory_iterator(run)) {
    if (entry.path().filename().string().find("tfevents") == std::string::npos) continue;
    const Json events = describe_path(entry.path());
    EXPECT_EQ(events["kind"], "log for TensorBoard");
    EXPECT_GT(events["records"], 3);
    EXPECT_EQ(events["complete"], true);
  }
  EXPECT_EQ(kind_of_path(run / "sae" / "sae.safetensors"), "weights of an autoencoder");
  EXPECT_EQ(kind_of_path(run / "sae" / "config.json"), "configuration of an autoencoder");
  const fs::path checkpoint = run / "checkpoints" / "step-00000020";
  EXPECT_EQ(kind_of_path(checkpoint / "state.json"), "state of a checkpoint");
  EXPECT_EQ(kind_of_path(checkpoint / "MANIFEST.json"), "list of a checkpoint's files");
  EXPECT_EQ(kind_of_path(checkpoint / "optimizer.safetensors"), "tensors");
  EXPECT_EQ(describe_path(run / "checkpoints")["holds"]["checkpoint"], 1);

  EXPECT_EQ(kind_of_path(store / "manifest.json"), "manifest of an activation store");
  const Json shard = describe_path(store / "shard-00000.safetensors");
  EXPECT_EQ(shard["kind"], "activation store");
  EXPECT_EQ(shard["part_of"], store.string());
  EXPECT_EQ(kind_of_path(store / "world.json"), "options of a synthetic world");
  EXPECT_EQ(kind_of_path(store / "dictionary.safetensors"), "dictionary of a synthetic world");
  EXPECT_EQ(kind_of_path(store / "truth-00000.safetensors"), "ground truth of a synthetic world");
  const Json all = describe_path(folder.path());
  EXPECT_EQ(all["kind"], "folder");
  EXPECT_EQ(all["holds"], (Json{{"run", 1}, {"activation store", 1}}));
}

TEST(Info, KnowsConfigurationsAndSaysWhatIsWrongWithThem) {
  const fs::path configs = fs::path(SAE_SOURCE_DIR) / "configs";
  const Json run = describe_path(configs / "topk.json");
  EXPECT_EQ(run["kind"], "configuration of a run");
  EXPECT_EQ(run["command"], "sae train " + (configs / "topk.json").string());
  EXPECT_EQ(run["architecture"], "topk");
  const Json comparison = describe_path(configs / "compare" / "quick.json");
  EXPECT_EQ(comparison["kind"], "configuration of a comparison");
  EXPECT_GT(comparison["runs"], 5);
  EXPECT_EQ(kind_of_path(configs / "bench" / "check.json"), "costs for sae bench --check");
  EXPECT_GE(describe_path(configs)["holds"]["configuration of a run"], 8);
  const TemporaryFolder folder;
  write_text(folder.path() / "c.json", R"({"model": {"architecture": "topj"}, "data": {}})");
  EXPECT_NE(describe_path(folder.path() / "c.json")["problem"].get<std::string>().find("topk"),
            std::string::npos);
}

TEST(Info, KnowsComparisonsAndWhatTheyWrite) {
  const TemporaryFolder folder;
  const ComparisonResult result = example_comparison();
  write_text(folder.path() / "results.json", to_json(result));
  write_text(folder.path() / "results.csv", to_csv(result));
  write_text(folder.path() / "report.html", render_report(result));
  EXPECT_EQ(describe_path(folder.path() / "results.json")["runs"], result.runs.size());
  EXPECT_EQ(describe_path(folder.path() / "results.csv")["runs"], result.runs.size());
  EXPECT_EQ(kind_of_path(folder.path() / "report.html"), "page");
  write_text(folder.path() / "comparison.json", "{}");
  const Json finished = describe_path(folder.path());
  EXPECT_EQ(finished["kind"], "comparison");
  EXPECT_EQ(finished["members"].size(), result.members.size());
  fs::remove(folder.path() / "results.json");
  fs::create_directories(folder.path() / "runs" / "topk-seed0");
  EXPECT_EQ(describe_path(folder.path())["runs_begun"], 1);
  EXPECT_EQ(describe_path(folder.path())["runs_finished"], 0);
}

TEST(Info, KnowsArraysTensorsVocabulariesAndEvaluations) {
  const TemporaryFolder folder;
  const auto write = [&](const char* name, const std::string& text) {
    write_text(folder.path() / name, text);
    return folder.path() / name;
  };
  const fs::path golden = fs::path(SAE_SOURCE_DIR) / "tests/golden";
  EXPECT_EQ(kind_of_path(golden / "labelled/words.safetensors"), "labelled activations");
  EXPECT_EQ(kind_of_path(golden / "labelled"), "folder of labelled activations");
  EXPECT_EQ(kind_of_path(golden / "harvested/vocabulary.json"), "vocabulary");
  EXPECT_EQ(describe_path(golden / "harvested")["vocabulary"], true);
  EXPECT_EQ(kind_of_path(golden / "every_dtype.safetensors"), "tensors");
  EXPECT_EQ(kind_of_path(write("a.json", R"({"core": {"l0": 3, "sae_bench": {}}})")), "evaluation");
  EXPECT_EQ(kind_of_path(write("b.json", R"({"l0": 3, "explained_variance": 0.5})")),
            "metrics of an autoencoder");
  EXPECT_EQ(kind_of_path(write("t.json", R"([{"arch": "topk", "gemm_s": 1}])")),
            "timings of sae bench");
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }";
  header.resize(117, ' ');
  const fs::path array = write("x.npy", std::string("\x93NUMPY\x01\x00\x76\x00", 10) + header +
                                            "\n" + std::string(12, '\0'));
  EXPECT_EQ(kind_of_path(array), "array");
  fs::create_directories(folder.path() / "pages" / "data");
  write("pages/index.html",
        "<!DOCTYPE html>\n<html><head><title>Latents of x</title></head></html>");
  write("pages/data/index.js", "saeIndex({})");
  EXPECT_EQ(kind_of_path(folder.path() / "pages"), "pages of latents");
  EXPECT_EQ(describe_path(folder.path() / "pages" / "index.html")["title"], "Latents of x");
}

}  // namespace
}  // namespace sae
