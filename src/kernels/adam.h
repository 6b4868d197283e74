// Adam's update over the rows of a parameter, in one sweep: own loops for the CPU.
#pragma once

#include <cstdint>

namespace sae::adam {

/// What every element's update needs. Kingma and Ba 2015, algorithm 1:
///     m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g^2
///     w = w - step m / (sqrt(v) / root + epsilon),
///     step = lr / (1 - beta1^t),  root = sqrt(1 - beta2^t)
struct Scalars {
  double step;
  double root;
  double beta1;
  double beta2;
  double epsilon;
  double gradient_scale;  // clipping
};

struct Products {
  double gg;  // <g, g>
  double gw;  // <g, w>
};

Products products(std::int64_t n, const float* g, const float* w);
Products products(std::int64_t n, const double* g, const double* w);

/// Updates one row of n. `parallel` times w is taken off the gradient first (0: nothing); with
/// `unit`, w returns to norm 1.
void update_row(std::int64_t n, const Scalars& scalars, double parallel, bool unit, const float* g,
                float* w, float* m, float* v);
void update_row(std::int64_t n, const Scalars& scalars, double parallel, bool unit, const double* g,
                double* w, double* m, double* v);

}  // namespace sae::adam
