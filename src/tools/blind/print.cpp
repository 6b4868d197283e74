#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "sae/base/text.h"
#include "sae/evaluation/interp_items.h"
#include "sae/tools/blind.h"
#include "tools/blind/grading.h"

namespace sae {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr double kHigh = 0.7, kLow = 0.6;  // accuracies that a study should tell apart
constexpr std::array<std::int64_t, 4> kTeams = {1, 3, 5, 10};

Json or_null(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json estimate_json(const BlindEstimate& of) {
  return {{"value", or_null(of.value)}, {"low", or_null(of.low)}, {"high", or_null(of.high)}};
}

Json agreement_json(const BlindGrade::Agreement& of) {
  return {{"answers", of.answers}, {"share", or_null(of.share)}, {"kappa", or_null(of.kappa)}};
}

/// .70, -.05, 1.00, or a dash.
std::string share_text(double value) {
  if (!std::isfinite(value)) return "-";
  std::string text = fixed(value, 2);
  const std::size_t zero = text.find("0.");
  if (zero == 0 || (zero == 1 && text[0] == '-')) text.erase(zero, 1);
  return text;
}

std::string interval_text(const BlindEstimate& of) {
  if (!std::isfinite(of.low)) return "no interval";
  return share_text(of.low) + " to " + share_text(of.high);
}

std::string seconds_text(double seconds) {
  return std::isfinite(seconds) ? brief(seconds) + " s" : "-";
}

std::string count_text(std::int64_t number, const std::string& what) {
  return std::to_string(number) + " " + what + (number == 1 ? "" : "s");
}

/// `text` in a column of this width.
std::string left(const std::string& text, std::size_t width) {
  return text + std::string(text.size() < width ? width - text.size() : 0, ' ');
}
std::string right(const std::string& text, std::size_t width) {
  return std::string(text.size() < width ? width - text.size() : 0, ' ') + text;
}

std::int64_t raters_needed(std::int64_t items) {
  return (answers_needed(kHigh, kLow) + items - 1) / items;
}

/// The largest accuracy below `high`, in hundredths, that so many answers tell from it.
double told_from(double high, std::int64_t answers) {
  double low = 0;
  for (int i = 1; i < std::lround(100 * high); ++i) {
    if (answers_needed(high, i / 100.0) <= answers) low = i / 100.0;
  }
  return low;
}

std::string size_text(const BlindOutcome& of) {
  std::string told;
  for (const std::int64_t raters : kTeams) {
    told += (told.empty() ? "" : ", ") + count_text(raters, "rater") + " from " +
            share_text(told_from(kHigh, raters * of.tasks.front().items));
  }
  return "To tell .70 from .60 (80 % power at 5 %) takes " +
         std::to_string(answers_needed(kHigh, kLow)) +
         " answers about each: " + count_text(raters_needed(of.tasks.front().items), "rater") +
         ".\n.70 is told by " + told + ".\n";
}

/// The parts of a path: "runs/a/sae" -> runs, a, sae.
std::vector<std::string> parts_of(const std::string& path) {
  std::vector<std::string> parts;
  for (const fs::path& part : fs::path(path).lexically_normal()) {
    if (!part.empty()) parts.push_back(part.string());
  }
  return parts;
}

/// What tells paths apart, without the folders that all of them begin or end with.
std::map<std::string, std::string> short_names(const std::vector<BlindGrade::Member>& members) {
  std::vector<std::vector<std::string>> paths;
  for (const BlindGrade::Member& member : members) {
    if (!member.name.starts_with("control: ")) paths.push_back(parts_of(member.name));
  }
  std::ptrdiff_t begin = 0, end = 0;  // parts that all have
  if (!paths.empty()) begin = end = std::ssize(paths.front());
  for (const auto& own : paths) {
    const auto& first = paths.front();
    const auto ahead = std::mismatch(own.begin(), own.end(), first.begin(), first.end()).first;
    const auto behind = std::mismatch(own.rbegin(), own.rend(), first.rbegin(), first.rend()).first;
    begin = std::min(begin, ahead - own.begin());
    end = std::min(end, behind - own.rbegin());
  }
  std::map<std::string, std::string> out;
  for (const BlindGrade::Member& member : members) {
    const std::vector<std::string> own = parts_of(member.name);
    const bool is_path = !member.name.starts_with("control: ");
    out[member.name] = is_path && begin + end < std::ssize(own)
                           ? joined({own.begin() + begin, own.end() - end}, "/")
                           : member.name;
  }
  return out;
}

std::string p_text(double p) { return p < 1 ? fixed(p, 4).substr(1) : "1"; }

std::string task_text(const BlindGrade::Task& task) {
  const auto names = short_names(task.members);
  std::size_t width = task.name.size();
  for (const auto& [name, shown] : names) width = std::max(width, shown.size());
  std::string text =
      left(task.name, width) + "  answers  accuracy  95 % interval  cannot tell   time\n";
  for (const BlindGrade::Member& member : task.members) {
    text += left(names.at(member.name), width) + right(std::to_string(member.answers), 9) +
            right(share_text(member.accuracy.value), 10) + "  " +
            left(interval_text(member.accuracy), 13) + right(share_text(member.cannot_tell), 13) +
            right(seconds_text(member.median_s), 7) + "\n";
  }
  for (const BlindGrade::Difference& pair : task.differences) {
    text += names.at(pair.a) + " less " + names.at(pair.b) + ": " +
            share_text(pair.difference.value) + " (" + interval_text(pair.difference) + "), p " +
            p_text(pair.p);
    if (task.differences.size() > 1) text += ", " + p_text(pair.p_holm) + " among all pairs";
    text += "\n";
  }
  return text + "\n";
}

std::string judge_text(const BlindGrade& of, const BlindGrade::Task& task) {
  std::string text = "judge " + printable(of.judge) + ", " + task.name + ": ";
  if (!std::isfinite(task.judge.value)) return text + "no margin to hold against people\n";
  text += "AUC of its margin for people's scores " + share_text(task.judge.value) + " (" +
          interval_text(task.judge) + ")\n";
  return text + (task.judge_may_be_quoted()
                     ? "  The interval is above .5: the judge may be quoted for this store.\n"
                     : "  The interval is not above .5: do not quote the judge for this store.\n");
}

std::string agreement_text(const std::string& who, const BlindGrade::Agreement& of,
                           const std::string& pairs) {
  if (of.answers == 0) return "";
  return "agreement " + who + ": " + share_text(of.share) + ", kappa " + share_text(of.kappa) +
         ", of " + std::to_string(of.answers) + " " + pairs + "\n";
}

}  // namespace

Json to_json(const BlindOutcome& of) {
  Json members = Json::array();
  for (const BlindOutcome::Member& member : of.members) {
    Json own{{"name", member.name}, {"latents", Json::object()}};
    for (const LatentStanding standing : {LatentStanding::kSilent, LatentStanding::kRare,
                                          LatentStanding::kDense, LatentStanding::kEligible}) {
      own["latents"][name_of(standing)] = member.latents[static_cast<std::size_t>(standing)];
    }
    members.push_back(std::move(own));
  }
  Json tasks = Json::object();
  for (const BlindOutcome::Task& task : of.tasks) tasks[task.name] = task.items;
  return {{"sha256", of.sha256},
          {"members", members},
          {"tasks", tasks},
          {"asked", of.asked},
          {"repeats", of.repeats},
          {"practice", of.practice},
          {"shown", of.shown()},
          {"answers_needed", answers_needed(kHigh, kLow)},
          {"raters_needed", raters_needed(of.tasks.front().items)}};
}

std::string to_text(const BlindOutcome& of) {
  std::string text;
  for (const BlindOutcome::Member& member : of.members) {
    const auto latents = [&](LatentStanding standing) {
      return std::to_string(member.latents[static_cast<std::size_t>(standing)]) + " " +
             name_of(standing);
    };
    text += member.name + ": " + latents(LatentStanding::kEligible) + " latents; " +
            latents(LatentStanding::kSilent) + ", " + latents(LatentStanding::kRare) + ", " +
            latents(LatentStanding::kDense) + "\n";
  }
  for (const BlindOutcome::Task& task : of.tasks) {
    text += task.name + ": " + count_text(task.items, "item") + " of each";
    if (task.items < of.asked) {
      text += ", for " + std::to_string(of.asked) +
              " there are too few latents that fire about equally often";
    }
    text += "\n";
  }
  text += std::to_string(of.shown()) + " to answer, " + std::to_string(of.repeats) +
          " of them for the second time, after " + count_text(of.practice, "practice item") + "\n";
  return text + size_text(of);
}

Json to_json(const BlindGrade& of) {
  Json out{{"sha256", of.sha256}, {"judge", nullptr}, {"raters", Json::array()}, {"tasks", {}}};
  if (!of.judge.empty()) out["judge"] = of.judge;
  for (const BlindGrade::Rater& rater : of.raters) {
    out["raters"].push_back({{"name", rater.name},
                             {"answers", rater.answers},
                             {"accuracy", or_null(rater.accuracy)},
                             {"median_s", or_null(rater.median_s)}});
  }
  for (const BlindGrade::Task& task : of.tasks) {
    Json& own =
        out["tasks"][task.name] = {{"members", Json::array()}, {"differences", Json::array()}};
    for (const BlindGrade::Member& member : task.members) {
      own["members"].push_back({{"name", member.name},
                                {"answers", member.answers},
                                {"accuracy", estimate_json(member.accuracy)},
                                {"cannot_tell", or_null(member.cannot_tell)},
                                {"median_s", or_null(member.median_s)}});
    }
    for (const BlindGrade::Difference& pair : task.differences) {
      own["differences"].push_back({{"a", pair.a},
                                    {"b", pair.b},
                                    {"difference", estimate_json(pair.difference)},
                                    {"p", pair.p},
                                    {"p_holm", pair.p_holm}});
    }
    if (of.judge.empty()) continue;
    own["judge"] = estimate_json(task.judge);
    own["judge"]["may_be_quoted"] = task.judge_may_be_quoted();
  }
  out["between_raters"] = agreement_json(of.between);
  out["with_oneself"] = agreement_json(of.within);
  return out;
}

std::string to_text(const BlindGrade& of) {
  std::string text;
  for (const BlindGrade::Task& task : of.tasks) text += task_text(task);
  for (const BlindGrade::Task& task : of.tasks) {
    if (!of.judge.empty()) text += judge_text(of, task);
  }
  for (const BlindGrade::Rater& rater : of.raters) {
    text += "rater " + printable(rater.name) + ": " + count_text(rater.answers, "answer") +
            ", accuracy " + share_text(rater.accuracy) + ", " + seconds_text(rater.median_s) +
            " an item\n";
  }
  return text + agreement_text("between raters", of.between, "pairs of answers") +
         agreement_text("with oneself", of.within, "items that came twice");
}

}  // namespace sae
