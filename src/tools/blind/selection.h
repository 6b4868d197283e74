// Which latents people are asked about: as many of each bin of firing counts and each quantile
// group from every member, so that a difference of accuracies is none of how often latents fire.
//
// Ours: bins get items by their share of the latents that may be asked about, of all members
// together, so that the plain mean over items is the standardised mean over bins. Within a bin and
// group latents come in the order of a keyed hash, those that have no item yet first; a latent has
// at most two items.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "sae/evaluation/interp_items.h"
#include "tools/blind/formats.h"

namespace sae {

/// What is drawn from: eligible latents of a member, ascending, by floor(log2 of their firings).
using LatentsByBin = std::map<std::int64_t, std::vector<std::int64_t>>;

LatentsByBin latents_by_bin(const SampleFirings& firings, const LatentSelection& selection);

struct BlindCell {
  std::int64_t bin = 0;
  std::int64_t group = 0;
  auto operator<=>(const BlindCell&) const = default;
};

/// How many items of each task each member has of each bin that all members have and each of
/// `groups`: `items` in all, fewer where there are not enough latents.
std::map<BlindCell, std::int64_t> items_of_cells(const std::vector<LatentsByBin>& members,
                                                 std::int64_t groups, std::int64_t items,
                                                 std::int64_t tasks = 1);

struct ChosenItem {
  BlindTask task = BlindTask::kIntruder;
  std::int64_t member = 0;
  std::int64_t latent = 0;
  BlindCell cell;
  std::array<std::int32_t, kTextsOfItem> rows{};  ///< of the sample; the last intrudes
};

/// The item of a member's latent in a group; none if there is none.
using ItemMaker = std::function<std::optional<IntruderItem>(
    std::int64_t member, std::int64_t latent, std::int64_t group, BlindTask task)>;

/// Items of all members, `per_member` of each for each of `tasks`, by task, cell and member. Where
/// a member has fewer items of a cell than it should, all have fewer.
std::vector<ChosenItem> choose_items(const std::vector<LatentsByBin>& members, std::int64_t groups,
                                     std::int64_t per_member, const std::vector<BlindTask>& tasks,
                                     const ItemMaker& make, std::int64_t seed);

}  // namespace sae
