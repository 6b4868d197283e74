// Autoencoder: what every sparse autoencoder shares, and what an architecture adds.
#pragma once

#include <torch/nn/module.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sae/config/fields.h"
#include "sae/distributed/spread.h"
#include "sae/models/atm_mask.h"
#include "sae/models/forward.h"
#include "sae/models/freeze.h"
#include "sae/models/orthogonality.h"
#include "sae/sparse/encoder.h"

namespace sae {

/// Whether decoder rows are kept at norm 1 or trained with their norms.
enum class DecoderNorm { kUnit, kFree };
constexpr auto names_of(DecoderNorm) { return std::array{"unit", "free"}; }

/// Options that every architecture has.
struct AutoencoderOptions {
  std::int64_t d_in = 0;
  std::int64_t d_sae = 0;
  std::optional<AtmMaskOptions> mask;
  DecoderNorm decoder_norm = DecoderNorm::kUnit;
  std::int64_t dead_after_tokens = 1'000'000;
  Freeze freeze = Freeze::kNone;
  std::optional<OrthogonalityOptions> orthogonality;
  Placement placement;  ///< on which ranks; no option of a configuration

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("d_in", self.d_in, at_least(1),
          "D, width of the activations; a run takes it from its data if left out");
    visit("d_sae", self.d_sae, at_least(1), "F, number of latents");
    visit("mask", self.mask, any, "adaptive temporal mask on the latents; null: none");
    visit(
        "decoder_norm", self.decoder_norm, any,
        "unit: decoder rows are kept at norm 1; free: norms are trained, penalties weigh by them");
    visit("dead_after_tokens", self.dead_after_tokens, at_least(1),
          "a latent that has not fired for this many tokens is dead");
    visit("freeze", self.freeze, any,
          "weights that stay as they start, a control: W_dec, W_enc, or each row of W_dec within a "
          "cosine of .8");
    visit("orthogonality", self.orthogonality, any,
          "OrtSAE's penalty on decoder rows that point the same way; null: none");
  }

  void check(Findings& findings) const;
  void check(Findings& findings, const RunLength& run) const;
};

/// A sparse autoencoder with pre-encoder bias. See codes.h for notation and shapes.
///
///     h = (x - b_dec) W_enc^T + b_enc,   f = activate(h where rule keeps it),
///     x_hat = f W_dec + b_dec
///
/// An architecture says which entries are kept, what activation they get and which losses are added
/// to the reconstruction error. Everything else is here: the masked pass, dead latents, inference.
/// `forward` and `losses` never change the model; `observe` is the only mutation.
///
/// A batch may be computed in parts, one after the other, each forward and back before the next:
///
///     plan = sae.plan(parts, step)
///     for i:  pass_i = sae.forward(parts[i], step, plan[i]),  losses_i = sae.losses(pass_i, step)
///
/// Then the sum over i of each loss, times the share that part i has of the tokens, is the loss of
/// the whole batch, and so is the gradient. What of the batch is no mean over tokens (a selection
/// among all its entries, a square, a quotient) is what `plan` gathers; a batch that is spread over
/// devices has to exchange just that, `BatchTotals` and `BatchStatistics`.
///
/// Over ranks (spread.h) this is the part of one of them: x is its tokens of the batch, the rows
/// and codes its latents; reconstructions, losses and what selects are of the whole, and all ranks
/// make the same calls of the same functions.
class Autoencoder : public torch::nn::Module {
 public:
  explicit Autoencoder(AutoencoderOptions options);

  std::int64_t d_in() const { return options_.d_in; }
  std::int64_t d_sae() const { return spread_->own(); }        ///< F, of all or of this rank
  std::int64_t all_latents() const { return options_.d_sae; }  ///< F, of all ranks
  const Spread& spread() const { return *spread_; }
  const std::shared_ptr<AtmMask>& mask() const { return mask_; }
  EncoderWeights encoder() const { return {W_enc, b_enc, b_dec, W_enc_copy_}; }
  bool unit_norm_decoder() const { return options_.decoder_norm == DecoderNorm::kUnit; }

  /// Random decoder rows of norm 1 (0.1 if norms are free), W_enc = W_dec, b_enc = 0; b_dec stays.
  void initialise(std::uint64_t seed);

  Freeze freeze() const { return options_.freeze; }
  bool is_frozen(const at::Tensor& parameter) const;
  /// Makes W_dec as it is now what `freeze: soft_decoder` holds on to, as initialise does.
  void mark_start();
  /// [F, D] rows of norm 1, or 0, that it holds on to; undefined without.
  const at::Tensor& decoder_start() const { return decoder_start_; }

  Codes encode(const at::Tensor& x) const;      ///< inference, [B, D] -> codes; no gradient
  at::Tensor decode(const Codes& codes) const;  ///< [B, D]

  /// A training pass over a batch, or over a part of one.
  Forward forward(const at::Tensor& x, Step step, const BatchPart& part = {}) const;
  Losses losses(const Forward& pass, Step step) const;

  /// What the parts [b, D] of one batch must know of each other. No graph; up to two passes, one of
  /// them with a product, and none where selection and losses go token by token, or if there is one
  /// part only. Holds the entries that a rule with a k keeps, and nothing else of size [B, F].
  std::vector<BatchPart> plan(const std::vector<at::Tensor>& parts, Step step) const;

