#include "data/store/truth.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <utility>

#include "config/fields_json.h"
#include "sae/base/error.h"
#include "sae/config/config_node.h"

namespace sae {
namespace {

constexpr const char* kWorldFile = "world.json";
constexpr const char* kDictionaryFile = "dictionary.safetensors";
constexpr const char* kRemedy =
    "; write the store anew with sae synth, or remove world.json to use it without its truth";

[[noreturn]] void refuse_truth(const std::filesystem::path& place, const std::string& what) {
  throw DataError(place.string() + ": " + what + kRemedy);
}

SafetensorsFile open_truth_file(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) refuse_truth(path, "is missing beside world.json");
  return SafetensorsFile(path);
}

/// Element `i`: the bytes of a file may lie at any address.
template <class T>
T element(std::string_view bytes, std::int64_t i) {
  T value;
  std::memcpy(&value, bytes.data() + static_cast<std::size_t>(i) * sizeof(T), sizeof(T));
  return value;
}

WorldOptions read_world_options(const std::filesystem::path& path) {
  try {
    const ConfigNode config = read_config(path.string());
    const auto options = read_fields<WorldOptions>(config);
    findings_of(options, config).require();
    return resolve(options);
  } catch (const ConfigError& error) {
    throw DataError(error.what() + std::string(kRemedy));
  }
}

std::shared_ptr<const World> read_world(const std::filesystem::path& folder, std::int64_t d_in) {
  const WorldOptions options = read_world_options(folder / kWorldFile);
  const std::int64_t n = *options.features;
  if (*options.d_in != d_in) {
    refuse_truth(folder / kWorldFile, "is a world of width " + std::to_string(*options.d_in) +
                                          ", the activations have " + std::to_string(d_in));
  }
  const SafetensorsFile file = open_truth_file(folder / kDictionaryFile);
  const at::Tensor features = file.expect("features", {n, d_in}, at::kFloat);
  const at::Tensor bias = file.expect("bias", {d_in}, at::kFloat);
  const at::Tensor stored = file.expect("rates", {n}, at::kDouble);
  const auto world = std::make_shared<const World>(options, features, bias);
  for (std::int64_t i = 0; i < n; ++i) {
    const double rate = world->rates()[static_cast<std::size_t>(i)];
    const double difference = std::abs(stored[i].item<double>() - rate);
    if (difference <= 1e-6 * rate) continue;  // not so of a NaN
    refuse_truth(file.path(), "feature " + std::to_string(i) +
                                  " has another rate than in the world of " +
                                  std::string(kWorldFile));
  }
  return world;
}

/// The relative rounding error of a stored activation, twice over.
double rounding_of(at::ScalarType dtype) {
  return dtype == at::kHalf ? 0x1p-10 : dtype == at::kBFloat16 ? 0x1p-7 : 1e-4;
}

}  // namespace

std::string truth_file_name(std::int64_t number) { return numbered_file("truth", number); }

bool has_stored_truth(const std::filesystem::path& store) {
  return std::filesystem::exists(store / kWorldFile);
}

/// One file: of the store's rows from `first` on, `count` of them.
struct StoredTruth::Part {
  SafetensorsFile file;
  std::int64_t first = 0;
  std::int64_t count = 0;
  std::string_view values, indices, offsets;

  Part(SafetensorsFile opened, std::int64_t first_row) : file(std::move(opened)), first(first_row) {
    file.expect_names({"values", "indices", "offsets"});
    file.check("values", {-1}, at::kFloat);
    const std::int64_t entries = file.shape("values")[0];
    file.check("indices", {entries}, at::kLong);
    file.check("offsets", {-1}, at::kLong);
    count = file.shape("offsets")[0] - 1;
    values = file.bytes("values");
    indices = file.bytes("indices");
    offsets = file.bytes("offsets");
    bool ascend = count > 0 && offset(0) == 0 && offset(count) == entries;
    for (std::int64_t i = 0; ascend && i < count; ++i) ascend = offset(i) <= offset(i + 1);
    if (!ascend) {
      refuse_truth(file.path(), "offsets: expected them to ascend from 0 to the " +
                                    std::to_string(entries) + " values");
    }
  }

