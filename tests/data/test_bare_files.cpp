// Activations that others saved: .pt of torch.save, and ids in files beside arrays.
#include <gtest/gtest.h>
#include <torch/types.h>

#include <algorithm>
#include <filesystem>
#include <string>

#include "formats/npy.h"
#include "formats/tensor_bytes.h"
#include "formats/torch_file.h"
#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/data/store.h"
#include "sae/formats/safetensors.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

/// Written by Python's torch.save, see scripts/make_archive_goldens.py.
fs::path saved(const std::string& name) {
  return fs::path(SAE_SOURCE_DIR) / "tests/golden/archives" / ("activations_" + name + ".pt");
}

/// x[i, j] = i + j / 8, 6 x 4.
at::Tensor expected() {
  return at::arange(6).to(at::kFloat).unsqueeze(1) + at::arange(4).to(at::kFloat) / 8;
}

std::string refusal(const fs::path& path, bool verify = true) {
  try {
    const ActivationStore store(path, verify);
    if (store.has_tokens()) store.tokens(0, store.size());
  } catch (const DataError& error) {
    return error.what();
  }
  return "nothing was thrown";
}

class BareFiles : public testing::Test {
 protected:
  fs::path path(const std::string& name) const { return folder_.path() / name; }

  void write_npy(const std::string& name, const at::Tensor& tensor) const {
    const std::string header =
        npy_header(safetensors_dtype(tensor.scalar_type()), tensor.sizes().vec());
    write_file_atomically(path(name), header + std::string(bytes_of(tensor)));
  }

  TemporaryFolder folder_;
};

TEST_F(BareFiles, OfTorchSaveAreReadAsTensorListOrDict) {
  for (const char* name : {"tensor", "half", "list", "tuple", "dict", "named"}) {
    const ActivationStore store(saved(name));
    EXPECT_EQ(store.d_in(), 4) << name;
    ASSERT_EQ(store.size(), 6) << name;
    EXPECT_TRUE(at::equal(store.rows(0, 6), expected())) << name;
    EXPECT_TRUE(at::equal(store.unchecked_rows(1, 4), expected().slice(0, 1, 5))) << name;
    EXPECT_NO_THROW(store.require_finite()) << name;
    EXPECT_EQ(store.has_tokens(), std::string(name) == "dict") << name;
  }
  EXPECT_EQ(ActivationStore(saved("half")).dtype(), at::kHalf);
  EXPECT_EQ(ActivationStore(saved("list")).shards(), 2);
  EXPECT_EQ(ActivationStore(saved("tuple")).shards(), 2) << "an empty tensor has no rows";
}

TEST_F(BareFiles, OfTorchSaveMayBeAPartOfTheirStorage) {
  const at::Tensor twice = at::cat({expected(), expected()});
  EXPECT_TRUE(at::equal(ActivationStore(saved("rows")).rows(0, 6), twice.slice(0, 3, 9)));
}

TEST_F(BareFiles, OfTorchSaveBringTheirIds) {
  const ActivationStore store(saved("dict"));
  EXPECT_TRUE(at::equal(store.tokens(0, 6), (at::arange(6) * 1000).to(at::kInt))) << "of int64";
  EXPECT_TRUE(at::equal(store.tokens(4, 2), at::tensor({4000, 5000}, at::kInt)));
  EXPECT_TRUE(at::equal(store.context(0, 6), at::tensor({0, 0, 0, 1, 1, 1}, at::kInt)));
}

TEST_F(BareFiles, OfTorchSaveAreRefusedWhereTheyAreSomethingElse) {
  const auto file = [](const char* name) { return saved(name).string(); };
  EXPECT_EQ(refusal(saved("transposed")),
            file("transposed") + ": the tensor is not contiguous; save its contiguous()");
  EXPECT_EQ(refusal(saved("three")), file("three") +
                                         ": the tensor is F32 [2, 3, 4], expected F32, F16 or "
                                         "BF16 [*, *]");
  EXPECT_EQ(refusal(saved("tokens")),
            file("tokens") + ": the tensor is I64 [6], expected F32, F16 or BF16 [*, *]");
  EXPECT_EQ(refusal(saved("nested")), file("nested") + ": 'blocks.3' is a list, expected a tensor");
  EXPECT_NE(refusal(saved("object")).find("pickle wants to run pathlib"), std::string::npos);
  const fs::path archives = saved("tensor").parent_path();
  EXPECT_NE(refusal(archives / "torch_legacy.pt").find("in the format of PyTorch before 1.6"),
            std::string::npos);
  EXPECT_NE(refusal(archives / "numpy.npz").find("zip archive without data.pkl"),
            std::string::npos);
  EXPECT_NE(refusal(archives / "torch_protocol_2.pt")
                .find("has 2 tensors, expected one, or one "
                      "named activations"),
            std::string::npos);
}

