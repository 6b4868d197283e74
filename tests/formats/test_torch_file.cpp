#include <gtest/gtest.h>
#include <torch/types.h>

#include <limits>
#include <map>

#include "formats/torch_archive.h"
#include "formats/torch_file.h"
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

std::string message_of(const std::string& file) {
  try {
    parse_torch_archive(file, "ae.pt");
  } catch (const DataError& error) {
    return error.what();
  }
  return "nothing was thrown";
}

std::string message_of_pickle(const std::string& pickle) {
  try {
    parse_state_pickle(pickle, "ae.pt");
  } catch (const DataError& error) {
    return error.what();
  }
  return "nothing was thrown";
}

/// A tensor of 12 elements unless changed.
PickledTensor tensor(std::vector<std::int64_t> shape, std::vector<std::int64_t> strides,
                     std::int64_t offset = 0) {
  return {.dtype = "F32",
          .storage = "0",
          .storage_elements = 12,
          .offset = offset,
          .shape = std::move(shape),
          .strides = std::move(strides)};
}

std::string message_of_tensor(const PickledTensor& tensor) {
  return message_of_pickle(state_pickle({{"w", tensor}}));
}

std::map<std::string, at::Tensor> tensors_of(const fs::path& path) {
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, value] : read_torch_file(path)) {
    if (const auto* tensor = std::get_if<at::Tensor>(&value)) tensors[name] = *tensor;
  }
  return tensors;
}

