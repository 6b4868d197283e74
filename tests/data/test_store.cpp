#include <gtest/gtest.h>
#include <torch/types.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <thread>

#include "base/permutation.h"
#include "base/strict_json.h"
#include "formats/npy.h"
#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/data/store.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

template <class Error = DataError, class Action>
std::string message_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(Permutation, HitsEveryElementOnce) {
  for (std::uint64_t size = 1; size <= 300; ++size) {
    const Permutation permutation(size, 7, Stream::kTest, size);
    std::set<std::uint64_t> seen;
    for (std::uint64_t i = 0; i < size; ++i) seen.insert(permutation(i));
    EXPECT_EQ(seen.size(), size);
    EXPECT_EQ(*seen.rbegin(), size - 1);
  }
}

TEST(Permutation, SendsAnElementEverywhereEquallyOften) {
  for (const std::uint64_t size : {2U, 3U, 10U}) {
    std::vector<double> hits(size, 0);
    constexpr int kDraws = 6000;
    for (std::uint64_t index = 0; index < kDraws; ++index) {
      hits[Permutation(size, 1, Stream::kTest, index)(size / 2)] += 1;
    }
    const double p = 1.0 / static_cast<double>(size);
    for (const double count : hits) {
      EXPECT_NEAR(count, kDraws * p, 5 * std::sqrt(kDraws * p * (1 - p)));
    }
  }
}

TEST(Permutation, WorksForSizesBeyondMemory) {
  const std::uint64_t size = std::uint64_t{1} << 61;
  const Permutation permutation(size, 0, Stream::kTest, 0);
  EXPECT_LT(permutation(size - 1), size);
  EXPECT_NE(permutation(0), permutation(1));
  EXPECT_THROW(permutation(size), std::invalid_argument);
  EXPECT_THROW(Permutation(0, 0, Stream::kTest, 0), std::invalid_argument);
}

/// x[i, j] = i + j / 8: exact in f32; in bf16 and f16 after rounding.
at::Tensor ramp(std::int64_t rows, std::int64_t columns) {
  return at::arange(rows).to(at::kFloat).unsqueeze(1) +
         at::arange(columns).to(at::kFloat).unsqueeze(0) / 8;
}

class Stores : public testing::Test {
 protected:
  fs::path path(const std::string& name = "store") const { return folder_.path() / name; }

  /// `rows` rows [rows, 4] in shards of 10, or 10 shards of a larger store; contexts of `context`
  /// tokens if that is above 0.
  fs::path write_store(std::int64_t rows, std::int64_t context = 0,
                       at::ScalarType dtype = at::kFloat) {
    StoreWriter writer(path(), 4, dtype, {{"model", "test"}},
                       std::max<std::int64_t>(10, rows / 10));
    const at::Tensor ids = at::arange(rows);
    if (context > 0) {
      writer.append(ramp(rows, 4), ids, ids.div(context, "floor"));
    } else {
      writer.append(ramp(rows, 4));
    }
    writer.finish();
    return path();
  }

  std::shared_ptr<const ActivationStore> open(std::int64_t rows, std::int64_t context = 0) {
    return std::make_shared<const ActivationStore>(write_store(rows, context));
  }

  std::string open_error(const fs::path& store) {
    return message_of([&] { ActivationStore{store}; });
  }

  /// Rewrites the manifest after `change` has been applied to it.
  template <class Change>
  void edit_manifest(Change change) {
    auto json = nlohmann::ordered_json::parse(read_file(path() / "manifest.json"));
    change(json);
    write_file_atomically(path() / "manifest.json", json.dump());
  }

  fs::path shard(int number) const {
    return path() / ("shard-0000" + std::to_string(number) + ".safetensors");
  }

  TemporaryFolder folder_;
};

TEST_F(Stores, ReadBackWhatWasWrittenInEveryType) {
  for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
    fs::remove_all(path());
    write_store(25, 5, dtype);
    const ActivationStore store(path());
    EXPECT_EQ(store.size(), 25);
    EXPECT_EQ(store.d_in(), 4);
    EXPECT_EQ(store.dtype(), dtype);
    EXPECT_EQ(store.source().at("model"), "test");
    const at::Tensor expected = ramp(25, 4).to(dtype).to(at::kFloat);
    EXPECT_TRUE(at::equal(store.rows(0, 25), expected));
    EXPECT_NEAR(*store.mean_norm(), expected.to(at::kDouble).norm(2, 1).mean().item<double>(),
                1e-9);
    const std::vector<std::int64_t> some = {24, 0, 9, 10, 9};
    EXPECT_TRUE(at::equal(store.rows(some), expected.index_select(0, at::tensor(some))));
    EXPECT_TRUE(at::equal(store.tokens(3, 20), at::arange(3, 23).to(at::kInt)));
    EXPECT_EQ(store.context(9, 2)[1].item<int>(), 2);
    EXPECT_THROW(store.rows(20, 6), std::invalid_argument);
    EXPECT_THROW(store.rows(std::vector<std::int64_t>{-1}), std::invalid_argument);
  }
}

