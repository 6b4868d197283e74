#include "sae/data/store.h"

#include <torch/types.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>

#include "data/store/file_facts.h"
#include "data/store/manifest.h"
#include "data/store/shard.h"
#include "sae/base/error.h"
#include "sae/base/interrupt.h"
#include "sae/base/sha256.h"
#include "sae/config/findings.h"

namespace sae {

namespace fs = std::filesystem;

namespace {

DataError not_finite(const std::string& place) {
  return DataError(place + " has a NaN or infinity; leave such rows out (sae inspect counts them)");
}

}  // namespace

void StoreOptions::check(Findings& findings) const {
  const StoreOptions defaults;
  if (shuffle == Shuffle::kGlobal) {
    if (shuffle_block != defaults.shuffle_block) {
      findings.unused("shuffle_block", "with shuffle 'global'");
    }
    if (shuffle_window != defaults.shuffle_window) {
      findings.unused("shuffle_window", "with shuffle 'global'");
    }
  }
  if (!held_out_path) {
    if (held_out == 0) {
      findings.error(
          "held_out",
          "got 0 without a held_out_path, expected > 0: there is nothing to evaluate on");
    }
    return;
  }
  if (held_out != defaults.held_out) findings.unused("held_out", "with held_out_path");
  if (split_seed != defaults.split_seed) findings.unused("split_seed", "with held_out_path");
  if (*held_out_path == path) {
    findings.warn("held_out_path", "is what is trained on: nothing is held out");
  }
}

struct ActivationStore::Impl {
  fs::path path;
  std::vector<Shard> shards;         ///< none empty
  std::vector<std::string> claimed;  ///< their SHA-256 by the manifest, or ""; none: a bare file
  std::int64_t d_in = 0;
  std::int64_t size = 0;
  std::optional<double> mean_norm;
  nlohmann::json source;
  bool larger_than_memory = false;

  const Shard& shard_of(std::int64_t row) const {
    const auto after = std::upper_bound(
        shards.begin(), shards.end(), row,
        [](std::int64_t wanted, const Shard& shard) { return wanted < shard.first; });
    return *std::prev(after);
  }

  void check_range(std::int64_t first, std::int64_t count) const {
    if (first < 0 || count < 0 || first > size - count) {
      throw std::invalid_argument("ActivationStore: rows outside the store");
    }
  }

  void add(Shard shard) {
    if (shard.rows == 0) return;
    if (!shards.empty() && (shard.tokens.empty() != shards[0].tokens.empty() ||
                            shard.context.empty() != shards[0].context.empty())) {
      throw DataError(shard.name() + ": has other tensors than " + shards[0].name());
    }
    shard.first = size;
    size += shard.rows;
    d_in = shard.width;
    shards.push_back(std::move(shard));
  }

  void open_folder(bool verify) {
    const fs::path file = path / "manifest.json";
    if (!fs::exists(file)) {
      throw DataError(path.string() +
                      ": no manifest.json; not an activation store, or not written to its end");
    }
    StoreManifest manifest = read_store_manifest(file);
    for (const auto& entry : manifest.files) {
      check_interrupt();
      Shard shard = open_shard(path / entry.name);
      check_shard(shard, manifest, entry, verify);
      if (shard.rows > 0) claimed.push_back(entry.sha256);
      add(std::move(shard));
    }
    mean_norm = manifest.mean_norm;
    source = std::move(manifest.source);
  }

  void prepare_reading() {
    const double memory =
        static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
    double bytes = 0;
    for (const auto& shard : shards) bytes += static_cast<double>(shard.activations.size());
    larger_than_memory = bytes > 0.5 * memory;
    for (const auto& shard : shards) {
      if (larger_than_memory) {
        shard.file->expect_random_access();
      } else {
        shard.file->will_need(0, shard.file->bytes().size());
      }
    }
  }

  std::string digest() const {
    if (claimed.empty()) return bare_digest(shards[0]);
    Sha256 hash;
    for (std::size_t i = 0; i < shards.size(); ++i) {
      const Shard& shard = shards[i];
      hash.update(
          shard.dtype + " " + std::to_string(shard.rows) + " " + std::to_string(shard.width) + " " +
          (claimed[i].empty() ? content_digest(*shard.file) : "sha256:" + claimed[i]) + "\n");
    }
    return "sha256:" + hash.hex();
  }

