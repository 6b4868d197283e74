// Bf16Copy: a weight matrix in bfloat16, kept for as long as the matrix stays as it is.
//
// Products in bfloat16 and the screen (screen.h) read W rounded. Made anew each time it takes 6
// bytes a number. So what has been asked for once is kept, and an optimizer writes it while it
// updates W, for 2. Whoever else changes W, by LibTorch's operators, makes the copy stale, which
// W's version tells; it is then made again.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <mutex>
#include <optional>

namespace sae {

/// Of matrices [F, D] of float32 on devices that cuda::has_kernels. Several threads may ask.
class Bf16Copy {
 public:
  struct Rounded {
    at::Tensor rows;      // [F, D] bfloat16, ties to even
    at::Tensor norm;      // [F], of the rows of W, not below the truth: round_rows in screen.cu
    at::Tensor residual;  // [F], of what rounding left over, likewise
    at::Tensor largest;   // [2], of `norm` and of `residual`
  };

  at::Tensor rows_of(const at::Tensor& W);
  Rounded rounded(const at::Tensor& W);

  /// Where an update of W, which is `contiguous`, writes what has been asked for so far, all but
  /// `largest`; undefined tensors: none of that. To be followed by `written`.
  Rounded to_write(const at::Tensor& W);
  /// The update has written.
  void written(const at::Tensor& W);

  /// W [F, D] rounded on its device, kept nowhere.
  static Rounded round(const at::Tensor& W);

 private:
  bool is_of(const at::Tensor& W) const;
  void now_of(const at::Tensor& W);

  std::mutex mutex_;
  Rounded kept_;
  std::optional<c10::weak_intrusive_ptr<c10::StorageImpl>>
      source_;  // W's memory, which it may leave
  std::uint32_t version_ = 0;
};

}  // namespace sae
