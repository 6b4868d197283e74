// The error of nested dictionaries in expectation, against the sum over every width.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>
#include <vector>

#include "sae/sparse/decode.h"
#include "sae/sparse/nested_error.h"
#include "sparse/nested_sums.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

/// A batch with everything that the sums depend on.
struct Problem {
  at::Tensor x, dense, W_dec, b_dec;
  Nesting nesting;

  Problem(std::int64_t batch, std::int64_t d_in, std::int64_t d_sae, double share,
          at::ScalarType dtype = at::kDouble) {
    x = normal({batch, d_in}, 1).to(dtype);
    W_dec = normal({d_sae, d_in}, 2).to(dtype);
    b_dec = normal({d_in}, 3).to(dtype);
    const at::Tensor on = normal({batch, d_sae}, 4) <
                          std::sqrt(2.0) * at::erfinv(at::full({}, 2 * share - 1)).item<double>();
    dense = normal({batch, d_sae}, 5).to(dtype).abs() * on;
    dense.select(0, 0).zero_();  // a token without any latent
    const at::Tensor order = normal({d_sae}, 6).argsort();
    nesting.rank = at::empty_like(order).index_copy_(0, order, at::arange(d_sae));
    const at::Tensor q = 1 - 0.8 * (at::arange(d_sae, at::kDouble) + 1).log() / std::log(d_sae);
    nesting.chance = q.index_select(0, nesting.rank);
  }

  /// As leaves, with entries of value 0 among the stored ones.
  Codes codes() const {
    const at::Tensor stored = at::logical_or(dense != 0, normal(dense.sizes(), 7) > 1.5);
    stored.select(0, 0).zero_();
    const Codes all = Codes::from_dense(dense).where(stored);
    return all.with_values(all.values().clone().requires_grad_(true));
  }
};

/// sum_w P(width w) mean_b ||x - prefix_w||^2, with autograd's own gradients.
at::Tensor sum_over_widths(const Problem& of, const Codes& codes, const at::Tensor& W_dec,
                           const at::Tensor& b_dec) {
  const std::int64_t d_sae = W_dec.size(0);
  const at::Tensor f = codes.to_dense();
  const at::Tensor q = at::cat({at::ones({1}, at::kDouble),
                                std::get<0>(of.nesting.chance.sort(0, /*descending=*/true)),
                                at::zeros({1}, at::kDouble)});
  at::Tensor sum = at::zeros({}, of.x.options());
  for (std::int64_t width = 0; width <= d_sae; ++width) {
    const at::Tensor within = (of.nesting.rank < width).to(f.scalar_type());
    const at::Tensor e = of.x - b_dec - at::mm(f * within, W_dec);
    sum = sum + (q[width] - q[width + 1]) * e.square().sum(1).mean();
  }
  return sum;
}

struct Outcome {
  at::Tensor error, values, W_dec, b_dec;
};

template <class Error>
Outcome outcome(const Problem& of, double factor, const Error& error) {
  const Codes codes = of.codes();
  const at::Tensor W_dec = of.W_dec.clone().requires_grad_(true);
  const at::Tensor b_dec = of.b_dec.clone().requires_grad_(true);
  const at::Tensor sum = error(codes, W_dec, b_dec);
  (sum * factor).backward();
  return {sum.detach(), codes.values().grad(), W_dec.grad(), b_dec.grad()};
}

Outcome by_sums(const Problem& of, double factor = 1) {
  return outcome(of, factor, [&](const Codes& codes, const at::Tensor& W, const at::Tensor& b) {
    return nested_error(of.x, codes, of.nesting, W, b).error;
  });
}

void expect_same(const Outcome& got, const Outcome& wanted, double tolerance) {
  const auto near = [&](const at::Tensor& a, const at::Tensor& b, const char* what) {
    const double scale = 1 + b.abs().max().item<double>();
    EXPECT_LE((a - b).abs().max().item<double>(), tolerance * scale) << what;
  };
  near(got.error, wanted.error, "error");
  near(got.values, wanted.values, "values");
  near(got.W_dec, wanted.W_dec, "W_dec");
  near(got.b_dec, wanted.b_dec, "b_dec");
}

