#include "data/store/split.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <string>

#include "sae/base/error.h"
#include "sae/base/rng.h"

namespace sae {
namespace {

/// The contexts of the least and of the greatest draw.
struct Extremes {
  std::optional<std::int32_t> least, greatest;
  double low = 2, high = -1;

  void see(std::int32_t context, double draw) {
    if (draw < low) low = draw, least = context;
    if (draw >= high) high = draw, greatest = context;
  }
};

[[noreturn]] void refuse(const ActivationStore& store, const char* what) {
  throw DataError(store.path().string() + ": got one " + what +
                  ", which cannot be both trained and evaluated on; give a store of more, or "
                  "another one to evaluate on with held_out_path");
}

}  // namespace

SplitRows::SplitRows(const ActivationStore& store, const StoreOptions& options, Split split) {
  if (!(options.held_out >= 0 && options.held_out < 1) || options.prefetch < 0) {
    throw std::invalid_argument("StoreOptions: held_out must be in [0, 1), prefetch at least 0");
  }
  if (options.held_out == 0 && split == Split::kHeldOut) {
    throw DataError(store.path().string() +
                    ": nothing is held out at held_out 0; give a share above 0, or another store "
                    "to evaluate on with held_out_path");
  }
  if (options.held_out > 0 && store.has_context()) {
    choose_contexts(store, options, split);
  } else if (options.shuffle == Shuffle::kBlocks) {
    take_all_in_order(store, options);
  } else {
    choose_tokens(store, options, split);
  }
}

std::int64_t SplitRows::operator[](std::int64_t i) const {
  if (tokens_) {
    return static_cast<std::int64_t>((*tokens_)(static_cast<std::uint64_t>(first_ + i)));
  }
  const auto after = std::upper_bound(runs_.begin(), runs_.end(), i,
                                      [](auto wanted, auto& run) { return wanted < run.number; });
  return std::prev(after)->row + (i - std::prev(after)->number);
}

void SplitRows::take_all_in_order(const ActivationStore& store, const StoreOptions& options) {
  if (options.held_out > 0) {
    throw DataError(store.path().string() +
                    ": has no contexts, so that single tokens would be held out, and no rows are "
                    "left that lie together, which shuffle 'blocks' reads; give another store to "
                    "evaluate on with held_out_path");
  }
  runs_ = {{0, 0}};
  size_ = store.size();
}

// A permutation's first rows are held out, the others are for training: no list is kept.
void SplitRows::choose_tokens(const ActivationStore& store, const StoreOptions& options,
                              Split split) {
  const std::int64_t size = store.size();
  tokens_.emplace(static_cast<std::uint64_t>(size), static_cast<std::uint64_t>(options.split_seed),
                  Stream::kSplit, 0);
  auto held = static_cast<std::int64_t>(options.held_out * static_cast<double>(size) + 0.5);
  if (options.held_out > 0) {
    if (size == 1) refuse(store, "token");
    held = std::clamp<std::int64_t>(held, 1, size - 1);
  }
  first_ = split == Split::kTrain ? held : 0;
  size_ = split == Split::kTrain ? size - held : held;
}

void SplitRows::choose_contexts(const ActivationStore& store, const StoreOptions& options,
                                Split split) {
  const auto seed = static_cast<std::uint64_t>(options.split_seed);
  const bool wanted = split == Split::kHeldOut;
  Extremes all;
  add_contexts(store, seed, [&](std::int32_t context, double draw) {
    all.see(context, draw);
    return (draw < options.held_out) == wanted;
  });
  if (size_ > 0 && size_ < store.size()) return;
  if (all.least == all.greatest) refuse(store, "context");
  const bool none_held = (size_ == 0) == wanted;
  runs_.clear();
  size_ = 0;
  moved_ = 1;
  add_contexts(store, seed, [&](std::int32_t context, double) {
    return (none_held ? context == *all.least : context != *all.greatest) == wanted;
  });
}

void SplitRows::add_contexts(const ActivationStore& store, std::uint64_t seed,
                             const Belongs& belongs) {
  constexpr std::int64_t kChunk = 1 << 20;
  std::optional<std::int32_t> current;
  bool inside = false;  // whether the current context belongs to the split
  for (std::int64_t first = 0; first < store.size(); first += kChunk) {
    const std::int64_t count = std::min(kChunk, store.size() - first);
    const at::Tensor context = store.context(first, count);
    const auto* ids = context.data_ptr<std::int32_t>();
    for (std::int64_t i = 0; i < count; ++i) {
      if (current != ids[i]) {
        current = ids[i];
        Rng rng(seed, Stream::kSplit, static_cast<std::uint32_t>(ids[i]));
        const bool was_inside = inside;
        inside = belongs(ids[i], rng.uniform());
        if (inside && !was_inside) runs_.push_back({size_, first + i});
      }
      if (inside) ++size_;
    }
  }
}

}  // namespace sae
