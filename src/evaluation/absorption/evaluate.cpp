#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "evaluation/absorption/parts.h"
#include "evaluation/logistic.h"
#include "sae/base/error.h"
#include "sae/base/interrupt.h"
#include "sae/base/text.h"
#include "sae/evaluation/absorption.h"
#include "sparse/row_norms.h"

namespace sae {
namespace {

/// The entries of one code at a time, and its largest ones.
class CodeReader {
 public:
  explicit CodeReader(const Codes& codes) : codes_(codes) {}

  void read(std::int64_t row) {
    if (codes_.is_dense()) {
      const auto width = codes_.d_sae();
      const auto* value = codes_.values().const_data_ptr<float>() + row * width;
      own_latents_.clear();
      own_values_.clear();
      for (std::int64_t i = 0; i < width; ++i) {
        if (value[i] == 0) continue;
        own_latents_.push_back(i);
        own_values_.push_back(value[i]);
      }
      latents = own_latents_;
      values = own_values_;
      return;
    }
    const auto* offset = codes_.pattern()->offsets.const_data_ptr<std::int64_t>();
    const auto size = static_cast<std::size_t>(offset[row + 1] - offset[row]);
    latents = {codes_.pattern()->indices.const_data_ptr<std::int64_t>() + offset[row], size};
    values = {codes_.values().const_data_ptr<float>() + offset[row], size};
  }

