#include "sae/base/error.h"
#include "sae/data/store.h"
#include "sae/data/world.h"
#include "sae/formats/safetensors.h"
#include "sae/tools/synth.h"
#include "support/run_testing.h"
#include "support/sae_testing.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

TEST(Synth, WritesTheSamplesAndTheirTruth) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "store";
  const SynthOptions options = read_synth("tiny", 300, {"stream_seed=4", "bias_norm=1"});
  std::int64_t reported = 0;
  write_world(options, path, [&](std::int64_t done) { reported = done; });
  EXPECT_EQ(reported, 300);

  const auto world = std::make_shared<const World>(options.world);
  WorldSource source(world, 4);
  const LabelledBatch expected = source.next_with_truth(300);
  const ActivationStore store(path);
  EXPECT_EQ(store.size(), 300);
  EXPECT_TRUE(at::equal(store.rows(0, 300), expected.x));

  const SafetensorsFile truth(path / "truth-00000.safetensors");
  EXPECT_EQ(numbers(truth.tensor("values")),
            std::vector<double>(expected.truth.values.begin(), expected.truth.values.end()));
  EXPECT_EQ(indices(truth.tensor("indices")), expected.truth.indices);
  EXPECT_EQ(indices(truth.tensor("offsets")), expected.truth.offsets);

  const SafetensorsFile dictionary(path / "dictionary.safetensors");
  EXPECT_TRUE(at::equal(dictionary.tensor("features"), world->dictionary()));
  EXPECT_TRUE(at::equal(dictionary.tensor("bias"), world->bias()));
  EXPECT_EQ(numbers(dictionary.tensor("rates")), world->rates());
  EXPECT_EQ(parsed(path / "world.json")["bias_norm"], 1);
}

TEST(Synth, StoresHalfPrecision) {
  const TemporaryFolder folder;
  write_world(read_synth("tiny", 10, {"dtype=bf16"}), folder.path() / "store");
  EXPECT_EQ(ActivationStore(folder.path() / "store").dtype(), at::kBFloat16);
}

TEST(Synth, RefusesAFolderThatExists) {
  const TemporaryFolder folder;
  try {
    write_world(read_synth("tiny", 10, {}), folder.path());
    FAIL() << "no error";
  } catch (const ConfigError& error) {
    EXPECT_EQ(error.what(), folder.path().string() + ": exists already; choose another --out");
  }
}

TEST(Synth, ReadsAssignmentsStrictly) {
  EXPECT_EQ(read_synth("small", 5, {"tokens=7"}).tokens, 7);
  EXPECT_EQ(read_synth("small", 5, {"preset=tiny"}).world.preset, "tiny");
  EXPECT_THROW(read_synth("huge", 5, {}), ConfigError);
  EXPECT_THROW(read_synth("small", 0, {}), ConfigError);
  EXPECT_THROW(read_synth("small", 5, {"bias=1"}), ConfigError);
  EXPECT_THROW(read_synth("small", 5, {"dtype=f64"}), ConfigError);
  EXPECT_THROW(read_synth("small", 5, {"nothing"}), ConfigError);
}

}  // namespace
}  // namespace sae
