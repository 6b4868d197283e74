#include "data/store/order.h"

#include <algorithm>

#include "base/permutation.h"

namespace sae {
namespace {

/// Which of an epoch's permutations: 0 of the blocks, 1 + w of the rows of window w. The global
/// order has the numbers below 2^32.
std::uint64_t key_of(std::int64_t epoch, std::uint64_t which) {
  return static_cast<std::uint64_t>(epoch + 1) << 32 | which;
}

constexpr std::uint64_t kBlockOrder = 0;
constexpr std::uint64_t kTurn = 0xffffffff;

Permutation permutation(std::int64_t size, std::uint64_t seed, std::uint64_t key) {
  return {static_cast<std::uint64_t>(size), seed, Stream::kShuffle, key};
}

std::int64_t image(const Permutation& permutation, std::int64_t place) {
  return static_cast<std::int64_t>(permutation(static_cast<std::uint64_t>(place)));
}

}  // namespace

RowOrder::RowOrder(std::int64_t size, const StoreOptions& options, std::uint64_t seed)
    : size_(size),
      shuffle_(options.shuffle),
      block_(options.shuffle_block),
      window_(options.shuffle_block * options.shuffle_window),
      seed_(seed) {}

std::vector<std::int64_t> RowOrder::rows_at(std::int64_t position, std::int64_t count) const {
  std::vector<std::int64_t> rows;
  rows.reserve(static_cast<std::size_t>(count));
  const std::int64_t end = position + count;
  while (position < end) {
    const std::int64_t epoch = position / size_, place = position % size_;
    // As far as one permutation reaches.
    const std::int64_t reach =
        shuffle_ == Shuffle::kGlobal ? size_ : std::min(size_, (place / window_ + 1) * window_);
    const std::int64_t taken = std::min(end - position, reach - place);
    if (shuffle_ == Shuffle::kGlobal) {
      add_global(epoch, place, taken, rows);
    } else {
      add_of_window(epoch, place, taken, rows);
    }
    position += taken;
  }
  return rows;
}

void RowOrder::add_global(std::int64_t epoch, std::int64_t place, std::int64_t count,
                          std::vector<std::int64_t>& rows) const {
  const Permutation order = permutation(size_, seed_, static_cast<std::uint64_t>(epoch));
  for (std::int64_t i = 0; i < count; ++i) rows.push_back(image(order, place + i));
}

std::int64_t RowOrder::turn(std::int64_t epoch) const {
  return image(permutation(size_, seed_, key_of(epoch, kTurn)), 0);
}

void RowOrder::add_of_window(std::int64_t epoch, std::int64_t place, std::int64_t count,
                             std::vector<std::int64_t>& rows) const {
  const std::int64_t window = place / window_;
  const std::int64_t begin = window * window_;
  const Permutation within = permutation(std::min(window_, size_ - begin), seed_,
                                         key_of(epoch, 1 + static_cast<std::uint64_t>(window)));
  const std::vector<Range> blocks = blocks_of(epoch * windows() + window);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t number = image(within, place - begin + i);
    const Range& block = blocks[static_cast<std::size_t>(number / block_)];
    rows.push_back((block.first + number % block_) % size_);
  }
}

std::int64_t RowOrder::window_at(std::int64_t position) const {
  if (shuffle_ == Shuffle::kGlobal) return -1;
  return position / size_ * windows() + position % size_ / window_;
}

std::vector<RowOrder::Range> RowOrder::blocks_of(std::int64_t window) const {
  const std::int64_t epoch = window / windows();
  const std::int64_t whole = size_ / block_;  // blocks
  const std::int64_t per_window = window_ / block_;
  const std::int64_t first = window % windows() * per_window;
  const std::int64_t last = std::min(first + per_window, (size_ + block_ - 1) / block_);
  const std::int64_t turned = turn(epoch);
  const Permutation order =
      permutation(std::max<std::int64_t>(whole, 1), seed_, key_of(epoch, kBlockOrder));
  std::vector<Range> blocks;
  for (std::int64_t i = first; i < last; ++i) {
    const std::int64_t block = i < whole ? image(order, i) : whole;
    const std::int64_t count = std::min(block_, size_ - block * block_);
    blocks.push_back({(block * block_ + turned) % size_, count});
  }
  return blocks;
}

}  // namespace sae
