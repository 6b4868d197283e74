#include "evaluation/assignment.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "sae/base/interrupt.h"

namespace sae {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Minimises sum of c = -score over all rows, rows <= columns. Column prices v <= 0 satisfy, for
/// every assigned row, c[i][j] - v[j] = min_k (c[i][k] - v[k]); free columns keep v = 0.
class Solver {
 public:
  Solver(const float* scores, std::size_t rows, std::size_t columns)
      : scores_(scores),
        rows_(rows),
        columns_(columns),
        column_of_(rows, -1),
        row_of_(columns, -1),
        price_(columns, 0.0) {}

  void solve() {
    for (const std::size_t row : reduce_rows(take_best_columns())) augment(row);
  }

  const std::vector<std::int64_t>& column_of() const { return column_of_; }

 private:
  /// The two cheapest columns for a row.
  struct Offers {
    double first_cost = kInfinity;
    double second_cost = kInfinity;
    std::size_t first = 0;
    std::size_t second = 0;
  };

  double cost(std::size_t row, std::size_t column) const {
    return -double{scores_[row * columns_ + column]} - price_[column];
  }

  void match(std::size_t row, std::size_t column) {
    column_of_[row] = static_cast<std::int64_t>(column);
    row_of_[column] = static_cast<std::int64_t>(row);
  }

  std::vector<std::size_t> take_best_columns();
  std::vector<std::size_t> reduce_rows(std::vector<std::size_t> open);
  Offers best_two(std::size_t row) const;
  void augment(std::size_t start);
  std::size_t relax(std::size_t row, double length);

  const float* scores_;
  std::size_t rows_;
  std::size_t columns_;
  std::vector<std::int64_t> column_of_;  // [rows]
  std::vector<std::int64_t> row_of_;     // [columns]
  std::vector<double> price_;            // [columns] v
  std::vector<double> distance_;         // [columns] length of the shortest path from the open row
  std::vector<std::size_t> previous_;    // [columns] last row of that path
  std::vector<char> done_;               // [columns] distance is final
};

/// Each row takes its best column if that is free. Returns the rows left open.
std::vector<std::size_t> Solver::take_best_columns() {
  std::vector<std::size_t> open;
  for (std::size_t row = 0; row < rows_; ++row) {
    const float* begin = scores_ + row * columns_;
    const auto best = static_cast<std::size_t>(std::max_element(begin, begin + columns_) - begin);
    if (row_of_[best] < 0) {
      match(row, best);
    } else {
      open.push_back(row);
    }
  }
  return open;
}

/// Augmenting row reduction: an open row takes its best column, lowers the price there to its
/// second best, and the row it displaces looks on. Returns the rows left open.
std::vector<std::size_t> Solver::reduce_rows(std::vector<std::size_t> open) {
  std::vector<std::size_t> left;
  // Two rows after the same columns can outbid each other by ever smaller steps: stop some time.
  for (std::size_t step = 0; !open.empty() && step < 8 * rows_; ++step) {
    const std::size_t row = open.back();
    open.pop_back();
    const Offers offers = best_two(row);
    const bool cheaper = offers.first_cost < offers.second_cost;
    const std::size_t column =
        !cheaper && row_of_[offers.first] >= 0 ? offers.second : offers.first;
    const std::int64_t displaced = row_of_[column];
    if (displaced < 0) {
      match(row, column);
    } else if (cheaper) {
      price_[column] -= offers.second_cost - offers.first_cost;
      column_of_[static_cast<std::size_t>(displaced)] = -1;
      match(row, column);
      open.push_back(static_cast<std::size_t>(displaced));
    } else {
      left.push_back(row);
    }
  }
  left.insert(left.end(), open.begin(), open.end());
  return left;
}

Solver::Offers Solver::best_two(std::size_t row) const {
  Offers offers;
  for (std::size_t column = 0; column < columns_; ++column) {
    const double c = cost(row, column);
    if (c >= offers.second_cost) continue;
    if (c < offers.first_cost) {
      offers.second_cost = offers.first_cost;
      offers.second = offers.first;
      offers.first_cost = c;
      offers.first = column;
    } else {
      offers.second_cost = c;
      offers.second = column;
    }
  }
  return offers;
}

/// Dijkstra over columns from an open row to the nearest free column, then the swap along the path.
void Solver::augment(std::size_t start) {
  check_interrupt();
  distance_.assign(columns_, kInfinity);
  previous_.assign(columns_, start);
  done_.assign(columns_, 0);
  std::vector<std::size_t> scanned;
  std::size_t row = start;
  double length = 0;  // of the shortest path to `row`
  std::size_t column = 0;
  for (;;) {
    column = relax(row, length);
    length = distance_[column];
    if (row_of_[column] < 0) break;
    done_[column] = 1;
    scanned.push_back(column);
    row = static_cast<std::size_t>(row_of_[column]);
  }
  for (const std::size_t j : scanned) price_[j] += distance_[j] - length;
  for (;;) {
    const std::size_t from = previous_[column];
    const std::int64_t freed = column_of_[from];
    match(from, column);
    if (from == start) break;
    column = static_cast<std::size_t>(freed);
  }
}

/// Extends the paths that end in `row`, and returns the nearest column that is not done; of equally
/// near ones a free column, which ends the search.
std::size_t Solver::relax(std::size_t row, double length) {
  const std::int64_t own = column_of_[row];
  const double offset = own < 0 ? length : length - cost(row, static_cast<std::size_t>(own));
  std::size_t nearest = columns_;
  double least = kInfinity;
  for (std::size_t j = 0; j < columns_; ++j) {
    if (done_[j]) continue;
    const double through = cost(row, j) + offset;
    if (through < distance_[j]) {
      distance_[j] = through;
      previous_[j] = row;
    }
    if (distance_[j] < least ||
        (distance_[j] == least && row_of_[j] < 0 && row_of_[nearest] >= 0)) {
      least = distance_[j];
      nearest = j;
    }
  }
  return nearest;
}

std::vector<float> transposed(std::span<const float> scores, std::size_t rows,
                              std::size_t columns) {
  std::vector<float> result(scores.size());
  constexpr std::size_t kBlock = 32;
  for (std::size_t begin = 0; begin < columns; begin += kBlock) {
    for (std::size_t i = 0; i < rows; ++i) {
      for (std::size_t j = begin; j < std::min(begin + kBlock, columns); ++j) {
        result[j * rows + i] = scores[i * columns + j];
      }
    }
  }
  return result;
}

}  // namespace

