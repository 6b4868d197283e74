// Replays what the fuzzers found worth keeping, so that every build checks it without clang.
#include <gtest/gtest.h>

#include <filesystem>

#include "fuzz/entries.h"
#include "fuzz/path_entries.h"
#include "sae/base/files.h"

namespace sae {
namespace {

void replay(const std::string& name, void (*entry)(std::string_view)) {
  int files = 0;
  const auto folder = std::filesystem::path(SAE_SOURCE_DIR) / "tests/fuzz/corpus" / name;
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    SCOPED_TRACE(file.path());
    EXPECT_NO_THROW(entry(read_file(file.path())));
    ++files;
  }
  EXPECT_GT(files, 10) << folder << " is missing its corpus";
}

TEST(FuzzCorpus, HoldsForSafetensors) { replay("safetensors", fuzz_safetensors); }
TEST(FuzzCorpus, HoldsForNpy) { replay("npy", fuzz_npy); }
TEST(FuzzCorpus, HoldsForNpz) { replay("npz", fuzz_npz); }
TEST(FuzzCorpus, HoldsForTorchFiles) { replay("torch_file", fuzz_torch_file); }
TEST(FuzzCorpus, HoldsForJson) { replay("json", fuzz_json); }
TEST(FuzzCorpus, HoldsForConfigurations) { replay("config", fuzz_config); }
TEST(FuzzCorpus, HoldsForBlindStudies) { replay("blind", fuzz_blind); }

TEST(FuzzCorpus, HoldsForLabelledActivations) { replay("labelled", fuzz_labelled); }
TEST(FuzzCorpus, HoldsForJudges) { replay("judge", fuzz_judge); }
TEST(FuzzCorpus, HoldsForUnembeddings) { replay("unembedding", fuzz_unembedding); }
TEST(FuzzCorpus, HoldsForReadings) { replay("readings", fuzz_readings); }

}  // namespace
}  // namespace sae