TEST_F(Stores, HandOutRowsAsTheyAreStoredIfThatIsWished) {
  for (const at::ScalarType type : {at::kFloat, at::kHalf, at::kBFloat16}) {
    fs::remove_all(path());
    const auto store = std::make_shared<const ActivationStore>(write_store(30, 0, type));
    StoreOptions options;
    options.held_out = 0.2;
    StoreSource plain(store, options, Split::kTrain, 1);
    StoreSource stored(store, options, Split::kTrain, 1);
    stored.next(7);  // what has been read ahead is of the former form
    stored.seek(0);
    stored.set_form({.as_stored = true});
    for (int i = 0; i < 3; ++i) {
      const at::Tensor x = stored.next(7);
      EXPECT_EQ(x.scalar_type(), type);
      EXPECT_TRUE(at::equal(x.to(at::kFloat), plain.next(7)));
    }
    stored.set_form({});
    EXPECT_EQ(stored.next(7).scalar_type(), at::kFloat);
  }
}

TEST_F(Stores, ReadEveryFiniteHalfExactly) {
  at::Tensor bits = at::arange(65536).to(at::kInt);
  bits = bits.masked_select(bits.bitwise_and(0x7c00) != 0x7c00).to(at::kShort).reshape({-1, 64});
  write_safetensors(path(), {{"x", bits.view(at::kHalf)}});
  const at::Tensor expected = bits.view(at::kHalf).to(at::kFloat);
  const at::Tensor read = ActivationStore(path()).rows(0, bits.size(0));
  EXPECT_TRUE(at::equal(read.view(at::kInt), expected.view(at::kInt)));
}

TEST_F(Stores, AcceptABareSafetensors) {
  const at::Tensor x = ramp(5, 3);
  write_safetensors(path("one"), {{"anything", x}});
  EXPECT_TRUE(at::equal(ActivationStore(path("one")).rows(0, 5), x));
  write_safetensors(path("named"), {{"other", x}, {"activations", x.to(at::kBFloat16)}});
  EXPECT_EQ(ActivationStore(path("named")).dtype(), at::kBFloat16);
  write_safetensors(path("two"), {{"a", x}, {"b", x}});
  EXPECT_EQ(open_error(path("two")),
            path("two").string() + ": has 2 tensors, expected one, or one named activations");
  write_safetensors(path("flat"), {{"a", x.flatten()}});
  EXPECT_EQ(open_error(path("flat")),
            path("flat").string() + ": tensor a is F32 [15], expected F32, F16 or BF16 [*, *]");
  write_safetensors(path("empty"), {{"a", x.narrow(0, 0, 0)}});
  EXPECT_EQ(open_error(path("empty")), path("empty").string() + ": the store is empty");
}

std::string npy(int version, const std::string& header, std::size_t data) {
  std::string file = "\x93NUMPY" + std::string{static_cast<char>(version), '\0'};
  file.push_back(static_cast<char>(header.size()));
  file.append(version == 1 ? 1 : 3, '\0');
  return file + header + std::string(data, '\0');
}

TEST_F(Stores, AcceptATwoDimensionalNpyOfEachVersionAndType) {
  for (const int version : {1, 2, 3}) {
    for (const auto& [descr, size] : {std::pair{"<f2", 2U}, std::pair{"<f4", 4U}, {"<f8", 8U}}) {
      const std::string header =
          "{'descr': '" + std::string(descr) + "', 'fortran_order': False, 'shape': (3, 2), }   \n";
      write_file_atomically(path("a.npy"), npy(version, header, 6 * size));
      const ActivationStore store(path("a.npy"));
      EXPECT_TRUE(at::equal(store.rows(0, 3), at::zeros({3, 2})));
    }
  }
  const at::Tensor x = ramp(3, 2);
  std::string file = npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2)}", 0);
  file.append(static_cast<const char*>(x.data_ptr()), x.nbytes());
  write_file_atomically(path("b.npy"), file);
  EXPECT_TRUE(at::equal(ActivationStore(path("b.npy")).rows(0, 3), x));
}

