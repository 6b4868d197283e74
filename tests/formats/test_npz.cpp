#include <gtest/gtest.h>
#include <torch/types.h>

#include <map>

#include "formats/npz.h"
#include "formats/npz_arrays.h"
#include "formats/zip.h"
#include "sae/base/error.h"
#include "sae/base/files.h"
#include "support/temporary_folder.h"
#include "support/zip_testing.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

fs::path golden(const std::string& name) {
  return fs::path(SAE_SOURCE_DIR) / "tests/golden/archives" / name;
}

std::map<std::string, at::Tensor> read(const fs::path& path) {
  const NamedTensors tensors = read_npz(path);
  return {tensors.begin(), tensors.end()};
}

std::string message_of(const std::string& file) {
  try {
    visit_npz(file, "a.npz", [](const auto&, const auto&, auto) {});
  } catch (const DataError& error) {
    return error.what();
  }
  return "nothing was thrown";
}

std::string npy(const std::string& descr, const std::string& data) {
  std::string header = npy_header("F32", {2});
  header.replace(header.find("<f4"), 3, descr);
  return header + data;
}

void expect_what_numpy_saved(const fs::path& path) {
  std::map<std::string, at::Tensor> found = read(path);
  const at::Tensor counting = at::arange(6, at::kFloat).view({2, 3});
  const std::map<std::string, at::Tensor> expected = {
      {"counting", counting},
      {"fortran", counting},
      {"half", counting.to(at::kHalf)},
      {"double", counting.to(at::kDouble)},
      {"long", at::arange(-3, 3, at::kLong)},
      {"int", at::arange(-3, 3, at::kInt)},
      {"bool", at::tensor({1, 0, 1}, at::kInt).to(at::kBool)},
      {"scalar", at::full({}, 2.5, at::kFloat)},
      {"empty", at::zeros({0, 3}, at::kFloat)},
      {"zeros", at::zeros({20000}, at::kChar)},
      {"rows", at::arange(300, at::kShort).repeat({3})},
  };
  for (const auto& [name, tensor] : expected) {
    ASSERT_TRUE(found.contains(name)) << name;
    EXPECT_EQ(found[name].scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(at::equal(found[name], tensor)) << name << found[name];
  }
  EXPECT_EQ(found["noise"].sizes(), at::IntArrayRef({3000}));
  EXPECT_NEAR(found["noise"].to(at::kDouble).mean().item<double>(), 127.5, 5);
  EXPECT_TRUE(at::allclose(found["sines"], at::arange(2000, at::kFloat).sin(), 0, 1e-6));
  EXPECT_EQ(found.size(), expected.size() + 2);
}

TEST(Npz, ReadsWhatNumpySaves) { expect_what_numpy_saved(golden("numpy.npz")); }

TEST(Npz, ReadsWhatNumpyCompresses) { expect_what_numpy_saved(golden("numpy_compressed.npz")); }

TEST(Npz, WritesWhatItReadsBack) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "a.npz";
  const NamedTensors tensors = read_npz(golden("numpy.npz"));
  write_npz(path, tensors);
  const NamedTensors again = read_npz(path);
  ASSERT_EQ(again.size(), tensors.size());
  for (std::size_t i = 0; i < again.size(); ++i) {
    EXPECT_EQ(again[i].first, tensors[i].first);
    EXPECT_TRUE(at::equal(again[i].second, tensors[i].second)) << again[i].first;
  }
}

TEST(Npz, WritesTheSameBytesWheneverAndWherever) {
  const TemporaryFolder folder;
  const at::Tensor x = at::arange(6, at::kFloat).view({2, 3});
  write_npz(folder.path() / "a.npz", {{"x", x.t()}});
  write_npz(folder.path() / "b.npz", {{"x", x.t().contiguous()}});
  const std::string bytes = read_file(folder.path() / "a.npz");
  EXPECT_EQ(bytes, read_file(folder.path() / "b.npz"));
  // By hand: data at multiples of 64, the header's text as numpy writes it.
  EXPECT_EQ(bytes.substr(0, 4), "PK\x03\x04");
  EXPECT_EQ(bytes.find("\x93NUMPY"), 64U);
  EXPECT_NE(bytes.find("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }"), bytes.npos);
}

TEST(Npz, RefusesAFileCutOffAnywhere) {
  const TemporaryFolder folder;
  for (const char* name : {"numpy.npz", "numpy_compressed.npz"}) {
    const std::string whole = read_file(golden(name));
    for (std::size_t size = 0; size < whole.size(); size += size < 1000 ? 1 : 61) {
      const std::string message = message_of(whole.substr(0, size));
      ASSERT_TRUE(message.starts_with("a.npz: ")) << size << message;
      ASSERT_EQ(message.find('\n'), message.npos);
    }
  }
}

