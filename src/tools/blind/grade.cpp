#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "sae/base/error.h"
#include "sae/base/files.h"
#include "sae/base/sha256.h"
#include "sae/base/text.h"
#include "sae/evaluation/interp.h"
#include "sae/evaluation/judge.h"
#include "sae/metrics/statistics.h"
#include "sae/tools/blind.h"
#include "tools/blind/formats.h"
#include "tools/blind/grading.h"
#include "tools/blind/page.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kShownDigits = 12;  // of a hash, in messages

/// An answer with what it is about.
struct Given {
  std::int64_t rater = 0;
  const KeyItem* item = nullptr;
  std::int64_t choice = 0;
  double seconds = 0;

  bool is_repeat() const { return !item->repeats.empty(); }
  double score() const { return choice == 0 ? kCannotTellScore : choice == item->intruder ? 1 : 0; }
};

std::string of_items(const std::string& sha256) {
  return "items " + sha256.substr(0, kShownDigits) + "...";
}

BlindKey read_key(const fs::path& folder) {
  const fs::path file = folder / "key.json";
  BlindKey key = parse_blind_key(read_file(file), file.string());
  const fs::path page = folder / "page.html";
  if (!fs::exists(page)) return key;
  const std::string items = sha256_hex(items_of_page(read_file(page)));
  if (items != key.sha256) {
    throw DataError(file.string() + ": is the key of " + of_items(key.sha256) + ", expected of " +
                    of_items(items) + ", which page.html beside it has");
  }
  return key;
}

/// Files of answers, one a rater.
class Raters {
 public:
  Raters(const BlindKey& key, const std::vector<fs::path>& files) {
    for (const KeyItem& item : key.items) items_[item.id] = &item;
    for (const fs::path& file : files) add(key, file);
  }

  const std::vector<std::string>& names() const { return names_; }
  const std::vector<Given>& answers() const { return answers_; }

 private:
  void add(const BlindKey& key, const fs::path& file) {
    const RaterAnswers own = parse_rater_answers(read_file(file), file.string());
    if (own.sha256 != key.sha256) {
      throw DataError(file.string() + ": answers about " + of_items(own.sha256) + ", expected " +
                      of_items(key.sha256) +
                      " of the key; give the folder of the page they are of");
    }
    if (std::find(names_.begin(), names_.end(), own.rater) != names_.end()) {
      throw DataError(file.string() + ": answers of rater " + sae::quoted(own.rater) +
                      ", as another file has; expected one file a person");
    }
    for (const RaterAnswer& answer : own.answers) {
      const auto found = items_.find(answer.id);
      if (found == items_.end()) {
        throw DataError(file.string() + ": id " + answer.id +
                        ": no such item, expected one of the key");
      }
      answers_.push_back({std::ssize(names_), found->second, answer.choice,
                          static_cast<double>(answer.milliseconds) / 1000});
    }
    names_.push_back(own.rater);
  }

  std::map<std::string, const KeyItem*> items_;
  std::vector<std::string> names_;
  std::vector<Given> answers_;
};

/// The judge's margin of an item: by the vectors that do not see the token where it is shared.
class Margins {
 public:
  Margins(const fs::path& file, const BlindKey& key) : judge_(read_judge(file)) {
    if (judge_.store != key.store_sha256) {
      throw DataError(file.string() + ": a judge of another store than the key's, " + key.store +
                      "; make one for that store with scripts/judge.py");
    }
  }

  const std::string& model() const { return judge_.model; }

  double of(const KeyItem& item) const {
    const auto& vectors = item.task == BlindTask::kIntruder ? judge_.whole : judge_.blind;
    if (vectors == nullptr) return std::numeric_limits<double>::quiet_NaN();
    IntruderItem asked;
    std::size_t next = 0;
    for (std::size_t i = 0; i < item.rows.size(); ++i) {
      const bool intrudes = static_cast<std::int64_t>(i) + 1 == item.intruder;
      asked.rows[intrudes ? asked.rows.size() - 1 : next++] = place_of(item.rows[i]);
    }
    return judge_item(*vectors, asked).margin;
  }

 private:
  std::int32_t place_of(std::int64_t row) const {
    const auto found = std::lower_bound(judge_.rows.begin(), judge_.rows.end(), row);
    if (found == judge_.rows.end() || *found != row) {
      throw DataError(judge_.place + ": has no row " + std::to_string(row) +
                      ", which an item shows; give this file to sae blind with --judge");
    }
    return static_cast<std::int32_t>(found - judge_.rows.begin());
  }

  JudgeFile judge_;
};

/// First showings of the items of one task, and what was answered.
GradedAnswers graded(const BlindKey& key, const Raters& raters, std::optional<BlindTask> task,
                     const Margins* margins) {
  GradedAnswers out{std::ssize(key.members), std::ssize(raters.names()), {}, {}};
  std::map<const KeyItem*, std::int64_t> numbers;
  for (const KeyItem& item : key.items) {
    if (!item.repeats.empty() || (task && item.task != *task)) continue;
    numbers[&item] = std::ssize(out.items);
    GradedItem& own =
        out.items.emplace_back(GradedItem{item.member, item.latent, item.bin, item.group});
    if (margins != nullptr) own.margin = margins->of(item);
  }
  for (const Given& given : raters.answers()) {
    const auto found = numbers.find(given.item);
    if (found != numbers.end()) {
      out.answers.push_back({given.rater, found->second, given.score()});
    }
  }
  return out;
}

