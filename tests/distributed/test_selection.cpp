#include <gtest/gtest.h>
#include <torch/types.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <numeric>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "distributed/selection.h"
#include "sae/distributed/rows.h"
#include "support/ranks_testing.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

TEST(Rows, AreEachLatentOnceAndAboutAsManyOnEachRank) {
  for (const std::int64_t d_sae : {1, 7, 64, 1000}) {
    for (const std::int64_t ranks : {1, 2, 3, 8}) {
      std::int64_t end = 0;
      for (std::int64_t rank = 0; rank < ranks; ++rank) {
        const Rows rows = rows_of(d_sae, rank, ranks);
        EXPECT_EQ(rows.begin, end);
        end = rows.end;
        EXPECT_LE(std::abs(rows.size() * ranks - d_sae), ranks - 1);
      }
      EXPECT_EQ(end, d_sae);
    }
  }
}

using Kept = std::set<std::pair<std::int64_t, std::int64_t>>;  // token, latent

/// What one process keeps of h [B, F]: each token's k largest positive, the lowest latents of
/// equals.
Kept largest_of_tokens(const at::Tensor& h, std::int64_t k) {
  Kept kept;
  for (std::int64_t token = 0; token < h.size(0); ++token) {
    const std::vector<double> row = numbers(h[token]);
    std::vector<std::int64_t> order(row.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) {
      return row[static_cast<std::size_t>(a)] > row[static_cast<std::size_t>(b)];
    });
    for (std::int64_t i = 0; i < std::min<std::int64_t>(k, h.size(1)); ++i) {
      const std::int64_t latent = order[static_cast<std::size_t>(i)];
      if (row[static_cast<std::size_t>(latent)] > 0) kept.insert({token, latent});
    }
  }
  return kept;
}

/// What this rank of `group` keeps of h, of which it looks at its own latents alone.
Kept kept_here(const Group& group, const at::Tensor& h, std::int64_t k) {
  const Rows rows = rows_of(h.size(1), group.rank(), group.size());
  const at::Tensor own = h.slice(1, rows.begin, rows.end).clamp_min(0);
  const auto [sorted, order] = own.sort(/*stable=*/true, /*dim=*/1, /*descending=*/true);
  at::Tensor largest = at::zeros({h.size(0), k}, h.options());
  const std::int64_t have = std::min(k, own.size(1));
  largest.slice(1, 0, have).copy_(sorted.slice(1, 0, have));
  const at::Tensor kept = kept_of_token(group, largest, k);
  Kept all;
  for (std::int64_t token = 0; token < h.size(0); ++token) {
    for (std::int64_t i = 0; i < kept[token].item<std::int64_t>(); ++i) {
      all.insert({token, rows.begin + order[token][i].item<std::int64_t>()});
    }
  }
  return all;
}

TEST(GlobalSelection, KeepsOfEachTokenWhatOneProcessWouldKeep) {
  constexpr std::int64_t kTokens = 20, kLatents = 50;
  const at::Tensor fine = normal({kTokens, kLatents}, 1).to(at::kFloat);
  at::Tensor one_sided = fine.clone();  // all the large ones are on the first rank
  one_sided.slice(1, 0, 12).add_(10);
  at::Tensor silent = fine.clone();  // a rank without anything positive
  silent.slice(1, 25, 50).fill_(-1);
  const std::vector<std::pair<const char*, at::Tensor>> cases = {
      {"fine", fine},
      {"float64", fine.to(at::kDouble)},
      {"ties everywhere", (2 * fine).round() / 2},
      {"equal", at::ones_like(fine)},
      {"nothing positive", -fine.abs()},
      {"on one rank", one_sided},
      {"ties on one rank", one_sided.round()},
      {"a rank is silent", silent},
      {"denormal", fine * 1e-42}};
  for (const int ranks : {2, 3, 4}) {
    std::mutex guard;
    std::map<std::string, Kept> found;
    expect_none(on_ranks(ranks, [&](const Group& group) {
      for (const auto& [name, h] : cases) {
        for (const std::int64_t k : {1, 5, 16, 20}) {
          const Kept own = kept_here(group, h, k);
          const std::lock_guard lock(guard);
          found[name + (" " + std::to_string(k))].insert(own.begin(), own.end());
        }
      }
    }));
    for (const auto& [name, h] : cases) {
      for (const std::int64_t k : {1, 5, 16, 20}) {
        const std::string place = name + (" " + std::to_string(k));
        EXPECT_EQ(found.at(place), largest_of_tokens(h, k)) << place << " on " << ranks;
      }
    }
  }
}

