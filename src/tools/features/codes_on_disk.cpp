#include "tools/features/codes_on_disk.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <functional>
#include <string_view>
#include <system_error>
#include <utility>

#include "sae/base/interrupt.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kBatchRows = 4096;

template <class Number>
std::string_view as_bytes(const std::vector<Number>& numbers) {
  return {reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(Number)};
}

/// What a mapped file holds; pages, and so its bytes, are aligned for any number.
template <class Number>
std::span<const Number> numbers_in(const MappedFile& file) {
  return {reinterpret_cast<const Number*>(file.bytes().data()),
          file.bytes().size() / sizeof(Number)};
}

std::span<const std::int32_t> ids_of(const at::Tensor& tensor) {
  if (!tensor.defined()) return {};
  return {tensor.const_data_ptr<std::int32_t>(), static_cast<std::size_t>(tensor.numel())};
}

}  // namespace

struct CodesOnDisk::Files {
  explicit Files(const fs::path& folder)
      : values(folder / "values"), indices(folder / "indices"), offsets(folder / "offsets") {}

  AtomicFile values, indices, offsets;
};

CodesOnDisk::CodesOnDisk(fs::path folder, std::int64_t latents, float least)
    : folder_(std::move(folder)), least_(least), ranges_(static_cast<std::size_t>(latents)) {
  fs::create_directory(folder_);
  writing_ = std::make_unique<Files>(folder_);
  writing_->offsets.append(as_bytes(std::vector<std::int64_t>{0}));
}

CodesOnDisk::~CodesOnDisk() {
  writing_.reset();
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

void CodesOnDisk::append(const FeatureBatch& batch) {
  std::vector<float> values;
  std::vector<std::int64_t> indices, offsets;
  for (std::int64_t row = batch.begin; row < batch.end; ++row) {
    for (std::int64_t entry = batch.codes.begin(row); entry < batch.codes.end(row); ++entry) {
      const float value = batch.codes.values[static_cast<std::size_t>(entry)];
      const auto latent =
          static_cast<std::size_t>(batch.codes.indices[static_cast<std::size_t>(entry)]);
      if (!(value > least_) || latent >= ranges_.size()) continue;
      LatentRange& range = ranges_[latent];
      range.least = range.firings++ == 0 ? value : std::min(range.least, value);
      range.most = std::max(range.most, value);
      range.sum += value;
      range.squares += static_cast<double>(value) * value;
      values.push_back(value);
      indices.push_back(static_cast<std::int64_t>(latent));
    }
    offsets.push_back(entries_ + static_cast<std::int64_t>(values.size()));
  }
  entries_ += static_cast<std::int64_t>(values.size());
  writing_->values.append(as_bytes(values));
  writing_->indices.append(as_bytes(indices));
  writing_->offsets.append(as_bytes(offsets));
}

void CodesOnDisk::finish() {
  for (AtomicFile* file : {&writing_->values, &writing_->indices, &writing_->offsets}) {
    file->commit();
  }
  writing_.reset();
  values_.emplace(folder_ / "values");
  indices_.emplace(folder_ / "indices");
  offsets_.emplace(folder_ / "offsets");
}

SparseView CodesOnDisk::view() const {
  return {numbers_in<float>(*values_), numbers_in<std::int64_t>(*indices_),
          numbers_in<std::int64_t>(*offsets_)};
}

void for_each_batch(const CodesOnDisk& codes, const ActivationStore& store, std::int64_t around,
                    const std::function<void(const FeatureBatch&)>& take) {
  const SparseView all = codes.view();
  for (std::int64_t first = 0; first < store.size(); first += kBatchRows) {
    check_interrupt();
    const std::int64_t end = std::min(first + kBatchRows, store.size());
    const std::int64_t from = std::max<std::int64_t>(0, first - around);
    const std::int64_t rows = std::min(end + around, store.size()) - from;
    const at::Tensor context = store.has_context() ? store.context(from, rows) : at::Tensor();
    const at::Tensor tokens = store.has_tokens() ? store.tokens(from, rows) : at::Tensor();
    SparseView part = all;
    part.offsets =
        all.offsets.subspan(static_cast<std::size_t>(from), static_cast<std::size_t>(rows) + 1);
    take({.codes = part,
          .first_row = from,
          .begin = first - from,
          .end = end - from,
          .context = ids_of(context),
          .tokens = ids_of(tokens)});
  }
}

}  // namespace sae
