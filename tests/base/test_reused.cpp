#include <gtest/gtest.h>
#include <torch/types.h>

#include <thread>
#include <vector>

#include "base/reused.h"

namespace sae {
namespace {

// Sizes that no other test asks for, because a thread's blocks outlive a test.
constexpr std::int64_t kMiB = 1 << 18;  // of float32

TEST(Reused, ReturnsTheMemoryOfATensorThatNobodyHolds) {
  at::Tensor a = reused({9, kMiB}, at::kFloat);
  void* place = a.data_ptr();
  a = at::Tensor();
  const at::Tensor b = reused({3 * kMiB, 3}, at::kFloat);
  EXPECT_EQ(b.data_ptr(), place);
  EXPECT_EQ(b.sizes(), (std::vector<std::int64_t>{3 * kMiB, 3}));
  EXPECT_TRUE(b.is_contiguous());
}

TEST(Reused, NeverReturnsMemoryThatATensorOrAViewHolds) {
  at::Tensor a = reused({9, kMiB}, at::kFloat);
  const at::Tensor view = a[8];
  a = at::Tensor();
  const at::Tensor b = reused({9, kMiB}, at::kFloat);
  b.fill_(1);
  view.fill_(2);
  EXPECT_EQ(b.max().item<float>(), 1);
}

TEST(Reused, ALargerBlockServesASmallerTensorUpToAPoint) {
  at::Tensor a = reused({8, kMiB}, at::kFloat);
  void* place = a.data_ptr();
  a = at::Tensor();
  EXPECT_EQ(reused({6, kMiB}, at::kBFloat16).data_ptr(), place);
  EXPECT_NE(reused({1, kMiB}, at::kFloat).data_ptr(), place) << "most of it would lie idle";
}

TEST(Reused, ThreadsDoNotShare) {
  at::Tensor a = reused({10, kMiB}, at::kFloat);
  void* place = a.data_ptr();
  a = at::Tensor();
  std::thread([&] { EXPECT_NE(reused({10, kMiB}, at::kFloat).data_ptr(), place); }).join();
  EXPECT_EQ(reused({10, kMiB}, at::kFloat).data_ptr(), place);
}

TEST(Reused, OutlivesTheThreadThatMadeIt) {
  at::Tensor a;
  std::thread([&] { a = reused({5, kMiB}, at::kFloat); }).join();
  a.fill_(3);
  EXPECT_EQ(a.min().item<float>(), 3);
}

}  // namespace
}  // namespace sae
