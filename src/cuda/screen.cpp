#include "cuda/screen.h"

#include <ATen/Context.h>
#include <torch/types.h>

#include <algorithm>
#include <type_traits>
#include <utility>

#include "cuda/launch.h"

namespace sae::cuda {
namespace {

/// Sums of split products are float32 while it lives: the proof counts on it. A template, because
/// an older LibTorch has one switch where a newer has two.
template <class Context>
class Float32Reduction {
 public:
  explicit Float32Reduction(Context& context)
      : context_(context), before_(context.allowBF16ReductionCuBLAS()) {
    context_.setAllowBF16ReductionCuBLAS(false);
  }
  ~Float32Reduction() {
    if constexpr (std::is_same_v<Setting, bool>) {
      context_.setAllowBF16ReductionCuBLAS(before_);
    } else {
      context_.setAllowBF16ReductionCuBLAS(
          before_ == Setting::AllowReducedPrecisionWithSplitK,
          before_ != Setting::DisallowReducedPrecisionDisallowSplitK);
    }
  }
  Float32Reduction(const Float32Reduction&) = delete;
  Float32Reduction& operator=(const Float32Reduction&) = delete;

 private:
  using Setting = decltype(std::declval<Context&>().allowBF16ReductionCuBLAS());
  Context& context_;
  Setting before_;
};

at::Tensor low_product(const at::Tensor& x, const at::Tensor& W) {
  const Float32Reduction exact_sums(at::globalContext());
  return at::mm(x, W.t());
}

}  // namespace

bool can_screen(std::int64_t k, std::int64_t d_sae, std::int64_t d_in) {
  return k <= std::min<std::int64_t>(512, d_sae) && d_sae < (std::int64_t{1} << 31) &&
         d_in <= (1 << 20);
}

Kept screened_largest_of_token(const at::Tensor& x, const at::Tensor& W, const at::Tensor& b,
                               std::int64_t k_wide, const Bf16Copy::Rounded& of_W) {
  const at::Device device = x.device();
  const std::int64_t batch = x.size(0);
  const Index width = x.size(1);
  const Index d_sae = W.size(0);
  const int k = static_cast<int>(k_wide);
  const int room = static_cast<int>(std::min<std::int64_t>({d_sae, 2048, 4 * k + 128}));
  at::Tensor x_low = at::empty(x.sizes(), x.options().dtype(at::kBFloat16));
  at::Tensor x_norm = at::empty({batch}, x.options());
  at::Tensor x_residual = at::empty_like(x_norm);
  launch(device, "round_rows", {batch}, 256, floats_of(x), width, x_low.mutable_data_ptr(),
         mutable_floats_of(x_norm), mutable_floats_of(x_residual));
  const at::Tensor low = low_product(x_low, of_W.rows);
  const auto longs = x.options().dtype(at::kLong);
  at::Tensor candidates = at::empty({batch, room}, longs);
  at::Tensor counts = at::empty({batch}, x.options().dtype(at::kInt));
  at::Tensor values = at::empty({batch, room}, x.options());
  int* count = counts.mutable_data_ptr<std::int32_t>();
  launch(device, "screen_rows", {batch}, 512, low.const_data_ptr(), floats_of(b), floats_of(x_norm),
         floats_of(x_residual), floats_of(of_W.norm), floats_of(of_W.residual),
         floats_of(of_W.largest), d_sae, k, width, room, mutable_indices_of(candidates), count);
  const std::int64_t shares = std::max<std::int64_t>(1, 1024 / std::max<std::int64_t>(1, batch));
  launch(device, "screen_exact", {batch, shares}, 256, floats_of(x), floats_of(W), floats_of(b),
         indices_of(candidates), static_cast<const int*>(count), room, width,
         mutable_floats_of(values));
  Kept out{at::empty({batch * k}, longs), at::empty({batch * k}, x.options()),
           at::arange(batch + 1, longs).mul_(k)};
  launch(device, "screen_pick", {batch}, 512, floats_of(x), floats_of(W), floats_of(b),
         indices_of(candidates), static_cast<const int*>(count), floats_of(values), room, d_sae, k,
         width, mutable_indices_of(out.indices), mutable_floats_of(out.values));
  return out;
}

}  // namespace sae::cuda
