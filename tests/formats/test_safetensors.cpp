#include <gtest/gtest.h>
#include <torch/types.h>

#include <cctype>

#include "formats/safetensors_header.h"
#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/formats/safetensors.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

constexpr at::ScalarType kAllTypes[] = {at::kDouble, at::kFloat, at::kHalf,  at::kBFloat16,
                                        at::kLong,   at::kInt,   at::kShort, at::kChar,
                                        at::kByte,   at::kBool};

/// A file with this header and `data` zero bytes after it.
std::string file_with(const std::string& json, std::size_t data) {
  std::string file;
  for (int shift = 0; shift < 64; shift += 8) {
    file.push_back(static_cast<char>(json.size() >> shift));
  }
  return file + json + std::string(data, '\0');
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":" + offsets + "}";
}

std::string message_of(const std::string& file) {
  try {
    parse_safetensors_header(file, "file");
  } catch (const DataError& error) {
    return error.what();
  }
  return "accepted";
}

template <class Action>
std::string data_error(Action action) {
  try {
    action();
  } catch (const DataError& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(SafetensorsHeader, ReadsNamesShapesRangesAndMetadata) {
  const std::string json = "{" + entry("b", "F32", "[2,2]", "[4,20]") + "," +
                           entry("a", "I8", "[4]", "[0,4]") + R"(,"__metadata__":{"k":"v"}}   )";
  const SafetensorsHeader header = parse_safetensors_header(file_with(json, 20), "file");
  ASSERT_EQ(header.entries.size(), 2U);
  EXPECT_EQ(header.entries[0].name, "a");
  EXPECT_EQ(header.entries[1].name, "b");
  EXPECT_EQ(header.entries[1].dtype, "F32");
  EXPECT_EQ(header.entries[1].shape, (std::vector<std::int64_t>{2, 2}));
  EXPECT_EQ(header.entries[1].begin, 8 + json.size() + 4);
  EXPECT_EQ(header.entries[1].end, 8 + json.size() + 20);
  EXPECT_EQ(header.metadata.at("k"), "v");
}

TEST(SafetensorsHeader, RefusesLengthsThatTheFileDoesNotHave) {
  EXPECT_EQ(message_of("short"), "file: 5 bytes are too few for a safetensors file");
  EXPECT_EQ(message_of(file_with("{}", 0).substr(0, 9)),
            "file: header of 2 bytes, the file has 1; is it truncated?");
  EXPECT_EQ(message_of(std::string(16, '\xff')),
            "file: not a safetensors file: header of 18446744073709551615 bytes, at most 100000000 "
            "allowed");
}

TEST(SafetensorsHeader, RefusesWhatIsNotTheExpectedJson) {
  const std::pair<std::string, std::string> cases[] = {
      {"", "not valid JSON at byte 1"},
      {"{} x", "not valid JSON at byte 4"},
      {std::string("{}\0x", 4), "contains a NUL byte"},
      {"[]", "an array is not expected"},
      {"{\"a\":1}", "a number is not expected"},
      {"{\"a\":{}}", "tensor a, a: needs dtype, shape and data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0]}})",
       "tensor a, data_offsets: needs two data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0,4,8]}})",
       "tensor a, data_offsets: a number is not expected"},
      {R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})",
       "tensor a, shape: a negative number"},
      {R"({"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})",
       "tensor a, shape: number 1.5 is not an integer"},
      {R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})",
       "tensor a, shape: an array is not expected"},
      {R"({"a":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,4]}})",
       "tensor a, shape: number 9223372036854775808 is too large"},
      {R"({"a":{"dtype":"Q4","shape":[1],"data_offsets":[0,4]}})",
       "tensor a, dtype: unknown dtype 'Q4'"},
      {R"({"a":{"stride":[1]}})", "tensor a, stride: unknown key"},
      {R"({"a":{"dtype":"F32","dtype":"F32"}})", "tensor a, dtype: key appears twice"},
      {R"({"__metadata__":{"k":1}})", "a number is not expected"},
      {R"({"__metadata__":{"k":"v","k":"v"}})", "metadata 'k' appears twice"},
      {R"({"a\nb":{"shape":null}})", "tensor a?b, shape: null is not expected"},
      {std::string(100'000, '['), "an array is not expected"},
      {"{\"a\":" + std::string(100'000, '{'), "not valid JSON at byte 7"},
  };
  for (const auto& [json, expected] : cases) {
    EXPECT_EQ(message_of(file_with(json, 4)), "file: safetensors header: " + expected)
        << json.substr(0, 100);
  }
  const std::string twice =
      entry("a", "I8", "[2]", "[0,2]") + "," + entry("a", "I8", "[2]", "[2,4]");
  EXPECT_EQ(message_of(file_with("{" + twice + "}", 4)),
            "file: safetensors header: name 'a' appears twice");
}

TEST(SafetensorsHeader, RefusesTensorsThatDoNotTileTheFile) {
  const auto with = [](const std::string& entries, std::size_t data) {
    return message_of(file_with("{" + entries + "}", data));
  };
  EXPECT_EQ(with(entry("a", "F32", "[2]", "[0,8]"), 7),
            "file: tensor a needs bytes [0, 8), the file has 7; is it truncated?");
  EXPECT_EQ(with(entry("a", "F32", "[2]", "[0,8]"), 9), "file: 1 bytes after the last tensor");
  EXPECT_EQ(with(entry("a", "F32", "[2]", "[8,0]"), 8), "file: tensor a has the byte range [8, 0)");
  EXPECT_EQ(with(entry("a", "F32", "[3]", "[0,8]"), 8),
            "file: tensor a is F32 [3], but its byte range [0, 8) holds 8 bytes");
  EXPECT_EQ(with(entry("a", "F32", "[1]", "[0,4]") + "," + entry("b", "F32", "[1]", "[2,6]"), 6),
            "file: tensor b starts at byte 2, inside the tensor before it, which ends at 4");
  EXPECT_EQ(with(entry("a", "F32", "[1]", "[0,4]") + "," + entry("b", "F32", "[1]", "[5,9]"), 9),
            "file: tensor b starts at byte 5, leaving a hole after byte 4");
  EXPECT_EQ(with(entry("a", "F32", "[4294967296,4294967296]", "[0,0]"), 0),
            "file: tensor a is F32 [4294967296, 4294967296], but its byte range [0, 0) holds 0 "
            "bytes");
  EXPECT_EQ(with(entry("a", "F32", "[0,9223372036854775807]", "[0,0]"), 0),
            "file: tensor a is F32 [0, 9223372036854775807], but its byte range [0, 0) holds 0 "
            "bytes");
}

TEST(SafetensorsHeader, AcceptsAFileWithoutTensors) {
  EXPECT_TRUE(parse_safetensors_header(file_with("{}", 0), "file").entries.empty());
}

TEST(Safetensors, ReadsAFileOfThePythonLibrary) {
  const SafetensorsFile file(fs::path(SAE_SOURCE_DIR) / "tests/golden/every_dtype.safetensors");
  EXPECT_EQ(file.metadata().at("note"), "\u00e9");
  EXPECT_EQ(file.names().size(), 12U);
  for (const at::ScalarType dtype : kAllTypes) {
    std::string name = safetensors_dtype(dtype);
    for (char& c : name) c = static_cast<char>(std::tolower(c));
    const bool is_signed = name != "u8" && name != "bool";
    const at::Tensor expected = (at::arange(6).reshape({2, 3}) - (is_signed ? 2 : 0)).to(dtype);
    EXPECT_TRUE(at::equal(file.expect(name, {2, 3}, dtype), expected)) << name;
  }
  EXPECT_EQ(file.tensor("scalar").item<float>(), 0.5F);
  EXPECT_EQ(file.tensor("scalar").dim(), 0);
  EXPECT_EQ(file.shape("empty"), (std::vector<std::int64_t>{0, 4}));
}

TEST(Safetensors, WritesWhatIsReadBackForEveryType) {
  const TemporaryFolder folder;
  NamedTensors tensors;
  for (const at::ScalarType dtype : kAllTypes) {
    tensors.emplace_back(safetensors_dtype(dtype), at::arange(5).to(dtype));
  }
  tensors.emplace_back("transposed", at::arange(6).reshape({2, 3}).t());
  tensors.emplace_back("empty", at::empty({0}));
  const fs::path path = folder.path() / "file.safetensors";
  write_safetensors(path, tensors, {{"b", "2"}, {"a", "\"1\"\n"}});
  const SafetensorsFile file(path);
  EXPECT_EQ(file.metadata(), (Metadata{{"a", "\"1\"\n"}, {"b", "2"}}));
  for (const auto& [name, tensor] : tensors) {
    EXPECT_EQ(file.dtype(name), tensor.scalar_type());
    EXPECT_TRUE(at::equal(file.tensor(name), tensor)) << name;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(file.bytes(name).data()) % tensor.element_size(),
              0U);
  }
}

TEST(Safetensors, WritesTheSameBytesForTheSameTensors) {
  const TemporaryFolder folder;
  const NamedTensors tensors = {{"x", at::arange(7).to(at::kFloat)}, {"y", at::ones({3, 3})}};
  write_safetensors(folder.path() / "a", tensors, {{"k", "v"}});
  write_safetensors(folder.path() / "b", tensors, {{"k", "v"}});
  const std::string bytes = read_file(folder.path() / "a");
  EXPECT_EQ(bytes, read_file(folder.path() / "b"));
  EXPECT_EQ((bytes.size() - 7 * 4 - 9 * 4) % 64, 0U);
}

TEST(Safetensors, RefusesNamesThatCannotBeStored) {
  const TemporaryFolder folder;
  const at::Tensor x = at::ones({1});
  const fs::path path = folder.path() / "file";
  EXPECT_THROW(write_safetensors(path, {{"a", x}, {"a", x}}), std::invalid_argument);
  EXPECT_THROW(write_safetensors(path, {{"__metadata__", x}}), std::invalid_argument);
  EXPECT_THROW(write_safetensors(path, {{"a", at::Tensor()}}), std::invalid_argument);
  EXPECT_THROW(write_safetensors(path, {{"a", x.to(at::kComplexFloat)}}), std::invalid_argument);
  EXPECT_FALSE(fs::exists(path));
}

TEST(Safetensors, SaysWhatIsThereAndWhatWasExpected) {
  const TemporaryFolder folder;
  const std::string path = (folder.path() / "sae.safetensors").string();
  write_safetensors(path, {{"W_enc", at::zeros({2, 3})}, {"b_dec", at::zeros({3})}});
  const SafetensorsFile file(path);
  EXPECT_NO_THROW(file.check("W_enc", {-1, 3}, at::kFloat));
  EXPECT_EQ(data_error([&] {
              file.expect("W_enc", {3, 2}, at::kFloat);
            }),
            path + ": tensor W_enc is F32 [2, 3], expected F32 [3, 2]");
  EXPECT_EQ(data_error([&] {
              file.check("W_enc", {-1, 3}, at::kHalf);
            }),
            path + ": tensor W_enc is F32 [2, 3], expected F16 [*, 3]");
  EXPECT_EQ(data_error([&] { file.tensor("W_dec"); }),
            path + ": no tensor W_dec; it has W_enc, b_dec");
  EXPECT_EQ(data_error([&] { file.expect_names({"W_enc"}); }), path + ": unexpected tensor b_dec");
  EXPECT_NO_THROW(file.expect_names({"b_dec", "W_enc"}));
}

TEST(Safetensors, AReadTensorOutlivesItsFile) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "file";
  write_safetensors(path, {{"x", at::arange(4)}});
  const at::Tensor x = SafetensorsFile(path).tensor("x");
  fs::remove(path);
  EXPECT_EQ(x.sum().item<std::int64_t>(), 6);
}

}  // namespace
}  // namespace sae
