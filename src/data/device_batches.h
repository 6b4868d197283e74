// Batches where they are computed with, the next one on its way while this one is in use.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>

#include <cstdint>
#include <functional>
#include <optional>

#include "sae/data/activations.h"

namespace sae {

/// How batches for a device are to be handed out.
BatchForm batch_form_for(const at::Device& device);

/// Tensors on a device that are read on the host. To a GPU they travel out of pinned memory and on
/// a stream of their own, one ahead: neither the host nor the stream that computes waits for a
/// copy, only for its result. On a CPU they are handed out as they are read.
class SentAhead {
 public:
  /// `read` is called at most `count` times, on the calling thread.
  SentAhead(const at::Device& device, std::int64_t count, std::function<at::Tensor()> read);

  at::Tensor next();

 private:
  void send();

  at::Device device_;
  std::int64_t left_;
  std::function<at::Tensor()> read_;
  std::optional<c10::Stream> stream_;
  std::optional<c10::Event> copied_;
  at::Tensor ahead_;
};

/// Hands out a source's batches on a device, so sent. They travel as they are stored, half as many
/// bytes where that is 16 bits; on a CPU these are the source's own batches.
///
/// The source stands where the last batch that was handed out ended, once this is gone.
class DeviceBatches {
 public:
  /// So many more activations are wanted, in batches of `batch` and perhaps a smaller last one;
  /// none is fetched beyond.
  DeviceBatches(ActivationSource& source, const at::Device& device, std::int64_t batch,
                std::int64_t activations);
  ~DeviceBatches();
  DeviceBatches(const DeviceBatches&) = delete;
  DeviceBatches& operator=(const DeviceBatches&) = delete;

  /// [batch, D], or what is left; of a SharedSource, this rank's part of it.
  at::Tensor next();

 private:
  ActivationSource& source_;
  std::int64_t batch_;
  std::int64_t unread_;
  std::int64_t not_handed_out_;
  std::int64_t position_;  // of the source, counting what was handed out alone
  SentAhead sent_;
};

}  // namespace sae
