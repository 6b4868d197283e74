#include "tools/blind/grading.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "sae/base/interrupt.h"
#include "tools/blind/draws.h"

namespace sae {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

std::size_t place(std::int64_t index) { return static_cast<std::size_t>(index); }

/// How often each of `count` is drawn in `count` draws with replacement.
std::vector<double> times_drawn(std::size_t count, Rng& rng) {
  std::vector<double> times(count, 0);
  for (std::size_t i = 0; i < count; ++i) ++times[rng.below(count)];
  return times;
}

/// Latents that were asked about, numbered by member and bin.
class AskedLatents {
 public:
  explicit AskedLatents(const GradedAnswers& graded) {
    for (const GradedAnswer& answer : graded.answers) {
      const GradedItem& item = graded.items[place(answer.item)];
      auto& stratum = strata_[{item.member, item.bin}];
      const auto number = stratum.try_emplace(item.latent, stratum.size()).first->second;
      of_answer_.push_back({&stratum, number});
    }
  }

  /// For each answer, how often its latent was drawn.
  std::vector<double> times_drawn_of_answers(Rng& rng) const {
    std::map<const Stratum*, std::vector<double>> times;
    for (const auto& [key, stratum] : strata_) times[&stratum] = times_drawn(stratum.size(), rng);
    std::vector<double> out;
    for (const auto& [stratum, number] : of_answer_) out.push_back(times[stratum][number]);
    return out;
  }

