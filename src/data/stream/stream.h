// ActivationStream: what a harvester makes, as held-out activations and as windows to train on.
#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <cstdint>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "data/stream/harvest_process.h"
#include "sae/data/activations.h"
#include "sae/data/stream.h"

namespace sae {

/// Shared by all sources of a run. May be used from several threads at once.
class ActivationStream {
 public:
  /// Starts the harvester and reads the held-out tokens.
  explicit ActivationStream(const StreamDataOptions& options);
  ~ActivationStream();

  std::int64_t d_in() const { return held_out_.size(1); }
  const StreamDataOptions& options() const { return options_; }
  const at::Tensor& held_out() const { return held_out_; }  ///< [H, D] f32

  /// Tokens of window i, [W, D] as they are stored, in the order of the text.
  at::Tensor window(std::int64_t i);

 private:
  at::Tensor read(std::int64_t first, std::int64_t count);
  void read_ahead(std::int64_t i);
  void stop_reading_ahead();

  StreamDataOptions options_;
  std::atomic<bool> stopping_ = false;  // whoever reads ahead
  std::unique_ptr<HarvestProcess> process_;
  std::int64_t position_ = 0;  // of what is read next
  at::Tensor left_;            // of the last shard
  at::Tensor held_out_;

  std::mutex mutex_;
  std::int64_t number_ = -1;  // of the window that is here
  at::Tensor here_;
  std::int64_t ahead_number_ = -1;  // of the one that is being read
  std::future<at::Tensor> ahead_;
};

/// The windows one after the other, each in its shuffled order.
class WindowSource : public ActivationSource {
 public:
  WindowSource(std::shared_ptr<ActivationStream> stream, std::uint64_t seed);

  std::int64_t d_in() const override { return stream_->d_in(); }
  at::Tensor next(std::int64_t count) override;
  void set_form(const BatchForm& form) override { form_ = form; }
  std::int64_t position() const override { return position_; }
  void seek(std::int64_t position) override;
  std::string description() const override;

 private:
  std::shared_ptr<ActivationStream> stream_;
  std::uint64_t seed_;
  BatchForm form_;
  std::int64_t position_ = 0;
};

/// The held-out tokens over and over.
class HeldOutSource : public ActivationSource {
 public:
  explicit HeldOutSource(std::shared_ptr<ActivationStream> stream) : stream_(std::move(stream)) {}

  std::int64_t d_in() const override { return stream_->d_in(); }
  at::Tensor next(std::int64_t count) override;
  std::int64_t position() const override { return position_; }
  void seek(std::int64_t position) override;
  std::string description() const override;

 private:
  std::shared_ptr<ActivationStream> stream_;
  std::int64_t position_ = 0;
};

}  // namespace sae
