#include "cuda/bf16_copy.h"

#include <torch/types.h>

#include "cuda/launch.h"

namespace sae {
namespace {

using cuda::Index;

/// Room for all that is kept of rows.
Bf16Copy::Rounded room_for(const at::Tensor& W) {
  Bf16Copy::Rounded out;
  const auto options = W.options().requires_grad(false);
  out.rows = at::empty(W.sizes(), options.dtype(at::kBFloat16));
  out.norm = at::empty({W.size(0)}, options);
  out.residual = at::empty_like(out.norm);
  out.largest = at::empty({2}, options);
  return out;
}

void find_largest(const Bf16Copy::Rounded& of) {
  cuda::launch(of.norm.device(), "screen_largest", {1}, 512, cuda::floats_of(of.norm),
               cuda::floats_of(of.residual), Index{of.norm.size(0)},
               cuda::mutable_floats_of(of.largest));
}

}  // namespace

Bf16Copy::Rounded Bf16Copy::round(const at::Tensor& W) {
  Rounded out = room_for(W);
  cuda::launch(W.device(), "round_rows", {W.size(0)}, 256, cuda::floats_of(W), Index{W.size(1)},
               out.rows.mutable_data_ptr(), cuda::mutable_floats_of(out.norm),
               cuda::mutable_floats_of(out.residual));
  find_largest(out);
  return out;
}

bool Bf16Copy::is_of(const at::Tensor& W) const {
  if (!source_ || version_ != W._version()) return false;
  return source_->lock().get() == W.storage().unsafeGetStorageImpl();
}

void Bf16Copy::now_of(const at::Tensor& W) {
  source_ = W.storage().getWeakStorageImpl();
  version_ = W._version();
}

at::Tensor Bf16Copy::rows_of(const at::Tensor& W) {
  const std::lock_guard lock(mutex_);
  if (is_of(W)) return kept_.rows;
  kept_ = {};  // its norms are asked for anew if they are still wanted
  kept_.rows = W.detach().to(at::kBFloat16).contiguous();
  now_of(W);
  return kept_.rows;
}

Bf16Copy::Rounded Bf16Copy::rounded(const at::Tensor& W) {
  const std::lock_guard lock(mutex_);
  if (is_of(W) && kept_.norm.defined()) return kept_;
  kept_ = round(W);
  now_of(W);
  return kept_;
}

Bf16Copy::Rounded Bf16Copy::to_write(const at::Tensor& W) {
  const std::lock_guard lock(mutex_);
  // A stale one is not written: it may be another's, and will be made again where it is wanted.
  return is_of(W) ? kept_ : Rounded{};
}

void Bf16Copy::written(const at::Tensor& W) {
  const std::lock_guard lock(mutex_);
  if (kept_.norm.defined()) find_largest(kept_);
  now_of(W);
}

}  // namespace sae
