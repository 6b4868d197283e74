#include <algorithm>
#include <cstddef>
#include <numeric>
#include <optional>
#include <utility>

#include "evaluation/interp/draws.h"
#include "sae/evaluation/interp_items.h"

namespace sae {
namespace {

constexpr std::size_t kShown = 4;
constexpr int kTries = 64;

/// Four rows of a group from four contexts: those that a shuffle of the group brings first.
bool draw_shown(const InterpSample& sample, std::vector<std::int32_t> group, Rng rng,
                IntruderItem& item) {
  std::size_t shown = 0;
  const auto is_new = [&](std::int32_t row) {
    return std::none_of(item.rows.begin(), item.rows.begin() + static_cast<std::ptrdiff_t>(shown),
                        [&](auto other) { return sample.context(other) == sample.context(row); });
  };
  for (std::size_t i = 0; i < group.size() && shown < kShown; ++i) {
    std::swap(group[i], group[i + rng.below(group.size() - i)]);
    if (is_new(group[i])) item.rows[shown++] = group[i];
  }
  return shown == kShown;
}

/// Uniform over the places in [0, count) whose row may intrude: by trial, and if that does not find
/// one soon, among a list of all.
template <class RowAt, class MayIntrude>
std::optional<std::int32_t> draw_row(std::size_t count, Rng rng, const RowAt& row_at,
                                     const MayIntrude& may_intrude) {
  if (count == 0) return std::nullopt;
  for (int i = 0; i < kTries; ++i) {
    const std::int32_t row = row_at(rng.below(count));
    if (may_intrude(row)) return row;
  }
  std::vector<std::int32_t> rows;
  for (std::size_t i = 0; i < count; ++i) {
    if (may_intrude(row_at(i))) rows.push_back(row_at(i));
  }
  if (rows.empty()) return std::nullopt;
  return rows[rng.below(rows.size())];
}

std::optional<std::int32_t> draw_intruder(const InterpSample& sample, const Firings& firings,
                                          const IntruderItem& item, Intruder kind, const Rng& rng) {
  const auto may_intrude = [&](std::int32_t row) {
    return std::none_of(item.rows.begin(), item.rows.begin() + kShown,
                        [&](auto own) { return sample.context(own) == sample.context(row); }) &&
           !firings.contain(row);
  };
  if (kind == Intruder::kUniform) {
    return draw_row(
        static_cast<std::size_t>(sample.size()), rng,
        [](std::size_t i) { return static_cast<std::int32_t>(i); }, may_intrude);
  }
  std::vector<std::int32_t> tokens;
  for (std::size_t i = 0; i < kShown; ++i) tokens.push_back(sample.token(item.rows[i]));
  std::sort(tokens.begin(), tokens.end());
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
  std::size_t count = 0;
  for (const std::int32_t token : tokens) count += sample.rows_of_token(token).size();
  const auto row_at = [&](std::size_t i) {
    for (const std::int32_t token : tokens) {
      const auto rows = sample.rows_of_token(token);
      if (i < rows.size()) return rows[i];
      i -= rows.size();
    }
    return std::int32_t{-1};
  };
  return draw_row(count, rng, row_at, may_intrude);
}

}  // namespace

std::vector<std::vector<std::int32_t>> quantile_groups(const Firings& firings,
                                                       std::int64_t quantiles) {
  std::vector<std::size_t> order(firings.rows.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return firings.values[a] < firings.values[b];  // rows ascend already
  });
  const auto parts = static_cast<std::size_t>(quantiles);
  std::vector<std::vector<std::int32_t>> groups(parts);
  for (std::size_t g = 0; g < parts; ++g) {
    for (std::size_t i = g * order.size() / parts; i < (g + 1) * order.size() / parts; ++i) {
      groups[g].push_back(firings.rows[order[i]]);
    }
  }
  return groups;
}

std::optional<IntruderItem> intruder_item(const InterpSample& sample, const Firings& firings,
                                          const std::vector<std::vector<std::int32_t>>& groups,
                                          std::int64_t latent, std::int64_t item, Intruder kind,
                                          std::int64_t seed) {
  IntruderItem out;
  out.item = item;
  out.group = item % std::ssize(groups);
  const auto rng = [&](std::uint64_t purpose) {
    return interp_draw::item_rng(seed, purpose, latent, item);
  };
  if (!draw_shown(sample, groups[static_cast<std::size_t>(out.group)], rng(interp_draw::kShown),
                  out)) {
    return std::nullopt;
  }
  const auto purpose = kind == Intruder::kUniform ? interp_draw::kUniform : interp_draw::kMatched;
  const auto intruder = draw_intruder(sample, firings, out, kind, rng(purpose));
  if (!intruder) return std::nullopt;
  out.rows[kShown] = *intruder;
  return out;
}

std::vector<IntruderItem> intruder_items(const InterpSample& sample, const Firings& firings,
                                         std::int64_t latent, Intruder kind,
                                         const InterpOptions& options) {
  const auto groups = quantile_groups(firings, options.quantiles);
  std::vector<IntruderItem> items;
  for (std::int64_t i = 0; i < options.items; ++i) {
    const auto item = intruder_item(sample, firings, groups, latent, i, kind, options.seed);
    if (item) items.push_back(*item);
  }
  return items;
}

}  // namespace sae