  at::Tensor integers(IdColumn Shard::*column, const char* name, std::int64_t first,
                      std::int64_t count) const {
    check_range(first, count);
    if ((shards[0].*column).empty()) throw DataError(path.string() + ": the store has no " + name);
    at::Tensor values = at::empty({count}, at::kInt);
    auto* out = values.data_ptr<std::int32_t>();
    while (count > 0) {
      const Shard& shard = shard_of(first);
      const std::int64_t taken = std::min(count, shard.first + shard.rows - first);
      (shard.*column).read(first - shard.first, taken, out);
      out += taken;
      first += taken;
      count -= taken;
    }
    return values;
  }
};

ActivationStore::ActivationStore(const fs::path& path, bool verify_checksums) {
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  if (fs::is_directory(path)) {
    impl->open_folder(verify_checksums);
  } else {
    for (Shard& shard : open_bare_file(path, verify_checksums)) impl->add(std::move(shard));
  }
  if (impl->size == 0) throw DataError(path.string() + ": the store is empty");
  impl->prepare_reading();
  impl_ = std::move(impl);
}

ActivationStore::~ActivationStore() = default;

std::int64_t ActivationStore::d_in() const { return impl_->d_in; }
std::int64_t ActivationStore::size() const { return impl_->size; }
const fs::path& ActivationStore::path() const { return impl_->path; }
bool ActivationStore::has_tokens() const { return !impl_->shards[0].tokens.empty(); }
bool ActivationStore::has_context() const { return !impl_->shards[0].context.empty(); }
std::optional<double> ActivationStore::mean_norm() const { return impl_->mean_norm; }
const nlohmann::json& ActivationStore::source() const { return impl_->source; }

at::ScalarType ActivationStore::dtype() const {
  const std::string& dtype = impl_->shards[0].dtype;
  if (dtype == "F32") return at::kFloat;
  if (dtype == "F64") return at::kDouble;
  return dtype == "F16" ? at::kHalf : at::kBFloat16;
}

at::Tensor ActivationStore::rows(std::span<const std::int64_t> indices,
                                 const BatchForm& form) const {
  const auto count = static_cast<std::int64_t>(indices.size());
  const at::ScalarType type = form.as_stored ? impl_->shards[0].stored_type() : at::kFloat;
  at::Tensor batch =
      at::empty({count, impl_->d_in}, at::TensorOptions().dtype(type).pinned_memory(form.pinned));
  auto* out = static_cast<char*>(batch.mutable_data_ptr());
  const std::int64_t row_bytes = impl_->d_in * static_cast<std::int64_t>(batch.element_size());
  // In the order of the file, so that neighbouring rows share pages and reads.
  std::vector<std::size_t> order(indices.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return indices[a] < indices[b]; });
  if (impl_->larger_than_memory) {
    // One system call a row, worth it only where a row has to come from the disk.
    for (const std::size_t i : order) {
      impl_->check_range(indices[i], 1);
      const Shard& shard = impl_->shard_of(indices[i]);
      shard.will_need(indices[i] - shard.first);
    }
  }
  const Shard* shard = nullptr;
  for (const std::size_t i : order) {
    const std::int64_t index = indices[i];
    impl_->check_range(index, 1);
    if (shard == nullptr || index >= shard->first + shard->rows) {
      shard = &impl_->shard_of(index);
      shard->file->check_unchanged();
    }
    const std::int64_t row = index - shard->first;
    char* to = out + static_cast<std::int64_t>(i) * row_bytes;
    const bool finite = form.as_stored ? shard->copy_row(row, to)
                                       : shard->read_row(row, reinterpret_cast<float*>(to));
    if (!finite) throw not_finite(place_of(index));
  }
  return batch;
}

void ActivationStore::will_need(std::int64_t first, std::int64_t count) const {
  impl_->check_range(first, count);
  while (count > 0) {
    const Shard& shard = impl_->shard_of(first);
    const std::int64_t row = first - shard.first;
    const std::int64_t taken = std::min(count, shard.rows - row);
    shard.will_need(row, taken);
    first += taken;
    count -= taken;
  }
}

void ActivationStore::require_finite() const {
  static FileFacts<std::int64_t> facts;
  if (impl_->larger_than_memory) return;
  const std::vector<Shard>& shards = impl_->shards;
  for (std::size_t begin = 0, end = 0; begin < shards.size(); begin = end) {
    const MappedFile& file = *shards[begin].file;
    while (end < shards.size() && shards[end].file.get() == &file) ++end;
    file.check_unchanged();
    const std::int64_t row = facts.get(file, [&](const MappedFile&) {
      return first_bad_row(std::span(shards).subspan(begin, end - begin));
    });
    if (row >= 0) throw not_finite(place_of(shards[begin].first + row));
  }
}

std::string ActivationStore::digest() const { return impl_->digest(); }

at::Tensor ActivationStore::rows(std::int64_t first, std::int64_t count) const {
  impl_->check_range(first, count);
  std::vector<std::int64_t> indices(static_cast<std::size_t>(count));
  std::iota(indices.begin(), indices.end(), first);
  return rows(indices);
}

at::Tensor ActivationStore::unchecked_rows(std::int64_t first, std::int64_t count) const {
  impl_->check_range(first, count);
  at::Tensor batch = at::empty({count, impl_->d_in}, at::kFloat);
  auto* out = batch.data_ptr<float>();
  for (std::int64_t done = 0; done < count;) {
    const Shard& shard = impl_->shard_of(first + done);
    shard.file->check_unchanged();
    const std::int64_t from = first + done - shard.first;
    const std::int64_t taken = std::min(count - done, shard.rows - from);
    for (std::int64_t i = 0; i < taken; ++i) {
      shard.read_row(from + i, out + (done + i) * impl_->d_in);
    }
    done += taken;
  }
  return batch;
}

std::int64_t ActivationStore::shards() const {
  return static_cast<std::int64_t>(impl_->shards.size());
}

std::string ActivationStore::place_of(std::int64_t row) const {
  impl_->check_range(row, 1);
  const Shard& shard = impl_->shard_of(row);
  return shard.name() + ": row " + std::to_string(row - shard.first);
}

at::Tensor ActivationStore::tokens(std::int64_t first, std::int64_t count) const {
  return impl_->integers(&Shard::tokens, "token ids", first, count);
}

at::Tensor ActivationStore::context(std::int64_t first, std::int64_t count) const {
  return impl_->integers(&Shard::context, "context ids", first, count);
}

}  // namespace sae