TEST(Npy, RefusesWhatIsNotATwoDimensionalArrayOfFloats) {
  const auto error = [](const std::string& file) {
    return message_of([&] { parse_npy_header(file, "a.npy"); });
  };
  const auto with = [&](const std::string& header, std::size_t data = 24) {
    return error(npy(1, header, data));
  };
  EXPECT_EQ(error("\x93NUMPY"), "a.npy: not a npy file");
  EXPECT_EQ(error(npy(4, "{}", 0)), "a.npy: npy version 4.0, expected 1 to 3");
  EXPECT_EQ(error(npy(2, "{}", 0).substr(0, 11)),
            "a.npy: npy header is longer than the file; is it truncated?");
  EXPECT_EQ(with("{'descr': '>f4', 'fortran_order': False, 'shape': (3, 2)}"),
            "a.npy: array of '>f4', expected '<f2', '<f4' or '<f8'");
  EXPECT_EQ(with("{'descr': '<f4', 'fortran_order': True, 'shape': (3, 2)}"),
            "a.npy: array is in Fortran order; save numpy.ascontiguousarray of it");
  EXPECT_EQ(with("{'descr': '<f4', 'fortran_order': False, 'shape': (6,)}"),
            "a.npy: array is F32 [6], expected two dimensions");
  EXPECT_EQ(with("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2)}", 23),
            "a.npy: array is F32 [3, 2], but the file has 23 bytes of data");
  EXPECT_EQ(with("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4)}", 0),
            "a.npy: array is F32 [4611686018427387904, 4], but the file has 0 bytes of data");
  EXPECT_EQ(with("{'descr': '<f4', 'fortran_order': False}"),
            "a.npy: npy header: needs descr, fortran_order and shape");
  EXPECT_EQ(with("{'descr': '<f4', 'descr': '<f4'}"),
            "a.npy: npy header: key 'descr' appears twice");
  EXPECT_EQ(with("{'x': 1}"), "a.npy: npy header: unknown key 'x'");
  EXPECT_EQ(with("{'shape': (99999999999999999999,)}"),
            "a.npy: npy header: shape: number too large");
  EXPECT_EQ(with("{'descr': '<f4"), "a.npy: npy header: a string without end");
  EXPECT_EQ(with("{'fortran_order': 1}"),
            "a.npy: npy header: fortran_order: expected True or False");
}

TEST_F(Stores, NameTheShardAndRowOfANaN) {
  for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16, at::kDouble}) {
    for (const double bad : {std::nan(""), -std::numeric_limits<double>::infinity()}) {
      at::Tensor x = ramp(6, 5);
      x[4][2] = bad;
      write_safetensors(path("x"), {{"x", x.to(dtype)}});
      const ActivationStore store(path("x"));
      EXPECT_NO_THROW(store.rows(0, 4));
      const std::string expected =
          path("x").string() +
          ": row 4 has a NaN or infinity; leave such rows out (sae inspect counts them)";
      EXPECT_EQ(message_of([&] { store.rows(0, 6); }), expected);
      const std::vector<std::int64_t> all{0, 1, 2, 3, 4, 5};
      EXPECT_EQ(message_of([&] { store.rows(all, {.as_stored = true}); }), expected);
    }
  }
}

TEST_F(Stores, RefuseAManifestThatIsNotExactlyRight) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"format": "other"})",
       ": not the manifest of an activation store: no format sae-activations"},
      {"[]", ": not the manifest of an activation store: no format sae-activations"},
      {"{\n\n\"format\": }", ":3: not valid JSON"},
      {R"({"format": "sae-activations", "version": 2})",
       ": version 2, this program reads version 1"},
      {R"({"format": "sae-activations", "version": 1})", ": key \"d_in\" is missing"},
      {R"({"format": "sae-activations", "version": 1, "version": 1})",
       ": key \"version\" appears twice"},
  };
  write_store(25);
  const std::string manifest = (path() / "manifest.json").string();
  const std::string good = read_file(manifest);
  for (const auto& [text, expected] : cases) {
    write_file_atomically(manifest, text);
    EXPECT_EQ(open_error(path()), manifest + expected);
  }
  const auto edited = [&](auto change) {
    write_file_atomically(manifest, good);
    edit_manifest(change);
    return open_error(path());
  };
  EXPECT_EQ(edited([](auto& m) { m["extra"] = 1; }), manifest + ": unknown key \"extra\"");
  EXPECT_EQ(edited([](auto& m) { m["d_in"] = -4; }), manifest + ": d_in is -4, expected a count");
  EXPECT_EQ(edited([](auto& m) { m["dtype"] = "f64"; }),
            manifest + ": dtype is 'f64', expected f32, f16 or bf16");
  EXPECT_EQ(edited([](auto& m) { m["tokens"] = 24; }),
            manifest + ": tokens is 24, but its shards have 25");
  EXPECT_EQ(edited([](auto& m) { m["shards"][1]["file"] = "../secret"; }),
            manifest + ": shard 1: file \"../secret\" is not the name of a file in this folder");
  EXPECT_EQ(edited([](auto& m) { m["shards"][1]["crc"] = 1; }),
            manifest + ": shard 1: unknown key \"crc\"");
  EXPECT_EQ(edited([](auto& m) { m["shards"] = nlohmann::json::array(), m["tokens"] = 0; }),
            path().string() + ": the store is empty");
}

