// Whether people can tell what latents stand for, without knowing whose latents they are: a page
// with items of the intruder task (evaluation/interp_items.h), and what their answers say.
//
//     OUT/page.html   five texts an item, one of which is not the latent's; needs no network
//     OUT/key.json    which item is whose, apart, for `sae blind grade`
//
// The page holds texts and opaque ids, and no name or number of a member or latent. Its items are
// those of all members in one random order, a tenth of them twice. The same arguments give the same
// bytes.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "sae/evaluation/controls.h"
#include "sae/evaluation/interp_options.h"

namespace sae {

struct BlindArguments {
  std::vector<std::string> members;  ///< at least two; see training/open.h
  std::optional<Control> control;    ///< one more, made from the first of them
  std::string data;                  ///< a store with tokens, contexts and a vocabulary
  std::string out;                   ///< folder to make
  std::optional<std::string> judge;  ///< file (evaluation/judge.h) whose rows the items are of
  std::int64_t items = 80;           ///< of each member
  bool matched = false;  ///< as many again whose intruder shares a token with one of the four
  InterpOptions interp;  ///< rows, quantiles, seed, and which latents fire often enough
  std::string device;    ///< empty: auto
  int threads = -1;      ///< < 1: all cores
  std::function<void(const std::string&)> say;  ///< told how members were opened, if that is news
};

struct BlindOutcome {
  struct Member {
    std::string name;
    std::array<std::int64_t, 4> latents{};  ///< of each LatentStanding
  };
  struct Task {
    std::string name;        ///< intruder, intruder_matched
    std::int64_t items = 0;  ///< of each member; fewer than wanted where latents are few
  };
  std::vector<Member> members;
  std::vector<Task> tasks;
  std::int64_t asked = 0;     ///< items of each member and task as wanted
  std::int64_t repeats = 0;   ///< items that come twice
  std::int64_t practice = 0;  ///< items with answers, before the others
  std::string sha256;         ///< of the items, which page and key have

  std::int64_t shown() const;  ///< items, repeats among them, without practice
};

/// `sae blind`. Writes the folder, which must not exist, or throws and leaves none. `on_member` is
/// told how many members of how many have been looked at.
BlindOutcome write_blind(const BlindArguments& arguments,
                         const std::function<void(std::int64_t, std::int64_t)>& on_member = {});

nlohmann::ordered_json to_json(const BlindOutcome& outcome);
std::string to_text(const BlindOutcome& outcome);  ///< with how many raters it takes

/// A number with its 95 % interval; NaN where it is not defined.
struct BlindEstimate {
  double value = 0, low = 0, high = 0;
};

/// What answers say. Numbers that are not defined, such as of two raters where there is one, are
/// NaN, and null in JSON.
struct BlindGrade {
  struct Rater {
    std::string name;
    std::int64_t answers = 0;
    double accuracy = 0;
    double median_s = 0;  ///< seconds an item was looked at
  };
  struct Member {
    std::string name;
    std::int64_t answers = 0;  ///< without those to repeats
    BlindEstimate accuracy;    ///< chance is .2
    double cannot_tell = 0;    ///< share of the answers
    double median_s = 0;
  };
  struct Difference {
    std::string a, b;
    BlindEstimate difference;  ///< accuracy of a less that of b
    double p = 1;              ///< of members permuted within bin and group
    double p_holm = 1;         ///< the same for all pairs of the task together
  };
  struct Task {
    std::string name;  ///< intruder, intruder_matched
    std::vector<Member> members;
    std::vector<Difference> differences;
    BlindEstimate judge;  ///< AUC of its margin for people's scores; see judge_may_be_quoted

    bool judge_may_be_quoted() const { return judge.low > 0.5; }
  };
  struct Agreement {
    std::int64_t answers = 0;  ///< pairs of them
    double share = 0;
    double kappa = 0;  ///< Cohen's, on whether they are right
  };
  std::string sha256;
  std::string judge;  ///< model of the judge file; empty without one
  std::vector<Rater> raters;
  std::vector<Task> tasks;
  Agreement between;  ///< raters
  Agreement within;   ///< one rater, on items that came twice
};

/// `sae blind grade`: the answers of one file a rater against FOLDER/key.json. An item that came
/// twice counts once, as it was answered first. With a judge file, whether its margin (judge_item)
/// tells which items people get right: where the interval of that AUC includes .5, the judge is not
/// to be quoted for this store. DataError for files that are not such, for answers about other
/// items than the key's, two files of one rater, and a judge of another store or other rows.
BlindGrade grade_blind(const std::filesystem::path& folder,
                       const std::vector<std::filesystem::path>& answers,
                       const std::optional<std::filesystem::path>& judge = {});

nlohmann::ordered_json to_json(const BlindGrade& grade);
std::string to_text(const BlindGrade& grade);

}  // namespace sae