Assignment assign(std::span<const float> scores, std::int64_t rows, std::int64_t columns) {
  if (rows < 0 || columns < 0 || std::ssize(scores) != rows * columns) {
    throw std::invalid_argument("assign: " + std::to_string(scores.size()) + " scores, " +
                                std::to_string(rows) + " x " + std::to_string(columns) +
                                " expected");
  }
  if (!std::all_of(scores.begin(), scores.end(), [](float s) { return std::isfinite(s); })) {
    throw std::invalid_argument("assign: a score is NaN or Inf, finite ones expected");
  }
  const auto r = static_cast<std::size_t>(rows);
  const auto c = static_cast<std::size_t>(columns);
  Assignment result{std::vector<std::int64_t>(r, -1), std::vector<std::int64_t>(c, -1), 0};
  if (r == 0 || c == 0) return result;
  const bool wide = r <= c;
  const std::vector<float> turned = wide ? std::vector<float>() : transposed(scores, r, c);
  Solver solver(wide ? scores.data() : turned.data(), std::min(r, c), std::max(r, c));
  solver.solve();
  const std::vector<std::int64_t>& found = solver.column_of();
  for (std::size_t i = 0; i < found.size(); ++i) {
    const std::size_t row = wide ? i : static_cast<std::size_t>(found[i]);
    const std::size_t column = wide ? static_cast<std::size_t>(found[i]) : i;
    result.column_of_row[row] = static_cast<std::int64_t>(column);
    result.row_of_column[column] = static_cast<std::int64_t>(row);
    result.total += double{scores[row * c + column]};
  }
  return result;
}

}  // namespace sae
