#include "sae/metrics/statistics.h"

#include <algorithm>
#include <cmath>

namespace sae {
namespace {

/// The continued fraction of the incomplete beta function, by Lentz's method.
double beta_fraction(double a, double b, double x) {
  constexpr double kTiny = 1e-300;
  const auto safe = [](double value) { return std::abs(value) < kTiny ? kTiny : value; };
  double c = 1;
  double d = 1 / safe(1 - (a + b) * x / (a + 1));
  double h = d;
  for (int m = 1; m < 10'000; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / safe(1 + even * d);
    c = safe(1 + even / c);
    h *= d * c;
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / safe(1 + odd * d);
    c = safe(1 + odd / c);
    h *= d * c;
    if (std::abs(d * c - 1) < 1e-15) break;
  }
  return h;
}

/// I_x(a, b), regularised.
double incomplete_beta(double a, double b, double x) {
  if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
  const double front = std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) +
                                a * std::log(x) + b * std::log1p(-x));
  if (x < (a + 1) / (a + b + 2)) return front * beta_fraction(a, b, x) / a;
  return 1 - front * beta_fraction(b, a, 1 - x) / b;
}

}  // namespace

SeedStatistic over_seeds(const std::vector<double>& values) {
  SeedStatistic statistic;
  statistic.seeds = static_cast<int>(values.size());
  if (values.empty()) return statistic;
  for (const double value : values) statistic.mean += value / static_cast<double>(values.size());
  if (values.size() < 2) return statistic;
  double squares = 0;
  for (const double value : values) squares += std::pow(value - statistic.mean, 2);
  statistic.sd = std::sqrt(squares / static_cast<double>(values.size() - 1));
  return statistic;
}

double median(std::vector<double> values) {
  if (values.empty()) return NAN;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

double student_p(double t, double df) {
  if (std::isnan(t)) return t;
  return incomplete_beta(df / 2, 0.5, df / (df + t * t));
}

double student_t(double p, double df) {
  double low = 0, high = 1;
  while (student_p(high, df) > p && high < 1e12) high *= 2;
  for (int i = 0; i < 200 && high - low > 1e-13 * high; ++i) {
    const double middle = 0.5 * (low + high);
    (student_p(middle, df) > p ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

}  // namespace sae
