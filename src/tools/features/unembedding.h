// A language model's unembedding, from the file that scripts/unembed.py writes, and what latents do
// to the model's logits.
//
//     unembedding [V, D]  F32, F16 or BF16; logits of a direction d are U d, up to the scale that
//     the
//                         final norm gives the stream
//     __metadata__        {"format": "sae-unembedding", "version": "1", "model": "smollm2-135m",
//                          "vocabulary": "49152", ...}: the number of tokens in a store's
//                          vocabulary
//
// The final norm's weight is in U, which is centred as its metadata says (scripts/unembed.py).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sae/formats/safetensors.h"

namespace sae {

/// What a latent adds to logits directly, its decoder row having norm 1.
struct LatentLogits {
  std::vector<std::pair<std::int64_t, float>> top, bottom;  ///< tokens; the most extreme first
  float least = 0, most = 0;
  std::vector<std::int64_t> heights;  ///< [kBars] tokens a bar; see intervals.h
};

class Unembedding {
 public:
  /// DataError for a file that is anything else, or holds NaN or Inf.
  explicit Unembedding(const std::filesystem::path& file);

  std::int64_t tokens() const { return tokens_; }
  std::int64_t width() const { return width_; }

  /// DataError unless it is of a model's stream of width `d_in`, and of the model and the number of
  /// tokens that a store names, as far as it names them. `model` may be empty.
  void check_fits(std::int64_t d_in, const std::string& model,
                  const std::optional<std::size_t>& vocabulary, const std::string& store) const;

  /// Of directions [n, D], any device and float type: [n, V] float32 on the CPU, all finite or a
  /// DataError.
  at::Tensor logits(const at::Tensor& directions) const;

 private:
  at::Tensor rows(std::int64_t first, std::int64_t count) const;
  void require_finite() const;

  SafetensorsFile file_;
  std::string model_;
  std::int64_t tokens_ = 0, width_ = 0, vocabulary_ = 0;
};

/// Of directions [n, D], the ten most extreme tokens either way.
std::vector<LatentLogits> latent_logits(const Unembedding& unembedding,
                                        const at::Tensor& directions);

}  // namespace sae