  std::int64_t offset(std::int64_t row) const { return element<std::int64_t>(offsets, row); }
};

StoredTruth::StoredTruth(std::shared_ptr<const ActivationStore> store)
    : store_(std::move(store)),
      world_(read_world(store_->path(), store_->d_in())),
      tolerance_(rounding_of(store_->dtype())) {
  open_parts();
}

StoredTruth::~StoredTruth() = default;

void StoredTruth::open_parts() {
  const std::filesystem::path& folder = store_->path();
  std::int64_t rows = 0;
  for (std::int64_t number = 0;; ++number) {
    const std::filesystem::path path = folder / truth_file_name(number);
    if (number > 0 && !std::filesystem::exists(path)) break;
    rows += parts_.emplace_back(open_truth_file(path), rows).count;
  }
  if (rows == store_->size()) return;
  refuse_truth(folder, "has the features of " + std::to_string(rows) +
                           " activations in its truth files, " + std::to_string(store_->size()) +
                           " activations in its shards");
}

const StoredTruth::Part& StoredTruth::part_of(std::int64_t row) const {
  const auto after =
      std::upper_bound(parts_.begin(), parts_.end(), row,
                       [](std::int64_t wanted, const Part& part) { return wanted < part.first; });
  return *std::prev(after);
}

SparseRows StoredTruth::rows(std::span<const std::int64_t> indices, const at::Tensor& x) const {
  const at::Tensor activations = x.contiguous();
  for (const Part& part : parts_) part.file.check_unchanged();
  SparseRows out;
  for (std::size_t i = 0; i < indices.size(); ++i) {
    const Part& part = part_of(indices[i]);
    const std::int64_t row = indices[i] - part.first;
    for (std::int64_t e = part.offset(row); e < part.offset(row + 1); ++e) {
      out.indices.push_back(element<std::int64_t>(part.indices, e));
      out.values.push_back(element<float>(part.values, e));
    }
    out.offsets.push_back(std::ssize(out.indices));
    check_row(indices[i], out,
              activations.const_data_ptr<float>() + static_cast<std::int64_t>(i) * store_->d_in());
  }
  return out;
}

/// The last row of `features`: that they exist, each once, and add up to the activation.
void StoredTruth::check_row(std::int64_t row, const SparseRows& features, const float* x) const {
  const std::int64_t d = store_->d_in();
  const auto* dictionary = world_->dictionary().const_data_ptr<float>();
  const auto* bias = world_->bias().const_data_ptr<float>();
  std::vector<float> sum(bias, bias + d);
  const auto begin = static_cast<std::size_t>(features.offsets[features.offsets.size() - 2]);
  bool good = true;
  std::int64_t before = -1;
  for (std::size_t e = begin; good && e < features.indices.size(); ++e) {
    const std::int64_t feature = features.indices[e];
    good = feature > before && feature < world_->features() && features.values[e] > 0;
    before = feature;
    for (std::int64_t k = 0; good && k < d; ++k) {
      sum[static_cast<std::size_t>(k)] += features.values[e] * dictionary[feature * d + k];
    }
  }
  double error = 0, size = 0;
  for (std::int64_t k = 0; k < d; ++k) {
    const double expected = sum[static_cast<std::size_t>(k)];
    error += (x[k] - expected) * (x[k] - expected);
    size += expected * expected;
  }
  if (good && std::sqrt(error) <= tolerance_ * std::sqrt(size) + 1e-6) return;  // not so of a NaN
  const Part& part = part_of(row);
  refuse_truth(part.file.path(), "row " + std::to_string(row - part.first) +
                                     ": its features do not give the activation in " +
                                     store_->place_of(row));
}

StoredTruthSource::StoredTruthSource(std::unique_ptr<StoreSource> source,
                                     std::shared_ptr<const StoredTruth> truth)
    : source_(std::move(source)), truth_(std::move(truth)) {}

LabelledBatch StoredTruthSource::next_with_truth(std::int64_t count) {
  const std::vector<std::int64_t> rows = source_->rows_at(source_->position(), count);
  at::Tensor x = source_->next(count);
  SparseRows truth = truth_->rows(rows, x);
  return {std::move(x), std::move(truth)};
}

}  // namespace sae
