#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <stdexcept>

#include "evaluation/assignment.h"
#include "sae/base/rng.h"

namespace sae {
namespace {

std::vector<float> random_scores(std::uint64_t index, std::int64_t size, std::uint64_t levels) {
  Rng rng(7, Stream::kTest, index);
  std::vector<float> scores;
  for (std::int64_t i = 0; i < size; ++i) {
    scores.push_back(levels > 0 ? static_cast<float>(rng.below(levels))
                                : static_cast<float>(rng.normal()));
  }
  return scores;
}

/// All ways to give each of the fewer side a partner.
double brute_force(const std::vector<float>& scores, std::int64_t rows, std::int64_t columns) {
  const std::int64_t few = std::min(rows, columns);
  std::vector<std::int64_t> order(static_cast<std::size_t>(std::max(rows, columns)));
  std::iota(order.begin(), order.end(), 0);
  double best = -std::numeric_limits<double>::infinity();
  do {
    double total = 0;
    for (std::int64_t i = 0; i < few; ++i) {
      const std::int64_t partner = order[static_cast<std::size_t>(i)];
      const std::int64_t row = rows <= columns ? i : partner;
      const std::int64_t column = rows <= columns ? partner : i;
      total += double{scores[static_cast<std::size_t>(row * columns + column)]};
    }
    best = std::max(best, total);
  } while (std::next_permutation(order.begin(), order.end()));
  return best;
}

void expect_consistent(const Assignment& found, const std::vector<float>& scores, std::int64_t rows,
                       std::int64_t columns) {
  ASSERT_EQ(std::ssize(found.column_of_row), rows);
  ASSERT_EQ(std::ssize(found.row_of_column), columns);
  double total = 0;
  std::int64_t pairs = 0;
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::int64_t column = found.column_of_row[static_cast<std::size_t>(row)];
    if (column < 0) continue;
    ASSERT_EQ(found.row_of_column[static_cast<std::size_t>(column)], row);
    total += double{scores[static_cast<std::size_t>(row * columns + column)]};
    ++pairs;
  }
  const auto taken = std::count_if(found.row_of_column.begin(), found.row_of_column.end(),
                                   [](std::int64_t row) { return row >= 0; });
  EXPECT_EQ(pairs, std::min(rows, columns));
  EXPECT_EQ(taken, pairs);
  EXPECT_NEAR(found.total, total, 1e-9);
}

TEST(Assignment, EqualsBruteForceOnSmallMatricesOfEveryShape) {
  std::uint64_t index = 0;
  for (std::int64_t rows = 1; rows <= 6; ++rows) {
    for (std::int64_t columns = 1; columns <= 6; ++columns) {
      for (const std::uint64_t levels : {0U, 2U, 4U}) {  // continuous; many ties
        for (int repeat = 0; repeat < 5; ++repeat) {
          const auto scores = random_scores(index++, rows * columns, levels);
          const Assignment found = assign(scores, rows, columns);
          expect_consistent(found, scores, rows, columns);
          ASSERT_NEAR(found.total, brute_force(scores, rows, columns), 1e-6)
              << rows << " x " << columns << " case " << index - 1;
        }
      }
    }
  }
}

/// The textbook Hungarian method with row and column potentials, rows <= columns: slow, and nothing
/// in common with the code under test.
double hungarian(const std::vector<float>& scores, std::size_t rows, std::size_t columns) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  std::vector<double> u(rows + 1);
  std::vector<double> v(columns + 1);
  std::vector<std::size_t> row_of(columns + 1);  // 1-based; 0: none
  for (std::size_t row = 1; row <= rows; ++row) {
    std::vector<double> slack(columns + 1, kInfinity);
    std::vector<std::size_t> from(columns + 1);
    std::vector<char> used(columns + 1);
    std::size_t column = 0;
    row_of[0] = row;
    do {
      used[column] = 1;
      const std::size_t i = row_of[column];
      double delta = kInfinity;
      std::size_t next = 0;
      for (std::size_t j = 1; j <= columns; ++j) {
        if (used[j]) continue;
        const double reduced = -double{scores[(i - 1) * columns + j - 1]} - u[i] - v[j];
        if (reduced < slack[j]) {
          slack[j] = reduced;
          from[j] = column;
        }
        if (slack[j] < delta) {
          delta = slack[j];
          next = j;
        }
      }
      for (std::size_t j = 0; j <= columns; ++j) {
        if (used[j]) {
          u[row_of[j]] += delta;
          v[j] -= delta;
        } else {
          slack[j] -= delta;
        }
      }
      column = next;
    } while (row_of[column] != 0);
    for (; column != 0; column = from[column]) row_of[column] = row_of[from[column]];
  }
  double total = 0;
  for (std::size_t j = 1; j <= columns; ++j) {
    if (row_of[j] != 0) total += double{scores[(row_of[j] - 1) * columns + j - 1]};
  }
  return total;
}

