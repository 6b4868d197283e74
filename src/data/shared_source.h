// SharedSource: one order of activations that ranks read together.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "sae/data/activations.h"
#include "sae/distributed/group.h"

namespace sae {

/// Of every `batch` activations of `source`, those of this rank along `data`. Ranks with the same
/// tokens, which are those along `latents`, read a part of them each and send it to the others, in
/// the type in which it was read. All ranks make the same calls; `next` hands out fewer than it is
/// asked for, and position counts those of all.
class SharedSource : public ActivationSource {
 public:
  SharedSource(ActivationSource& source, Mesh mesh, std::int64_t batch)
      : source_(source), mesh_(std::move(mesh)), batch_(batch), position_(source.position()) {
    set_form({});
  }
  ~SharedSource() override {
    source_.set_form({});
    source_.seek(position_);
  }
  SharedSource(const SharedSource&) = delete;
  SharedSource& operator=(const SharedSource&) = delete;

  std::int64_t d_in() const override { return source_.d_in(); }
  at::Tensor next(std::int64_t count) override;
  void set_form(const BatchForm& form) override;
  std::int64_t position() const override { return position_; }
  void seek(std::int64_t position) override { position_ = position; }
  std::string description() const override { return source_.description(); }

 private:
  ActivationSource& source_;
  Mesh mesh_;
  std::int64_t batch_;
  std::int64_t position_;
};

}  // namespace sae
