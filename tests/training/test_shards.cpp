// Shards: rows of latents in as many files as ranks wrote, read by any other number of them.
#include <gtest/gtest.h>
#include <torch/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "sae/base/error.h"
#include "support/temporary_folder.h"
#include "training/shards.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kLatents = 10;

at::Tensor rows() { return at::arange(kLatents * 3, at::kFloat).view({kLatents, 3}); }
at::Tensor b_dec() { return at::full({2}, 7.0F); }

class ShardFiles : public ::testing::Test {
 protected:
  fs::path folder() const { return folder_.path(); }

  void write(int number, int of, const std::vector<std::int64_t>& ids) const {
    const at::Tensor which = at::tensor(ids, at::kLong);
    write_shard(folder() / shard_name("sae", number, of),
                {{"W_enc", rows().index_select(0, which)}, {"b_dec", b_dec()}}, which, kLatents);
  }

  /// W_enc of these latents, as read.
  at::Tensor read(const std::vector<std::int64_t>& ids) const {
    const at::Tensor which = at::tensor(ids, at::kLong);
    at::Tensor W_enc = at::zeros({which.size(0), 3}), shared = at::zeros({2});
    Shards(folder(), "sae").read({{"W_enc", W_enc}, {"b_dec", shared}}, which, kLatents);
    EXPECT_TRUE(at::equal(shared, b_dec()));
    return W_enc;
  }

  std::string error_of(const std::vector<std::int64_t>& ids) const {
    try {
      read(ids);
    } catch (const DataError& error) {
      return error.what();
    }
    return "none";
  }

 private:
  TemporaryFolder folder_;
};

const std::vector<std::int64_t> kAll{0, 1, 2, 3, 4, 5, 6, 7, 8, 9};

TEST_F(ShardFiles, AnyNumberOfRanksReadsWhatAnyOtherWrote) {
  write(1, 3, {0, 1, 6});
  write(2, 3, {2, 3, 4, 7, 8});
  write(3, 3, {5, 9});
  EXPECT_TRUE(at::equal(read(kAll), rows()));
  for (const std::vector<std::int64_t>& ids :
       {std::vector<std::int64_t>{3, 5, 6}, {0}, {9}, {0, 1, 2, 3, 4, 5, 6}}) {
    EXPECT_TRUE(at::equal(read(ids), rows().index_select(0, at::tensor(ids, at::kLong))));
  }
}

TEST_F(ShardFiles, OneProcessWritesOneFileThatSaysNothingOfRanks) {
  write(1, 1, kAll);
  const SafetensorsFile file(folder() / "sae.safetensors");
  EXPECT_TRUE(file.metadata().empty());
  EXPECT_TRUE(at::equal(read(kAll), rows()));
  EXPECT_TRUE(at::equal(read({4, 7}), rows().index_select(0, at::tensor({4, 7}, at::kLong))));
}

TEST_F(ShardFiles, ThatAreNotCompleteOrOverlapAreRefused) {
  write(1, 2, {0, 1, 2, 3, 4});
  EXPECT_NE(error_of(kAll).find("no sae.safetensors, and no complete set of sae-0001-of-..."),
            std::string::npos);
  write(2, 2, {4, 5, 6, 7, 8, 9});
  EXPECT_NE(error_of(kAll).find("its shards do not have every latent once"), std::string::npos);
  write(2, 2, {5, 6, 7, 8});
  EXPECT_NE(error_of(kAll).find("its shards do not have every latent once"), std::string::npos);
  EXPECT_EQ(error_of({0, 1, 8}), "none");  // these it has
}

TEST_F(ShardFiles, WhoseRangesMakeNoSenseAreRefused) {
  for (const char* text : {"", "-", "0", "0-", "a-b", "3-1", "0-4,2-6", "0-4,", "0-4;5-9",
                           "0-99999999999999999999", "0-4 ", "5-9,0-4", "0-2199511627777"}) {
    SCOPED_TRACE(text);
    write_safetensors(folder() / "sae.safetensors", {{"W_enc", rows()}, {"b_dec", b_dec()}},
                      {{"latents", text}});
    EXPECT_NE(error_of(kAll), "none");
  }
  // More than the model has, and another number than there are rows.
  for (const char* text : {"0-10", "1-10", "0-4", "0-1099511627775"}) {
    SCOPED_TRACE(text);
    write_safetensors(folder() / "sae.safetensors", {{"W_enc", rows()}, {"b_dec", b_dec()}},
                      {{"latents", text}});
    EXPECT_NE(error_of(kAll), "none");
  }
}

TEST_F(ShardFiles, OfOtherTensorsOrShapesAreRefusedByName) {
  write(1, 2, {0, 1, 2, 3, 4});
  const at::Tensor rest = at::arange(5, 10, at::kLong);
  write_shard(folder() / shard_name("sae", 2, 2),
              {{"W_enc", at::zeros({5, 4})}, {"b_dec", b_dec()}}, rest, kLatents);
  EXPECT_NE(
      error_of(kAll).find("sae-0002-of-0002.safetensors: tensor W_enc is F32 [5, 4], expected "
                          "F32 [5, 3]"),
      std::string::npos)
      << error_of(kAll);
  write_shard(folder() / shard_name("sae", 2, 2), {{"W_enc", at::zeros({5, 3})}}, rest, kLatents);
  EXPECT_NE(error_of(kAll).find("b_dec"), std::string::npos);
}

}  // namespace
}  // namespace sae
