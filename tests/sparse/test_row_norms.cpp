#include <cmath>

#include "sparse/row_norms.h"
#include "support/sae_testing.h"

namespace sae {
namespace {

TEST(RowNorms, HoldForRowsWhoseSquaresAreNoNumbers) {
  const at::Tensor rows =
      at::tensor({3e-30, 4e-30, 3e25, 4e25, 3.0, 4.0, 0.0, 0.0}, at::kFloat).view({4, 2});
  const at::Tensor norms = row_norms(rows);
  for (const auto& [row, expected] : {std::pair{0, 5e-30}, {1, 5e25}, {2, 5.0}, {3, 0.0}}) {
    EXPECT_NEAR(norms[row].item<double>(), expected, 1e-6 * expected) << row;
  }
  const at::Tensor unit = unit_rows(rows);
  for (const std::int64_t row : {0, 1, 2}) {
    EXPECT_NEAR(unit[row][0].item<double>(), 0.6, 1e-6) << row;
    EXPECT_NEAR(unit[row][1].item<double>(), 0.8, 1e-6) << row;
  }
  EXPECT_TRUE(at::equal(unit[3], at::zeros({2}))) << "a row of zeros has no direction";
}

TEST(RowNorms, LeaveCodesOfUnitRowsAloneAndSilenceLatentsWithoutARow) {
  const Codes codes = sparse_codes(at::tensor({1.0, 2.0, 0.0, 3.0}, at::kFloat).view({2, 2}));
  EXPECT_FALSE(decoder_units(at::eye(2) * (1 + 1e-7)).defined());
  EXPECT_TRUE(at::equal(with_unit_decoder(codes, at::eye(2)).values(), codes.values()));
  const at::Tensor rows = at::tensor({0.0, 0.0, 0.0, 5.0}, at::kFloat).view({2, 2});
  EXPECT_TRUE(at::equal(with_unit_decoder(codes, rows).to_dense(),
                        at::tensor({0.0, 10.0, 0.0, 15.0}, at::kFloat).view({2, 2})));
}

}  // namespace
}  // namespace sae