TEST_F(Stores, RefuseShardsThatAreNotWhatTheManifestSays) {
  write_store(25);
  const std::string first = shard(1).string();
  const std::string good = read_file(first);
  const auto with = [&](const NamedTensors& tensors) {
    write_safetensors(first, tensors);
    return open_error(path());
  };
  EXPECT_EQ(with({{"activations", ramp(10, 3)}}),
            first + ": activations is F32 [10, 3], manifest says d_in 4");
  EXPECT_EQ(with({{"activations", ramp(9, 4)}}),
            first + ": activations is F32 [9, 4], manifest says 10 tokens");
  EXPECT_EQ(with({{"activations", ramp(10, 4).to(at::kHalf)}}),
            first + ": activations is F16 [10, 4], manifest says dtype f32");
  EXPECT_EQ(with({{"acts", ramp(10, 4)}}), first + ": unexpected tensor acts");
  EXPECT_EQ(with({{"tokens", at::zeros({10}, at::kInt)}}), first + ": no tensor activations");
  EXPECT_EQ(with({{"activations", ramp(10, 4)}, {"tokens", at::zeros({9}, at::kInt)}}),
            first + ": tensor tokens is I32 [9], expected I32 [10]");
  EXPECT_EQ(with({{"activations", ramp(10, 4)}}),
            first + ": damaged: its SHA-256 is not the one in the manifest");
  EXPECT_NO_THROW(ActivationStore(path(), /*verify_checksums=*/false));
  write_file_atomically(first, good.substr(0, good.size() - 1));
  EXPECT_EQ(
      open_error(path()),
      first + ": tensor activations needs bytes [0, 160), the file has 159; is it truncated?");
  fs::remove(first);
  EXPECT_EQ(open_error(path()), first + ": cannot read: No such file or directory");
}

TEST_F(Stores, RefuseShardsOfWhichOnlySomeHaveContexts) {
  write_store(25);
  const at::Tensor ids = at::zeros({10}, at::kInt);
  write_safetensors(shard(1), {{"activations", ramp(10, 4)}, {"context", ids}});
  edit_manifest([](auto& m) { m["shards"][1].erase("sha256"); });
  EXPECT_EQ(open_error(path()),
            shard(1).string() + ": has other tensors than " + shard(0).string());
}

TEST_F(Stores, RefuseAFolderWithoutManifestAndAnAbsentPath) {
  fs::create_directory(path());
  EXPECT_EQ(
      open_error(path()),
      path().string() + ": no manifest.json; not an activation store, or not written to its end");
  EXPECT_EQ(open_error(path("absent")),
            path("absent").string() + ": cannot read: No such file or directory");
}

TEST_F(Stores, NoticeAShardThatChangesOrVanishesDuringARun) {
  const auto store = open(25);
  const std::string bytes = read_file(shard(1));
  fs::resize_file(shard(1), 100);
  EXPECT_NO_THROW(store->rows(0, 10));
  EXPECT_EQ(message_of([&] { store->rows(0, 25); }), shard(1).string() + ": changed while in use");
  fs::remove(shard(2));
  EXPECT_EQ(message_of([&] { store->rows(20, 1); }),
            shard(2).string() + ": vanished while in use: No such file or directory");
}

TEST_F(Stores, HoldNoFileOpenHoweverManyShardsThereAre) {
  const auto open_files = [] {
    return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator());
  };
  StoreWriter writer(path(), 4, at::kFloat, nullptr, /*shard_tokens=*/3);
  writer.append(ramp(400, 4));
  writer.finish();
  const auto before = open_files();
  const ActivationStore store(path());
  EXPECT_EQ(store.shards(), 134);
  EXPECT_EQ(open_files(), before);
  EXPECT_TRUE(at::equal(store.rows(0, 400), ramp(400, 4)));
  EXPECT_EQ(store.place_of(397), (path() / "shard-00132.safetensors").string() + ": row 1");
}

/// A shard of zeros that takes no room on the disk, but for row `row`, which is all ones.
void write_sparse_shard(const fs::path& path, std::int64_t rows, std::int64_t width,
                        std::int64_t row) {
  std::string header = R"({"activations": {"dtype": "BF16", "shape": [)" + std::to_string(rows) +
                       ", " + std::to_string(width) + R"(], "data_offsets": [0, )" +
                       std::to_string(rows * width * 2) + "]}}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  std::string start(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) start[i] = static_cast<char>(header.size() >> (8 * i) & 0xff);
  std::ofstream file(path, std::ios::binary);
  file << start << header;
  file.seekp(static_cast<std::streamoff>(8 + header.size()) + row * width * 2);
  for (std::int64_t i = 0; i < width; ++i) file << '\x80' << '\x3f';
  file.close();
  fs::resize_file(path, 8 + header.size() + static_cast<std::size_t>(rows * width) * 2);
}