  /// Drops all but the `count` entries of largest size from the row read.
  void truncate(std::int64_t count) {
    if (static_cast<std::int64_t>(values.size()) <= count) return;
    std::vector<std::size_t> order(values.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::nth_element(order.begin(), order.begin() + count, order.end(),
                     [&](std::size_t a, std::size_t b) {
                       const float left = std::abs(values[a]);
                       const float right = std::abs(values[b]);
                       return left != right ? left > right : a < b;
                     });
    order.resize(static_cast<std::size_t>(count));
    std::vector<std::int64_t> kept_latents;
    std::vector<float> kept_values;
    for (const std::size_t e : order) {
      kept_latents.push_back(latents[e]);
      kept_values.push_back(values[e]);
    }
    own_latents_ = std::move(kept_latents);
    own_values_ = std::move(kept_values);
    latents = own_latents_;
    values = own_values_;
  }

  std::span<const std::int64_t> latents;
  std::span<const float> values;

 private:
  const Codes& codes_;
  std::vector<std::int64_t> own_latents_;
  std::vector<float> own_values_;
};

/// cos(p_c, W_dec_j) for all classes: [C, F] float32, from float64 sums; 0 for a row of zeros.
at::Tensor cosines(const LinearProbe& probe, const at::Tensor& W_dec) {
  const auto divisors = [](const at::Tensor& rows) {
    const at::Tensor norms = rows.norm(2, 1);
    return at::where(norms > 0, norms, at::ones_like(norms));
  };
  const at::Tensor directions = probe.W.to(at::kDouble);
  std::vector<at::Tensor> parts;
  for (const at::Tensor& rows : W_dec.split(1024)) {
    check_interrupt();
    const at::Tensor block = rows.to(at::kDouble);
    parts.push_back(at::mm(directions, block.t()) / divisors(block));
  }
  return (at::cat(parts, 1) / divisors(directions).unsqueeze(1)).to(at::kFloat).contiguous();
}

/// Sums of the scores of one class's words.
struct Sums {
  double fraction = 0, open = 0, truncated = 0;
  std::int64_t full = 0, truncated_full = 0, words = 0;
  AbsorberTally absorbers;
};

Sums score_words(CodeReader& reader, const std::vector<std::int64_t>& rows,
                 const at::Tensor& projections, const at::Tensor& cosine_row,
                 std::span<const std::int64_t> main, const AbsorptionRules& rules,
                 std::int64_t truncate_top) {
  const std::span<const float> cosine{cosine_row.const_data_ptr<float>(),
                                      static_cast<std::size_t>(cosine_row.numel())};
  const auto* projection = projections.const_data_ptr<float>();
  const AbsorptionRules open = open_rules(rules);
  Sums sums;
  for (const std::int64_t row : rows) {
    check_interrupt();
    const double A = projection[row];
    reader.read(row);
    const auto score = score_word(A, reader.latents, reader.values, cosine, main, rules);
    sums.absorbers.add(
        row, word_absorbers(score, A, reader.latents, reader.values, cosine, main, rules));
    const auto wide = score_word(A, reader.latents, reader.values, cosine, main, open);
    reader.truncate(truncate_top);
    const auto cut = score_word(A, reader.latents, reader.values, cosine, main, rules);
    sums.fraction += score.fraction;
    sums.full += score.full ? 1 : 0;
    sums.open += wide.fraction;
    sums.truncated += cut.fraction;
    sums.truncated_full += cut.full ? 1 : 0;
    ++sums.words;
  }
  return sums;
}

std::vector<std::int64_t> positions(const at::Tensor& mask) {
  const at::Tensor where = at::nonzero(mask).squeeze(1).contiguous();
  return {where.const_data_ptr<std::int64_t>(),
          where.const_data_ptr<std::int64_t>() + where.numel()};
}

void fill(ClassAbsorption& one, const Sums& sums, const std::vector<std::string>& names) {
  const auto words = static_cast<double>(sums.words);  // 0 / 0 is NaN: no words, no score
  one.words = sums.words;
  one.full_count = sums.full;
  one.full = static_cast<double>(sums.full) / words;
  one.fraction = sums.fraction / words;
  one.fraction_open = sums.open / words;
  one.truncated_fraction = sums.truncated / words;
  one.truncated_full = static_cast<double>(sums.truncated_full) / words;
  one.absorbers = sums.absorbers.strongest(names);
}

Confusion confusion(const at::Tensor& predicted, const at::Tensor& actual) {
  const auto count = [](const at::Tensor& mask) { return mask.sum().item<std::int64_t>(); };
  Confusion counts;
  counts.true_positive = count(predicted & actual);
  counts.false_positive = count(predicted) - counts.true_positive;
  counts.false_negative = count(actual) - counts.true_positive;
  return counts;
}

/// Which test words the probe takes for which class: [M, C] bool.
at::Tensor predictions(const LabelledActivations& data, const LinearProbe& probe) {
  return probe_scores(probe, Codes::from_dense(data.test.x)) > 0;
}

MultiProbeTraining training(const AbsorptionOptions& options, bool l1) {
  MultiProbeTraining how;
  how.epochs = l1 ? options.l1_epochs : options.probe_epochs;
  how.batch_size = l1 ? options.l1_batch_size : options.probe_batch_size;
  how.weight_decay = l1 ? options.l1_weight_decay : options.probe_weight_decay;
  how.l1_decay = l1 ? options.l1_decay : 0;
  how.lr = options.lr;
  how.end_lr = options.end_lr;
  return how;
}

bool is_finite(const Codes& codes) { return codes.values().isfinite().all().item<bool>(); }

/// Why the result ranks nothing: the subject's own reason, or what its main latents are like.
std::string why_unranked(const AbsorptionResult& result, const AbsorptionSubject& subject,
                         const LabelledActivations& data) {
  if (result.l0 > result.options.max_l0_share * static_cast<double>(data.d_in())) {
    return "L0 " + brief(result.l0) + " is above " + trimmed(result.options.max_l0_share, 3) +
           " of D = " + std::to_string(data.d_in()) +
           ", where low absorption comes from dense codes alone";
  }
  if (!subject.degenerate.empty()) return subject.degenerate;
  std::int64_t kept = 0, carried = 0;
  for (const ClassAbsorption& one : result.classes) {
    kept += one.kept ? 1 : 0;
    carried += one.kept && one.sparse.carried ? 1 : 0;
  }
  if (kept == 0) return "no class has words that the probe reads";
  if (2 * carried >= kept) return "";
  return "the main latents of " + std::to_string(kept - carried) + " of " + std::to_string(kept) +
         " classes fire on no more of their words than of others";
}

constexpr std::uint64_t kL1Seed = 0x4C31;  // the two probes draw different numbers

}  // namespace

LinearProbe train_ground_truth(const LabelledActivations& data, const AbsorptionOptions& options,
                               std::int64_t seed) {
  return train_multi_probe(Codes::from_dense(data.train.x), data.train.y,
                           static_cast<std::int64_t>(data.classes.size()),
                           training(options, /*l1=*/false), static_cast<std::uint64_t>(seed));
}

std::vector<ClassAbsorption> read_classes(const LabelledActivations& data,
                                          const LinearProbe& probe) {
  const at::Tensor predicted = predictions(data, probe);
  std::vector<ClassAbsorption> classes;
  for (const std::string& name : data.classes) {
    const auto c = static_cast<std::int64_t>(classes.size());
    const Confusion counts = confusion(predicted.select(1, c), data.test.y == c);
    ClassAbsorption one;
    one.name = name;
    one.probe_f1 = counts.f1();
    one.probe_recall = counts.recall();
    classes.push_back(std::move(one));
  }
  return classes;
}

AbsorptionResult evaluate_absorption(const AbsorptionSubject& subject,
                                     const LabelledActivations& data, const LinearProbe& probe,
                                     const AbsorptionOptions& options, std::int64_t seed) {
  const at::NoGradGuard no_grad;
  const AbsorptionRules rules = absorption_rules(options);
  const auto classes = static_cast<std::int64_t>(data.classes.size());
  AbsorptionResult result;
  result.task = data.task;
  result.options = options;
  result.options.seed = seed;
  result.fresh_prompts = data.score_x.defined();
  result.l0 = subject.l0;
  result.explained_variance = subject.explained_variance;
  result.d_sae = subject.W_dec.size(0);
  result.train_words = subject.train_words;
  result.test_words = subject.test_words;
  const at::Tensor predicted = predictions(data, probe);
  result.classes = read_classes(data, probe);
  check_gate(result.classes, rules, data.place);  // before the long part
  if (!is_finite(subject.train) || !is_finite(subject.test) || !is_finite(subject.score)) {
    result.unranked = "its codes are not finite";
    result.ranked = false;
    for (ClassAbsorption& one : result.classes) one.sparse.main = 0;
    return result;
  }

  const LinearProbe l1 =
      train_multi_probe(subject.train, data.train.y, classes, training(options, /*l1=*/true),
                        static_cast<std::uint64_t>(seed) ^ (kL1Seed << 32));
  std::vector<KSparseClass> sparse =
      select_main_latents(subject.train, data.train.y, subject.test, data.test.y, l1.W, options);
  const at::Tensor cosine = cosines(probe, subject.W_dec);
  const at::Tensor unit = unit_rows(probe.W);
  const at::Tensor& x = data.score_x.defined() ? data.score_x : data.test.x;
  const at::Tensor projections = at::mm(unit, x.t()).contiguous();  // [C, M]
  CodeReader reader(subject.score);
  for (std::int64_t c = 0; c < classes; ++c) {
    ClassAbsorption& one = result.classes[static_cast<std::size_t>(c)];
    one.sparse = std::move(sparse[static_cast<std::size_t>(c)]);
    const std::span<const std::int64_t> main{one.sparse.latents.data(),
                                             static_cast<std::size_t>(one.sparse.main)};
    const auto rows = positions(predicted.select(1, c) & (data.test.y == c));
    fill(one,
         score_words(reader, rows, projections[c], cosine[c], main, rules, options.truncate_top),
         data.test.words);
  }
  keep_classes(result.classes, rules);
  result.unranked = why_unranked(result, subject, data);
  result.ranked = result.unranked.empty();
  return result;
}

}  // namespace sae