TEST(GlobalSelection, SendsTwiceItsShareAndMoreOnlyForTokensThatNeedIt) {
  constexpr std::int64_t kTokens = 64, k = 16;
  constexpr int kRanks = 4;
  const at::Tensor fine = normal({kTokens, 400}, 2).to(at::kFloat);
  at::Tensor one_sided = fine.clone();
  one_sided.slice(1, 0, 100).add_(10);
  const std::int64_t first = (kRanks - 1) * kTokens * (2 * k / kRanks) * 4;
  expect_none(on_ranks(kRanks, [&](const Group& group) {
    const auto sent = [&](const at::Tensor& h) {
      const std::int64_t before = group.traffic().bytes;
      kept_here(group, h, k);
      return group.traffic().bytes - before;
    };
    const std::int64_t usual = sent(fine);
    EXPECT_GE(usual, first);
    EXPECT_LE(usual, first + first / 10);
    EXPECT_EQ(sent(one_sided), 2 * first) << "the other half of each";
  }));
}

/// The count largest positive of all, the lowest keys of equals.
std::set<std::int64_t> largest_keys(const at::Tensor& values, std::int64_t count) {
  const std::vector<double> all = numbers(values);
  std::vector<std::int64_t> order(all.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) {
    return all[static_cast<std::size_t>(a)] > all[static_cast<std::size_t>(b)];
  });
  std::set<std::int64_t> kept;
  for (const std::int64_t key : order) {
    if (static_cast<std::int64_t>(kept.size()) == count) break;
    if (all[static_cast<std::size_t>(key)] > 0) kept.insert(key);
  }
  return kept;
}

TEST(GlobalSelection, FindsTheLimitOfTheLargestOfAllRanksAndTheLowestKeysOfEquals) {
  constexpr std::int64_t kSize = 600;
  const at::Tensor fine = normal({kSize}, 3).to(at::kFloat).clamp_min(0);
  const std::vector<std::pair<const char*, at::Tensor>> cases = {
      {"fine", fine},
      {"float64", fine.to(at::kDouble)},
      {"ties", (3 * fine).round()},
      {"equal", at::ones_like(fine)},
      {"zeros", at::zeros_like(fine)},
      {"denormal", fine * 1e-42},
      {"of all sizes", (20 * normal({kSize}, 4)).exp().to(at::kFloat).clamp_max(3e38)}};
  const std::vector<std::int64_t> counts = {0, 1, 77, 300, 599, 600, 5000};
  for (const int ranks : {1, 2, 4}) {
    std::mutex guard;
    std::map<std::string, std::set<std::int64_t>> found;
    // Keys that are not in the order of ranks: every so-many-th.
    expect_none(on_ranks(ranks, [&](const Group& group) {
      const at::Tensor keys = at::arange(group.rank(), kSize, ranks, at::kLong).flip(0);
      for (const auto& [name, values] : cases) {
        const at::Tensor own = values.index_select(0, keys);
        for (const std::int64_t count : counts) {
          const std::int64_t calls = group.traffic().calls;
          const Limit limit = limit_of_largest(group, own, keys, count);
          EXPECT_LE(group.traffic().calls - calls, own.scalar_type() == at::kFloat ? 6 : 9);
          const at::Tensor chosen = keys.masked_select(kept_by(limit, own, keys));
          const std::lock_guard lock(guard);
          auto& kept = found[name + (" " + std::to_string(count))];
          for (std::int64_t i = 0; i < chosen.size(0); ++i) {
            kept.insert(chosen[i].item<std::int64_t>());
          }
        }
      }
    }));
    for (const auto& [name, values] : cases) {
      for (const std::int64_t count : counts) {
        const std::string place = name + (" " + std::to_string(count));
        EXPECT_EQ(found.at(place), largest_keys(values, count)) << place << " on " << ranks;
      }
    }
  }
}

}  // namespace
}  // namespace sae
