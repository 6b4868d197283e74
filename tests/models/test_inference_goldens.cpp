// Autoencoders that scripts/harvesting/autoencoder.py computed too, in Python: what
// scripts/loss_recovered.py puts into a model is what `sae` computes.
#include <gtest/gtest.h>

#include <filesystem>

#include "sae/models/sae_folder.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

TEST(InferenceGoldens, PythonComputesWhatTheLibraryDoes) {
  int folders = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(SAE_SOURCE_DIR "/tests/golden/inference")) {
    SCOPED_TRACE(entry.path().filename().string());
    const SaeFolder loaded = load_sae(entry.path());
    const SafetensorsFile expected(entry.path() / "expected.safetensors");
    for (const Storage storage : {Storage::kSparse, Storage::kDense}) {
      set_storage(*loaded.sae, storage);
      const Codes codes = loaded.sae->encode(expected.tensor("x"));
      expect_close(codes.to_dense(), expected.tensor("f"), "f", 1e-5);
      expect_close(loaded.sae->decode(codes), expected.tensor("x_hat"), "x_hat", 1e-5);
    }
    ++folders;
  }
  EXPECT_EQ(folders, 14);
}

}  // namespace
}  // namespace sae