TEST(TorchFile, ReadsTheTensorsThatTorchSaves) {
  std::map<std::string, at::Tensor> found = tensors_of(golden("torch.pt"));
  const at::Tensor base = at::arange(12, at::kFloat);
  const at::Tensor three = at::tensor({1.0, -2.5, 3.0}, at::kDouble);
  const std::map<std::string, at::Tensor> expected = {
      {"transposed", base.view({3, 4}).t()},
      {"part", base.slice(0, 2, 6)},
      {"bfloat", three.to(at::kBFloat16)},
      {"half", three.to(at::kHalf)},
      {"double", at::full({1}, 1.0 / 3, at::kDouble)},
      {"parameter", at::ones({2})},
      {"bool", at::tensor({1, 0}, at::kInt).to(at::kBool)},
      {"k", at::full({}, 3, at::kInt)},
      {"sizes", at::tensor({4, 12}, at::kLong)},
      {"empty", at::zeros({0, 3})},
  };
  EXPECT_EQ(found.size(), expected.size());
  for (const auto& [name, tensor] : expected) {
    ASSERT_TRUE(found.contains(name)) << name;
    EXPECT_EQ(found[name].scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(at::equal(found[name], tensor)) << name << found[name];
  }
  EXPECT_EQ(found["transposed"].strides(), at::IntArrayRef({1, 4}));
  EXPECT_TRUE(found["transposed"].is_alias_of(found["part"])) << "they share a storage";
}

TEST(TorchFile, ReadsPlainValues) {
  std::map<std::string, TorchValue> found;
  for (auto& [name, value] : read_torch_file(golden("torch.pt"))) found[name] = value;
  EXPECT_TRUE(std::holds_alternative<std::monostate>(found["nothing"]));
  EXPECT_EQ(std::get<bool>(found["true"]), true);
  EXPECT_EQ(std::get<std::int64_t>(found["small"]), 7);
  EXPECT_EQ(std::get<std::int64_t>(found["large"]), -1'000'000'000'000);
  EXPECT_EQ(std::get<double>(found["float"]), 1.5);
  EXPECT_EQ(std::get<std::string>(found["text"]), "\xc3\xa9");
  EXPECT_EQ(std::get<PickledOther>(found["list"]).kind, "a list");
  EXPECT_EQ(std::get<PickledOther>(found["dict"]).kind, "a dict");
}

TEST(TorchFile, ReadsStateDictsOfEveryProtocol) {
  for (const char* name : {"torch_protocol_2.pt", "torch_protocol_3.pt", "torch_protocol_4.pt",
                           "torch_protocol_5.pt", "torch_no_checksum.pt"}) {
    const NamedTensors tensors = read_torch_tensors(golden(name));
    ASSERT_EQ(tensors.size(), 2) << name;
    EXPECT_EQ(tensors[0].first, "weight");
    EXPECT_TRUE(at::equal(tensors[0].second, at::arange(6, at::kFloat).view({2, 3}))) << name;
    EXPECT_EQ(tensors[1].first, "bias");
    EXPECT_TRUE(at::equal(tensors[1].second, at::full({2}, -1, at::kFloat))) << name;
  }
}

TEST(TorchFile, WritesWhatItReadsBackWithTheSameBytes) {
  const TemporaryFolder folder;
  fs::create_directory(folder.path() / "other");
  NamedTensors tensors;
  for (const auto& item : tensors_of(golden("torch.pt"))) tensors.push_back(item);
  write_torch_file(folder.path() / "ae.pt", tensors);
  write_torch_file(folder.path() / "other" / "ae.pt", tensors);
  EXPECT_EQ(read_file(folder.path() / "ae.pt"), read_file(folder.path() / "other" / "ae.pt"));
  const NamedTensors again = read_torch_tensors(folder.path() / "ae.pt");
  ASSERT_EQ(again.size(), tensors.size());
  for (std::size_t i = 0; i < again.size(); ++i) {
    EXPECT_EQ(again[i].first, tensors[i].first);
    EXPECT_TRUE(at::equal(again[i].second, tensors[i].second)) << again[i].first;
  }
}

TEST(TorchFile, WritesThePickleThatTorchReads) {
  // Checked with torch.load(weights_only=True); tests/peers does so again.
  const std::string expected =
      std::string("\x80\x02}(X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((", 45) +
      std::string(
          "X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0"
          "0X\x03\0\0\0cpu",
          46) +
      std::string("J\x0c\0\0\0tQJ\0\0\0\0(J\x03\0\0\0J\x04\0\0\0t(J\x04\0\0\0J\x01\0\0\0t", 36) +
      "\x89"
      "ccollections\nOrderedDict\n)RtRu.";
  EXPECT_EQ(state_pickle({{"w", tensor({3, 4}, {4, 1})}}), expected);
}

TEST(TorchFile, RefusesAFileCutOffAnywhere) {
  for (const char* name : {"torch.pt", "torch_protocol_4.pt"}) {
    const std::string whole = read_file(golden(name));
    for (std::size_t size = 0; size < whole.size(); ++size) {
      const std::string message = message_of(whole.substr(0, size));
      ASSERT_TRUE(message.starts_with("ae.pt: ")) << size << message;
      ASSERT_EQ(message.find('\n'), message.npos);
    }
  }
}

TEST(TorchFile, ReadsAnyDamageOrRefusesItInOneLine) {
  const std::string whole = read_file(golden("torch_no_checksum.pt"));
  for (std::size_t i = 0; i < whole.size(); ++i) {
    for (const int change : {1, 0x20, 0xff}) {
      std::string damaged = whole;
      damaged[i] = static_cast<char>(damaged[i] ^ change);
      ASSERT_EQ(message_of(damaged).find('\n'), std::string::npos);
    }
  }
}

TEST(TorchFile, RefusesAPickleThatWantsToRunCode) {
  const std::string end =
      "; only a dict of tensors, numbers and strings is read, as state_dict() "
      "gives";
  EXPECT_EQ(message_of_pickle("\x80\x02"
                              "cos\nsystem\nX\x02\0\0\0ls\x85R."),
            "ae.pt: pickle wants to run os.system" + end);
  EXPECT_EQ(message_of_pickle("\x80\x04\x8c\x08"
                              "builtins\x8c\x04"
                              "eval\x93."),
            "ae.pt: pickle wants to run builtins.eval" + end);
  EXPECT_EQ(message_of_pickle("\x80\x02(X\x02\0\0\0lsios\nsystem\n."),
            "ae.pt: pickle ends too early; is the file truncated?");
  EXPECT_EQ(message_of_pickle(std::string("\x80\x02(ios\nsystem\n.")),
            "ae.pt: pickle has the instruction 0x69, which no dict of tensors, numbers and strings "
            "needs");
  EXPECT_EQ(message_of_pickle("\x80\x02"
                              "ctorch\nload\n."),
            "ae.pt: pickle wants to run torch.load" + end);
  EXPECT_EQ(message_of(read_file(golden("torch_module.pt"))),
            "ae.pt: pickle wants to run torch.nn.modules.linear.Linear" + end);
}

TEST(TorchFile, RefusesWhatIsNoStateDict) {
  EXPECT_EQ(message_of(read_file(golden("torch_list.pt"))),
            "ae.pt: pickle holds a list, expected a dict of tensors, as state_dict() gives");
  EXPECT_EQ(message_of(read_file(golden("torch_legacy.pt"))),
            "ae.pt: in the format of PyTorch before 1.6, expected a zip archive; load it with "
            "torch.load and torch.save it again");
  EXPECT_EQ(message_of(read_file(golden("numpy.npz"))),
            "ae.pt: zip archive without data.pkl, expected a file of torch.save; found "
            "counting.npy");
  EXPECT_EQ(message_of("weights"), "ae.pt: not a file of torch.save");
  EXPECT_EQ(message_of_pickle("}K\x01Ns."),
            "ae.pt: pickle has an int as a name, expected a string");
  try {
    read_torch_tensors(golden("torch.pt"));
    ADD_FAILURE();
  } catch (const DataError& error) {
    EXPECT_EQ(error.what(),
              golden("torch.pt").string() + ": 'nothing' is a plain value, expected tensors only");
  }
}

TEST(TorchFile, RefusesTensorsOutsideTheirStorage) {
  constexpr std::int64_t kLargest = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(message_of_tensor(tensor({3, 4}, {4, 1})), "nothing was thrown");
  EXPECT_EQ(message_of_tensor(tensor({2, 2}, {4, 1}, 6)), "nothing was thrown");
  EXPECT_EQ(message_of_tensor(tensor({0, 5}, {5, 1}, 12)), "nothing was thrown");
  EXPECT_EQ(message_of_tensor(tensor({2, 2}, {4, 1}, 7)),
            "ae.pt: pickle has tensor 'w' of F32 [2, 2] with strides [4, 1] and offset 7 in a "
            "storage of 12 elements");
  const PickledTensor wrong[] = {
      tensor({13}, {1}),
      tensor({1}, {1}, 12),
      tensor({1}, {1}, -1),
      tensor({-1}, {1}),
      tensor({2}, {-1}, 5),
      tensor({2}, {1, 1}),
      tensor({13}, {0}),  // more elements than bytes: memory would be asked for, not read
      tensor({1'000'000'000, 1'000'000'000}, {0, 0}),
      tensor({kLargest, kLargest}, {1, 1}),
      tensor({2, kLargest}, {kLargest, kLargest}),
      tensor({0, kLargest, kLargest}, {1, 1, 1}),
      tensor({2}, {kLargest}, 11),
      tensor(std::vector<std::int64_t>(65, 1), std::vector<std::int64_t>(65, 1)),
  };
  for (const PickledTensor& one : wrong) {
    EXPECT_TRUE(message_of_tensor(one).starts_with("ae.pt: pickle has t"))
        << message_of_tensor(one);
  }
}

/// An archive of this pickle and one storage.
std::string archive(const std::string& pickle, std::size_t bytes,
                    const std::string& order = "little") {
  return test_zip(
      {{"x/data.pkl", pickle}, {"x/byteorder", order}, {"x/data/0", std::string(bytes, '\1')}});
}

TEST(TorchFile, RefusesStoragesOfAnotherSizeOrNone) {
  const std::string pickle = state_pickle({{"w", tensor({3, 4}, {4, 1})}});
  EXPECT_EQ(message_of(archive(pickle, 48)), "nothing was thrown");
  EXPECT_EQ(message_of(archive(pickle, 47)),
            "ae.pt: tensor 'w': storage '0' has 47 bytes, expected 12 elements of F32");
  EXPECT_EQ(message_of(archive(pickle, 52)),
            "ae.pt: tensor 'w': storage '0' has 52 bytes, expected 12 elements of F32");
  PickledTensor other = tensor({1}, {1});
  other.storage = "7\n";
  EXPECT_EQ(message_of(archive(state_pickle({{"w", other}}), 48)),
            "ae.pt: tensor 'w': storage '7?' is missing");
  other = tensor({1}, {1});
  other.storage_elements = std::numeric_limits<std::int64_t>::max();
  EXPECT_NE(message_of(archive(state_pickle({{"w", other}}), 48)).find("has 48 bytes"),
            std::string::npos);
  EXPECT_EQ(message_of(archive(pickle, 48, "big")), "ae.pt: byte order 'big', expected 'little'");
}

TEST(StatePickle, RefusesNamesThatAppearTwice) {
  const PickledTensor one = tensor({1}, {1});
  EXPECT_EQ(message_of_pickle(state_pickle({{"w\n", one}, {"w\n", one}})),
            "ae.pt: pickle has 'w?' twice");
}

TEST(StatePickle, RefusesProgramsThatMakeNoSense) {
  const std::pair<std::string, std::string> cases[] = {
      {"", "ends too early; is the file truncated?"},
      {".", "does not end with one value"},
      {"NN.", "does not end with one value"},
      {"(N.", "does not end with one value"},
      {"N.N", "goes on after its end"},
      {"\x80\x01N.", "has protocol 1, expected 2 to 5"},
      {"\x85.", "takes a value that is not there"},
      {"N(\x85.", "takes a value that is not there"},
      {"Nt.", "takes a mark that is not there"},
      {"h\x05.", "recalls a value that it has not kept"},
      {"}(Nu.", "has a key without a value"},
      {"NNa.", "has None as the target of items, expected a list"},
      {"]NNs.", "has a list as the target of items, expected a dict"},
      {"NQ.", "has None as a persistent id, expected a tuple"},
      {")Q.", "has an unknown persistent id"},
      {"N)R.", "has None as what to call, expected a type"},
      {"ctorch\nFloatStorage\n)R.", "calls torch.FloatStorage with unknown arguments"},
      {"NNb.", "has None as the target of a state, expected a dict"},
      {"\x8a\x09"
       "123456789.",
       "has an integer of 9 bytes, expected at most 8"},
      {"c0\n\x1b\n.",
       "wants to run 0.?; only a dict of tensors, numbers and strings is read, as state_dict() "
       "gives"},
      {std::string("X\xff\xff\0\0", 5), "has a string of 65535 bytes, expected at most 4096"},
  };
  for (const auto& [pickle, message] : cases) {
    EXPECT_EQ(message_of_pickle(pickle), "ae.pt: pickle " + message) << pickle;
  }
}

TEST(StatePickle, SharesWhatRefersToItselfAndToOthersManyTimes) {
  const std::string key("}X\x01\0\0\0a", 7);
  const std::string itself = key + std::string("]q\0h\0as.", 8);
  auto values = parse_state_pickle(itself, "ae.pt");
  ASSERT_EQ(values.size(), 1);
  EXPECT_EQ(std::get<PickledOther>(values[0].second).kind, "a list");

  std::string pairs = key + "N";  // x -> (x, x), 60 times
  for (char level = 0; level < 60; ++level) {
    pairs += std::string("q") + level + "h" + level + "\x86";
  }
  values = parse_state_pickle(pairs + "s.", "ae.pt");
  ASSERT_EQ(values.size(), 1);
  EXPECT_EQ(std::get<PickledOther>(values[0].second).kind, "a tuple");
}

}  // namespace
}  // namespace sae
