// Batches where they are trained on, the next one on its way while this one is in use.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>

#include <cstdint>
#include <optional>

#include "sae/data/activations.h"

namespace sae {

/// Hands out a source's batches on a device. To a GPU they travel as they are stored, half as many
/// bytes where that is 16 bits, out of pinned memory and on a stream of their own, one batch ahead:
/// neither the host nor the stream that trains waits for a copy, only for its result. On a CPU
/// these are the source's own batches.
///
/// The source stands where the last batch that was handed out ended, once this is gone.
class DeviceBatches {
 public:
  /// `batches` more are wanted; none is fetched beyond.
  DeviceBatches(ActivationSource& source, const at::Device& device, std::int64_t batch,
                std::int64_t batches);
  ~DeviceBatches();
  DeviceBatches(const DeviceBatches&) = delete;
  DeviceBatches& operator=(const DeviceBatches&) = delete;

  at::Tensor next();  ///< [batch, D]

 private:
  void fetch();

  ActivationSource& source_;
  at::Device device_;
  std::int64_t batch_;
  std::int64_t left_;
  std::int64_t position_;  // of the source, counting what was handed out alone
  std::optional<c10::Stream> stream_;
  std::optional<c10::Event> copied_;
  at::Tensor ahead_;
};

/// How batches for a device are to be handed out.
BatchForm batch_form_for(const at::Device& device);

}  // namespace sae
