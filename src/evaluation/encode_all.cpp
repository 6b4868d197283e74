#include "evaluation/encode_all.h"

#include <torch/types.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "data/device_batches.h"
#include "sae/base/interrupt.h"

namespace sae {
namespace {

constexpr double kDenseShare = 1.0 / 3;  // an entry of sparse codes takes three times as much

}  // namespace

Codes encode_all(const Autoencoder& sae, const at::Tensor& x, std::int64_t batch,
                 const std::function<void(const at::Tensor&, const Codes&)>& visit) {
  const at::NoGradGuard no_grad;
  std::vector<Codes> parts;
  at::Tensor dense;  // all codes, if they are dense
  std::int64_t next = 0;
  SentAhead sent(sae.W_enc.device(), (x.size(0) + batch - 1) / batch, [&] {
    const std::int64_t begin = std::exchange(next, next + batch);
    return x.slice(0, begin, std::min(begin + batch, x.size(0)));
  });
  for (std::int64_t begin = 0; begin < x.size(0); begin += batch) {
    check_interrupt();
    const std::int64_t end = std::min(begin + batch, x.size(0));
    const at::Tensor part = sent.next();
    const Codes codes = sae.encode(part);
    if (visit) visit(part, codes);
    if (begin == 0) {
      const double active = codes.values().count_nonzero().item<double>();
      const auto all = static_cast<double>(codes.batch() * codes.d_sae());
      if (active > kDenseShare * all) dense = at::empty({x.size(0), codes.d_sae()}, at::kFloat);
    }
    if (dense.defined()) {
      dense.slice(0, begin, end).copy_(codes.to_dense());
    } else {
      parts.push_back(to_cpu(codes));
    }
  }
  return dense.defined() ? Codes::from_dense(dense) : joined(parts);
}

}  // namespace sae
