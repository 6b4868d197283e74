#include "encode_all.h"

#include <torch/types.h>

#include <algorithm>
#include <vector>

namespace sae {
namespace {

constexpr double kDenseShare = 1.0 / 3;  // an entry of sparse codes takes three times as much

Codes on_cpu(const Codes& codes) {
  const auto& pattern = codes.pattern();
  return {Pattern::sparse(pattern->indices.cpu(), pattern->offsets.cpu(), pattern->d_sae),
          codes.values().to(at::kCPU, at::kFloat)};
}

Codes joined(const std::vector<Codes>& parts, std::int64_t d_sae) {
  std::vector<at::Tensor> values, indices, offsets;
  std::int64_t before = 0;
  for (const Codes& part : parts) {
    values.push_back(part.values());
    indices.push_back(part.pattern()->indices);
    const at::Tensor& own = part.pattern()->offsets;
    offsets.push_back(own.slice(0, offsets.empty() ? 0 : 1) + before);
    before += part.values().size(0);
  }
  return {Pattern::sparse(at::cat(indices), at::cat(offsets), d_sae), at::cat(values)};
}

}  // namespace

Codes encode_all(const Autoencoder& sae, const at::Tensor& x, std::int64_t batch,
                 const std::function<void(const at::Tensor&, const Codes&)>& visit) {
  const at::NoGradGuard no_grad;
  std::vector<Codes> parts;
  at::Tensor dense;  // all codes, if they are dense
  for (std::int64_t begin = 0; begin < x.size(0); begin += batch) {
    const std::int64_t end = std::min(begin + batch, x.size(0));
    const at::Tensor part = x.slice(0, begin, end).to(sae.W_enc.device());
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
      parts.push_back(on_cpu(codes.to_sparse()));
    }
  }
  return dense.defined() ? Codes::from_dense(dense) : joined(parts, sae.d_sae());
}

Codes with_unit_decoder(const Codes& codes, const at::Tensor& W_dec) {
  const at::Tensor norms = W_dec.norm(2, /*dim=*/1);
  if (at::allclose(norms, at::ones_like(norms), /*rtol=*/0, /*atol=*/1e-6)) return codes;
  return codes.with_values(codes.values() * codes.per_entry(norms));
}

at::Tensor columns(const Codes& codes, const std::vector<std::int64_t>& which) {
  if (codes.is_dense()) return codes.values().index_select(1, at::tensor(which, at::kLong));
  const auto k = static_cast<std::int64_t>(which.size());
  at::Tensor out = at::zeros({codes.batch(), k}, codes.values().options());
  std::vector<std::int32_t> slot(static_cast<std::size_t>(codes.d_sae()), -1);
  for (std::int64_t i = 0; i < k; ++i) {
    slot[static_cast<std::size_t>(which[static_cast<std::size_t>(i)])] =
        static_cast<std::int32_t>(i);
  }
  const auto* latent = codes.pattern()->indices.const_data_ptr<std::int64_t>();
  const auto* offset = codes.pattern()->offsets.const_data_ptr<std::int64_t>();
  const auto* value = codes.values().const_data_ptr<float>();
  auto* row = out.mutable_data_ptr<float>();
  for (std::int64_t b = 0; b < codes.batch(); ++b, row += k) {
    for (std::int64_t e = offset[b]; e < offset[b + 1]; ++e) {
      const std::int32_t place = slot[static_cast<std::size_t>(latent[e])];
      if (place >= 0) row[place] = value[e];
    }
  }
  return out;
}

double mean_l0(const Codes& codes) {
  return codes.values().count_nonzero().item<double>() / static_cast<double>(codes.batch());
}

}  // namespace sae