BlindEstimate to_public(const Estimate& from) { return {from.value, from.low, from.high}; }

/// p values of one family, held so that any false claim among them has the level of one (Holm).
void correct(std::vector<BlindGrade::Difference>& family) {
  std::vector<std::size_t> order(family.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return family[a].p < family[b].p; });
  double least = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    least = std::max(least, family[order[i]].p * static_cast<double>(order.size() - i));
    family[order[i]].p_holm = std::min(1.0, least);
  }
}

/// Answers of one member to one task, repeats too.
BlindGrade::Member about(const std::string& name, std::int64_t member, BlindTask task,
                         const std::vector<Given>& answers) {
  BlindGrade::Member out{name, 0, {}, 0, 0};
  std::vector<double> seconds;
  for (const Given& given : answers) {
    if (given.item->member != member || given.item->task != task) continue;
    seconds.push_back(given.seconds);
    if (given.is_repeat()) continue;
    ++out.answers;
    out.cannot_tell += given.choice == 0 ? 1 : 0;
  }
  out.cannot_tell /= static_cast<double>(out.answers);
  out.median_s = median(seconds);
  return out;
}

BlindGrade::Task grade_task(const BlindKey& key, const Raters& raters, BlindTask task,
                            const Margins* margins) {
  BlindGrade::Task out{name_of(task), {}, {}, {}};
  const GradedAnswers given = graded(key, raters, task, margins);
  for (std::int64_t a = 0; a < given.members; ++a) {
    const auto name = [&](std::int64_t member) {
      return key.members[static_cast<std::size_t>(member)];
    };
    out.members.push_back(about(name(a), a, task, raters.answers()));
    for (std::int64_t b = a + 1; b < given.members; ++b) {
      out.differences.push_back({name(a), name(b), {}, permutation_p(given, a, b, key.seed), 1});
    }
  }
  correct(out.differences);
  const auto statistics = [&](const AnswerWeights& weights) {
    std::vector<double> values;
    for (std::int64_t a = 0; a < given.members; ++a) {
      values.push_back(accuracy_of(given, a, weights));
    }
    for (std::int64_t a = 0; a < given.members; ++a) {
      for (std::int64_t b = a + 1; b < given.members; ++b) {
        values.push_back(values[static_cast<std::size_t>(a)] - values[static_cast<std::size_t>(b)]);
      }
    }
    values.push_back(margin_auc(given, weights));
    return values;
  };
  const std::vector<Estimate> estimates = bootstrap_answers(given, statistics, key.seed);
  auto next = estimates.begin();
  for (BlindGrade::Member& member : out.members) member.accuracy = to_public(*next++);
  for (BlindGrade::Difference& pair : out.differences) pair.difference = to_public(*next++);
  out.judge = to_public(*next);
  return out;
}

/// Of all raters, on the items that each has answered twice.
BlindGrade::Agreement agreement_within(const std::vector<Given>& answers) {
  std::map<std::pair<std::int64_t, std::string>, bool> first;
  for (const Given& given : answers) {
    if (!given.is_repeat()) first[{given.rater, given.item->id}] = given.score() == 1;
  }
  AgreementTable table;
  for (const Given& given : answers) {
    if (!given.is_repeat()) continue;
    const auto found = first.find({given.rater, given.item->repeats});
    if (found != first.end()) table.add(found->second, given.score() == 1);
  }
  return {table.total(), table.share(), table.kappa()};
}

std::vector<BlindGrade::Rater> describe_raters(const Raters& raters) {
  std::vector<BlindGrade::Rater> out;
  for (const std::string& name : raters.names()) {
    BlindGrade::Rater own{name, 0, 0, 0};
    std::vector<double> seconds;
    for (const Given& given : raters.answers()) {
      if (given.rater != std::ssize(out)) continue;
      seconds.push_back(given.seconds);
      if (given.is_repeat()) continue;
      ++own.answers;
      own.accuracy += given.score();
    }
    own.accuracy /= static_cast<double>(own.answers);
    own.median_s = median(seconds);
    out.push_back(own);
  }
  return out;
}

}  // namespace

BlindGrade grade_blind(const fs::path& folder, const std::vector<fs::path>& answers,
                       const std::optional<fs::path>& judge) {
  const BlindKey key = read_key(folder);
  const Raters raters(key, answers);
  std::optional<Margins> margins;
  if (judge) margins.emplace(*judge, key);
  BlindGrade out;
  out.sha256 = key.sha256;
  if (margins) out.judge = margins->model();
  out.raters = describe_raters(raters);
  std::set<BlindTask> tasks;
  for (const KeyItem& item : key.items) tasks.insert(item.task);
  for (const BlindTask task : tasks) {
    out.tasks.push_back(grade_task(key, raters, task, margins ? &*margins : nullptr));
  }
  const RaterAgreement between = agreement_between(graded(key, raters, std::nullopt, nullptr));
  out.between = {between.answers, between.share, between.kappa};
  out.within = agreement_within(raters.answers());
  return out;
}

}  // namespace sae
