#include "sae/tools/inspect.h"

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "sae/base/interrupt.h"
#include "sae/base/rng.h"
#include "sae/data/store.h"
#include "sae/data/vocabulary.h"

namespace sae {
namespace {

constexpr std::int64_t kChunkBytes = std::int64_t{16} << 20;
constexpr std::size_t kPlaces = 10;
constexpr std::int64_t kShownTokens = 256;

std::string name_of(at::ScalarType dtype) {
  if (dtype == at::kFloat) return "f32";
  if (dtype == at::kDouble) return "f64";
  return dtype == at::kHalf ? "f16" : "bf16";
}

/// Mean, spread and range of every dimension, from chunks of rows (Chan, Golub and LeVeque 1979).
class Moments {
 public:
  explicit Moments(std::int64_t d_in)
      : mean_(at::zeros({d_in}, at::kDouble)), squares_(at::zeros({d_in}, at::kDouble)) {}

  void add(const at::Tensor& rows) {
    if (rows.size(0) == 0) return;
    auto [variance, mean] = at::var_mean(rows, at::IntArrayRef{0}, /*correction=*/0);
    auto [least, greatest] = at::aminmax(rows, 0);
    const auto count = static_cast<double>(rows.size(0));
    const at::Tensor shift = mean.to(at::kDouble) - mean_;
    squares_ +=
        variance.to(at::kDouble) * count + shift.square() * (count_ * count / (count_ + count));
    mean_ += shift * (count / (count_ + count));
    least_ = count_ == 0 ? least : at::minimum(least_, least);
    greatest_ = count_ == 0 ? greatest : at::maximum(greatest_, greatest);
    count_ += count;
  }

  const at::Tensor& mean() const { return mean_; }
  at::Tensor variance() const { return squares_ / count_; }
  std::int64_t constant() const { return least_.eq(greatest_).sum().item<std::int64_t>(); }

 private:
  double count_ = 0;
  at::Tensor mean_, squares_, least_, greatest_;  // [D]
};

double percentile(std::vector<float>& values, double share) {
  const auto at = static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<std::size_t>(at)];
}

Inspection::Norms describe_norms(std::vector<float> norms) {
  Inspection::Norms out;
  double sum = 0, squares = 0;
  for (const float norm : norms) sum += norm;
  out.mean = sum / static_cast<double>(norms.size());
  for (const float norm : norms) squares += (norm - out.mean) * (norm - out.mean);
  out.deviation = std::sqrt(squares / static_cast<double>(norms.size()));
  out.least = percentile(norms, 0);
  out.percent_1 = percentile(norms, 0.01);
  out.median = percentile(norms, 0.5);
  out.percent_99 = percentile(norms, 0.99);
  out.greatest = percentile(norms, 1);
  out.large = std::count_if(norms.begin(), norms.end(),
                            [&](float norm) { return norm > Inspection::kLargeNorm * out.median; });
  return out;
}

void describe_dimensions(const Moments& moments, Inspection& out) {
  const at::Tensor mean_square = moments.mean().square() + moments.variance();
  out.mean_share =
      (moments.mean().square().sum() / mean_square.sum().clamp_min(1e-300)).item<double>();
  out.constant_dimensions = moments.constant();
  const at::Tensor ratio = mean_square.sqrt() / mean_square.sqrt().median();
  const at::Tensor deviation = moments.variance().sqrt();
  for (std::int64_t i = 0; i < out.d_in; ++i) {
    if (!(ratio[i].item<double>() > Inspection::kOutlier)) continue;  // NaN: the median is 0
    out.outliers.push_back({i, ratio[i].item<double>(), moments.mean()[i].item<double>(),
                            deviation[i].item<double>()});
  }
  std::stable_sort(out.outliers.begin(), out.outliers.end(),
                   [](const auto& a, const auto& b) { return a.ratio > b.ratio; });
}

/// The context around a row, or the row and what follows it where there are no contexts.
Inspection::Context context_at(const ActivationStore& store, std::int64_t row,
                               const std::optional<Vocabulary>& vocabulary) {
  Inspection::Context context{.first_row = row, .id = {}, .tokens = 0, .text = {}};
  const std::int64_t begin = std::max<std::int64_t>(0, row - kShownTokens);
  std::int64_t end = std::min(store.size(), row + kShownTokens);
  if (store.has_context()) {
    const at::Tensor ids = store.context(begin, end - begin);
    const auto* id = ids.const_data_ptr<std::int32_t>();
    context.id = id[row - begin];
    while (context.first_row > begin && id[context.first_row - 1 - begin] == *context.id) {
      --context.first_row;
    }
    end = row + 1 < end ? row + 1 : end;
    while (end - begin < ids.size(0) && id[end - begin] == *context.id) ++end;
  }
  context.tokens = end - context.first_row;
  const std::int64_t shown = std::min(context.tokens, kShownTokens);
  const at::Tensor tokens = store.tokens(context.first_row, shown);
  const std::span<const std::int32_t> list(tokens.const_data_ptr<std::int32_t>(),
                                           static_cast<std::size_t>(shown));
  if (vocabulary) {
    context.text = vocabulary->text(list);
  } else {
    for (const std::int32_t token : list) context.text += ' ' + std::to_string(token);
  }
  if (context.text.starts_with(' ')) context.text.erase(0, 1);
  return context;
}

std::vector<Inspection::Context> sample_contexts(const ActivationStore& store,
                                                 const InspectOptions& options) {
  std::vector<Inspection::Context> sample;
  if (!store.has_tokens()) return sample;
  const auto vocabulary = vocabulary_of(store.path());
  Rng rng(static_cast<std::uint64_t>(options.seed), Stream::kEvaluation, 0);
  const auto size = static_cast<std::uint64_t>(store.size());
  // A row may lie in a context that is there already; a small store has not enough of them.
  for (int tries = 0; tries < 20 * options.contexts; ++tries) {
    if (static_cast<std::int64_t>(sample.size()) == options.contexts) break;
    auto context = context_at(store, static_cast<std::int64_t>(rng.below(size)), vocabulary);
    if (std::none_of(sample.begin(), sample.end(), [&](const auto& other) {
          return context.first_row < other.first_row + other.tokens &&
                 other.first_row < context.first_row + context.tokens;
        })) {
      sample.push_back(std::move(context));
    }
  }
  return sample;
}

}  // namespace

