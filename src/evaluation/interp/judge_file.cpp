#include <torch/types.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "sae/base/error.h"
#include "sae/base/sha256.h"
#include "sae/base/text.h"
#include "sae/evaluation/judge.h"
#include "sae/formats/safetensors.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kLookedAt = 64;  // rows, of a judge that may be the store itself
constexpr double kSameDirection = 0.999;

std::string judge_metadata(const SafetensorsFile& file, const char* key) {
  const auto found = file.metadata().find(key);
  if (found != file.metadata().end()) return found->second;
  throw DataError(file.path().string() + ": __metadata__ has no \"" + key +
                  "\", expected task, model, revision, window and store; make the file with "
                  "scripts/judge.py");
}

at::Tensor read_vectors(const SafetensorsFile& file, const std::string& name, std::int64_t rows) {
  const std::string place = file.path().string() + ": tensor " + name;
  if (!file.contains(name)) {
    throw DataError(file.path().string() + ": no tensor " + name +
                    "; expected rows and whole, and blind if tokens can be hidden");
  }
  const at::ScalarType dtype = file.dtype(name);
  if (dtype != at::kFloat && dtype != at::kHalf) {
    throw DataError(place + " is " + safetensors_dtype(dtype) + ", expected F32 or F16");
  }
  const auto shape = file.shape(name);
  if (shape.size() != 2 || shape[0] != rows || shape[1] == 0) {
    std::vector<std::string> sizes;
    for (const std::int64_t size : shape) sizes.push_back(std::to_string(size));
    throw DataError(place + " is [" + joined(sizes) + "], expected a vector for each of the " +
                    std::to_string(rows) + " rows");
  }
  return file.tensor(name);
}

std::vector<std::int64_t> read_rows(const SafetensorsFile& file) {
  const std::string place = file.path().string() + ": rows";
  if (!file.contains("rows")) {
    throw DataError(file.path().string() + ": no tensor rows; expected rows and whole");
  }
  const at::Tensor rows = file.expect("rows", {-1}, at::kLong).contiguous();
  if (rows.numel() == 0) throw DataError(place + ": none, expected at least one row of the store");
  const auto* begin = rows.const_data_ptr<std::int64_t>();
  std::vector<std::int64_t> out(begin, begin + rows.numel());
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (out[i] >= 0 && (i == 0 || out[i] > out[i - 1])) continue;
    throw DataError(place + ": row " + std::to_string(i) + " is " + std::to_string(out[i]) +
                    (out[i] < 0
                         ? ", expected a row of the store"
                         : " after " + std::to_string(out[i - 1]) + ", expected them to ascend"));
  }
  return out;
}

/// A model's name without its owner or folder, in lower case.
std::string own_name(std::string model) {
  model.erase(0, model.find_last_of('/') + 1);
  std::transform(model.begin(), model.end(), model.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return model;
}

/// What a judge of the store says it is made for.
std::string sha256_of_store(const ActivationStore& store) {
  const fs::path& path = store.path();
  return sha256_of_file(fs::is_directory(path) ? path / "manifest.json" : path);
}

/// Whether the first entries of every vector, up to `width`, are along the store's row.
bool are_rows_of(const JudgeVectors& vectors, const at::Tensor& x) {
  if (vectors.width() < x.size(1)) return false;
  const at::Tensor rows = x.to(at::kDouble).contiguous();
  const auto width = static_cast<std::size_t>(vectors.width());
  const auto own = static_cast<std::size_t>(x.size(1));
  std::vector<double> row(width), picked(width);
  for (std::int32_t i = 0; i < static_cast<std::int32_t>(x.size(0)); ++i) {
    const auto* begin = rows.const_data_ptr<double>() + static_cast<std::size_t>(i) * own;
    std::copy(begin, begin + own, row.begin());
    std::fill(picked.begin(), picked.end(), 0.0);
    vectors.add(i, 1, picked);
    double square = 0, length = 0;
    for (std::size_t k = 0; k < own; ++k) {
      square += picked[k] * picked[k];
      length += row[k] * row[k];
    }
    if (!(vectors.dot(i, row) > kSameDirection * std::sqrt(square * length))) return false;
  }
  return true;
}

JudgeVectors picked_vectors(const JudgeVectors& from, const std::vector<std::int64_t>& places,
                            const std::string& place) {
  at::Tensor out = at::zeros({std::ssize(places), from.width()}, at::kFloat);
  std::vector<double> row(static_cast<std::size_t>(from.width()));
  auto* to = out.mutable_data_ptr<float>();
  for (const std::int64_t i : places) {
    std::fill(row.begin(), row.end(), 0.0);
    from.add(static_cast<std::int32_t>(i), 1, row);
    to = std::transform(row.begin(), row.end(), to, [](double v) { return static_cast<float>(v); });
  }
  return {out, place};
}

}  // namespace