TEST(NestedError, AndItsGradientsAreThoseOfTheSumOverEveryWidth) {
  // Widths of less than, exactly and more than the columns that are swept at a time.
  for (const std::int64_t d_in : {1, 5, 64, 70, 130}) {
    for (const double share : {1e-9, 0.02, 0.4, 0.999}) {
      const Problem of(7, d_in, 19, share);
      for (const double factor : {1.0, -0.5}) {
        const Outcome wanted =
            outcome(of, factor, [&](const Codes& codes, const at::Tensor& W, const at::Tensor& b) {
              return sum_over_widths(of, codes, W, b);
            });
        expect_same(by_sums(of, factor), wanted, 1e-12);
      }
    }
  }
}

TEST(NestedError, OfTheKernelIsThatOfTheOperatorsThatOtherDevicesUse) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const Problem of(40, 70, 33, 0.3, dtype);
    const Codes codes = of.codes();
    const auto sums = [&](auto function) {
      const sparse::NestedSums s = function(*codes.pattern(), of.x, codes.values().detach(),
                                            of.nesting, of.W_dec, of.b_dec, /*gradients=*/true);
      return Outcome{s.error, s.dvalues, s.dW, s.db};
    };
    expect_same(sums(sparse::nested_sums), sums(sparse::reference::nested_sums),
                dtype == at::kFloat ? 3e-6 : 1e-13);
  }
}

TEST(NestedError, ReconstructsWithAllLatentsAndNeedsNoGradientForThat) {
  const Problem of(9, 70, 33, 0.3);
  const Codes codes = of.codes();
  const Outcome with_gradients = by_sums(of);
  const at::NoGradGuard no_grad;
  const NestedError found = nested_error(of.x, codes, of.nesting, of.W_dec, of.b_dec);
  expect_close(found.x_hat, decode(codes, of.W_dec, of.b_dec));
  EXPECT_FALSE(found.error.requires_grad());
  expect_close(found.error, with_gradients.error);
}

TEST(NestedError, WithAStaircaseByIndexIsThatOfMatryoshka) {
  Problem of(11, 20, 16, 0.5);
  const std::vector<std::int64_t> widths{2, 8, 16};
  of.nesting.rank = at::arange(16);
  of.nesting.chance = at::empty({16}, at::kDouble);
  for (std::int64_t i = 0; i < 16; ++i) {
    of.nesting.chance[i] = i < 2 ? 1.0 : i < 8 ? 2.0 / 3 : 1.0 / 3;
  }
  const Outcome matryoshka =
      outcome(of, 1, [&](const Codes& codes, const at::Tensor& W, const at::Tensor& b) {
        at::Tensor sum = at::zeros({}, at::kDouble);
        for (const at::Tensor& x_hat : decode_prefixes(codes, widths, W, b)) {
          sum = sum + (of.x - x_hat).square().sum(1).mean() / 3;
        }
        return sum;
      });
  expect_same(by_sums(of), matryoshka, 1e-12);
}

TEST(NestedError, HasTheSameBytesOnAnyNumberOfThreads) {
  const Problem of(300, 200, 150, 0.1, at::kFloat);
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const Outcome one = by_sums(of);
  for (const int threads : {2, 3}) {
    at::set_num_threads(threads);
    const Outcome many = by_sums(of);
    EXPECT_TRUE(at::equal(many.error, one.error)) << threads;
    EXPECT_TRUE(at::equal(many.values, one.values)) << threads;
    EXPECT_TRUE(at::equal(many.W_dec, one.W_dec)) << threads;
    EXPECT_TRUE(at::equal(many.b_dec, one.b_dec)) << threads;
  }
  at::set_num_threads(before);
}

TEST(NestedError, WantsSparseCodes) {
  const Problem of(3, 4, 5, 0.5);
  EXPECT_THROW(nested_error(of.x, Codes::from_dense(of.dense), of.nesting, of.W_dec, of.b_dec),
               std::invalid_argument);
}

}  // namespace
}  // namespace sae