std::int64_t resident_bytes() {
  std::int64_t total = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

TEST_F(Stores, MayBeLargerThanMemory) {
  const std::int64_t memory = sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
  constexpr std::int64_t kWidth = 2304, kShards = 3;
  const std::int64_t rows = memory / (2 * kWidth) / 2;  // half of memory each
  nlohmann::json manifest{{"format", "sae-activations"},
                          {"version", 1},
                          {"d_in", kWidth},
                          {"dtype", "bf16"},
                          {"tokens", kShards * rows},
                          {"shards", nlohmann::json::array()}};
  fs::create_directory(path());
  for (int i = 0; i < kShards; ++i) {
    try {
      write_sparse_shard(shard(i), rows, kWidth, rows - 1 - i);
    } catch (const fs::filesystem_error&) {
      GTEST_SKIP() << "no room for files with holes";
    }
    manifest["shards"].push_back({{"file", shard(i).filename().string()}, {"tokens", rows}});
  }
  write_file_atomically(path() / "manifest.json", manifest.dump());

  const std::int64_t before = resident_bytes();
  const auto store = std::make_shared<const ActivationStore>(path());
  EXPECT_EQ(store->size(), kShards * rows);
  for (int i = 0; i < kShards; ++i) {
    const std::int64_t row = (i + 1) * rows - 1 - i;
    const at::Tensor three = store->rows(row - 1, 3).sum(1);
    EXPECT_EQ(three[0].item<float>(), 0);
    EXPECT_EQ(three[1].item<float>(), kWidth);
  }
  StoreSource source(store, StoreOptions{}, Split::kTrain, 1);
  for (int i = 0; i < 8; ++i) EXPECT_EQ(source.next(256).size(0), 256);
  EXPECT_LT(resident_bytes() - before, 500'000'000);
}

TEST_F(Stores, MayBeReadFromSeveralThreadsAtOnce) {
  const auto store = open(300, 5);
  const at::Tensor expected = ramp(300, 4);
  std::vector<std::thread> threads;
  std::vector<int> right(4, 0);
  for (int& count : right) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        count += at::equal(store->rows(i, 200), expected.narrow(0, i, 200)) &&
                 store->context(i, 1).item<int>() == i / 5;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, std::vector<int>(4, 50));
}

TEST_F(Stores, AnUnfinishedWriterLeavesNothing) {
  {
    StoreWriter writer(path(), 4, at::kFloat, nullptr, 10);
    writer.append(ramp(15, 4));
    writer.add_file("world.json", "{}");
  }
  EXPECT_TRUE(fs::is_empty(folder_.path()));
}

TEST_F(Stores, AWriterKeepsFurtherFilesBesideTheShards) {
  StoreWriter writer(path(), 4, at::kFloat, nullptr);
  writer.append(ramp(3, 4));
  writer.add_file("world.json", "{}");
  writer.add_file("dictionary.safetensors", {{"features", ramp(2, 4)}});
  EXPECT_THROW(writer.add_file("../x", ""), std::invalid_argument);
  EXPECT_THROW(writer.add_file("manifest.json", ""), std::invalid_argument);
  writer.finish();
  EXPECT_EQ(read_file(path() / "world.json"), "{}");
  EXPECT_TRUE(
      at::equal(SafetensorsFile(path() / "dictionary.safetensors").tensor("features"), ramp(2, 4)));
  EXPECT_EQ(ActivationStore(path()).size(), 3);
}

TEST_F(Stores, AWriterRefusesWhatDoesNotFit) {
  StoreWriter writer(path(), 4, at::kHalf, nullptr);
  EXPECT_THROW(writer.append(ramp(3, 5)), std::invalid_argument);
  EXPECT_THROW(writer.append(ramp(3, 4), at::zeros({2}, at::kInt)), std::invalid_argument);
  writer.append(ramp(3, 4));
  EXPECT_THROW(writer.append(ramp(3, 4), at::zeros({3}, at::kInt)), std::invalid_argument);
  at::Tensor large = ramp(3, 4);
  large[1][0] = 70000;
  EXPECT_EQ(message_of([&] { writer.append(large); }),
            path().string() + ": activation 4 is not finite in f16");
  EXPECT_THROW(StoreWriter(path("x"), 4, at::kDouble, nullptr), std::invalid_argument);
}

TEST(HarvestedStore, ReadsWhatThePythonScriptWrote) {
  const ActivationStore store(fs::path(SAE_SOURCE_DIR) / "tests/golden/harvested");
  EXPECT_EQ(store.size(), 46);
  EXPECT_EQ(store.d_in(), 8);
  EXPECT_EQ(store.dtype(), at::kBFloat16);
  EXPECT_EQ(store.source().at("hook_name"), "blocks.1.hook_resid_post");
  EXPECT_NEAR(store.rows(0, 46).norm(2, 1).mean().item<double>(), *store.mean_norm(), 1e-5);
  EXPECT_EQ(store.context(29, 2)[1].item<int>(), 5);
  EXPECT_GT(store.tokens(0, 46).min().item<int>(), 2);
}

// --- StoreSource ------------------------------------------------------------------------------

