#include "sparse/row_norms.h"

#include <torch/types.h>

namespace sae {
namespace {

constexpr double kSquaresHold = 1e15;  // float32 holds the squares of numbers in 1 / this to this
constexpr double kUnit = 1e-6;         // rounding of a row of norm 1

}  // namespace

at::Tensor row_norms(const at::Tensor& rows) {
  at::Tensor norms = rows.norm(2, /*dim=*/1);
  const at::Tensor unsafe = (norms < 1 / kSquaresHold).logical_or_(norms > kSquaresHold);
  if (!unsafe.any().item<bool>()) return norms;
  const at::Tensor largest = rows.abs().amax(1);
  const at::Tensor scale = at::where(largest > 0, largest, at::ones_like(largest));
  return at::where(unsafe, scale * (rows / scale.unsqueeze(1)).norm(2, 1), norms);
}

at::Tensor unit_rows(const at::Tensor& rows) {
  const at::Tensor norms = row_norms(rows);
  return rows / at::where(norms > 0, norms, at::ones_like(norms)).unsqueeze(1);
}

at::Tensor decoder_units(const at::Tensor& W_dec) {
  at::Tensor norms = row_norms(W_dec.detach());
  if (at::allclose(norms, at::ones_like(norms), /*rtol=*/0, /*atol=*/kUnit)) return {};
  return norms;
}

Codes in_decoder_units(const Codes& codes, const at::Tensor& units) {
  if (!units.defined()) return codes;
  return codes.with_values(codes.values() * codes.per_entry(units));
}

Codes with_unit_decoder(const Codes& codes, const at::Tensor& W_dec) {
  return in_decoder_units(codes, decoder_units(W_dec));
}

}  // namespace sae
