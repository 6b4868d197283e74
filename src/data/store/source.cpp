#include <ATen/core/Tensor.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/permutation.h"
#include "sae/base/error.h"
#include "sae/base/rng.h"
#include "sae/data/store.h"

namespace sae {
namespace {

/// The rows of one split, by number.
class SplitRows {
 public:
  SplitRows(const ActivationStore& store, const StoreOptions& options, Split split) {
    if (!(options.held_out >= 0 && options.held_out < 1) || options.prefetch < 0) {
      throw std::invalid_argument("StoreOptions: held_out must be in [0, 1), prefetch at least 0");
    }
    if (options.held_out > 0 && store.has_context()) {
      choose_contexts(store, options, split);
    } else {
      choose_tokens(store.size(), options, split);
    }
    if (size_ == 0) {
      throw DataError(store.path().string() + ": no token is " +
                      (split == Split::kTrain ? "left for training" : "held out") + " of " +
                      std::to_string(store.size()) + " at held_out " +
                      std::to_string(options.held_out));
    }
  }

  std::int64_t size() const { return size_; }

  std::int64_t operator[](std::int64_t i) const {
    if (tokens_)
      return static_cast<std::int64_t>((*tokens_)(static_cast<std::uint64_t>(first_ + i)));
    const auto after = std::upper_bound(runs_.begin(), runs_.end(), i,
                                        [](auto wanted, auto& run) { return wanted < run.number; });
    return std::prev(after)->row + (i - std::prev(after)->number);
  }

 private:
  /// Consecutive rows of the split.
  struct Run {
    std::int64_t number;  ///< which row of the split is its first
    std::int64_t row;     ///< which row of the store that is
  };

  // A permutation's first rows are held out, the others are for training: no list is kept.
  void choose_tokens(std::int64_t size, const StoreOptions& options, Split split) {
    tokens_.emplace(static_cast<std::uint64_t>(size),
                    static_cast<std::uint64_t>(options.split_seed), Stream::kSplit, 0);
    const auto held = static_cast<std::int64_t>(options.held_out * static_cast<double>(size) + 0.5);
    first_ = split == Split::kTrain ? held : 0;
    size_ = split == Split::kTrain ? size - held : held;
  }

  void choose_contexts(const ActivationStore& store, const StoreOptions& options, Split split) {
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
          Rng rng(static_cast<std::uint64_t>(options.split_seed), Stream::kSplit,
                  static_cast<std::uint32_t>(ids[i]));
          const bool held = rng.uniform() < options.held_out;
          const bool was_inside = inside;
          inside = held == (split == Split::kHeldOut);
          if (inside && !was_inside) runs_.push_back({size_, first + i});
        }
        if (inside) ++size_;
      }
    }
  }

  std::vector<Run> runs_;
  std::optional<Permutation> tokens_;
  std::int64_t first_ = 0;
  std::int64_t size_ = 0;
};

}  // namespace

struct StoreSource::Impl {
  struct Batch {
    at::Tensor activations;
    std::exception_ptr error;
  };

  Impl(std::shared_ptr<const ActivationStore> from, const StoreOptions& options, Split which,
       std::uint64_t order_seed)
      : store(std::move(from)),
        split(which),
        seed(order_seed),
        rows(*store, options, which),
        depth(static_cast<std::size_t>(options.prefetch)) {}

