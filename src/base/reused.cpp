#include "base/reused.h"

#include <torch/types.h>

#include <cstdint>
#include <utility>
#include <vector>

namespace sae {
namespace {

/// malloc may return blocks above 128 KiB to the kernel when they are freed.
constexpr std::size_t kLarge = 1 << 20;
/// Requests after which a block that none of them used is let go.
constexpr std::uint64_t kPatience = 64;

/// How many times as large as the tensor its block may be.
constexpr std::size_t kSpare = 4;

struct Block {
  Block(c10::Storage storage, std::uint64_t used_at)
      : storage(std::move(storage)), used_at(used_at) {}
  c10::Storage storage;  // in use by a tensor while this is not the only reference
  std::uint64_t used_at;
};

}  // namespace

at::Tensor reused(at::IntArrayRef sizes, const at::TensorOptions& options) {
  std::size_t size = options.dtype().itemsize();
  for (const std::int64_t n : sizes) size *= static_cast<std::size_t>(n);
  if (size < kLarge || !options.device().is_cpu()) return at::empty(sizes, options);

  thread_local std::vector<Block> blocks;
  thread_local std::uint64_t clock = 0;
  ++clock;
  const auto is_free = [](const Block& block) { return block.storage.use_count() == 1; };
  std::erase_if(blocks, [&](Block& block) {
    if (!is_free(block)) block.used_at = clock;
    return clock - block.used_at > kPatience;
  });
  Block* found = nullptr;  // the smallest that does
  for (Block& block : blocks) {
    const std::size_t has = block.storage.nbytes();
    if (!is_free(block) || has < size || has > kSpare * size) continue;
    if (!found || has < found->storage.nbytes()) found = &block;
  }
  if (!found) {
    // The new block will do for what smaller free ones were used for.
    std::erase_if(blocks, [&](const Block& block) {
      const std::size_t has = block.storage.nbytes();
      return is_free(block) && has < size && kSpare * has >= size;
    });
    const auto bytes = static_cast<std::int64_t>(size);
    found = &blocks.emplace_back(at::empty({bytes}, options.dtype(at::kByte)).storage(), clock);
  }
  found->used_at = clock;
  std::vector<std::int64_t> strides(sizes.size(), 1);
  for (std::size_t i = sizes.size(); i > 1; --i) strides[i - 2] = strides[i - 1] * sizes[i - 1];
  return at::empty({0}, options).set_(found->storage, 0, sizes, strides);
}

}  // namespace sae
