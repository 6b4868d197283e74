#include <algorithm>

#include "evaluation/absorption/parts.h"

namespace sae {
namespace {

constexpr double kLeastShare = 0.1;

/// The first words of `rows` that differ.
std::vector<std::string> examples(const std::vector<std::pair<double, std::int64_t>>& rows,
                                  const std::vector<std::string>& words) {
  std::vector<std::string> out;
  if (words.empty()) return out;
  for (const auto& [share, row] : rows) {
    if (out.size() == AbsorberTally::kExamples) break;
    const std::string& word = words[static_cast<std::size_t>(row)];
    if (std::find(out.begin(), out.end(), word) == out.end()) out.push_back(word);
  }
  return out;
}

}  // namespace

std::vector<AbsorberShare> word_absorbers(const WordAbsorption& score, double projection,
                                          std::span<const std::int64_t> latents,
                                          std::span<const float> activations,
                                          std::span<const float> cosines,
                                          std::span<const std::int64_t> main,
                                          const AbsorptionRules& rules) {
  std::vector<AbsorberShare> others;  // those that S chooses from
  AbsorberShare top{-1, 0};           // the one that full absorption looks at
  if (projection <= 0 || (score.fraction <= 0 && !score.full)) return others;
  const auto least = static_cast<float>(rules.tau_ps);
  for (std::size_t e = 0; e < latents.size(); ++e) {
    const float cosine = cosines[static_cast<std::size_t>(latents[e])];
    const AbsorberShare one{latents[e], static_cast<double>(activations[e] * cosine) / projection};
    if (std::find(main.begin(), main.end(), one.latent) != main.end()) continue;
    if (one.share > top.share) top = one;
    if (one.share > 0 && cosine >= least) others.push_back(one);
  }
  std::sort(others.begin(), others.end(), [](const AbsorberShare& a, const AbsorberShare& b) {
    return a.share != b.share ? a.share > b.share : a.latent < b.latent;
  });
  if (static_cast<std::int64_t>(others.size()) > rules.a_max) {
    others.resize(static_cast<std::size_t>(rules.a_max));
  }
  const bool has_top = std::any_of(others.begin(), others.end(),
                                   [&](const auto& one) { return one.latent == top.latent; });
  if (score.full && !has_top) others.insert(others.begin(), top);
  std::erase_if(others, [](const AbsorberShare& one) { return one.share < kLeastShare; });
  for (AbsorberShare& one : others) one.share = std::min(one.share, 1.0);
  return others;
}

void AbsorberTally::add(std::int64_t row, std::span<const AbsorberShare> shares) {
  for (const AbsorberShare& one : shares) {
    Sum& sum = sums_[one.latent];
    sum.share += one.share;
    sum.rows.emplace_back(one.share, row);
  }
}

std::vector<Absorber> AbsorberTally::strongest(const std::vector<std::string>& words) const {
  std::vector<std::pair<std::int64_t, const Sum*>> order;  // ascending by latent
  for (const auto& [latent, sum] : sums_) order.emplace_back(latent, &sum);
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.second->share > b.second->share; });
  order.resize(std::min(order.size(), kListed));
  std::vector<Absorber> out;
  for (const auto& [latent, sum] : order) {
    auto rows = sum->rows;
    std::stable_sort(rows.begin(), rows.end(),
                     [](const auto& a, const auto& b) { return a.first > b.first; });
    out.push_back({.latent = latent,
                   .words = static_cast<std::int64_t>(rows.size()),
                   .share = sum->share / static_cast<double>(rows.size()),
                   .examples = examples(rows, words)});
  }
  return out;
}

}  // namespace sae
