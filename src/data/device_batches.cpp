#include "data/device_batches.h"

#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/types.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace sae {

BatchForm batch_form_for(const at::Device& device) {
  const bool travels = !device.is_cpu();
  return {.as_stored = travels, .pinned = travels};
}

SentAhead::SentAhead(const at::Device& device, std::int64_t count, std::function<at::Tensor()> read)
    : device_(device), left_(count), read_(std::move(read)) {
  if (device_.is_cpu()) return;
  stream_ = c10::impl::VirtualGuardImpl(device_.type()).getStreamFromGlobalPool(device_);
  copied_.emplace(device_.type());
}

void SentAhead::send() {
  --left_;
  at::Tensor x = read_();
  // A source may know nothing of forms.
  if (x.is_cpu() && !x.is_pinned()) x = x.pin_memory();
  const c10::StreamGuard on(*stream_);
  ahead_ = x.to(device_, /*non_blocking=*/true);
  copied_->record(*stream_);
}

at::Tensor SentAhead::next() {
  if (!ahead_.defined() && left_ == 0) throw std::logic_error("SentAhead: nothing is left");
  if (device_.is_cpu()) {
    --left_;
    return read_();
  }
  if (!ahead_.defined()) send();
  at::Tensor now = std::exchange(ahead_, {});
  const c10::Stream computing = c10::impl::VirtualGuardImpl(device_.type()).getStream(device_);
  copied_->block(computing);
  now.record_stream(computing);  // its memory is free when that stream has done with it
  if (left_ > 0) send();
  return now;
}

DeviceBatches::DeviceBatches(ActivationSource& source, const at::Device& device, std::int64_t batch,
                             std::int64_t activations)
    : source_(source),
      batch_(batch),
      unread_(activations),
      not_handed_out_(activations),
      position_(source.position()),
      sent_(device, (activations + batch - 1) / batch, [this] {
        const std::int64_t count = std::min(batch_, unread_);
        unread_ -= count;
        return source_.next(count);
      }) {
  source_.set_form(batch_form_for(device));
}

DeviceBatches::~DeviceBatches() {
  try {
    source_.set_form({});
    if (source_.position() != position_) source_.seek(position_);
  } catch (...) {  // a position that was handed out before
  }
}

at::Tensor DeviceBatches::next() {
  at::Tensor batch = sent_.next();
  const std::int64_t count = std::min(batch_, not_handed_out_);
  not_handed_out_ -= count;
  position_ += count;
  return batch;
}

}  // namespace sae