Inspection inspect_store(const std::filesystem::path& path, const InspectOptions& options,
                         const std::function<bool(std::int64_t, std::int64_t)>& go_on) {
  const ActivationStore store(path, options.verify);
  const at::NoGradGuard no_grad;
  Inspection out;
  out.path = path.string();
  out.dtype = name_of(store.dtype());
  out.d_in = store.d_in();
  out.tokens = store.size();
  out.shards = store.shards();
  out.stated_mean_norm = store.mean_norm();
  out.source = nlohmann::ordered_json(store.source());

  Moments moments(out.d_in);
  std::vector<float> norms;
  std::unordered_set<std::int32_t> contexts;
  const std::int64_t chunk = std::max<std::int64_t>(1, kChunkBytes / (4 * out.d_in));
  for (std::int64_t done = 0; done < out.tokens; done += chunk) {
    check_interrupt();
    if (go_on && !go_on(done, out.tokens)) break;
    const std::int64_t count = std::min(chunk, out.tokens - done);
    at::Tensor rows = store.unchecked_rows(done, count);
    const at::Tensor finite = at::isfinite(rows).all(1);
    if (!finite.all().item<bool>()) {
      const at::Tensor bad = finite.logical_not().nonzero().flatten();
      out.not_finite += bad.numel();
      for (std::int64_t i = 0; i < bad.numel() && out.not_finite_places.size() < kPlaces; ++i) {
        out.not_finite_places.push_back(store.place_of(done + bad[i].item<std::int64_t>()));
      }
      rows = rows.index({finite});
    }
    moments.add(rows);
    const at::Tensor lengths = rows.to(at::kDouble).norm(2, 1).to(at::kFloat).contiguous();
    norms.insert(norms.end(), lengths.const_data_ptr<float>(),
                 lengths.const_data_ptr<float>() + lengths.numel());
    if (store.has_context()) {
      const at::Tensor ids = store.context(done, count);
      contexts.insert(ids.const_data_ptr<std::int32_t>(),
                      ids.const_data_ptr<std::int32_t>() + count);
    }
  }
  if (store.has_context()) out.contexts = static_cast<std::int64_t>(contexts.size());
  if (!norms.empty()) {
    out.norms = describe_norms(std::move(norms));
    describe_dimensions(moments, out);
  }
  out.sample = sample_contexts(store, options);
  return out;
}

}  // namespace sae
