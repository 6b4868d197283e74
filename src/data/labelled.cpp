#include "sae/data/labelled.h"

#include <torch/types.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/strict_json.h"
#include "sae/base/error.h"
#include "sae/formats/safetensors.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
std::string count(std::int64_t n, const char* what) { return std::to_string(n) + " " + what; }

std::vector<std::string> strings(const nlohmann::json& list, const std::string& place) {
  if (!list.is_array()) throw DataError(place + ": expected a list of strings");
  std::vector<std::string> out;
  for (const nlohmann::json& item : list) {
    if (!item.is_string()) throw DataError(place + ": got " + item.dump() + ", expected a string");
    out.push_back(item.get<std::string>());
  }
  return out;
}

at::Tensor read_x(const SafetensorsFile& file, const std::string& name) {
  const std::string place = file.path().string() + ": tensor " + name;
  if (!file.contains(name)) {
    throw DataError(file.path().string() + ": no tensor " + name +
                    "; expected train_x, train_y, test_x and test_y");
  }
  const at::ScalarType dtype = file.dtype(name);
  if (dtype != at::kFloat && dtype != at::kHalf && dtype != at::kBFloat16) {
    throw DataError(place + " is " + safetensors_dtype(dtype) + ", expected F32, F16 or BF16");
  }
  if (file.shape(name).size() != 2) {
    throw DataError(place + ": got " +
                    count(static_cast<std::int64_t>(file.shape(name).size()),
                          "dimensions, expected [rows, D]"));
  }
  // Rows of nothing take no bytes: there may be more of them than memory has room to check.
  if (file.shape(name)[1] == 0) throw DataError(place + ": rows have width 0, expected at least 1");
  return file.tensor(name).to(at::kFloat);
}

void check_words(const LabelledSplit& split, const std::string& where) {
  const auto words = static_cast<std::int64_t>(split.words.size());
  if (words == split.samples()) return;
  throw DataError(where + ": got " + count(words, "words for ") +
                  count(split.samples(), "rows, expected one word a row"));
}

LabelledSplit read_split(const SafetensorsFile& file, const std::string& split,
                         const nlohmann::json& words) {
  LabelledSplit out;
  out.x = read_x(file, split + "_x");
  out.y = file.expect(split + "_y", {-1}, at::kLong);
  if (file.contains(split + "_offsets")) {
    out.offsets = file.expect(split + "_offsets", {-1}, at::kLong);
  }
  if (!words.is_null()) {
    out.words = strings(words.at(split), file.path().string() + ": words." + split);
    check_words(out, file.path().string() + ": " + split);
  }
  return out;
}

std::string metadata(const SafetensorsFile& file, const char* key) {
  const auto found = file.metadata().find(key);
  if (found == file.metadata().end()) {
    throw DataError(file.path().string() + ": __metadata__ has no \"" + key +
                    "\"; expected task and classes (JSON)");
  }
  return found->second;
}

void check_finite(const at::Tensor& x, const std::string& place, const std::string& name) {
  constexpr std::int64_t kRows = 1024;  // a check of all at once takes twice the memory of x
  for (std::int64_t begin = 0; begin < x.size(0); begin += kRows) {
    const at::Tensor part = x.slice(0, begin, std::min(begin + kRows, x.size(0)));
    const at::Tensor good = at::isfinite(part).all(1);
    if (good.all().item<bool>()) continue;
    const auto row = begin + good.logical_not().to(at::kInt).argmax().item<std::int64_t>();
    throw DataError(place + ": " + name + ": row " + std::to_string(row) + " is not finite");
  }
}

void check_offsets(const LabelledSplit& split, const std::string& where) {
  const at::Tensor& offsets = split.offsets;
  if (offsets.size(0) != split.samples() + 1) {
    throw DataError(where + "_offsets: got " + count(offsets.size(0), "offsets for ") +
                    count(split.samples(), "texts, expected one more than texts"));
  }
  const bool ends =
      offsets[0].item<std::int64_t>() == 0 && offsets[-1].item<std::int64_t>() == split.x.size(0);
  // Compared, not subtracted: a difference could overflow.
  const bool ascend = offsets.slice(0, 1).gt(offsets.slice(0, 0, -1)).all().item<bool>();
  if (!ends || !ascend) {
    throw DataError(where + "_offsets: expected them to ascend from 0 to the " +
                    count(split.x.size(0), "rows, with a row for every text"));
  }
}