TEST_F(BareFiles, OfTorchSaveAreRefusedIfDamaged) {
  for (const char* name : {"tensor", "list", "dict"}) {
    const std::string whole = read_file(saved(name));
    for (std::size_t size = 1; size < whole.size(); size += 53) {
      write_file_atomically(path("cut.pt"), whole.substr(0, size));
      const std::string message = refusal(path("cut.pt"));
      EXPECT_TRUE(message.starts_with(path("cut.pt").string() + ": ")) << size << message;
      EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    }
    std::string flipped = whole;
    const std::size_t at = whole.find(std::string("\0\0\x80\x3f\0\0\x90\x3f", 8));  // 1, 1.125
    ASSERT_NE(at, std::string::npos);
    flipped[at + 2] ^= 1;
    write_file_atomically(path("flipped.pt"), flipped);
    EXPECT_NE(refusal(path("flipped.pt")).find("does not have its checksum"), std::string::npos)
        << name;
    EXPECT_EQ(refusal(path("flipped.pt"), /*verify=*/false), "nothing was thrown");
  }
}

TEST_F(BareFiles, OfTorchSaveNameTheTensorOfANaN) {
  std::string file = read_file(saved("list"));
  const std::string five("\0\0\xa0\x40", 4);  // 5, in the last row
  file.replace(file.find(five), 4, std::string("\0\0\xc0\x7f", 4));
  write_file_atomically(path("nan.pt"), file);
  const ActivationStore store(path("nan.pt"), /*verify_checksums=*/false);
  const std::string place = path("nan.pt").string() + ": tensor 1: row 3 has a NaN";
  for (const auto& look : {+[](const ActivationStore& one) { one.require_finite(); },
                           +[](const ActivationStore& one) { one.rows(0, one.size()); }}) {
    try {
      look(store);
      ADD_FAILURE() << "nothing was thrown";
    } catch (const DataError& error) {
      EXPECT_TRUE(std::string(error.what()).starts_with(place)) << error.what();
    }
  }
}

TEST_F(BareFiles, TakeIdsOfAnyIntegersFromFilesBesideThem) {
  write_npy("acts.npy", expected());
  EXPECT_FALSE(ActivationStore(path("acts.npy")).has_tokens());
  const std::string alone = ActivationStore(path("acts.npy")).digest();
  const at::Tensor ids = at::tensor({3, 1, 4, 1, 5, 9}, at::kLong);
  for (const at::ScalarType type : {at::kByte, at::kChar, at::kShort, at::kUInt16, at::kInt,
                                    at::kUInt32, at::kLong, at::kUInt64}) {
    write_npy("acts.tokens.npy", ids.to(type));
    const ActivationStore store(path("acts.npy"));
    ASSERT_TRUE(store.has_tokens()) << type;
    EXPECT_TRUE(at::equal(store.tokens(0, 6), ids.to(at::kInt))) << type;
    EXPECT_TRUE(at::equal(store.tokens(2, 3), ids.slice(0, 2, 5).to(at::kInt))) << type;
    EXPECT_NE(store.digest(), alone) << type;
  }
  write_safetensors(path("acts.context.safetensors"), {{"ids", at::zeros({6}, at::kLong)}});
  EXPECT_TRUE(ActivationStore(path("acts.npy")).has_context());
}

TEST_F(BareFiles, DealIdsBesideAListOutToItsTensors) {
  fs::copy_file(saved("list"), path("acts.pt"));
  fs::copy_file(saved("tokens"), path("acts.tokens.pt"));
  const ActivationStore store(path("acts.pt"));
  EXPECT_EQ(store.shards(), 2);
  EXPECT_TRUE(at::equal(store.tokens(1, 4), at::tensor({1000, 2000, 3000, 4000}, at::kInt)));
}

TEST_F(BareFiles, RefuseIdsThatDoNotFit) {
  write_npy("acts.npy", expected());
  const std::string tokens = path("acts.tokens.npy").string();
  write_npy("acts.tokens.npy", at::zeros({5}, at::kLong));
  EXPECT_EQ(refusal(path("acts.npy")), tokens + ": the tensor is I64 [5], expected I32 [6]");
  write_npy("acts.tokens.npy", at::zeros({6}));
  EXPECT_EQ(refusal(path("acts.npy")), tokens + ": the tensor is F32 [6], expected I32 [6]");
  write_npy("acts.tokens.npy", at::tensor({0L, 1L, 2L, 3L, 1L << 31, 5L}, at::kLong));
  EXPECT_EQ(refusal(path("acts.npy")),
            tokens + ": id of row 4 is out of range, expected ids of 32 bits");
  write_npy("acts.tokens.npy", at::zeros({6}, at::kLong));
  fs::copy_file(saved("tokens"), path("acts.tokens.pt"));
  EXPECT_EQ(refusal(path("acts.npy")),
            path("acts.tokens.pt").string() +
                ": is there beside acts.tokens.npy, expected one file of tokens");
  fs::copy_file(saved("dict"), path("dict.pt"));
  write_npy("dict.tokens.npy", at::zeros({6}, at::kLong));
  EXPECT_EQ(refusal(path("dict.pt")),
            path("dict.tokens.npy").string() + ": dict.pt holds tokens itself; remove one of them");
}

TEST_F(BareFiles, OfSafetensorsMayHoldWiderIds) {
  write_safetensors(path("acts"), {{"activations", expected()}, {"tokens", at::arange(6)}});
  EXPECT_TRUE(at::equal(ActivationStore(path("acts")).tokens(0, 6), at::arange(6).to(at::kInt)));
}

}  // namespace
}  // namespace sae
