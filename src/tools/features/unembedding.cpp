#include "tools/features/unembedding.h"

#include <torch/types.h>

#include <algorithm>
#include <charconv>

#include "formats/tensor_bytes.h"
#include "sae/base/error.h"
#include "sae/base/interrupt.h"
#include "sae/base/text.h"
#include "tools/features/intervals.h"

namespace sae {
namespace {

constexpr std::int64_t kTokensAtOnce = 16384;
constexpr std::int64_t kExtremes = 10;  // as in sae-dashboard
constexpr const char* kTensor = "unembedding";
constexpr const char* kHow = "; scripts/unembed.py makes the file of a model";

const std::string& metadata_at(const SafetensorsFile& file, const std::string& key) {
  const auto found = file.metadata().find(key);
  if (found != file.metadata().end()) return found->second;
  throw DataError(file.path().string() + ": not an unembedding: no " + key + " in its metadata" +
                  kHow);
}

std::int64_t count_at(const SafetensorsFile& file, const std::string& key) {
  const std::string& text = metadata_at(file, key);
  std::int64_t count = -1;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, count);
  if (error == std::errc() && stop == end && count >= 0) return count;
  throw DataError(file.path().string() + ": " + key + " is " + sae::quoted(text) +
                  ", expected a number of tokens");
}

/// Of the rows of `logits` [n, V], their `kExtremes` largest: tokens and values.
std::vector<std::vector<std::pair<std::int64_t, float>>> extremes(const at::Tensor& logits,
                                                                  bool largest) {
  const std::int64_t count = std::min(kExtremes, logits.size(1));
  const auto [values, tokens] = logits.topk(count, 1, largest);
  std::vector<std::vector<std::pair<std::int64_t, float>>> out;
  for (std::int64_t i = 0; i < logits.size(0); ++i) {
    auto& row = out.emplace_back();
    for (std::int64_t j = 0; j < count; ++j) {
      row.emplace_back(tokens[i][j].item<std::int64_t>(), values[i][j].item<float>());
    }
  }
  return out;
}

}  // namespace

Unembedding::Unembedding(const std::filesystem::path& file) : file_(file) {
  const std::string place = file.string();
  if (metadata_at(file_, "format") != "sae-unembedding") {
    throw DataError(place + ": not an unembedding: format " +
                    sae::quoted(metadata_at(file_, "format")) + kHow);
  }
  if (metadata_at(file_, "version") != "1") {
    throw DataError(place + ": version " + sae::quoted(metadata_at(file_, "version")) +
                    ", this program reads 1");
  }
  file_.expect_names({kTensor});
  const std::vector<std::int64_t> shape = file_.shape(kTensor);
  const at::ScalarType type = file_.dtype(kTensor);
  if (shape.size() != 2 || shape[0] < 1 || shape[1] < 1 ||
      !(type == at::kFloat || type == at::kHalf || type == at::kBFloat16)) {
    throw DataError(place + ": tensor unembedding has " + std::to_string(shape.size()) +
                    " dimensions and is " + safetensors_dtype(type) +
                    ", expected [tokens, width] of F32, F16 or BF16");
  }
  tokens_ = shape[0];
  width_ = shape[1];
  model_ = metadata_at(file_, "model");
  vocabulary_ = count_at(file_, "vocabulary");
  require_finite();
}

void Unembedding::check_fits(std::int64_t d_in, const std::string& model,
                             const std::optional<std::size_t>& vocabulary,
                             const std::string& store) const {
  const std::string place = file_.path().string();
  if (width_ != d_in) {
    throw DataError(place + ": unembeds a stream of " + std::to_string(width_) +
                    " dimensions, the autoencoder's has " + std::to_string(d_in) +
                    "; is it of another model, or the autoencoder not of its residual stream?");
  }
  if (!model.empty() && model != model_) {
    throw DataError(place + ": is of the model " + sae::quoted(model_) + ", " + store + " of " +
                    sae::quoted(model) +
                    "; if they are one, make it with scripts/unembed.py --model-name " +
                    printable(model));
  }
  if (vocabulary && static_cast<std::int64_t>(*vocabulary) != vocabulary_) {
    throw DataError(place + ": is of a vocabulary of " + std::to_string(vocabulary_) +
                    " tokens, that of " + store + " has " + std::to_string(*vocabulary) +
                    "; are they of the same model?");
  }
}

at::Tensor Unembedding::rows(std::int64_t first, std::int64_t count) const {
  file_.check_unchanged();
  const std::string_view all = file_.bytes(kTensor);
  const std::size_t row = all.size() / static_cast<std::size_t>(tokens_);
  return tensor_of_bytes(all.substr(static_cast<std::size_t>(first) * row,
                                    static_cast<std::size_t>(count) * row),
                         safetensors_dtype(file_.dtype(kTensor)), {count, width_})
      .to(at::kFloat);
}

void Unembedding::require_finite() const {
  for (std::int64_t first = 0; first < tokens_; first += kTokensAtOnce) {
    check_interrupt();
    const at::Tensor part = rows(first, std::min(kTokensAtOnce, tokens_ - first));
    const at::Tensor bad = part.isfinite().all(1).logical_not();
    if (!bad.any().item<bool>()) continue;
    throw DataError(file_.path().string() + ": the row of token " +
                    std::to_string(first + bad.to(at::kInt).argmax().item<std::int64_t>()) +
                    " has a NaN or Inf; make the file again");
  }
}

at::Tensor Unembedding::logits(const at::Tensor& directions) const {
  const at::NoGradGuard no_grad;
  const at::Tensor from = directions.to(at::kCPU, at::kFloat);
  at::Tensor out = at::empty({from.size(0), tokens_}, at::kFloat);
  for (std::int64_t first = 0; first < tokens_; first += kTokensAtOnce) {
    const std::int64_t count = std::min(kTokensAtOnce, tokens_ - first);
    out.slice(1, first, first + count).copy_(at::matmul(from, rows(first, count).t()));
  }
  if (!out.isfinite().all().item<bool>()) {
    throw DataError(file_.path().string() +
                    ": its numbers are too large for logits in float32; make the file again");
  }
  return out;
}

std::vector<LatentLogits> latent_logits(const Unembedding& unembedding,
                                        const at::Tensor& directions) {
  const at::Tensor logits = unembedding.logits(directions);
  const auto top = extremes(logits, true), bottom = extremes(logits, false);
  std::vector<LatentLogits> out;
  for (std::int64_t i = 0; i < logits.size(0); ++i) {
    const auto at = static_cast<std::size_t>(i);
    LatentLogits& latent = out.emplace_back(
        LatentLogits{.top = top[at],
                     .bottom = bottom[at],
                     .least = bottom[at].front().second,
                     .most = top[at].front().second,
                     .heights = std::vector<std::int64_t>(static_cast<std::size_t>(kBars))});
    const at::Tensor own = logits[i];
    const auto* value = own.const_data_ptr<float>();
    for (std::int64_t token = 0; token < own.numel(); ++token) {
      ++latent.heights[static_cast<std::size_t>(bar_of(value[token], latent.least, latent.most))];
    }
  }
  return out;
}

}  // namespace sae