 private:
  using Stratum = std::map<std::int64_t, std::size_t>;  // latent -> number
  std::map<std::pair<std::int64_t, std::int64_t>, Stratum> strata_;
  std::vector<std::pair<const Stratum*, std::size_t>> of_answer_;
};

/// Between the two nearest of sorted values.
double quantile(const std::vector<double>& sorted, double share) {
  const double exact = share * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<std::size_t>(exact);
  const std::size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (exact - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

/// Of draws most of which are defined.
std::pair<double, double> interval(std::vector<double> draws) {
  const std::size_t all = draws.size();
  std::erase_if(draws, [](double value) { return !std::isfinite(value); });
  if (2 * draws.size() <= all) return {kNone, kNone};
  std::sort(draws.begin(), draws.end());
  return {quantile(draws, 0.025), quantile(draws, 0.975)};
}

/// Sum of scores and number of answers of an item, or of a member's.
struct Tally {
  double sum = 0, count = 0;

  void add(const Tally& more) {
    sum += more.sum;
    count += more.count;
  }
  double mean() const { return sum / count; }
};

/// The items of two members in one bin and group: the first `of_a` are of one of them.
struct ExchangeableItems {
  std::vector<Tally> items;
  std::size_t of_a = 0;
};

std::vector<ExchangeableItems> exchangeable(const GradedAnswers& graded, std::int64_t a,
                                            std::int64_t b) {
  std::map<std::int64_t, Tally> tallies;
  for (const GradedAnswer& answer : graded.answers) tallies[answer.item].add({answer.score, 1});
  std::map<std::pair<std::int64_t, std::int64_t>, ExchangeableItems> strata;
  for (const std::int64_t member : {a, b}) {
    for (const auto& [number, tally] : tallies) {
      const GradedItem& item = graded.items[place(number)];
      if (item.member != member) continue;
      ExchangeableItems& stratum = strata[{item.bin, item.group}];
      stratum.items.push_back(tally);
      if (member == a) ++stratum.of_a;
    }
  }
  std::vector<ExchangeableItems> out;
  for (auto& [key, stratum] : strata) out.push_back(std::move(stratum));
  return out;
}

double difference(const std::vector<ExchangeableItems>& strata) {
  Tally first, second;
  for (const ExchangeableItems& stratum : strata) {
    for (std::size_t i = 0; i < stratum.items.size(); ++i) {
      (i < stratum.of_a ? first : second).add(stratum.items[i]);
    }
  }
  return first.mean() - second.mean();
}

}  // namespace

double accuracy_of(const GradedAnswers& graded, std::int64_t member, const AnswerWeights& weights) {
  Tally tally;
  for (std::size_t i = 0; i < graded.answers.size(); ++i) {
    const GradedAnswer& answer = graded.answers[i];
    if (graded.items[place(answer.item)].member != member) continue;
    tally.add({weights[i] * answer.score, weights[i]});
  }
  return tally.mean();
}

double margin_auc(const GradedAnswers& graded, const AnswerWeights& weights) {
  struct AtMargin {
    double right = 0, wrong = 0;
  };
  std::map<double, AtMargin> margins;
  for (std::size_t i = 0; i < graded.answers.size(); ++i) {
    const GradedAnswer& answer = graded.answers[i];
    const double margin = graded.items[place(answer.item)].margin;
    if (std::isnan(margin)) continue;
    margins[margin].right += weights[i] * answer.score;
    margins[margin].wrong += weights[i] * (1 - answer.score);
  }
  double right = 0, wrong = 0, above = 0;  // above: right ones over wrong ones
  for (const auto& [margin, here] : margins) {
    above += here.right * (wrong + here.wrong / 2);
    right += here.right;
    wrong += here.wrong;
  }
  return above / (right * wrong);
}

std::vector<Estimate> bootstrap_answers(const GradedAnswers& graded,
                                        const AnswerStatistics& statistics, std::int64_t seed,
                                        std::int64_t draws) {
  const std::size_t count = graded.answers.size();
  std::vector<Estimate> out;
  for (const double value : statistics(AnswerWeights(count, 1))) {
    out.push_back({value, kNone, kNone});
  }
  const AskedLatents latents(graded);
  std::vector<std::vector<double>> drawn(out.size());
  for (std::int64_t draw = 0; draw < draws; ++draw) {
    check_interrupt();
    Rng rng = blind_draw::rng(seed, blind_draw::kBootstrap | static_cast<std::uint64_t>(draw));
    const std::vector<double> raters = times_drawn(place(graded.raters), rng);
    AnswerWeights weights = latents.times_drawn_of_answers(rng);
    for (std::size_t i = 0; i < count; ++i) weights[i] *= raters[place(graded.answers[i].rater)];
    const std::vector<double> values = statistics(weights);
    for (std::size_t i = 0; i < out.size(); ++i) drawn[i].push_back(values[i]);
  }
  for (std::size_t i = 0; i < out.size(); ++i) {
    std::tie(out[i].low, out[i].high) = interval(std::move(drawn[i]));
  }
  return out;
}

double permutation_p(const GradedAnswers& graded, std::int64_t a, std::int64_t b, std::int64_t seed,
                     std::int64_t permutations) {
  constexpr double kRounding = 1e-9;
  std::vector<ExchangeableItems> strata = exchangeable(graded, a, b);
  const double found = std::abs(difference(strata));
  if (std::isnan(found)) return 1;
  const auto pair = static_cast<std::uint64_t>(a * graded.members + b);
  Rng rng = blind_draw::rng(seed, blind_draw::kPermutation | pair);
  std::int64_t as_large = 0;
  for (std::int64_t i = 0; i < permutations; ++i) {
    check_interrupt();
    for (ExchangeableItems& stratum : strata) {
      for (std::size_t k = 0; k < stratum.of_a; ++k) {
        std::swap(stratum.items[k], stratum.items[k + rng.below(stratum.items.size() - k)]);
      }
    }
    if (std::abs(difference(strata)) >= found - kRounding) ++as_large;
  }
  return static_cast<double>(1 + as_large) / static_cast<double>(1 + permutations);
}

void AgreementTable::add(bool first_right, bool second_right) {
  ++(first_right ? (second_right ? both : first) : (second_right ? second : neither));
}

double AgreementTable::share() const {
  return static_cast<double>(both + neither) / static_cast<double>(total());
}

double AgreementTable::kappa() const {
  const auto n = static_cast<double>(total());
  const double p = static_cast<double>(both + first) / n;
  const double q = static_cast<double>(both + second) / n;
  const double chance = p * q + (1 - p) * (1 - q);
  return chance < 1 ? (share() - chance) / (1 - chance) : kNone;
}

RaterAgreement agreement_between(const GradedAnswers& graded) {
  std::map<std::int64_t, std::vector<std::pair<std::int64_t, bool>>> of_item;
  for (const GradedAnswer& answer : graded.answers) {
    of_item[answer.item].emplace_back(answer.rater, answer.score == 1);
  }
  std::map<std::pair<std::int64_t, std::int64_t>, AgreementTable> of_raters;
  for (auto& [item, answers] : of_item) {
    std::sort(answers.begin(), answers.end());
    for (std::size_t i = 0; i < answers.size(); ++i) {
      for (std::size_t k = i + 1; k < answers.size(); ++k) {
        of_raters[{answers[i].first, answers[k].first}].add(answers[i].second, answers[k].second);
      }
    }
  }
  std::int64_t total = 0, agreed = 0, defined = 0;
  double kappas = 0;
  for (const auto& [raters, table] : of_raters) {
    total += table.total();
    agreed += table.both + table.neither;
    if (std::isnan(table.kappa())) continue;
    kappas += table.kappa();
    ++defined;
  }
  return {total, static_cast<double>(agreed) / static_cast<double>(total),
          kappas / static_cast<double>(defined)};
}

std::int64_t answers_needed(double p, double q) {
  // The normal deviates of 97.5 % and 80 %, squared.
  constexpr double kTold = (1.959964 + 0.841621) * (1.959964 + 0.841621);
  return static_cast<std::int64_t>(
      std::ceil(kTold * (p * (1 - p) + q * (1 - q)) / ((p - q) * (p - q))));
}

}  // namespace sae
