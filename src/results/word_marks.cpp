#include "sae/results/word_marks.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <optional>

namespace sae {
namespace {

constexpr const char* kControl = "random";

bool is_word_score(const std::string& name) {
  constexpr const char* kScores[] = {metric::kWordsFull, metric::kWordsFraction,
                                     metric::kWordsFullGivenMain, metric::kWordsFractionGivenMain};
  return std::find(std::begin(kScores), std::end(kScores), name) != std::end(kScores);
}

bool given_main(const std::string& name) { return name.ends_with("_given_main"); }

}  // namespace

WordMarks word_marks(const ComparisonResult& result, const std::string& member,
                     const std::string& metric, double l0, const std::string& axis) {
  if (!is_word_score(metric)) return {};
  const auto score = metric_at(result, member, metric, l0, axis);
  if (!score) return {};
  const auto chance = control_at(result, kControl, metric, l0, axis);
  const auto f1 = metric_at(result, member, metric::kWordsMainF1, l0, axis);
  return {.random = chance && score->mean <= *chance + score->sd,
          .no_latent = !given_main(metric) && f1 && f1->mean < kLeastMainF1};
}

WordMarks word_marks(const ComparisonResult& result, const RunResult& run,
                     const std::string& metric) {
  const auto score = ranked_value(run, metric);
  const auto l0 = ranked_value(run, metric::kL0);
  if (!is_word_score(metric) || !score || !l0) return {};
  const auto chance = control_at(result, kControl, metric, *l0);
  const auto f1 = ranked_value(run, metric::kWordsMainF1);
  return {.random = chance && *score <= *chance,
          .no_latent = !given_main(metric) && f1 && *f1 < kLeastMainF1};
}

std::string letters_of(const WordMarks& marks) {
  return std::string(marks.random ? "r" : "") + (marks.no_latent ? "f" : "");
}

}  // namespace sae
