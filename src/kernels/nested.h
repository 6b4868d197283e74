// The errors of all nested prefixes of one token, and their gradients, in one sweep there and back.
#pragma once

#include <cstdint>

namespace sae::nested {

/// Columns that are computed at a time: errors and their sums stay in registers, and a table's
/// slice of so many columns in a cache.
constexpr std::int64_t kColumns = 64;

/// One token's share of a slice of columns. With e_0 = x - bias and e_(m+1) = e_m - values[m] row_m
/// in order of rank, what is summed is weights[m] ||e_m||^2 for m = 0 .. count.
template <class T>
struct Token {
  std::int64_t columns = 0;             // n <= kColumns
  std::int64_t stride = 0;              // from one row of a table to the next
  std::int64_t count = 0;               // active latents
  const T* x = nullptr;                 // [n]
  const T* bias = nullptr;              // [n]
  const T* values = nullptr;            // [count] in order of rank
  const std::int64_t* which = nullptr;  // [count] rows of the table
  const T* weights = nullptr;           // [count + 1]
  const T* table = nullptr;             // decoder rows, at the slice's first column
  T* x_hat = nullptr;                   // [n] all latents' reconstruction; the rest for gradients

  T scale = 0;                  // of `table_gradient`
  T* dots = nullptr;            // [count] <s_m, row_m>, s_m = sum over m' > m of weights[m'] e_m'
  T* table_gradient = nullptr;  // row `which[m]` += scale values[m] s_m
  T* bias_gradient = nullptr;   // [n] += sum of weights[m] e_m
};

/// The sum over these columns.
float errors(const Token<float>& token);
double errors(const Token<double>& token);
/// The same, and the gradients. On the way back the errors are found again by adding what was taken
/// away, and the sum is that of <s, e_0> - sum_m values[m] dots[m], s the last s: no error is kept.
float errors_and_gradients(const Token<float>& token);
double errors_and_gradients(const Token<double>& token);

}  // namespace sae::nested
