// What the tests of conversions share: SAEs saved by other tools, and comparisons on their inputs.
#pragma once

#include <gtest/gtest.h>
#include <torch/types.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "models/interchange/formats.h"
#include "sae/base/error.h"
#include "sae/base/files.h"
#include "support/sae_testing.h"
#include "support/temporary_folder.h"

namespace sae {

/// A folder that scripts/make_convert_goldens.py wrote, and what the tool itself computes with it.
struct ConvertGolden {
  explicit ConvertGolden(const std::string& name)
      : folder(std::filesystem::path(SAE_SOURCE_DIR) / "tests/golden/convert" / name) {
    const SafetensorsFile expected(folder / "expected.safetensors");
    x = expected.tensor("x");
    latents = expected.tensor("latents");
    reconstruction = expected.tensor("reconstruction");
  }

  std::filesystem::path folder;
  at::Tensor x;               // [N, D]
  at::Tensor latents;         // [N, F]
  at::Tensor reconstruction;  // [N, D]
};

inline void expect_computes(const PlainSae& plain, const at::Tensor& x, const at::Tensor& latents,
                            const at::Tensor& reconstruction, const std::string& what) {
  const at::Tensor f = encode(plain, x);
  expect_close(f, latents, what + ": latents", 1e-6);
  EXPECT_TRUE(at::equal(f > 0, latents > 0)) << what << ": other latents are active";
  expect_close(decode(plain, f), reconstruction, what + ": reconstruction", 1e-6);
}

/// `plain`, and the autoencoder of ours that is made of it, compute what the tool does.
inline void expect_golden(const PlainSae& plain, const ConvertGolden& golden,
                          const std::string& what) {
  expect_computes(plain, golden.x, golden.latents, golden.reconstruction, what);
  const OwnSae own = own_from(plain);
  const Codes codes = own.sae->encode(golden.x);
  expect_close(codes.to_dense(), golden.latents, what + ": our latents", 2e-6);
  expect_close(own.sae->decode(codes), golden.reconstruction, what + ": our reconstruction", 2e-6);
}

/// Same function of x, up to rounding.
inline void expect_same_function(const PlainSae& got, const PlainSae& expected, const at::Tensor& x,
                                 const std::string& what) {
  const at::Tensor f = encode(expected, x);
  expect_computes(got, x, f, decode(expected, f), what);
}

/// One line that holds each of `parts`.
template <class Error, class Call>
void expect_refused(Call&& call, const std::vector<std::string>& parts) {
  try {
    call();
    ADD_FAILURE() << "nothing was thrown; expected " << parts.front();
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    for (const std::string& part : parts) {
      EXPECT_NE(message.find(part), std::string::npos) << message << "\nexpected " << part;
    }
  }
}

/// A copy of a golden's files that a test may spoil.
class SpoiltCopy {
 public:
  explicit SpoiltCopy(const std::string& golden) {
    std::filesystem::copy(ConvertGolden(golden).folder, path(),
                          std::filesystem::copy_options::recursive);
  }
  std::filesystem::path path() const { return folder_.path() / "copy"; }

  /// Sets `key` of a JSON file; null removes it.
  void set(const std::string& file, const std::string& key, const Json& value) const {
    Json json = Json::parse(read_file(path() / file));
    json[key] = value;
    if (value.is_null()) json.erase(key);
    write(file, json.dump());
  }
  /// The same, for which null is a value.
  void set_value(const std::string& file, const std::string& key, const Json& value) const {
    Json json = Json::parse(read_file(path() / file));
    json[key] = value;
    write(file, json.dump());
  }
  void write(const std::string& file, const std::string& bytes) const {
    std::ofstream(path() / file, std::ios::binary) << bytes;
  }
  /// Rewrites a safetensors file after `change(tensors by name)`.
  template <class Change>
  void change_tensors(const std::string& file, Change&& change) const {
    std::map<std::string, at::Tensor> tensors;
    {
      const SafetensorsFile old(path() / file);
      for (const std::string& name : old.names()) tensors[name] = old.tensor(name);
    }
    change(tensors);
    write_safetensors(path() / file, {tensors.begin(), tensors.end()});
  }

 private:
  TemporaryFolder folder_;
};

}  // namespace sae
