#include <chrono>
#include <functional>
#include <limits>

#include "config/fields_json.h"
#include "data/store/file_facts.h"
#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/data/data.h"
#include "support/run_testing.h"
#include "support/store_testing.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

class Fingerprints : public testing::Test {
 protected:
  fs::path path(const std::string& name = "store") const { return folder_.path() / name; }

  static std::string digest(const fs::path& store) {
    return ActivationStore(store, /*verify_checksums=*/false).digest();
  }

  static ConfigNode group(const Json& more) {
    Json data = {{"kind", "store"}};
    data.update(more);
    return config_from_json(data, "test");
  }

  void edit_manifest(const std::function<void(Json&)>& edit) {
    Json manifest = parsed(path() / "manifest.json");
    edit(manifest);
    write_text(path() / "manifest.json", manifest.dump());
  }

 private:
  TemporaryFolder folder_;
};

TEST_F(Fingerprints, AStoreIsKnownByItsContentNotByItsPathOrOrigin) {
  const std::string before = digest(write_normal_store(path(), 120, 1, 10));
  EXPECT_EQ(before.find("sha256:"), 0U);
  fs::copy(path(), path("copy"), fs::copy_options::recursive);
  EXPECT_EQ(digest(path("copy")), before);
  edit_manifest([](Json& manifest) { manifest["source"] = {{"model", "another"}}; });
  EXPECT_EQ(digest(path()), before);
  EXPECT_NE(digest(write_normal_store(path(), 120, 2, 10)), before) << "other values";
  EXPECT_NE(digest(write_normal_store(path(), 120, 1, 12)), before) << "other contexts";
  EXPECT_NE(digest(write_normal_store(path(), 119, 1, 10)), before) << "fewer tokens";
}

TEST_F(Fingerprints, ShardsWithoutAChecksumInTheManifestAreRead) {
  write_normal_store(path(), 60, 1);
  const std::string claimed = digest(path());
  edit_manifest([](Json& manifest) {
    for (Json& shard : manifest["shards"]) shard.erase("sha256");
  });
  EXPECT_EQ(digest(path()), claimed) << "the same content";
  write_safetensors(path() / "shard-00000.safetensors",
                    {{"activations", normal({50, 12}, 7).to(at::kFloat)}});
  EXPECT_NE(digest(path()), claimed);
}

TEST_F(Fingerprints, ABareFileIsKnownByAllItsBytes) {
  const fs::path file = path("x.safetensors");
  write_safetensors(file, {{"x", normal({40, 6}, 1).to(at::kFloat)}});
  const std::string before = digest(file);
  fs::copy(file, path("y.safetensors"));
  EXPECT_EQ(digest(path("y.safetensors")), before);
  std::string bytes = read_file(file);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  write_file_atomically(file, bytes);
  EXPECT_NE(digest(file), before);
}

TEST_F(Fingerprints, OfVeryLargeFilesTheSizeAndBlocksFromFirstToLastCount) {
  std::string bytes(1000, 'a');
  const auto digest = [&] { return sampled_digest(bytes, /*blocks=*/5, /*block=*/10); };
  const std::string before = digest();
  EXPECT_EQ(before.find("sampled-sha256:"), 0U);
  for (const std::size_t place : {0U, 9U, 252U, 499U, 990U, 999U}) {
    bytes[place] = 'b';
    EXPECT_NE(digest(), before) << place;
    bytes[place] = 'a';
  }
  bytes[100] = 'b';
  EXPECT_EQ(digest(), before) << "between the blocks";
  bytes += 'a';
  EXPECT_NE(digest(), before) << "its size";
}

TEST_F(Fingerprints, AFileIsReadOnceUnlessItChanged) {
  write_file_atomically(path("file"), "one");
  FileFacts<int> facts;
  int reads = 0;
  const auto ask = [&] {
    return facts.get(MappedFile(path("file")), [&](const MappedFile&) { return ++reads; });
  };
  ask();
  EXPECT_EQ(ask(), 2) << "changed just now: it may change again unnoticed";
  fs::last_write_time(path("file"), fs::file_time_type::clock::now() - std::chrono::hours(1));
  EXPECT_EQ(ask(), 3);
  EXPECT_EQ(ask(), 3) << "remembered";
  write_file_atomically(path("file"), "two");
  EXPECT_EQ(ask(), 4);
}

TEST_F(Fingerprints, OpenedDataHaveTheOneThatIsFoundWithoutOpening) {
  write_normal_store(path(), 120, 1, 10);
  write_normal_store(path("other"), 60, 2);
  const Json split = {{"path", path().string()}, {"held_out", 0.3}};
  const Json two = {{"path", path().string()}, {"held_out_path", path("other").string()}};
  for (const Json& data : {split, two}) {
    const DataFingerprint opened = *open_data(group(data), 0).fingerprint;
    EXPECT_TRUE(same_content(opened, fingerprint_of(group(data))));
    EXPECT_TRUE(same_content(opened, fingerprint_from_json(to_json(opened))));
    EXPECT_EQ(opened.train.digest, digest(path()));
    EXPECT_EQ(opened.held_out.digest, digest(data == two ? path("other") : path()));
  }
  const ConfigNode tiny = config_from_json({{"kind", "synthetic"}, {"preset", "tiny"}}, "test");
  const ConfigNode moved =
      config_from_json({{"kind", "synthetic"}, {"preset", "tiny"}, {"bias_norm", 2}}, "test");
  EXPECT_TRUE(same_content(*open_data(tiny, 0).fingerprint, fingerprint_of(tiny)));
  EXPECT_FALSE(same_content(fingerprint_of(moved), fingerprint_of(tiny)));
}

TEST_F(Fingerprints, AChangeIsSaidInWords) {
  const ConfigNode data = group({{"path", path().string()}});
  write_normal_store(path(), 120, 1, 10);
  const DataFingerprint before = fingerprint_of(data);
  EXPECT_EQ(change_of_data(before, before), "");
  write_normal_store(path(), 90, 1, 10);
  const std::string change = change_of_data(before, fingerprint_of(data));
  EXPECT_EQ(change.find(path().string() + " was 120 tokens of width 12, test (sha256:"), 0U)
      << change;
  EXPECT_NE(change.find(", it is 90 tokens of width 12, test (sha256:"), std::string::npos)
      << change;
}

TEST_F(Fingerprints, EveryValueIsLookedAtWhenDataAreOpenedToBeTrainedOn) {
  at::Tensor x = normal({90, 4}, 1).to(at::kFloat);
  x[71][2] = std::numeric_limits<float>::infinity();
  write_safetensors(path("x.safetensors"), {{"x", x}});
  const auto refusal = [&](const Json& more) -> std::string {
    Json data = {{"path", path("x.safetensors").string()}, {"held_out", 0.5}};
    data.update(more);
    try {
      require_finite_held_out(open_data(group(data), 0), 1000, 7);
    } catch (const DataError& error) {
      return error.what();
    }
    return "not refused";
  };
  const std::string place = path("x.safetensors").string() + ": row 71 has a NaN or infinity";
  const Json nothing_more = Json::object();
  EXPECT_EQ(refusal(nothing_more).find(place), 0U) << refusal(nothing_more);
  // Without verify, what is evaluated at the end is looked at all the same.
  EXPECT_EQ(refusal({{"verify", false}, {"held_out", 0.99}}).find(place), 0U);
  EXPECT_NO_THROW(ActivationStore(path("x.safetensors")).rows(0, 71)) << "only then";
}

}  // namespace
}  // namespace sae
