#include "training/shards.h"

#include <torch/types.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "sae/base/error.h"
#include "sae/models/autoencoder.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLatents = "latents";

/// "0-7,20-31" of ascending numbers.
std::string ranges_text(const at::Tensor& ids) {
  const auto* id = ids.const_data_ptr<std::int64_t>();
  std::string text;
  for (std::int64_t i = 0; i < ids.size(0);) {
    std::int64_t last = i;
    while (last + 1 < ids.size(0) && id[last + 1] == id[last] + 1) ++last;
    if (!text.empty()) text += ",";
    text += std::to_string(id[i]) + "-" + std::to_string(id[last]);
    i = last + 1;
  }
  return text;
}

/// And back; nothing for any other text.
std::optional<std::vector<Rows>> ranges_in(std::string_view text) {
  std::vector<Rows> ranges;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at != end) {
    std::int64_t first = -1, last = -1;
    auto read = std::from_chars(at, end, first);
    if (read.ec != std::errc() || read.ptr == end || *read.ptr != '-') return std::nullopt;
    read = std::from_chars(read.ptr + 1, end, last);
    const std::int64_t before = ranges.empty() ? 0 : ranges.back().end;
    constexpr std::int64_t kMost = std::int64_t{1} << 40;
    if (read.ec != std::errc() || first < before || last < first || last > kMost) {
      return std::nullopt;
    }
    if (read.ptr != end && (*read.ptr != ',' || read.ptr + 1 == end)) return std::nullopt;
    ranges.push_back({first, last + 1});
    at = read.ptr == end ? end : read.ptr + 1;
  }
  return ranges;
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder, none)) {
    names.push_back(entry.path().filename().string());
  }
  return names;
}

}  // namespace

std::string shard_name(const std::string& stem, int number, int of) {
  if (of == 1) return stem + ".safetensors";
  char numbers[40];
  std::snprintf(numbers, sizeof(numbers), "-%04d-of-%04d", number, of);
  return stem + numbers + ".safetensors";
}

std::vector<std::string> shards_among(const std::vector<std::string>& names,
                                      const std::string& stem) {
  const std::set<std::string> there(names.begin(), names.end());
  if (there.contains(shard_name(stem, 1, 1))) return {shard_name(stem, 1, 1)};
  const std::string first = stem + "-0001-of-";
  const auto one = std::find_if(there.begin(), there.end(),
                                [&](const std::string& name) { return name.starts_with(first); });
  if (one == there.end()) return {};
  const int of = std::atoi(one->c_str() + first.size());
  std::vector<std::string> all;
  for (int number = 1; number <= of; ++number) {
    all.push_back(shard_name(stem, number, of));
    if (!there.contains(all.back())) return {};
  }
  return all;
}

void write_shard(const fs::path& path, const NamedTensors& tensors, const at::Tensor& ids,
                 std::int64_t d_sae) {
  Metadata metadata;
  if (ids.size(0) < d_sae) metadata[kLatents] = ranges_text(ids);
  write_safetensors(path, tensors, metadata);
}

Shards::Shards(const fs::path& folder, const std::string& stem) {
  const std::vector<std::string> names = shards_among(names_in(folder), stem);
  if (names.empty()) {
    throw DataError(folder.string() + ": no " + shard_name(stem, 1, 1) +
                    ", and no complete set of " + stem + "-0001-of-... files");
  }
  for (const std::string& name : names) {
    Part part{SafetensorsFile(folder / name), {}};
    const auto latents = part.file.metadata().find(kLatents);
    if (latents != part.file.metadata().end()) {
      part.latents = ranges_in(latents->second);
      if (!part.latents) {
        throw DataError((folder / name).string() + ": metadata latents is '" + latents->second +
                        "', expected ranges such as '0-7,20-31'");
      }
    } else if (names.size() > 1) {
      throw DataError((folder / name).string() + ": does not say whose rows it has");
    }
    parts_.push_back(std::move(part));
  }
}

at::Tensor Shards::ids_of(const Part& part, std::int64_t d_sae) {
  if (!part.latents) return at::arange(d_sae, at::kLong);
  std::vector<at::Tensor> ids{at::empty({0}, at::kLong)};
  for (const Rows& range : *part.latents) {
    ids.push_back(at::arange(range.begin, range.end, at::kLong));
  }
  return at::cat(ids);
}

void Shards::check(const NamedTensors& tensors, const at::Tensor& ids, std::int64_t d_sae) const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors) names.push_back(name);
  at::Tensor found = at::zeros({d_sae}, at::kLong);
  for (const Part& part : parts_) {
    part.file.expect_names(names);
    if (part.latents && !part.latents->empty() && part.latents->back().end > d_sae) {
      throw DataError(part.file.path().string() + ": has rows of latents beyond the " +
                      std::to_string(d_sae) + " of the model");
    }
    const at::Tensor of_file = ids_of(part, d_sae);
    const std::int64_t rows = of_file.size(0);
    found.index_add_(0, of_file, at::ones_like(of_file));
    for (const auto& [name, tensor] : tensors) {
      std::vector<std::int64_t> shape = tensor.sizes().vec();
      if (Autoencoder::is_by_latent(name, tensor)) shape[0] = rows;
      part.file.check(name, shape, tensor.scalar_type());
    }
  }
  // Ranks along the batch have the same rows, each of its own part of them.
  if (!(found.index_select(0, ids) == 1).all().item<bool>()) {
    throw DataError(parts_.front().file.path().parent_path().string() +
                    ": its shards do not have every latent once");
  }
}

void Shards::read(const NamedTensors& tensors, const at::Tensor& ids, std::int64_t d_sae) const {
  check(tensors, ids, d_sae);
  const at::NoGradGuard no_grad;
  at::Tensor wanted = at::full({d_sae}, -1, at::kLong);  // the row here of each latent
  wanted.index_copy_(0, ids, at::arange(ids.size(0), at::kLong));
  for (const auto& [name, tensor] : tensors) {
    if (!Autoencoder::is_by_latent(name, tensor)) {
      tensor.copy_(shared(name));
      continue;
    }
    for (const Part& part : parts_) {
      const at::Tensor rows = part.file.tensor(name);
      if (!part.latents && ids.size(0) == d_sae) {
        tensor.copy_(rows);
        continue;
      }
      const at::Tensor place = wanted.index_select(0, ids_of(part, d_sae));
      const at::Tensor here = (place >= 0).nonzero().squeeze(1);
      tensor.index_copy_(0, place.index_select(0, here).to(tensor.device()),
                         rows.index_select(0, here).to(tensor.device()));
    }
  }
}

}  // namespace sae
