#include "data/device_batches.h"

#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/types.h>

#include <utility>

namespace sae {

BatchForm batch_form_for(const at::Device& device) {
  const bool travels = !device.is_cpu();
  return {.as_stored = travels, .pinned = travels};
}

DeviceBatches::DeviceBatches(ActivationSource& source, const at::Device& device, std::int64_t batch,
                             std::int64_t batches)
    : source_(source),
      device_(device),
      batch_(batch),
      left_(batches),
      position_(source.position()) {
  source_.set_form(batch_form_for(device_));
  if (device_.is_cpu()) return;
  stream_ = c10::impl::VirtualGuardImpl(device_.type()).getStreamFromGlobalPool(device_);
  copied_.emplace(device_.type());
}

DeviceBatches::~DeviceBatches() {
  try {
    source_.set_form({});
    if (source_.position() != position_) source_.seek(position_);
  } catch (...) {  // a position that was handed out before
  }
}

void DeviceBatches::fetch() {
  --left_;
  at::Tensor x = source_.next(batch_);
  if (!x.is_pinned()) x = x.pin_memory();  // a source that knows nothing of forms
  const c10::StreamGuard on(*stream_);
  ahead_ = x.to(device_, /*non_blocking=*/true);
  copied_->record(*stream_);
}

at::Tensor DeviceBatches::next() {
  position_ += batch_;
  if (device_.is_cpu()) return source_.next(batch_);
  if (!ahead_.defined()) fetch();
  at::Tensor now = std::exchange(ahead_, {});
  const c10::Stream training = c10::impl::VirtualGuardImpl(device_.type()).getStream(device_);
  copied_->block(training);
  now.record_stream(training);  // its memory is free when that stream has done with it
  if (left_ > 0) fetch();
  return now;
}

}  // namespace sae
