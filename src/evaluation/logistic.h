// Logistic regression on few features, solved to the precision of float64.
//
//     minimise over (w, b):  1/2 |w|^2 + sum_i [ p_i softplus(-z_i) + n_i softplus(z_i) ],
//     z_i = x_i . w + b
//
// where row i stands for samples of total weight p_i in the class and n_i outside of it. This is
// scikit-learn's LogisticRegression with C = 1: every sample weighs 1, or with class_weight
// "balanced" N / (2 N_class). The intercept is not penalised. The minimum is unique, so the result
// depends on nothing but the data; scikit-learn's own is that of lbfgs at a tolerance of 1e-4, in
// float32, and differs by up to a few percent of a coefficient. Nothing here needs LibTorch.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace sae {

/// The rows of such a problem. Equal rows may be given once with their weights added up, which for
/// sparse features leaves few rows.
struct LogisticProblem {
  std::int64_t features = 0;    ///< k
  std::vector<double> x;        ///< [n, k]
  std::vector<double> inside;   ///< [n] p_i
  std::vector<double> outside;  ///< [n] n_i

  std::int64_t rows() const { return static_cast<std::int64_t>(inside.size()); }
};

/// The problem of samples x [n, k] with labels [n], class weights balanced or all 1; rows without
/// any nonzero feature are one row.
LogisticProblem logistic_problem(std::span<const float> x, std::span<const std::uint8_t> labels,
                                 bool balanced);

struct LogisticFit {
  std::vector<double> w;  ///< [k]
  double b = 0;
  int iterations = 0;
  double gradient = 0;  ///< largest absolute entry of the gradient at the solution
};

/// Damped Newton steps until the gradient is zero to rounding. std::invalid_argument if a class has
/// no samples: the intercept then runs to infinity.
LogisticFit fit_logistic(const LogisticProblem& problem);

/// 2 TP / (2 TP + FP + FN) of the predictions; 0 where that is 0 / 0, as scikit-learn has it.
struct Confusion {
  std::int64_t true_positive = 0;
  std::int64_t false_positive = 0;
  std::int64_t false_negative = 0;
  std::int64_t true_negative = 0;

  void add(bool predicted, bool actual);
  double f1() const;
  double precision() const;
  double recall() const;
  double accuracy() const;
};

}  // namespace sae