StoreOptions options(double held_out, std::int64_t prefetch = 2) {
  StoreOptions options;
  options.held_out = held_out;
  options.prefetch = prefetch;
  return options;
}

std::vector<std::int64_t> rows_of_epoch(const StoreSource& source, std::int64_t epoch) {
  std::vector<std::int64_t> rows;
  for (std::int64_t i = 0; i < source.size(); ++i) {
    rows.push_back(source.row_at(epoch * source.size() + i));
  }
  return rows;
}

TEST_F(Stores, ASourceHandsOutEveryRowOnceAnEpochInANewOrder) {
  StoreSource source(open(57), options(0), Split::kTrain, 1);
  const auto first = rows_of_epoch(source, 0), second = rows_of_epoch(source, 1);
  EXPECT_NE(first, second);
  EXPECT_TRUE(std::is_permutation(first.begin(), first.end(), second.begin()));
  EXPECT_EQ(std::set<std::int64_t>(first.begin(), first.end()).size(), 57U);
  EXPECT_EQ(*std::max_element(first.begin(), first.end()), 56);
  const at::Tensor batch = source.next(100);  // more than an epoch
  for (std::int64_t i = 0; i < 100; ++i) EXPECT_EQ(batch[i][0].item<float>(), source.row_at(i));
}

TEST_F(Stores, TheOrderDependsOnPositionAndSeedAlone) {
  const auto store = open(57);
  StoreSource plain(store, options(0, 0), Split::kTrain, 1);
  const at::Tensor all = plain.next(300);
  for (const std::int64_t prefetch : {0, 1, 3}) {
    StoreSource source(store, options(0, prefetch), Split::kTrain, 1);
    for (const std::int64_t count : {7, 7, 7, 20, 20, 1, 100}) {
      const std::int64_t at = source.position();
      EXPECT_TRUE(at::equal(source.next(count), all.narrow(0, at, count)));
    }
    for (const std::int64_t at : {3, 150, 3, 10}) {
      source.seek(at);
      EXPECT_TRUE(at::equal(source.next(7), all.narrow(0, at, 7)));
      EXPECT_EQ(source.position(), at + 7);
    }
  }
  StoreSource other(store, options(0), Split::kTrain, 2);
  EXPECT_FALSE(at::equal(other.next(57), all.narrow(0, 0, 57)));
}

TEST_F(Stores, TheSplitKeepsContextsWholeAndLosesNoToken) {
  const auto store = open(1000, 5);
  const StoreSource train(store, options(0.3), Split::kTrain, 1);
  const StoreSource held(store, options(0.3), Split::kHeldOut, 2);
  EXPECT_EQ(train.size() + held.size(), 1000);
  EXPECT_NEAR(static_cast<double>(held.size()), 300, 5 * 5 * std::sqrt(200 * 0.3 * 0.7));
  const auto train_rows = rows_of_epoch(train, 0), held_rows = rows_of_epoch(held, 0);
  std::set<std::int64_t> contexts;
  for (const auto row : train_rows) contexts.insert(row / 5);
  for (const auto row : held_rows) EXPECT_FALSE(contexts.contains(row / 5));
  std::set<std::int64_t> rows(train_rows.begin(), train_rows.end());
  rows.insert(held_rows.begin(), held_rows.end());
  EXPECT_EQ(rows.size(), 1000U);
}

TEST_F(Stores, TheSplitIsByTokenWithoutContextsAndDoesNotDependOnTheSeed) {
  const auto store = open(200);
  const StoreSource train(store, options(0.1), Split::kTrain, 1);
  const StoreSource held(store, options(0.1), Split::kHeldOut, 1);
  const StoreSource same(store, options(0.1), Split::kHeldOut, 2);
  StoreOptions resplit = options(0.1);
  resplit.split_seed = 1;
  const StoreSource other(store, resplit, Split::kHeldOut, 1);
  EXPECT_EQ(held.size(), 20);
  const auto rows = [](const StoreSource& source) {
    const auto list = rows_of_epoch(source, 0);
    return std::set<std::int64_t>(list.begin(), list.end());
  };
  std::set<std::int64_t> all = rows(train);
  all.merge(rows(held));
  EXPECT_EQ(all.size(), 200U);
  EXPECT_EQ(rows(held), rows(same));
  EXPECT_NE(rows(held), rows(other));
}

TEST_F(Stores, BatchesAreReadAheadOfTheirUse) {
  // Without its files a store can be read no further: what still comes was read before.
  std::int64_t came = 0;
  for (int wait = 100; came < 3 && wait < 20'000; wait *= 3) {
    fs::remove_all(path());
    StoreSource source(open(400), options(0, /*prefetch=*/3), Split::kTrain, 1);
    source.next(20);
    std::this_thread::sleep_for(std::chrono::milliseconds(wait));
    fs::remove_all(path());
    const auto drain = [&] {
      for (came = 0; came < 10; ++came) source.next(20);
    };
    EXPECT_NE(message_of(drain).find(": vanished while in use"), std::string::npos);
  }
  EXPECT_EQ(came, 3);
}

