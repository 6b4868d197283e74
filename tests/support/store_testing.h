// Activation stores for the tests of what trains and evaluates on them.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "sae/data/store.h"
#include "support/sae_testing.h"

namespace sae {

/// A store of `rows` normal activations of width `width` that follow from `index`, in contexts of
/// `context` tokens (0: without token and context ids).
inline std::filesystem::path write_normal_store(const std::filesystem::path& path,
                                                std::int64_t rows, std::uint64_t index,
                                                std::int64_t context = 0, std::int64_t width = 12) {
  std::filesystem::remove_all(path);
  StoreWriter writer(path, width, at::kFloat, {{"model", "test"}}, /*shard_tokens=*/50);
  const at::Tensor x = normal({rows, width}, index).to(at::kFloat);
  const at::Tensor ids = at::arange(rows);
  if (context > 0) {
    writer.append(x, ids, ids.div(context, "floor"));
  } else {
    writer.append(x);
  }
  writer.finish();
  return path;
}

}  // namespace sae
