#include <torch/types.h>

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <vector>

#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/base/folder_lock.h"
#include "sae/base/sha256.h"
#include "sae/data/store.h"

namespace sae {

namespace fs = std::filesystem;

namespace {

std::string store_dtype(at::ScalarType dtype) {
  if (dtype == at::kFloat) return "f32";
  if (dtype == at::kHalf) return "f16";
  if (dtype == at::kBFloat16) return "bf16";
  throw std::invalid_argument(std::string("StoreWriter: dtype is ") + c10::toString(dtype) +
                              ", expected Float, Half or BFloat16");
}

}  // namespace

struct StoreWriter::Impl {
  /// Rows that are not yet in a shard: activations, and tokens and context if there are any.
  using Columns = std::vector<std::vector<at::Tensor>>;

  void write_shard(std::int64_t count) {
    NamedTensors tensors;
    for (std::size_t i = 0; i < names.size(); ++i) {
      const at::Tensor all = pending[i].size() == 1 ? pending[i][0] : at::cat(pending[i]);
      tensors.emplace_back(names[i], all.narrow(0, 0, count));
      pending[i] = {all.narrow(0, count, all.size(0) - count)};
    }
    pending_rows -= count;
    const std::string name = numbered_file("shard", static_cast<std::int64_t>(shards.size()));
    write_safetensors(folder.path() / name, tensors);
    shards.push_back(
        {{"file", name}, {"tokens", count}, {"sha256", sha256_of_file(folder.path() / name)}});
  }

  fs::path place_for(const std::string& name) const {
    if (finished || name.empty() || name != fs::path(name).filename().string() ||
        name == "manifest.json" || name.starts_with("shard-")) {
      throw std::invalid_argument("StoreWriter: cannot add a file named '" + name + "'");
    }
    return folder.path() / name;
  }

  FolderLock lock;
  StagedDirectory folder;
  std::int64_t d_in;
  at::ScalarType dtype;
  nlohmann::json source;
  std::int64_t shard_tokens;

  std::vector<std::string> names;  ///< of the columns; empty before the first append
  Columns pending;
  std::int64_t pending_rows = 0;
  std::int64_t tokens = 0;
  double norms = 0;
  nlohmann::ordered_json shards = nlohmann::ordered_json::array();
  bool finished = false;
};

StoreWriter::StoreWriter(const fs::path& folder, std::int64_t d_in, at::ScalarType dtype,
                         const nlohmann::json& source, std::int64_t shard_tokens) {
  store_dtype(dtype);
  if (d_in < 1 || shard_tokens < 1) {
    throw std::invalid_argument("StoreWriter: d_in and shard_tokens must be at least 1");
  }
  impl_ = std::unique_ptr<Impl>(new Impl{.lock = FolderLock::beside(folder),
                                         .folder = StagedDirectory(folder),
                                         .d_in = d_in,
                                         .dtype = dtype,
                                         .source = source,
                                         .shard_tokens = shard_tokens,
                                         .names = {},
                                         .pending = {}});
}

StoreWriter::~StoreWriter() = default;

void StoreWriter::append(const at::Tensor& activations, const at::Tensor& tokens,
                         const at::Tensor& context) {
  if (activations.dim() != 2 || activations.size(1) != impl_->d_in || impl_->finished) {
    throw std::invalid_argument("StoreWriter: activations must be [n, " +
                                std::to_string(impl_->d_in) + "], before finish");
  }
  const std::int64_t count = activations.size(0);
  std::vector<std::string> names = {"activations"};
  // A copy, since the caller may reuse its memory before the shard is full.
  std::vector<at::Tensor> columns = {
      activations.detach().to(at::kCPU, impl_->dtype, /*non_blocking=*/false, /*copy=*/true)};
  for (const auto& [name, column] : {std::pair{"tokens", tokens}, std::pair{"context", context}}) {
    if (!column.defined()) continue;
    if (column.dim() != 1 || column.size(0) != count ||
        !at::isIntegralType(column.scalar_type(), false)) {
      throw std::invalid_argument(std::string("StoreWriter: ") + name + " must be [n] integers");
    }
    names.emplace_back(name);
    columns.push_back(column.detach().to(at::kCPU, at::kInt, false, true));
  }
  if (impl_->names.empty()) {
    impl_->names = names;
    impl_->pending.resize(names.size());
  }
  if (names != impl_->names) {
    throw std::invalid_argument("StoreWriter: tokens and context are given always or never");
  }
  const at::Tensor row_norms = columns[0].to(at::kDouble).norm(2, 1);
  if (!at::isfinite(row_norms).all().item<bool>()) {
    throw DataError(
        impl_->folder.target().string() + ": activation " +
        std::to_string(impl_->tokens +
                       at::isfinite(row_norms).logical_not().nonzero()[0].item<std::int64_t>()) +
        " is not finite in " + store_dtype(impl_->dtype));
  }
  impl_->norms += row_norms.sum().item<double>();
  impl_->tokens += count;
  impl_->pending_rows += count;
  for (std::size_t i = 0; i < columns.size(); ++i) impl_->pending[i].push_back(columns[i]);
  while (impl_->pending_rows >= impl_->shard_tokens) impl_->write_shard(impl_->shard_tokens);
}

void StoreWriter::add_file(const std::string& name, std::string_view bytes) {
  write_file_atomically(impl_->place_for(name), bytes);
}

void StoreWriter::add_file(const std::string& name, const NamedTensors& tensors,
                           const Metadata& metadata) {
  write_safetensors(impl_->place_for(name), tensors, metadata);
}

void StoreWriter::finish() {
  if (impl_->finished) throw std::invalid_argument("StoreWriter: finished twice");
  if (impl_->tokens == 0) throw DataError(impl_->folder.target().string() + ": nothing to store");
  if (impl_->pending_rows > 0) impl_->write_shard(impl_->pending_rows);
  nlohmann::ordered_json manifest;
  manifest["format"] = "sae-activations";
  manifest["version"] = 1;
  manifest["d_in"] = impl_->d_in;
  manifest["dtype"] = store_dtype(impl_->dtype);
  manifest["tokens"] = impl_->tokens;
  manifest["source"] = impl_->source;
  manifest["mean_norm"] = impl_->norms / static_cast<double>(impl_->tokens);
  manifest["shards"] = impl_->shards;
  write_file_atomically(impl_->folder.path() / "manifest.json", manifest.dump(2) + "\n");
  impl_->folder.commit();
  impl_->finished = true;
}

}  // namespace sae
