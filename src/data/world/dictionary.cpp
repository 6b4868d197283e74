// The directions of a world's features.
#include <ATen/Parallel.h>
#include <torch/types.h>

#include <cmath>

#include "data/world/parts.h"
#include "sae/base/interrupt.h"
#include "sae/base/rng.h"
#include "sae/data/world.h"

namespace sae {
namespace {

/// One thread while it lives: the rounding of a matrix product depends on the number of threads,
/// and the same world must have the same bits under any number.
class OneThread {
 public:
  OneThread() { at::set_num_threads(1); }
  ~OneThread() { at::set_num_threads(threads_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int threads_ = at::get_num_threads();
};

at::Tensor normal_rows(std::uint64_t seed, std::int64_t n, std::int64_t d) {
  Rng rng(seed, Stream::kWorld, static_cast<std::uint64_t>(WorldPart::kDictionary));
  at::Tensor rows = torch::empty({n, d}, torch::kFloat64);
  double* out = rows.data_ptr<double>();
  for (std::int64_t i = 0; i < n * d; ++i) out[i] = rng.normal();
  return rows;
}

double dot(const double* a, const double* b, std::int64_t d) {
  double sum = 0;
  for (std::int64_t k = 0; k < d; ++k) sum += a[k] * b[k];
  return sum;
}

/// The Q of a QR decomposition of the rows: Gram-Schmidt, twice, which is exact to rounding.
void orthonormalise(at::Tensor& rows) {
  const std::int64_t d = rows.size(1);
  double* data = rows.data_ptr<double>();
  for (std::int64_t i = 0; i < rows.size(0); ++i) {
    check_interrupt();
    double* row = data + i * d;
    for (int pass = 0; pass < 2; ++pass) {
      for (std::int64_t j = 0; j < i; ++j) {
        const double share = dot(row, data + j * d, d);
        for (std::int64_t k = 0; k < d; ++k) row[k] -= share * data[j * d + k];
      }
      const double norm = std::sqrt(dot(row, row, d));
      for (std::int64_t k = 0; k < d; ++k) row[k] /= norm;
    }
  }
}

at::Tensor normalised(const at::Tensor& rows) {
  return rows / rows.square().sum(1, true).sqrt().clamp_min(1e-8);
}

/// Adam on sum_{i != j} (d_i . d_j)^2 + N sum_i (|d_i|^2 - 1)^2, all rows G at once. The gradient's
/// (G G^T) G is made as G (G^T G): O(N D^2) instead of O(N^2 D).
at::Tensor spread(at::Tensor rows, std::int64_t steps, double rate) {
  constexpr double kBeta1 = 0.9;
  constexpr double kBeta2 = 0.999;
  constexpr double kEpsilon = 1e-8;
  const auto n = static_cast<double>(rows.size(0));
  at::Tensor mean = at::zeros_like(rows);
  at::Tensor square = at::zeros_like(rows);
  for (std::int64_t step = 1; step <= steps; ++step) {
    check_interrupt();
    const at::Tensor norm2 = rows.square().sum(1, true);
    const at::Tensor all_pairs = at::mm(rows, at::mm(rows.t(), rows));
    const at::Tensor gradient = 4 * (all_pairs + ((n - 1) * norm2 - n) * rows);
    mean.mul_(kBeta1).add_(gradient, 1 - kBeta1);
    square.mul_(kBeta2).addcmul_(gradient, gradient, 1 - kBeta2);
    const double correct1 = 1 - std::pow(kBeta1, static_cast<double>(step));
    const double correct2 = 1 - std::pow(kBeta2, static_cast<double>(step));
    rows.addcdiv_(mean, (square / correct2).sqrt_().add_(kEpsilon), -rate / correct1);
  }
  return normalised(rows);
}

}  // namespace

at::Tensor make_dictionary(const WorldOptions& given) {
  const at::NoGradGuard no_grad;
  const OneThread one_thread;
  const WorldOptions options = resolve(given);
  at::Tensor rows =
      normal_rows(static_cast<std::uint64_t>(options.seed), *options.features, *options.d_in);
  if (*options.features <= *options.d_in) {
    orthonormalise(rows);
    return rows.to(torch::kFloat32);
  }
  return spread(normalised(rows).to(torch::kFloat32), *options.orthogonal_steps,
                *options.orthogonal_rate);
}

}  // namespace sae