TEST_F(Stores, AnErrorInTheBackgroundReachesTheCaller) {
  const auto store = open(25);
  StoreSource source(store, options(0), Split::kTrain, 1);
  source.next(5);
  fs::resize_file(shard(0), 100);
  const auto drain = [&] {
    for (int i = 0; i < 10; ++i) source.next(5);
  };
  const std::string expected = shard(0).string() + ": changed while in use";
  EXPECT_EQ(message_of(drain), expected);
  EXPECT_EQ(message_of(drain), expected);  // and again, instead of hanging
}

// A pair of one context's tokens meets in a batch as often as in a perfect shuffle: of the
// N (N - 1) / 2 pairs a batch holds B (B - 1) / 2, and (L - 1) / (N - 1) of all pairs share a
// context.
TEST_F(Stores, NeighboursOfAContextMeetInABatchAsOftenAsChanceSays) {
  constexpr std::int64_t kTokens = 51200, kContext = 128, kBatch = 1024;
  write_safetensors(path(), {{"x", at::zeros({kTokens, 1})}});
  const auto store = std::make_shared<const ActivationStore>(path());
  const StoreSource source(store, options(0), Split::kTrain, 5);
  const auto rows = rows_of_epoch(source, 0);
  std::vector<std::int64_t> batch_of(kTokens);
  double pairs = 0, neighbours = 0;
  for (std::int64_t batch = 0; batch < kTokens / kBatch; ++batch) {
    std::map<std::int64_t, double> contexts;
    for (std::int64_t i = 0; i < kBatch; ++i) {
      const std::int64_t row = rows[static_cast<std::size_t>(batch * kBatch + i)];
      pairs += contexts[row / kContext]++;
      batch_of[static_cast<std::size_t>(row)] = batch;
    }
  }
  for (std::size_t row = 1; row < kTokens; ++row) neighbours += batch_of[row] == batch_of[row - 1];
  const double batches = 1.0 * kTokens / kBatch;
  const double expected_pairs =
      batches * kBatch * (kBatch - 1) / 2 * (kContext - 1) / (kTokens - 1);
  const double expected_neighbours = (kTokens - 1.0) * (kBatch - 1) / (kTokens - 1);
  EXPECT_NEAR(pairs, expected_pairs, 5 * std::sqrt(expected_pairs));
  EXPECT_NEAR(neighbours, expected_neighbours, 5 * std::sqrt(expected_neighbours));
}

StoreOptions in_blocks(std::int64_t block, std::int64_t window, std::int64_t prefetch = 0) {
  StoreOptions blocks = options(0, prefetch);
  blocks.shuffle = Shuffle::kBlocks;
  blocks.shuffle_block = block;
  blocks.shuffle_window = window;
  return blocks;
}

TEST_F(Stores, InBlocksASourceHandsOutEveryRowOnceAnEpochInANewOrder) {
  for (const auto& [size, block, window] : std::vector<std::array<std::int64_t, 3>>{{57, 10, 2},
                                                                                    {60, 10, 3},
                                                                                    {57, 1, 4},
                                                                                    {57, 100, 1},
                                                                                    {57, 10, 100},
                                                                                    {7, 3, 1},
                                                                                    {1, 1, 1},
                                                                                    {1, 5, 2}}) {
    SCOPED_TRACE(std::to_string(size) + " " + std::to_string(block) + " " + std::to_string(window));
    fs::remove_all(path());
    const auto store = open(size);
    StoreSource source(store, in_blocks(block, window), Split::kTrain, 1);
    std::set<std::vector<std::int64_t>> orders;
    for (std::int64_t epoch = 0; epoch < 3; ++epoch) {
      const auto rows = rows_of_epoch(source, epoch);
      EXPECT_EQ(std::set<std::int64_t>(rows.begin(), rows.end()).size(),
                static_cast<std::size_t>(size));
      EXPECT_EQ(*std::max_element(rows.begin(), rows.end()), size - 1);
      orders.insert(rows);
    }
    EXPECT_TRUE(size < 20 || orders.size() == 3);
    // A function of the position, read ahead or not.
    const at::Tensor all = StoreSource(store, in_blocks(block, window), Split::kTrain, 1).next(150);
    StoreSource ahead(store, in_blocks(block, window, /*prefetch=*/2), Split::kTrain, 1);
    for (const std::int64_t at : {0, 7, 100, 3, 60}) {
      ahead.seek(at);
      EXPECT_TRUE(at::equal(ahead.next(13), all.narrow(0, at, 13)));
      EXPECT_TRUE(at::equal(ahead.next(13), all.narrow(0, at + 13, 13)));
    }
  }
}

