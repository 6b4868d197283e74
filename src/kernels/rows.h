// Loops over one row of numbers, compiled for several instruction sets and chosen at run time.
//
// Every sum has a fixed order per instruction set, so results do not depend on the number of
// threads.
#pragma once

#include <cstdint>

namespace sae::rows {

/// out[e] = <x, table[which[e]]> for e < count; the table has rows of n.
void dots(std::int64_t n, const float* x, std::int64_t count, const std::int64_t* which,
          const float* table, float* out);
void dots(std::int64_t n, const double* x, std::int64_t count, const std::int64_t* which,
          const double* table, double* out);

/// out[j] = sum_e values[e] * table[which[e]][j] for j < n; the table has rows of n.
void weighted_sum(std::int64_t n, std::int64_t count, const float* values,
                  const std::int64_t* which, const float* table, float* out);
void weighted_sum(std::int64_t n, std::int64_t count, const double* values,
                  const std::int64_t* which, const double* table, double* out);

/// Writes the positions j with x[j] > threshold (or > threshold[j]) to `out`, ascending; returns
/// how many. `out` has room for n.
std::int64_t positions_above(std::int64_t n, const float* x, float threshold, std::int64_t* out);
std::int64_t positions_above(std::int64_t n, const double* x, double threshold, std::int64_t* out);
std::int64_t positions_above(std::int64_t n, const float* x, const float* threshold,
                             std::int64_t* out);
std::int64_t positions_above(std::int64_t n, const double* x, const double* threshold,
                             std::int64_t* out);

/// For every j < n: counts x[j] > 0, adds x[j], keeps the smallest positive x[j].
void add_statistics(std::int64_t n, const float* x, float* positive, float* sum, float* smallest);

/// sum[j] += |x[j] y[j]|
void add_products(std::int64_t n, const float* x, const float* y, float* sum);

}  // namespace sae::rows