TEST(Assignment, EqualsTheHungarianMethodOnLargerMatrices) {
  std::uint64_t index = 5000;
  for (const std::int64_t columns : {40, 43, 80}) {
    for (const std::uint64_t levels : {0U, 3U, 10U, 50U}) {  // ties leave much to the last phase
      for (int repeat = 0; repeat < 10; ++repeat) {
        const auto scores = random_scores(index++, 40 * columns, levels);
        const Assignment found = assign(scores, 40, columns);
        expect_consistent(found, scores, 40, columns);
        ASSERT_NEAR(found.total, hungarian(scores, 40, static_cast<std::size_t>(columns)), 1e-6)
            << columns << " columns, " << levels << " levels";
      }
    }
  }
}

TEST(Assignment, IsNotGreedy) {
  const std::vector<float> scores = {10, 9,  //
                                     9, 0};
  const Assignment found = assign(scores, 2, 2);
  EXPECT_EQ(found.column_of_row, (std::vector<std::int64_t>{1, 0}));
  EXPECT_EQ(found.total, 18);
}

TEST(Assignment, FindsAHiddenPermutationAmongEqualScores) {
  constexpr std::int64_t kSize = 100;
  std::vector<float> scores(kSize * kSize, 0.5F);
  for (std::int64_t i = 0; i < kSize; ++i) {
    scores[static_cast<std::size_t>(i * kSize + (i * 37 + 5) % kSize)] = 0.75F;
  }
  const Assignment found = assign(scores, kSize, kSize);
  EXPECT_EQ(found.total, 75);
  EXPECT_EQ(assign(std::vector<float>(kSize * kSize, 0.5F), kSize, kSize).total, 50);
}

TEST(Assignment, SolvesWhatMakesRowsCompeteForTheSameColumns) {
  // score = a_i b_j: all rows prefer the same columns; sorted order is optimal and known.
  constexpr std::int64_t kRows = 60;
  constexpr std::int64_t kColumns = 90;
  std::vector<float> scores;
  for (std::int64_t i = 0; i < kRows; ++i) {
    for (std::int64_t j = 0; j < kColumns; ++j) {
      scores.push_back(static_cast<float>((i + 1) * (j + 1)));
    }
  }
  double expected = 0;
  for (std::int64_t i = 0; i < kRows; ++i) {
    expected += static_cast<double>((i + 1) * (i + 1 + kColumns - kRows));
  }
  EXPECT_EQ(assign(scores, kRows, kColumns).total, expected);
}

TEST(Assignment, IsTheSameForAMatrixAndItsTranspose) {
  constexpr std::int64_t kRows = 40;
  constexpr std::int64_t kColumns = 130;
  const auto scores = random_scores(1000, kRows * kColumns, 0);
  std::vector<float> turned(scores.size());
  for (std::int64_t i = 0; i < kRows; ++i) {
    for (std::int64_t j = 0; j < kColumns; ++j) {
      turned[static_cast<std::size_t>(j * kRows + i)] =
          scores[static_cast<std::size_t>(i * kColumns + j)];
    }
  }
  const Assignment one = assign(scores, kRows, kColumns);
  const Assignment other = assign(turned, kColumns, kRows);
  expect_consistent(other, turned, kColumns, kRows);
  EXPECT_EQ(one.column_of_row, other.row_of_column);
}

TEST(Assignment, AcceptsEmptyMatricesAndRefusesBadOnes) {
  EXPECT_TRUE(assign({}, 0, 0).column_of_row.empty());
  EXPECT_EQ(assign({}, 2, 0).column_of_row, (std::vector<std::int64_t>{-1, -1}));
  EXPECT_THROW(assign(std::vector<float>(5), 2, 3), std::invalid_argument);
  EXPECT_THROW(assign(std::vector<float>{NAN}, 1, 1), std::invalid_argument);
  EXPECT_THROW(assign(std::vector<float>{INFINITY}, 1, 1), std::invalid_argument);
}

TEST(Assignment, MatchesADictionaryOfUsualSizeInNoTime) {
  const auto scores = random_scores(2000, 256 * 1024, 0);
  const auto start = std::chrono::steady_clock::now();
  const Assignment found = assign(scores, 256, 1024);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  expect_consistent(found, scores, 256, 1024);
  EXPECT_LT(took.count(), 2.0);  // about 0.003 s; generous for sanitizers and busy machines
}

}  // namespace
}  // namespace sae
