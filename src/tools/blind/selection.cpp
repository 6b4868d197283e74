#include "tools/blind/selection.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "tools/blind/draws.h"

namespace sae {
namespace {

constexpr std::int64_t kMostOfLatent = 2;

/// Items of each latent of one member.
using Uses = std::map<std::int64_t, std::int64_t>;

/// Latents that may have another item: those without one first, then in the cell's own order.
std::vector<std::int64_t> in_order(const std::vector<std::int64_t>& latents, const Uses& uses,
                                   const BlindCell& cell, std::int64_t seed) {
  struct Place {
    std::int64_t uses;
    std::uint64_t hash;
    std::int64_t latent;
    auto operator<=>(const Place&) const = default;
  };
  std::vector<Place> places;
  for (const std::int64_t latent : latents) {
    const auto found = uses.find(latent);
    const std::int64_t used = found == uses.end() ? 0 : found->second;
    if (used >= kMostOfLatent) continue;
    Rng rng =
        blind_draw::rng(seed, blind_draw::kLatents | static_cast<std::uint64_t>(cell.bin) << 48 |
                                  static_cast<std::uint64_t>(cell.group) << 40 |
                                  static_cast<std::uint64_t>(latent));
    const std::uint64_t high = rng.next();
    places.push_back({used, high << 32 | rng.next(), latent});
  }
  std::sort(places.begin(), places.end());
  std::vector<std::int64_t> out;
  for (const Place& place : places) out.push_back(place.latent);
  return out;
}

std::vector<ChosenItem> items_of_cell(const std::vector<std::int64_t>& latents, const Uses& uses,
                                      std::int64_t count, ChosenItem like, const ItemMaker& make,
                                      std::int64_t seed) {
  std::vector<ChosenItem> out;
  for (const std::int64_t latent : in_order(latents, uses, like.cell, seed)) {
    if (std::ssize(out) == count) break;
    const auto item = make(like.member, latent, like.cell.group, like.task);
    if (!item) continue;
    like.latent = latent;
    like.rows = item->rows;
    out.push_back(like);
  }
  return out;
}

}  // namespace

LatentsByBin latents_by_bin(const SampleFirings& firings, const LatentSelection& selection) {
  LatentsByBin out;
  for (const std::int64_t latent : selection.eligible) {
    const auto count = static_cast<std::uint64_t>(firings.counts[static_cast<std::size_t>(latent)]);
    out[std::bit_width(count) - 1].push_back(latent);
  }
  return out;
}

std::map<BlindCell, std::int64_t> items_of_cells(const std::vector<LatentsByBin>& members,
                                                 std::int64_t groups, std::int64_t items,
                                                 std::int64_t tasks) {
  struct Bin {
    double latents = 0;      // of all members
    std::int64_t least = 0;  // of the one that has fewest
  };
  std::map<std::int64_t, Bin> bins;
  double all = 0;
  for (const auto& [bin, first] : members.front()) {
    Bin found{0, std::ssize(first)};
    for (const LatentsByBin& member : members) {
      const auto own = member.find(bin);
      const std::int64_t count = own == member.end() ? 0 : std::ssize(own->second);
      found.latents += static_cast<double>(count);
      found.least = std::min(found.least, count);
    }
    if (found.least == 0) continue;
    bins[bin] = found;
    all += found.latents;
  }
  std::map<BlindCell, std::int64_t> out;
  std::map<std::int64_t, std::int64_t> of_bin;
  // One at a time to the cell that is furthest below its share and has latents left.
  for (std::int64_t i = 0; i < items; ++i) {
    std::optional<std::pair<double, BlindCell>> next;
    for (const auto& [bin, found] : bins) {
      if (of_bin[bin] == kMostOfLatent * found.least / tasks) continue;
      for (std::int64_t group = 0; group < groups; ++group) {
        const BlindCell cell{bin, group};
        const std::int64_t has = out.contains(cell) ? out.at(cell) : 0;
        if (has == found.least) continue;
        const double share = found.latents / (all * static_cast<double>(groups));
        const double lacks = static_cast<double>(items) * share - static_cast<double>(has);
        if (!next || lacks > next->first) next = {lacks, cell};
      }
    }
    if (!next) break;
    ++out[next->second];
    ++of_bin[next->second.bin];
  }
  return out;
}

std::vector<ChosenItem> choose_items(const std::vector<LatentsByBin>& members, std::int64_t groups,
                                     std::int64_t per_member, const std::vector<BlindTask>& tasks,
                                     const ItemMaker& make, std::int64_t seed) {
  std::vector<ChosenItem> out;
  std::vector<Uses> uses(members.size());
  const auto cells = items_of_cells(members, groups, per_member, std::ssize(tasks));
  for (const BlindTask task : tasks) {
    for (const auto& [cell, count] : cells) {
      std::vector<std::vector<ChosenItem>> found;
      std::int64_t least = count;
      for (std::size_t member = 0; member < members.size(); ++member) {
        const ChosenItem like{task, static_cast<std::int64_t>(member), 0, cell, {}};
        found.push_back(
            items_of_cell(members[member].at(cell.bin), uses[member], count, like, make, seed));
        least = std::min(least, std::ssize(found.back()));
      }
      for (std::size_t member = 0; member < members.size(); ++member) {
        found[member].resize(static_cast<std::size_t>(least));
        for (const ChosenItem& item : found[member]) {
          ++uses[member][item.latent];
          out.push_back(item);
        }
      }
    }
  }
  return out;
}

}  // namespace sae
