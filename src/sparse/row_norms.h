// Rows of a weight matrix compared by direction alone, and codes in units that compare.
//
// An autoencoder whose latent j is multiplied by a > 0 and whose decoder row j is divided by it
// computes the same function. Whatever compares latents with each other therefore looks at
// f_j |W_dec_j|, what a latent adds to the reconstruction, and at rows of norm 1.
#pragma once

#include <ATen/core/Tensor.h>

#include "sae/sparse/codes.h"

namespace sae {

/// |rows_j|, [F]; of any row whose entries are numbers of its type, however small or large.
at::Tensor row_norms(const at::Tensor& rows /*[F, D]*/);

/// Rows of norm 1; those of zeros stay zeros.
at::Tensor unit_rows(const at::Tensor& rows);

/// What `in_decoder_units` multiplies with: the norms of the decoder's rows; undefined if all are 1
/// to six digits, which leaves codes as they are.
at::Tensor decoder_units(const at::Tensor& W_dec);

/// f_j |W_dec_j|, given those norms: the codes of the same autoencoder with decoder rows of norm 1.
Codes in_decoder_units(const Codes& codes, const at::Tensor& units);
/// Both.
Codes with_unit_decoder(const Codes& codes, const at::Tensor& W_dec);

}  // namespace sae