TEST(Npz, NoticesEveryDamagedByteOfTheData) {
  const std::string whole = read_file(golden("numpy_compressed.npz"));
  for (const ZipEntry& entry : parse_zip(whole, "a.npz")) {
    const auto begin = static_cast<std::size_t>(entry.data.data() - whole.data());
    const std::size_t step = 1 + entry.data.size() / 50;
    for (std::size_t i = 0; i + 1 < entry.data.size(); i += step) {  // the last has unused bits
      std::string damaged = whole;
      damaged[begin + i] = static_cast<char>(damaged[begin + i] ^ 4);
      ASSERT_TRUE(message_of(damaged).starts_with("a.npz: zip entry '" + entry.name + "'"))
          << message_of(damaged);
    }
  }
}

TEST(Npz, ReadsAnythingOrRefusesItInOneLine) {
  const std::string whole = test_zip(
      {{"a.npy", npy("<f4", std::string(8, 'x'))}, {"b.npy", npy("<f4", std::string(8, 'y'))}});
  EXPECT_EQ(message_of(whole), "nothing was thrown");
  for (std::size_t i = 0; i < whole.size(); ++i) {
    for (const int change : {1, 0x80, 0xff}) {
      std::string damaged = whole;
      damaged[i] = static_cast<char>(damaged[i] ^ change);
      ASSERT_EQ(message_of(damaged).find('\n'), std::string::npos);
    }
  }
}

TEST(Npz, RefusesArraysThatAreNoNumbers) {
  EXPECT_EQ(message_of(read_file(golden("numpy_objects.npz"))),
            "a.npz: a.npy: array of Python objects, which are a pickle; expected numbers");
  EXPECT_EQ(message_of(test_zip({{"x.npy", npy(">f4", std::string(8, 'x'))}})),
            "a.npz: x.npy: array of '>f4', expected little-endian floats, integers or '|b1'");
  EXPECT_NE(message_of(test_zip({{"x.npy", npy("|V2", std::string(4, 'x'))}}))
                .find("; save bfloat16 as float32"),
            std::string::npos);
  EXPECT_EQ(message_of(test_zip({{"x.npy", npy("<f4", std::string(7, 'x'))}})),
            "a.npz: x.npy: array is F32 [2], but the file has 7 bytes of data");
  EXPECT_EQ(message_of(test_zip({{"x.npy", "PK"}})), "a.npz: x.npy: not a npy file");
  EXPECT_EQ(message_of(test_zip({{"ae/data.pkl", "}."}})),
            "a.npz: zip entry 'ae/data.pkl', expected arrays (names that end with .npy), as in a "
            ".npz");
}

TEST(Zip, RefusesOddArchives) {
  const std::string array = npy("<f4", std::string(8, 'x'));
  const auto error = [](const std::vector<TestEntry>& entries) {
    return message_of(test_zip(entries));
  };
  EXPECT_EQ(message_of(""), "a.npz: not a zip archive");
  EXPECT_EQ(message_of("{\"json\": true}"), "a.npz: not a zip archive");
  EXPECT_EQ(error({{"a.npy", array}, {"a.npy", array}}), "a.npz: zip entry 'a.npy' appears twice");
  EXPECT_EQ(error({{.name = "a.npy", .data = array, .method = 12}}),
            "a.npz: zip entry 'a.npy' has compression method 12, expected 0 (stored) or 8 "
            "(deflated)");
  EXPECT_EQ(error({{.name = "a.npy", .data = array, .flags = 1}}),
            "a.npz: zip entry 'a.npy' is encrypted");
  EXPECT_EQ(error({{.name = "a.npy", .data = array, .wrong_crc = 1}}),
            "a.npz: zip entry 'a.npy' does not have its checksum; is the file damaged?");
  EXPECT_EQ(error({{.name = "a.npy", .data = array, .local_name = "b.npy"}}),
            "a.npz: zip entry 'a.npy' has another name at its place");
  EXPECT_EQ(error({{.name = "a.npy", .data = array, .size = 7}}),
            "a.npz: zip entry 'a.npy' is stored as " + std::to_string(array.size()) +
                " bytes, but has 7");
  EXPECT_EQ(message_of(test_zip({{"a.npy", array}}, 1)),
            "a.npz: zip entry 'a.npy' is not at its place 1");
  EXPECT_EQ(message_of("PK\x05\x06 too short"),
            "a.npz: zip archive without its directory; is it truncated?");
  EXPECT_EQ(message_of(test_zip({{"a.npy", array}}) + "x"),
            "a.npz: zip archive without its directory; is it truncated?");
  EXPECT_EQ(error({{"a\n\x1b.npy", array}, {"b", ""}}).find('\n'), std::string::npos);
}

