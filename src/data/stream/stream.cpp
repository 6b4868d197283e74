#include "data/stream/stream.h"

#include <torch/types.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "base/permutation.h"
#include "sae/base/error.h"
#include "sae/base/interrupt.h"
#include "sae/base/rng.h"

namespace sae {
namespace {

using namespace std::chrono_literals;

void require_not_negative(std::int64_t position) {
  if (position < 0) throw std::invalid_argument("seek: position must not be negative");
}

}  // namespace

ActivationStream::ActivationStream(const StreamDataOptions& options) : options_(options) {
  held_out_ = read(0, options_.held_out);
  if (!held_out_.defined()) throw Interrupted();
  held_out_ = held_out_.to(at::kFloat);
}

ActivationStream::~ActivationStream() { stop_reading_ahead(); }

void ActivationStream::stop_reading_ahead() {
  if (!ahead_.valid()) return;
  stopping_ = true;
  ahead_.wait();
  ahead_ = {};
  stopping_ = false;
}

at::Tensor ActivationStream::read(std::int64_t first, std::int64_t count) {
  if (!process_ || first != position_) {
    process_.reset();  // the folder may be needed again
    process_ = std::make_unique<HarvestProcess>(options_, first, stopping_);
    position_ = first;
    left_ = at::Tensor();
  }
  std::vector<at::Tensor> parts;
  std::int64_t missing = count;
  while (missing > 0) {
    if (!left_.defined() || left_.size(0) == 0) {
      left_ = process_->next();
      if (!left_.defined()) return {};
      if (held_out_.defined() && left_.size(1) != d_in()) {
        throw DataError("data.command: made activations of width " + std::to_string(left_.size(1)) +
                        " after such of width " + std::to_string(d_in()));
      }
    }
    const std::int64_t taken = std::min(missing, left_.size(0));
    parts.push_back(left_.slice(0, 0, taken));
    left_ = left_.slice(0, taken);
    missing -= taken;
  }
  position_ += count;
  return at::cat(parts);
}

void ActivationStream::read_ahead(std::int64_t i) {
  ahead_number_ = i;
  ahead_ = std::async(std::launch::async, [this, i] {
    return read(options_.held_out + i * options_.window, options_.window);
  });
}

at::Tensor ActivationStream::window(std::int64_t i) {
  const std::lock_guard lock(mutex_);
  if (number_ == i) return here_;
  here_ = at::Tensor();  // before the next one is there, which is as large
  number_ = -1;
  if (ahead_number_ != i) {
    if (ahead_.valid()) {
      stop_reading_ahead();
      process_.reset();  // part of a window has been read from it
    }
    read_ahead(i);
  }
  while (ahead_.wait_for(10ms) != std::future_status::ready) {
    check_interrupt();
  }
  ahead_number_ = -1;
  here_ = ahead_.get();
  if (!here_.defined()) throw Interrupted();
  number_ = i;
  read_ahead(i + 1);
  return here_;
}

WindowSource::WindowSource(std::shared_ptr<ActivationStream> stream, std::uint64_t seed)
    : stream_(std::move(stream)), seed_(seed) {}

at::Tensor WindowSource::next(std::int64_t count) {
  const std::int64_t size = stream_->options().window;
  std::vector<at::Tensor> parts;
  for (std::int64_t missing = count, at = position_; missing > 0;) {
    const std::int64_t number = at / size, place = at % size;
    const std::int64_t taken = std::min(missing, size - place);
    const Permutation order(static_cast<std::uint64_t>(size), seed_, Stream::kShuffle,
                            static_cast<std::uint64_t>(number));
    at::Tensor rows = at::empty({taken}, at::kLong);
    auto* row = rows.mutable_data_ptr<std::int64_t>();
    for (std::int64_t i = 0; i < taken; ++i) {
      row[i] = static_cast<std::int64_t>(order(static_cast<std::uint64_t>(place + i)));
    }
    parts.push_back(stream_->window(number).index_select(0, rows));
    at += taken;
    missing -= taken;
  }
  position_ += count;
  const at::Tensor batch = parts.size() == 1 ? parts.front() : at::cat(parts);
  return form_.as_stored ? batch : batch.to(at::kFloat);
}

void WindowSource::seek(std::int64_t position) {
  require_not_negative(position);
  position_ = position;
}

std::string WindowSource::description() const {
  return "stream of '" + stream_->options().command + "', d_in " + std::to_string(d_in());
}

at::Tensor HeldOutSource::next(std::int64_t count) {
  const at::Tensor& all = stream_->held_out();
  const at::Tensor rows =
      at::arange(position_, position_ + count, at::kLong).remainder(all.size(0));
  position_ += count;
  return all.index_select(0, rows);
}

void HeldOutSource::seek(std::int64_t position) {
  require_not_negative(position);
  position_ = position;
}

std::string HeldOutSource::description() const {
  return "first " + std::to_string(stream_->held_out().size(0)) + " tokens of the stream of '" +
         stream_->options().command + "', d_in " + std::to_string(d_in());
}

}  // namespace sae
