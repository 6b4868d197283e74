// The files of `sae blind`: who made which item, and what a person answered.
//
//     key.json      {"format": "sae-blind-key", "version": 1, "sha256": "<of the items shown>",
//                    "store": "<path>", "store_sha256": "<of its manifest>", "seed": 0,
//                    "members": ["runs/topk", "runs/atm"],
//                    "items": [{"id": "5f0c<...>", "task": "intruder", "member": 1, "latent": 377,
//                               "bin": 7, "group": 2, "rows": [5 rows of the store, as shown],
//                               "intruder": 3, "repeats": "<id, of the second showing only>"}]}
//     answers       {"format": "sae-blind-answers", "version": 1, "sha256": "<of the items shown>",
//                    "rater": "ab", "answers": [{"id": "5f0c<...>", "choice": 3, "ms": 8120}]}
//
// Texts are numbered from 1, as on the page; choice 0 is "cannot tell".
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "sae/config/fields.h"

namespace sae {

inline constexpr std::int64_t kTextsOfItem = 5;
inline constexpr std::size_t kItemIdDigits = 12;

/// Where the intruder of an item is from: any row on which the latent does not fire, or one of
/// those with a token of the four.
enum class BlindTask { kIntruder, kIntruderMatched };
constexpr auto names_of(BlindTask) { return std::array{"intruder", "intruder_matched"}; }

/// What an item of the page is, which the page does not say.
struct KeyItem {
  std::string id;
  BlindTask task = BlindTask::kIntruder;
  std::int64_t member = 0;
  std::int64_t latent = 0;
  std::int64_t bin = 0;                           ///< floor(log2 of the rows that it fires on)
  std::int64_t group = 0;                         ///< quantile of its activations
  std::array<std::int64_t, kTextsOfItem> rows{};  ///< of the store, in the order shown
  std::int64_t intruder = 1;                      ///< which of them, from 1
  std::string repeats;                            ///< the first showing's id; empty on that
};

struct BlindKey {
  std::string sha256;               ///< of the items as page.html has them
  std::string store, store_sha256;  ///< path, and hash of manifest.json
  std::int64_t seed = 0;
  std::vector<std::string> members;
  std::vector<KeyItem> items;  ///< in the order shown
};

struct RaterAnswer {
  std::string id;
  std::int64_t choice = 0;        ///< 1 to 5; 0: cannot tell
  std::int64_t milliseconds = 0;  ///< that the item was looked at
};

struct RaterAnswers {
  std::string sha256;  ///< of the items that were answered
  std::string rater;
  std::vector<RaterAnswer> answers;
};

std::string to_text(const BlindKey& key);

/// DataError for anything else than such a file; `place` is what messages call it.
BlindKey parse_blind_key(std::string_view text, const std::string& place);
RaterAnswers parse_rater_answers(std::string_view text, const std::string& place);

}  // namespace sae