TEST(Zip, RefusesEntriesThatShareBytes) {
  const std::string array = npy("<f4", std::string(8, 'x'));
  std::string file = test_zip({{"a.npy", array}, {"b.npy", array}});
  const std::size_t second = file.rfind("PK\x01\x02") + 42;
  const std::string inner = test_zip({{"b.npy", "x"}});
  // The second entry's local header lies in the first one's data.
  file.replace(file.find(array), 36, inner.substr(0, 36));
  file[second] = static_cast<char>(30 + 5);
  EXPECT_EQ(message_of(file), "a.npz: zip entries overlap");
}

TEST(Zip, IsNotTalkedIntoMoreMemoryThanItsBytesCanFill) {
  const std::vector<TestEntry> entries = {
      {.name = "a.npy", .data = "\x03\x00", .method = 8, .size = 4000000000}};
  EXPECT_EQ(message_of(test_zip(entries)),
            "a.npz: zip entry 'a.npy': compressed data of 1 bytes cannot hold the 4000000000 bytes "
            "it claims");
}

/// What a deflated entry of these bytes is unpacked to, or the message.
std::string unpacked(std::string_view data, std::uint64_t size, const std::string& expected = "") {
  const ZipEntry entry{
      .name = "x", .data = data, .size = size, .crc = zip_checksum(0, expected), .deflated = true};
  std::string buffer;
  try {
    return std::string(zip_contents(entry, buffer, "a.npz"));
  } catch (const DataError& error) {
    return error.what();
  }
}

TEST(Zip, UnpacksBlocksWrittenByHand) {
  // A stored block, then one of fixed codes: 'a' (0x61 + 0x30 = 0x91 in 8 bits), end (0000000).
  const std::string stored(
      "\x01\x02\x00\xfd\xff"
      "hi",
      7);
  EXPECT_EQ(unpacked(stored, 2, "hi"), "hi");
  EXPECT_EQ(unpacked("\x4b\x04" + std::string(1, '\0'), 1, "a"), "a");
  // zlib's of 1000 letters: a literal and matches of distance 1.
  const std::string run("\x4b\x4c\x1c\x05\xa3\x60\x14\x0c\x77\x00\x00", 11);
  EXPECT_EQ(unpacked(run, 1000, std::string(1000, 'a')), std::string(1000, 'a'));
  EXPECT_EQ(unpacked(std::string("\x03\x00", 2), 0), "") << "nothing";
}

TEST(Zip, RefusesBrokenStreams) {
  const auto says = [](const std::string& what) {
    return "a.npz: zip entry 'x': compressed data " + what + "; is the file damaged?";
  };
  const std::string letter("\x4b\x04\x00", 3);
  EXPECT_EQ(unpacked("", 0), says("ends too early"));
  EXPECT_EQ(unpacked(letter.substr(0, 2), 1), says("ends too early"));
  EXPECT_EQ(unpacked(letter, 2), says("holds fewer bytes than it should"));
  EXPECT_EQ(unpacked(letter, 0), says("holds more bytes than it should"));
  EXPECT_EQ(unpacked(letter + "x", 1), says("goes on after its end"));
  EXPECT_EQ(unpacked("\x07", 1), says("is broken: invalid block type"));
  const std::string unsized(
      "\x01\x02\x00\xfd\xfe"
      "hi",
      7);
  EXPECT_EQ(unpacked(unsized, 2), says("is broken: invalid stored block lengths"));
  // A match of length 3 and distance 1 before any byte.
  EXPECT_EQ(unpacked(std::string("\x03\x02\x00", 3), 3),
            says("is broken: invalid distance too far back"));
}

TEST(Zip, StopsUnpackingWhereTheSizeIsReached) {
  // 1032 bytes for each one, whatever the entry claims: it is read no further than it says.
  std::string bomb("\x4b\x4c\x1c\x05\xa3\x60\x14\x0c\x77\x00\x00", 11);
  EXPECT_EQ(unpacked(bomb, 10),
            "a.npz: zip entry 'x': compressed data holds more bytes than it "
            "should; is the file damaged?");
}

TEST(Zip, ChecksumsGoOn) {
  EXPECT_EQ(zip_checksum(0, "123456789"), 0xCBF43926U);
  EXPECT_EQ(zip_checksum(zip_checksum(zip_checksum(0, "1234"), {}), "56789"), 0xCBF43926U);
  EXPECT_EQ(zip_checksum(0, {}), 0U);
}

}  // namespace
}  // namespace sae