JudgeFile read_judge(const fs::path& path) {
  const SafetensorsFile file(path);
  JudgeFile judge;
  judge.place = path.string();
  const std::string task = judge_metadata(file, "task");
  if (task != "judge") {
    throw DataError(judge.place + ": task is " + sae::quoted(task) + ", expected \"judge\"");
  }
  judge.model = judge_metadata(file, "model");
  judge.revision = judge_metadata(file, "revision");
  judge.window = judge_metadata(file, "window");
  judge.store = judge_metadata(file, "store");
  const std::set<std::string> known = {"rows", "whole", "blind"};
  for (const std::string& name : file.names()) {
    if (!known.contains(name)) throw DataError(judge.place + ": unexpected tensor " + name);
  }
  judge.rows = read_rows(file);
  const auto vectors = [&](const std::string& name) {
    return std::make_shared<const JudgeVectors>(read_vectors(file, name, std::ssize(judge.rows)),
                                                judge.place + ": " + name);
  };
  judge.whole = vectors("whole");
  if (file.contains("blind")) judge.blind = vectors("blind");
  file.check_unchanged();
  return judge;
}

void require_judge_of(const JudgeFile& judge, const ActivationStore& store) {
  const std::string own = sha256_of_store(store);
  if (judge.store != own) {
    throw DataError(judge.place + ": was made for another store than " + store.path().string() +
                    ", whose manifest has the SHA-256 " + own.substr(0, 12) + "..., not " +
                    printable(judge.store.substr(0, 12)) +
                    "...; make a judge file for it with scripts/judge.py");
  }
  if (judge.rows.back() >= store.size()) {
    const auto wrong = std::lower_bound(judge.rows.begin(), judge.rows.end(), store.size());
    throw DataError(judge.place + ": rows: row " + std::to_string(wrong - judge.rows.begin()) +
                    " is " + std::to_string(*wrong) + ", the store has rows 0 to " +
                    std::to_string(store.size() - 1));
  }
  const auto count =
      static_cast<std::size_t>(std::min<std::int64_t>(kLookedAt, std::ssize(judge.rows)));
  const at::Tensor x = store.rows(std::span(judge.rows).first(count));
  for (const auto& vectors : {judge.whole, judge.blind}) {
    if (!vectors || !are_rows_of(*vectors, x)) continue;
    throw DataError(judge.place +
                    ": its vectors are the store's own rows, which makes any direction look "
                    "coherent; make the judge of another model");
  }
}

JudgeFile judge_of_rows(const JudgeFile& judge, std::span<const std::int64_t> rows) {
  JudgeFile out = judge;
  out.rows.clear();
  std::vector<std::int64_t> places;
  for (std::size_t i = 0; i < judge.rows.size(); ++i) {
    if (!std::binary_search(rows.begin(), rows.end(), judge.rows[i])) continue;
    out.rows.push_back(judge.rows[i]);
    places.push_back(static_cast<std::int64_t>(i));
  }
  const auto picked = [&](const auto& vectors) {
    return std::make_shared<const JudgeVectors>(picked_vectors(*vectors, places, judge.place));
  };
  out.whole = picked(judge.whole);
  if (judge.blind) out.blind = picked(judge.blind);
  return out;
}

bool is_model_of(const JudgeFile& judge, const ActivationStore& store) {
  const auto& source = store.source();
  return source.is_object() && source.contains("model") && source["model"].is_string() &&
         own_name(source["model"].get<std::string>()) == own_name(judge.model);
}

bool is_judge_file(const fs::path& path) {
  if (!fs::is_regular_file(path) || path.extension() != ".safetensors") return false;
  const SafetensorsFile file(path);
  const auto task = file.metadata().find("task");
  return task != file.metadata().end() && task->second == "judge";
}

}  // namespace sae
