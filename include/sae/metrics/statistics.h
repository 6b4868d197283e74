// Small statistics: values over seeds, medians, Student's t.
#pragma once

#include <vector>

namespace sae {

/// A metric over seeds. sd is the sample standard deviation, 0 for a single seed.
struct SeedStatistic {
  double mean = 0;
  double sd = 0;
  int seeds = 0;
  bool outside = false;  ///< for some seed the wanted L0 is outside the member's own range
};

/// Mean and sd of one value a seed.
SeedStatistic over_seeds(const std::vector<double>& values);

/// NaN of nothing; the mean of the two middle ones of an even number.
double median(std::vector<double> values);

/// P(|T| > |t|) of Student's t distribution.
double student_p(double t, double df);
/// The t with student_p(t, df) = p, for p in (0, 1].
double student_t(double p, double df);

}  // namespace sae