  /// What losses depend on that are no mean over tokens, of the batch that the pass is a part of.
  BatchTotals totals_of(const Forward& pass) const;

  /// Sums of one pass for `observe`, of these tokens. After backward, if a contribution is wanted:
  /// it reads the gradient of `pass.kept_for_decoder`; `loss_scale` is what the losses were
  /// multiplied with.
  BatchStatistics statistics(const Forward& pass, double loss_scale = 1) const;

  /// Updates every statistic, once per training step, from the sums of this rank.
  void observe(const BatchStatistics& batch, Step step);

  /// Whether this is a step at which dead latents get a new start.
  virtual bool resamples(Step) const { return false; }
  /// Gives it to them, at such a step, from a batch x [B, D] and its `squared_errors` [B]; returns
  /// which [n] of this rank, undefined for none on any. The optimizer must forget what it knows
  /// about these rows.
  virtual at::Tensor resample(const at::Tensor& /*x*/, const at::Tensor& /*errors*/, Step) {
    return {};
  }

  at::Tensor dead() const;          ///< [F] bool: silent for dead_after_tokens
  std::int64_t count_dead() const;  ///< of all ranks
  /// False where no latent can be dead, which takes no look at the device: so few tokens have been
  /// observed. True: some may be.
  bool may_be_dead() const;
  const at::Tensor& silent_tokens() const { return silent_tokens_; }  ///< [F] i64

  /// Turns an autoencoder trained on scale * x into the same function of x:
  /// b_enc, b_dec and thresholds are divided by `scale`, weights stay (rows keep their norm).
  void fold_input_scale(double scale);

  /// Pre-activations of the latents `which` [n] for all tokens, [B, n], differentiable.
  at::Tensor preactivations_of(const at::Tensor& x, const at::Tensor& which) const;

  /// `values` (one per entry of `codes`) times the norm of each entry's decoder row, which is 1
  /// unless norms are free.
  at::Tensor weigh_by_norm(const Codes& codes, const at::Tensor& values) const;

  /// How pre-activations are computed; results depend on it in rounding only.
  const EncodeOptions& encoding() const { return encoding_; }
  void set_encoding(const EncodeOptions& encoding) { encoding_ = encoding; }

  at::Tensor W_enc, b_enc, W_dec, b_dec;  // [F, D] [F] [F, D] [D], registered parameters

  /// What is kept of a weight matrix in bfloat16, for whoever updates it by other means than
  /// LibTorch's operators; null for other parameters.
  std::shared_ptr<Bf16Copy> copy_of(const at::Tensor& parameter) const;

  /// Whether a tensor of this name, of an autoencoder or of its training, has a row for each
  /// latent, and not values for all of them.
  static bool is_by_latent(std::string_view name, const at::Tensor& tensor);

 protected:
  /// Which pre-activations of a batch of `batch` tokens are kept in training, and in inference.
  virtual SelectionRule rule(std::int64_t batch) const = 0;
  virtual SelectionRule inference_rule(std::int64_t batch) const { return rule(batch); }
  virtual at::Tensor activate(const Codes& preactivations) const;  ///< default ReLU
  /// Widths of the prefixes of the dictionary that reconstruct on their own, ascending, F the last.
  virtual std::vector<std::int64_t> prefixes() const { return {all_latents()}; }
  /// Which entries have an activation or a gradient that may not be zero: bool, shaped like values.
  virtual at::Tensor live(const Codes& preactivations) const { return preactivations.values() > 0; }
  /// Losses besides the reconstruction error.
  virtual Losses penalties(const Forward& pass, Step step) const = 0;
  /// Whether they ask for `pass.totals` at this step, where x is a part of a batch.
  virtual bool needs_totals() const { return false; }
  virtual void observe_more(const BatchStatistics&, Step) {}
  virtual void fold_more(double /*scale*/) {}
  void forget_silence(const at::Tensor& which) { silent_tokens_.index_fill_(0, which, 0); }
  /// `values` (one per entry of `pass.latents`) times the chance that the mask leaves the entry's
  /// latent, where masks are in expectation; else as they are.
  at::Tensor weigh_by_chance(const Forward& pass, const at::Tensor& values) const;

 private:
  void select_over_parts(const std::vector<at::Tensor>& parts, std::vector<BatchPart>& plan) const;
  void draw_mask(Forward& pass, Step step) const;
  /// By every prefix, of each of `paths`.
  std::vector<at::Tensor> reconstructions_of(const std::vector<Codes>& paths) const;
  void reconstruct(Forward& pass, Step step) const;
  void reconstruct_nested(Forward& pass, Step step) const;
  at::Tensor reconstruction_error(const Forward& pass) const;

  AutoencoderOptions options_;
  std::shared_ptr<const Spread> spread_;
  EncodeOptions encoding_;
  std::shared_ptr<AtmMask> mask_;
  std::shared_ptr<Bf16Copy> W_enc_copy_, W_dec_copy_;
  at::Tensor silent_tokens_;  // [F] i64
  at::Tensor decoder_start_;  // [F, D], registered with `freeze: soft_decoder` alone
  // At most so many, as of that version of the tensor, which loading and tests write to as well.
  mutable std::int64_t silent_at_most_ = 0;
  mutable std::uint32_t silent_version_ = 0;
};

/// mean_b sum_d (x - x_hat)^2, the error that every architecture minimises.
at::Tensor squared_error(const at::Tensor& x, const at::Tensor& x_hat);

}  // namespace sae
