// Loops over one row of numbers, compiled for several instruction sets and chosen at run time.
#pragma once

#include <cstdint>

namespace sae::rows {

/// y += a * x
void axpy(std::int64_t n, float a, const float* x, float* y);
void axpy(std::int64_t n, double a, const double* x, double* y);

/// sum x * y, in a fixed order
float dot(std::int64_t n, const float* x, const float* y);
double dot(std::int64_t n, const double* x, const double* y);

/// Writes the positions j with x[j] > threshold (or > threshold[j]) to `out`, ascending; returns
/// how many. `out` has room for n.
std::int64_t positions_above(std::int64_t n, const float* x, float threshold, std::int64_t* out);
std::int64_t positions_above(std::int64_t n, const double* x, double threshold, std::int64_t* out);
std::int64_t positions_above(std::int64_t n, const float* x, const float* threshold,
                             std::int64_t* out);
std::int64_t positions_above(std::int64_t n, const double* x, const double* threshold,
                             std::int64_t* out);

}  // namespace sae::rows