TEST_F(Stores, AWindowIsMadeOfWholeBlocksOfRowsThatLieTogether) {
  constexpr std::int64_t kTokens = 1037, kBlock = 10, kWindow = 8;
  const StoreSource source(open(kTokens), in_blocks(kBlock, kWindow), Split::kTrain, 3);
  std::set<std::int64_t> last_rows;
  for (std::int64_t epoch = 0; epoch < 4; ++epoch) {
    const auto rows = rows_of_epoch(source, epoch);
    for (std::int64_t begin = 0; begin < kTokens; begin += kBlock * kWindow) {
      const std::int64_t end = std::min(kTokens, begin + kBlock * kWindow);
      std::set<std::int64_t> window(rows.begin() + begin, rows.begin() + end);
      std::int64_t pieces = 0;  // of rows that follow each other, the last row and the first too
      for (const std::int64_t row : window) pieces += window.count((row + 1) % kTokens) == 0;
      EXPECT_LE(pieces, kWindow);
      EXPECT_FALSE(std::is_sorted(rows.begin() + begin, rows.begin() + end)) << "it is mixed";
    }
    // The rows of the short last block are others in every epoch.
    last_rows.insert(rows.back());
  }
  EXPECT_EQ(last_rows.size(), 4U);
}

// As store.h says.
TEST_F(Stores, NeighboursOfAContextMeetInABatchOfABlockShuffleAsOftenAsItsFormulaSays) {
  constexpr std::int64_t kTokens = 1 << 16, kContext = 32, kBatch = 256, kBlock = 128, kWindow = 16;
  write_safetensors(path(), {{"x", at::zeros({kTokens, 1})}});
  const auto store = std::make_shared<const ActivationStore>(path());
  double pairs = 0;
  constexpr std::int64_t kEpochs = 4;
  for (std::uint64_t seed = 0; seed < kEpochs; ++seed) {
    const StoreSource source(store, in_blocks(kBlock, kWindow), Split::kTrain, seed);
    const auto rows = source.rows_at(0, kTokens);
    for (std::int64_t batch = 0; batch < kTokens / kBatch; ++batch) {
      std::map<std::int64_t, double> contexts;
      for (std::int64_t i = 0; i < kBatch; ++i) {
        pairs += contexts[rows[static_cast<std::size_t>(batch * kBatch + i)] / kContext]++;
      }
    }
  }
  const double L = kContext, b = kBlock, W = kWindow, M = 1.0 * kTokens / kBlock;
  const double mates = (L - 1) - (1 - (W - 1) / (M - 1)) * (L * L - 1) / (3 * b);
  const double expected =
      kEpochs * (1.0 * kTokens / kBatch) * kBatch * (kBatch - 1) / 2 * mates / (W * b - 1);
  EXPECT_NEAR(pairs, expected, 5 * std::sqrt(expected)) << expected;
  const double without_edges = expected * (L - 1) / mates;
  EXPECT_GT(std::abs(pairs - without_edges), 5 * std::sqrt(expected)) << "it can tell";
}

TEST_F(Stores, BlocksNeedRowsThatLieTogetherAndChangeNothingThatIsHeldOut) {
  StoreOptions blocks = in_blocks(10, 2);
  blocks.held_out = 0.1;
  const auto bare = open(200);
  EXPECT_NE(message_of([&] {
              StoreSource(bare, blocks, Split::kTrain, 1);
            }).find("has no contexts, so that single tokens would be held out"),
            std::string::npos);
  fs::remove_all(path());
  const auto store = open(1000, 5);
  const StoreSource train(store, blocks, Split::kTrain, 1);
  const StoreSource held(store, options(0.1), Split::kHeldOut, 0);
  EXPECT_EQ(train.size() + held.size(), 1000);
  auto rows = rows_of_epoch(train, 0);
  for (const std::int64_t row : rows_of_epoch(held, 0)) rows.push_back(row);
  EXPECT_EQ(std::set<std::int64_t>(rows.begin(), rows.end()).size(), 1000U);
}

TEST(StrictJson, CountsLinesAndRefusesWhatOtherReadersForgive) {
  EXPECT_EQ(parse_strict_json(R"({"a": [1, {"a": 2}]})", "f")["a"][1]["a"], 2);
  const auto error = [](const std::string& text) {
    return message_of([&] { parse_strict_json(text, "f"); });
  };
  EXPECT_EQ(error("{\"a\": 1,\n\"b\": 2,\n}"), "f:3: not valid JSON");
  EXPECT_EQ(error(std::string("{}\0", 3)), "f:1: not valid JSON");
  EXPECT_EQ(error("{\"a\": 1e999}"), "f:1: not valid JSON");
  EXPECT_EQ(error("{\"a\": {\"b\": 1, \"b\": 1}}"), "f: key \"b\" appears twice");
  EXPECT_EQ(error(std::string(100'000, '[')), "f: nested too deeply");
  EXPECT_EQ(error("\"\xff\""), "f:1: not valid JSON");
}

}  // namespace
}  // namespace sae
