// What temporal masks do, in closed form: when they reward a dictionary that does not absorb.
//
// All of it is derived here and not the paper's (arXiv 2510.08855). Notation is that of codes.h and
// atm_mask.h: decoder rows d_i, activations f_i >= 0, masks m_i of 0 and 1 with p_i = P(m_i = 0),
// no gradient through m.
//
// Absorption is studied on one pair: a parent a and a child b, orthogonal unit directions, each of
// activation 1, b only together with a. On the child's tokens, x = a + b,
//     a faithful pair   has the rows a and b, both active with 1;
//     an absorbed pair  has the rows a and (a + b) / sqrt 2, the second alone active with sqrt 2.
// Without a mask both reconstruct x, and a penalty on activations prefers the second. Both are
// local minima for latents that pass no gradient while they are silent: what follows says which one
// is lower, not that training gets from one to the other.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <limits>

namespace sae {

/// What independent (Bernoulli) masks train, of each token, [B], in squared units of x:
///
///     E_m ||x - sum_i m_i f_i d_i||^2
///         = ||x - sum_i (1 - p_i) f_i d_i||^2 + sum_i p_i (1 - p_i) f_i^2 ||d_i||^2
///
/// The square of the mean and the variance of a sum of independent terms: shrunk codes and a ridge
/// on latents that are likely to be masked. x [B, D] without b_dec, f [B, F], p [F], W_dec [F, D];
/// differentiable in all of them. Exact where the mask's min_keep does not bind.
at::Tensor expected_masked_error(const at::Tensor& x, const at::Tensor& f, const at::Tensor& p,
                                 const at::Tensor& W_dec);

/// Its descent direction in the activations, minus dE/df of each token, [B, F]:
///
///     2 (1 - p_i) <d_i, x - sum_{j != i} (1 - p_j) f_j d_j - f_i d_i>
///
/// The derivative of the sum above, with p_i f_i of the ridge joined to (1 - p_i) f_i of the mean.
/// A latent is trained on a residual in which every other latent j still owes p_j f_j d_j: a parent
/// whose child has swallowed its direction is pulled up by 2 p_j f_j <d_i, d_j> on the child's
/// tokens. That pull is the mechanism of the mask; a silent latent does not pass it on.
at::Tensor expected_masked_slope(const at::Tensor& x, const at::Tensor& f, const at::Tensor& p,
                                 const at::Tensor& W_dec);

/// The least p of the child's latent at which the faithful pair has the lower loss, where the
/// parent's is never masked and activations cost `sparsity` (lambda) where they are not masked, the
/// loss of `atm`:
///
///     p > (lambda (2 - sqrt 2) - lambda^2 / 4) / (1 - lambda (sqrt 2 - 1))
///
/// A latent of probability p that alone explains s costs (1 - p)(lambda s - lambda^2 / 4) + p s^2,
/// with f = s - lambda / 2: a mask does not shrink activations, it leaves an error. Faithful are
/// s = 1 with 0 and s = 1 with p, absorbed is s = sqrt 2 with p; the losses are equal at this p.
/// The mask reaches p <= 1 - exp(-rate). lambda in [0, 2), beyond which f = 0 is best and no p
/// does.
double pair_mask_threshold(double sparsity);

/// The same where decoder rows are trained, so that the child's may turn towards its parent's part
/// of the way: the least p at which the best pair still has an active parent,
///
///     p > lambda (1 - 1 / sqrt 2) / (2 - lambda / sqrt 2)
///
/// The child's part v = f_b d_b is free then, and the loss is convex in f_a and v: the absorbed
/// pair is its minimum as long as the pull 2 - 2 (1 - p)(1 - lambda / sqrt 8) on its silent parent
/// is no more than the lambda that it would cost. Up to there a faithful pair slides into an
/// absorbed one. Near a quarter of the threshold above for small lambda.
double pair_pull_threshold(double sparsity);

/// The chance q that the latent of `rank` (1 for the most important, F for the last) is not masked
/// by a nested draw of width floor(F^u), u uniform, that counts with `weight` a in [0, 1]:
///
///     q = 1 - a ln r / ln F
///
/// since floor(F^u) >= r where u >= ln r / ln F. Draws of all latents share one u: a less important
/// latent never takes part without a more important one. a is 1 for draw 'nested' of masked paths,
/// 1/2 with both paths, nested_weight for 'expected'. Holds above min_keep F, below which q is 1.
double nested_chance(std::int64_t rank, std::int64_t d_sae, double weight = 1);

/// How much lower the faithful pair's error is under nested masks, on the child's tokens and in
/// units of the parent's energy (1 above), for ranks of the parent's and the child's latents:
///
///     E_absorbed - E_faithful = q_a - q_b = a ln(r_b / r_a) / ln F
///
/// Widths from r_a to r_b hold the parent alone, and it explains its part there; all other widths
/// serve both pairs alike. So the ratio of ranks counts, wherever they lie: an order of magnitude
/// is worth a ln 10 / ln F. Negative where the child is the more important one. In Matryoshka q is
/// a staircase of the index: a pair within one step gains nothing.
double nested_pair_gain(std::int64_t parent_rank, std::int64_t child_rank, std::int64_t d_sae,
                        double weight = 1);

/// The least ratio of ranks r_b / r_a at which the faithful pair is worth its second active latent:
///
///     a ln(r_b / r_a) > kappa ln F,   that is   r_b / r_a > F^(kappa / a)
///
/// `price` (kappa) is what one more active latent on a token costs, in units of the parent's
/// energy: the fall of the error per unit of L0 in a budget as TopK's and BatchTopK's, or the
/// coefficient of a penalty on L0 (one that is weighed with q costs kappa q_a). Infinite for weight
/// 0.
double nested_pair_ratio(double price, std::int64_t d_sae, double weight = 1);

/// The memory T of the mask's averages, in tokens: how many tokens, equally weighed, have the same
/// variance as the mean over `steps` batches with weights that fall by beta a step,
///
///     T = B (sum_k beta^k)^2 / sum_k beta^2k = B (1 + beta)/(1 - beta) (1 - beta^t)/(1 + beta^t)
///
/// B (1 + beta)/(1 - beta) in the long run. Batch and decay act through T alone; what they average
/// lags by 1 / (1 - beta) steps.
double average_memory(std::int64_t batch, double decay,
                      double steps = std::numeric_limits<double>::infinity());

/// Standard deviation of the average firing frequency of a latent that fires on a share `rate` (q)
/// of independent tokens, relative to q: sqrt((1 - q) / (q T)).
double rate_deviation(double rate, double memory);

/// The chance that two independent latents of these rates stand in the wrong order:
///
///     Phi(-|q_i - q_j| / sqrt((q_i (1 - q_i) + q_j (1 - q_j)) / T))
///
/// as averages are nearly normal where q T is large. About 1/2 until T exceeds
/// (q_i + q_j) / (q_i - q_j)^2 tokens.
double wrong_order_chance(double rate, double other, double memory);

}  // namespace sae