void check_split(const LabelledActivations& data, const LabelledSplit& split,
                 const std::string& name) {
  const std::string where = data.place + ": " + name;
  const auto classes = static_cast<std::int64_t>(data.classes.size());
  if (split.samples() == 0) throw DataError(where + "_y: no samples");
  if (split.offsets.defined()) {
    check_offsets(split, where);
  } else if (split.x.size(0) != split.samples()) {
    throw DataError(where + "_x has " + count(split.x.size(0), "rows, ") + name + "_y " +
                    count(split.samples(), "labels; expected one label a row"));
  }
  if (!split.words.empty()) check_words(split, where);
  const at::Tensor wrong = (split.y < 0).logical_or(split.y >= classes);
  if (wrong.any().item<bool>()) {
    const auto row = wrong.to(at::kInt).argmax().item<std::int64_t>();
    throw DataError(where + "_y: row " + std::to_string(row) + " has label " +
                    std::to_string(split.y[row].item<std::int64_t>()) + ", expected 0 to " +
                    std::to_string(classes - 1) + " (" + count(classes, "classes)"));
  }
  const at::Tensor inside = at::bincount(split.y, {}, classes);
  if (inside.min().item<std::int64_t>() == 0) {
    const auto empty = static_cast<std::size_t>(inside.argmin().item<std::int64_t>());
    throw DataError(where + "_y: class \"" + data.classes[empty] +
                    "\" has no words; leave the class out or add some");
  }
  check_finite(split.x, data.place, name + "_x");
}

void expect_width(const std::string& place, std::int64_t width, std::int64_t d_in) {
  if (width == d_in) return;
  throw DataError(place + ": activations have width " + std::to_string(width) +
                  ", the autoencoder takes " + std::to_string(d_in));
}

}  // namespace

void check_labelled(const LabelledActivations& data) {
  if (data.classes.size() < 2) {
    throw DataError(data.place + ": got " +
                    count(static_cast<std::int64_t>(data.classes.size()), "classes") +
                    ", expected at least 2");
  }
  std::set<std::string> seen;
  for (const std::string& name : data.classes) {
    if (!seen.insert(name).second) {
      throw DataError(data.place + ": class \"" + name + "\" appears twice");
    }
  }
  if (data.test.x.size(1) != data.d_in()) {
    throw DataError(data.place + ": test_x has width " + std::to_string(data.test.x.size(1)) +
                    ", train_x has " + std::to_string(data.d_in()));
  }
  check_split(data, data.train, "train");
  check_split(data, data.test, "test");
  if (!data.score_x.defined()) return;
  if (data.score_x.sizes() != at::IntArrayRef({data.test.samples(), data.d_in()})) {
    throw DataError(data.place + ": score_x is [" + std::to_string(data.score_x.size(0)) + ", " +
                    std::to_string(data.score_x.size(1)) +
                    "], expected a row for each test word, [" +
                    std::to_string(data.test.samples()) + ", " + std::to_string(data.d_in()) + "]");
  }
  check_finite(data.score_x, data.place, "score_x");
}

LabelledActivations read_labelled(const fs::path& path) {
  const SafetensorsFile file(path);
  LabelledActivations data;
  data.place = path.string();
  data.task = metadata(file, "task");
  const std::string place = data.place + ": classes";
  data.classes = strings(parse_strict_json(metadata(file, "classes"), place), place);
  nlohmann::json words;
  if (file.metadata().contains("words")) {
    words = parse_strict_json(file.metadata().at("words"), data.place + ": words");
    check_keys(words, {"train", "test"}, {}, data.place + ": words");
  }
  data.train = read_split(file, "train", words);
  data.test = read_split(file, "test", words);
  if (file.contains("score_x")) data.score_x = read_x(file, "score_x");
  const std::set<std::string> known = {"train_x", "train_y",       "test_x",      "test_y",
                                       "score_x", "train_offsets", "test_offsets"};
  for (const std::string& name : file.names()) {
    if (!known.contains(name)) throw DataError(data.place + ": unexpected tensor " + name);
  }
  file.check_unchanged();
  check_labelled(data);
  return data;
}

void check_width(const LabelledActivations& data, std::int64_t d_in) {
  expect_width(data.place, data.d_in(), d_in);
}

void check_width(const fs::path& path, std::int64_t d_in) {
  const SafetensorsFile file(path);
  if (!file.contains("train_x") || file.shape("train_x").size() != 2) read_labelled(path);
  expect_width(path.string(), file.shape("train_x")[1], d_in);
}

void write_labelled(const fs::path& path, const LabelledActivations& data) {
  check_labelled(data);
  NamedTensors tensors = {{"train_x", data.train.x},
                          {"train_y", data.train.y},
                          {"test_x", data.test.x},
                          {"test_y", data.test.y}};
  if (data.train.offsets.defined()) tensors.emplace_back("train_offsets", data.train.offsets);
  if (data.test.offsets.defined()) tensors.emplace_back("test_offsets", data.test.offsets);
  if (data.score_x.defined()) tensors.emplace_back("score_x", data.score_x);
  Metadata metadata = {{"task", data.task}, {"classes", nlohmann::json(data.classes).dump()}};
  if (!data.train.words.empty()) {
    metadata["words"] =
        nlohmann::json{{"train", data.train.words}, {"test", data.test.words}}.dump();
  }
  write_safetensors(path, tensors, metadata);
}

bool is_labelled_file(const fs::path& path) {
  if (!fs::is_regular_file(path) || path.extension() != ".safetensors") return false;
  return SafetensorsFile(path).contains("train_x");
}

std::vector<fs::path> labelled_files(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (is_labelled_file(entry.path())) files.push_back(entry.path());
  }
  if (files.empty()) {
    throw DataError(folder.string() +
                    ": no labelled activations, expected .safetensors files with a train_x");
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace sae