  ~Impl() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    changed.notify_all();
    if (worker.joinable()) worker.join();
  }

  std::vector<std::int64_t> rows_at(std::int64_t position, std::int64_t count) const {
    std::vector<std::int64_t> indices;
    indices.reserve(static_cast<std::size_t>(count));
    while (static_cast<std::int64_t>(indices.size()) < count) {
      const std::int64_t epoch = position / rows.size();
      const Permutation order(static_cast<std::uint64_t>(rows.size()), seed, Stream::kShuffle,
                              static_cast<std::uint64_t>(epoch));
      const std::int64_t end = std::min(
          position + count - static_cast<std::int64_t>(indices.size()), (epoch + 1) * rows.size());
      for (; position < end; ++position) {
        const auto number = static_cast<std::uint64_t>(position - epoch * rows.size());
        indices.push_back(rows[static_cast<std::int64_t>(order(number))]);
      }
    }
    return indices;
  }

  at::Tensor read(std::int64_t at, std::int64_t count) const {
    return store->rows(rows_at(at, count));
  }

  /// The background thread: reads batches of `ahead_count` from `ahead_position` on.
  void work() {
    std::unique_lock lock(mutex);
    for (;;) {
      changed.wait(lock, [&] { return stopping || (reading && ready.size() < depth); });
      if (stopping) return;
      const std::int64_t plan_now = plan, at = ahead_position, count = ahead_count;
      lock.unlock();
      Batch batch;
      try {
        batch.activations = read(at, count);
      } catch (...) {
        batch.error = std::current_exception();
      }
      lock.lock();
      if (plan != plan_now) continue;  // a seek came in between
      if (batch.error) reading = false;
      ready.push_back(std::move(batch));
      ahead_position += count;
      changed.notify_all();
    }
  }

  void read_ahead_from(std::int64_t at, std::int64_t count) {
    ready.clear();
    ++plan;
    reading = true;
    front_position = ahead_position = at;
    ahead_count = count;
    if (!worker.joinable()) worker = std::thread([this] { work(); });
    changed.notify_all();
  }

  at::Tensor next(std::int64_t count) {
    if (depth == 0) return read(position, count);
    std::unique_lock lock(mutex);
    if (position != front_position || count != ahead_count) read_ahead_from(position, count);
    changed.wait(lock, [&] { return !ready.empty(); });
    const Batch batch = std::move(ready.front());
    ready.pop_front();
    front_position += count;
    changed.notify_all();
    if (batch.error) std::rethrow_exception(batch.error);
    return batch.activations;
  }

  const std::shared_ptr<const ActivationStore> store;
  const Split split;
  const std::uint64_t seed;
  const SplitRows rows;
  const std::size_t depth;
  std::int64_t position = 0;

  std::mutex mutex;  ///< guards what follows
  std::condition_variable changed;
  std::deque<Batch> ready;
  std::int64_t plan = 0;             ///< counts the calls of read_ahead_from
  std::int64_t front_position = -1;  ///< of the batch that is handed out next
  std::int64_t ahead_position = 0;   ///< of the batch that is read next
  std::int64_t ahead_count = 0;
  bool reading = false;
  bool stopping = false;
  std::thread worker;
};

StoreSource::StoreSource(std::shared_ptr<const ActivationStore> store, const StoreOptions& options,
                         Split split, std::uint64_t seed)
    : impl_(std::make_unique<Impl>(std::move(store), options, split, seed)) {}

StoreSource::~StoreSource() = default;

std::int64_t StoreSource::d_in() const { return impl_->store->d_in(); }
std::int64_t StoreSource::size() const { return impl_->rows.size(); }
std::int64_t StoreSource::position() const { return impl_->position; }

at::Tensor StoreSource::next(std::int64_t count) {
  if (count < 1) throw std::invalid_argument("StoreSource: count must be at least 1");
  at::Tensor batch = impl_->next(count);
  impl_->position += count;
  return batch;
}

void StoreSource::seek(std::int64_t position) {
  if (position < 0) throw std::invalid_argument("StoreSource: position must not be negative");
  impl_->position = position;
}

std::int64_t StoreSource::row_at(std::int64_t position) const {
  if (position < 0) throw std::invalid_argument("StoreSource: position must not be negative");
  return impl_->rows_at(position, 1)[0];
}

std::string StoreSource::description() const {
  return impl_->store->path().string() + ": " + std::to_string(size()) + " of " +
         std::to_string(impl_->store->size()) + " tokens, d_in " + std::to_string(d_in()) +
         (impl_->split == Split::kTrain ? ", training" : ", held out");
}

}  // namespace sae
