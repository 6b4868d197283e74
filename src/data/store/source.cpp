#include <ATen/core/Tensor.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "data/store/order.h"
#include "data/store/split.h"
#include "sae/base/rng.h"
#include "sae/data/store.h"

namespace sae {

struct StoreSource::Impl {
  struct Batch {
    at::Tensor activations;
    std::exception_ptr error;
  };

  Impl(std::shared_ptr<const ActivationStore> from, Split which, const RowOrder& row_order,
       std::shared_ptr<const SplitRows> chosen, std::size_t batches_ahead)
      : store(std::move(from)),
        split(which),
        order(row_order),
        rows_of_split(std::move(chosen)),
        rows(*rows_of_split),
        depth(batches_ahead) {}

  ~Impl() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    changed.notify_all();
    if (worker.joinable()) worker.join();
  }

  std::vector<std::int64_t> rows_at(std::int64_t position, std::int64_t count) const {
    std::vector<std::int64_t> indices = order.rows_at(position, count);
    for (std::int64_t& index : indices) index = rows[index];
    return indices;
  }

  /// Has the window that is read, and the one after it, fetched from the disk.
  void ask_for_windows(std::int64_t position) {
    const std::int64_t window = order.window_at(position);
    if (window < 0 || asked_for == window + 1) return;
    if (asked_for != window) ask_for(window);
    ask_for(window + 1);
    asked_for = window + 1;
  }

  void ask_for(std::int64_t window) const {
    for (const RowOrder::Range& block : order.blocks_of(window)) {
      const std::int64_t to_end = std::min(block.count, rows.size() - block.first);
      ask_for_rows(block.first, to_end);
      if (to_end < block.count) ask_for_rows(0, block.count - to_end);
    }
  }

  void ask_for_rows(std::int64_t first, std::int64_t count) const {
    store->will_need(rows[first], rows[first + count - 1] - rows[first] + 1);
  }

  at::Tensor read(std::int64_t at, std::int64_t count, const BatchForm& form) {
    ask_for_windows(at + count - 1);
    return store->rows(rows_at(at, count), form);
  }

  /// The background thread: reads batches of `ahead_count` from `ahead_position` on.
  void work() {
    std::unique_lock lock(mutex);
    for (;;) {
      changed.wait(lock, [&] { return stopping || (reading && ready.size() < depth); });
      if (stopping) return;
      const std::int64_t plan_now = plan, at = ahead_position, count = ahead_count;
      const BatchForm wanted = form;
      lock.unlock();
      Batch batch;
      try {
        batch.activations = read(at, count, wanted);
      } catch (...) {
        batch.error = std::current_exception();
      }
      lock.lock();
      if (plan != plan_now) continue;  // a seek came in between
      if (batch.error) reading = false;
      ready.push_back(std::move(batch));
      ahead_position += stride_of(count);
      changed.notify_all();
    }
  }

  std::int64_t stride_of(std::int64_t count) const { return form.stride > 0 ? form.stride : count; }

  void read_ahead_from(std::int64_t at, std::int64_t count) {
    ready.clear();
    ++plan;
    reading = true;
    front_position = ahead_position = at;
    ahead_count = count;
    if (!worker.joinable()) worker = std::thread([this] { work(); });
    changed.notify_all();
  }

  void set_form(const BatchForm& wanted) {
    const std::lock_guard lock(mutex);
    if (wanted == form) return;
    form = wanted;
    front_position = -1;  // what has been read ahead is of the former form
  }

  at::Tensor next(std::int64_t count) {
    if (depth == 0) return read(position, count, form);
    std::unique_lock lock(mutex);
    if (position != front_position || count != ahead_count) read_ahead_from(position, count);
    changed.wait(lock, [&] { return !ready.empty(); });
    const Batch batch = std::move(ready.front());
    ready.pop_front();
    front_position += stride_of(count);
    changed.notify_all();
    if (batch.error) std::rethrow_exception(batch.error);
    return batch.activations;
  }

  const std::shared_ptr<const ActivationStore> store;
  const Split split;
  const RowOrder order;
  const std::shared_ptr<const SplitRows> rows_of_split;  ///< shared by sources of one split
  const SplitRows& rows;
  const std::size_t depth;
  std::int64_t position = 0;
  std::int64_t asked_for = -1;  ///< window; of the thread that reads

  std::mutex mutex;  ///< guards what follows
  BatchForm form;
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
    : impl_([&] {
        auto rows = std::make_shared<const SplitRows>(*store, options, split);
        const RowOrder order(rows->size(), options, seed);
        return std::make_unique<Impl>(store, split, order, std::move(rows),
                                      static_cast<std::size_t>(options.prefetch));
      }()) {}

StoreSource::StoreSource(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

StoreSource::~StoreSource() = default;

std::unique_ptr<StoreSource> StoreSource::another() const {
  return std::unique_ptr<StoreSource>(new StoreSource(std::make_unique<Impl>(
      impl_->store, impl_->split, impl_->order, impl_->rows_of_split, impl_->depth)));
}

std::int64_t StoreSource::d_in() const { return impl_->store->d_in(); }
std::int64_t StoreSource::size() const { return impl_->rows.size(); }
std::int64_t StoreSource::moved_contexts() const { return impl_->rows.moved_contexts(); }
std::int64_t StoreSource::position() const { return impl_->position; }

at::Tensor StoreSource::next(std::int64_t count) {
  if (count < 1) throw std::invalid_argument("StoreSource: count must be at least 1");
  at::Tensor batch = impl_->next(count);
  impl_->position += count;
  return batch;
}

void StoreSource::set_form(const BatchForm& form) { impl_->set_form(form); }

void StoreSource::seek(std::int64_t position) {
  if (position < 0) throw std::invalid_argument("StoreSource: position must not be negative");
  impl_->position = position;
}

std::int64_t StoreSource::row_at(std::int64_t position) const { return rows_at(position, 1)[0]; }

std::vector<std::int64_t> StoreSource::rows_at(std::int64_t position, std::int64_t count) const {
  if (position < 0) throw std::invalid_argument("StoreSource: position must not be negative");
  return impl_->rows_at(position, count);
}

std::string StoreSource::description() const {
  return impl_->store->path().string() + ": " + std::to_string(size()) + " of " +
         std::to_string(impl_->store->size()) + " tokens, d_in " + std::to_string(d_in()) +
         (impl_->split == Split::kTrain ? ", training" : ", held out");
}

}  // namespace sae
