#include "evaluation/logistic.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

namespace sae {
namespace {

constexpr int kMostIterations = 200;
constexpr double kFlat = 1e-12;     // a relative decrease that rounding hides
constexpr double kShortest = 1e-9;  // of a step, as a share of Newton's

/// Weights (w, then b) with objective, gradient and Hessian.
struct Point {
  std::vector<double> at;        // [k + 1]
  std::vector<double> gradient;  // [k + 1]
  std::vector<double> hessian;   // [k + 1, k + 1], lower triangle
  double objective = 0;
};

void evaluate(const LogisticProblem& problem, Point& point) {
  const auto k = static_cast<std::size_t>(problem.features);
  const std::size_t n = k + 1;
  point.gradient.assign(n, 0);
  point.hessian.assign(n * n, 0);
  point.objective = 0;
  for (std::size_t j = 0; j < k; ++j) {
    point.objective += 0.5 * point.at[j] * point.at[j];
    point.gradient[j] = point.at[j];
    point.hessian[j * n + j] = 1;
  }
  std::vector<double> row(n, 1);
  for (std::size_t i = 0; i < problem.inside.size(); ++i) {
    std::copy_n(problem.x.begin() + static_cast<std::ptrdiff_t>(i * k), k, row.begin());
    double z = point.at[k];
    for (std::size_t j = 0; j < k; ++j) z += row[j] * point.at[j];
    const double inside = problem.inside[i];
    const double outside = problem.outside[i];
    const double far = std::exp(-std::abs(z));
    const double both = std::log1p(far);  // softplus(z) = max(z, 0) + log(1 + e^-|z|)
    point.objective += inside * (std::max(-z, 0.0) + both) + outside * (std::max(z, 0.0) + both);
    const double tail = far / (1 + far);         // sigma(-|z|)
    const double up = z >= 0 ? tail : 1 - tail;  // sigma(-z)
    const double slope = outside * (z >= 0 ? 1 - tail : tail) - inside * up;
    const double curvature = (inside + outside) * tail * (1 - tail);
    for (std::size_t j = 0; j < n; ++j) {
      point.gradient[j] += slope * row[j];
      for (std::size_t l = 0; l <= j; ++l) point.hessian[j * n + l] += curvature * row[j] * row[l];
    }
  }
}

/// Solves H step = gradient by Cholesky's decomposition. H is positive definite but for an
/// intercept that no row feels any more.
std::vector<double> newton_step(const Point& point) {
  const std::size_t n = point.at.size();
  std::vector<double> factor = point.hessian;
  for (std::size_t j = 0; j < n; ++j) {
    for (std::size_t i = j; i < n; ++i) {
      double sum = factor[i * n + j];
      for (std::size_t l = 0; l < j; ++l) sum -= factor[i * n + l] * factor[j * n + l];
      if (i == j) {
        factor[j * n + j] = std::sqrt(std::max(sum, 1e-14));
      } else {
        factor[i * n + j] = sum / factor[j * n + j];
      }
    }
  }
  std::vector<double> step = point.gradient;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t l = 0; l < i; ++l) step[i] -= factor[i * n + l] * step[l];
    step[i] /= factor[i * n + i];
  }
  for (std::size_t i = n; i-- > 0;) {
    for (std::size_t l = i + 1; l < n; ++l) step[i] -= factor[l * n + i] * step[l];
    step[i] /= factor[i * n + i];
  }
  return step;
}

double largest(const std::vector<double>& values) {
  double most = 0;
  for (const double value : values) most = std::max(most, std::abs(value));
  return most;
}

}  // namespace

LogisticProblem logistic_problem(std::span<const float> x, std::span<const std::uint8_t> labels,
                                 bool balanced) {
  const std::size_t n = labels.size();
  if (n == 0 || x.size() % n != 0) {
    throw std::invalid_argument("logistic_problem: got " + std::to_string(x.size()) +
                                " features of " + std::to_string(n) +
                                " samples, expected the same number for each of at least one");
  }
  const std::size_t k = x.size() / n;
  const auto positive = static_cast<double>(
      std::count_if(labels.begin(), labels.end(), [](std::uint8_t label) { return label != 0; }));
  const auto all = static_cast<double>(n);
  const double inside = balanced ? all / (2 * positive) : 1;
  const double outside = balanced ? all / (2 * (all - positive)) : 1;
  LogisticProblem problem;
  problem.features = static_cast<std::int64_t>(k);
  std::size_t zero_row = n;  // none yet
  for (std::size_t i = 0; i < n; ++i) {
    const std::span<const float> row = x.subspan(i * k, k);
    const bool zero = std::all_of(row.begin(), row.end(), [](float value) { return value == 0; });
    std::size_t place = zero ? zero_row : n;
    if (place == n) {
      place = problem.inside.size();
      if (zero) zero_row = place;
      problem.x.insert(problem.x.end(), row.begin(), row.end());
      problem.inside.push_back(0);
      problem.outside.push_back(0);
    }
    (labels[i] != 0 ? problem.inside : problem.outside)[place] += labels[i] != 0 ? inside : outside;
  }
  return problem;
}

LogisticFit fit_logistic(const LogisticProblem& problem) {
  const auto weighs = [](double weight) { return weight > 0; };
  if (std::none_of(problem.inside.begin(), problem.inside.end(), weighs) ||
      std::none_of(problem.outside.begin(), problem.outside.end(), weighs)) {
    throw std::invalid_argument(
        "fit_logistic: got samples of one class only, expected some inside and some outside of it");
  }
  const auto k = static_cast<std::size_t>(problem.features);
  Point point;
  point.at.assign(k + 1, 0);
  evaluate(problem, point);
  LogisticFit fit;
  for (; fit.iterations < kMostIterations; ++fit.iterations) {
    const std::vector<double> step = newton_step(point);
    double decrease = 0;
    for (std::size_t j = 0; j <= k; ++j) decrease += step[j] * point.gradient[j];
    Point next;
    const auto move = [&](double length) {
      next.at = point.at;
      for (std::size_t j = 0; j <= k; ++j) next.at[j] -= length * step[j];
      evaluate(problem, next);
    };
    if (decrease > kFlat * (1 + std::abs(point.objective))) {
      double length = 1;
      move(length);
      while (next.objective > point.objective - 1e-4 * length * decrease && length > kShortest) {
        move(length /= 2);
      }
    } else {  // the objective is flat to rounding, but the gradient still tells the better point
      move(1);
      if (largest(next.gradient) >= largest(point.gradient)) break;
    }
    point = std::move(next);
  }
  fit.w.assign(point.at.begin(), point.at.end() - 1);
  fit.b = point.at.back();
  fit.gradient = largest(point.gradient);
  return fit;
}

void Confusion::add(bool predicted, bool actual) {
  if (predicted) {
    ++(actual ? true_positive : false_positive);
  } else {
    ++(actual ? false_negative : true_negative);
  }
}

namespace {

double ratio(std::int64_t part, std::int64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

double Confusion::f1() const {
  return ratio(2 * true_positive, 2 * true_positive + false_positive + false_negative);
}
double Confusion::precision() const { return ratio(true_positive, true_positive + false_positive); }
double Confusion::recall() const { return ratio(true_positive, true_positive + false_negative); }
double Confusion::accuracy() const {
  return ratio(true_positive + true_negative,
               true_positive + true_negative + false_positive + false_negative);
}

}  // namespace sae
