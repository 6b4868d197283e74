#include "models/interchange/plain_sae.h"

#include <torch/types.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <string>
#include <utility>

namespace sae {
namespace {

/// W b for W [F, D], in float64, a part of the rows at a time so that no second W is needed.
at::Tensor product_in_double(const at::Tensor& W, const at::Tensor& b) {
  constexpr std::int64_t kRows = 4096;
  const at::Tensor vector = b.to(at::kDouble);
  at::Tensor out = at::empty({W.size(0)}, at::kDouble);
  for (std::int64_t first = 0; first < W.size(0); first += kRows) {
    const std::int64_t end = std::min(first + kRows, W.size(0));
    out.slice(0, first, end).copy_(W.slice(0, first, end).to(at::kDouble).mv(vector));
  }
  return out;
}

at::Tensor decoder_norms(const PlainSae& plain) { return plain.W_dec.norm(2, /*dim=*/1); }

}  // namespace

std::string describe(const PlainSae& plain) {
  switch (plain.activation) {
    case Activation::kRelu:
      return "relu";
    case Activation::kTopK:
      return "topk with k " + std::to_string(plain.k);
    case Activation::kJumpRelu:
      return "jumprelu";
    case Activation::kBatchTopK:
      break;
  }
  char threshold[32];  // the shortest text that reads back as the same float
  const auto value = plain.threshold.item<float>();
  char* const end = std::to_chars(std::begin(threshold), std::end(threshold), value).ptr;
  return (plain.widths.empty() ? "batch_topk" : "matryoshka") + std::string(" with threshold ") +
         std::string(threshold, end);
}

at::Tensor encode(const PlainSae& plain, const at::Tensor& x) {
  const at::NoGradGuard no_grad;
  const at::Tensor input = plain.subtracts_b_dec ? x - plain.b_dec : x;
  const at::Tensor h = at::addmm(plain.b_enc, input, plain.W_enc.t());
  if (plain.activation == Activation::kRelu) return h.relu();
  if (plain.activation == Activation::kTopK) {
    const auto [values, places] = h.topk(plain.k, /*dim=*/1);
    return at::zeros_like(h).scatter_(1, places, values.relu());
  }
  return at::where(h > plain.threshold.clamp_min(0), h, at::zeros({}, h.options()));
}

at::Tensor decode(const PlainSae& plain, const at::Tensor& f) {
  const at::NoGradGuard no_grad;
  return at::addmm(plain.b_dec, f, plain.W_dec);
}

PlainSae with_subtraction(PlainSae plain, bool subtracts_b_dec) {
  if (plain.subtracts_b_dec == subtracts_b_dec) return plain;
  const at::Tensor shift = product_in_double(plain.W_enc, plain.b_dec);
  const at::Tensor bias = plain.b_enc.to(at::kDouble);
  plain.b_enc = (subtracts_b_dec ? bias + shift : bias - shift).to(at::kFloat);
  plain.subtracts_b_dec = subtracts_b_dec;
  return plain;
}

void fold_input_scale(PlainSae& plain, double scale) {
  if (scale == 1) return;
  plain.W_enc = plain.W_enc * scale;
  plain.W_dec = plain.W_dec / scale;
  plain.b_dec = plain.b_dec / scale;
}

bool has_unit_decoder(const PlainSae& plain, double tolerance) {
  return (decoder_norms(plain) - 1).abs().max().item<double>() <= tolerance;
}

PlainSae with_unit_decoder(PlainSae plain) {
  at::Tensor norms = decoder_norms(plain);
  norms = at::where(norms > 0, norms, at::ones_like(norms));  // a row of zeros stays one
  plain.W_dec = plain.W_dec / norms.unsqueeze(1);
  plain.W_enc = plain.W_enc * norms.unsqueeze(1);
  plain.b_enc = plain.b_enc * norms;
  if (plain.threshold.defined()) {
    plain.threshold = plain.threshold.clamp_min(0) * norms;
    plain.activation = Activation::kJumpRelu;
  }
  return plain;
}

}  // namespace sae
