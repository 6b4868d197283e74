#include <algorithm>
#include <numeric>
#include <set>

#include "sae/base/error.h"
#include "sae/base/rng.h"
#include "sae/data/store.h"
#include "support/store_testing.h"
#include "support/temporary_folder.h"

namespace sae {
namespace {

namespace fs = std::filesystem;

class Splits : public testing::Test {
 protected:
  fs::path path() const { return folder_.path() / "store"; }

  std::shared_ptr<const ActivationStore> open(std::int64_t rows, std::int64_t context) {
    return std::make_shared<const ActivationStore>(write_normal_store(path(), rows, 1, context));
  }

  std::string refusal(const std::shared_ptr<const ActivationStore>& store, double held_out,
                      Split split) {
    try {
      StoreSource(store, options(held_out), split, 0);
    } catch (const DataError& error) {
      return error.what();
    }
    return "not refused";
  }

  static StoreOptions options(double held_out, std::int64_t split_seed = 0) {
    StoreOptions options;
    options.held_out = held_out;
    options.split_seed = split_seed;
    options.prefetch = 0;
    return options;
  }

  static std::set<std::int64_t> rows_of(const StoreSource& source) {
    std::set<std::int64_t> rows;
    for (std::int64_t i = 0; i < source.size(); ++i) rows.insert(source.row_at(i));
    return rows;
  }

 private:
  TemporaryFolder folder_;
};

TEST_F(Splits, NeitherSideIsEmptyHoweverFewContextsThereAre) {
  int moved = 0;
  for (const std::int64_t contexts : {2, 3}) {
    const auto store = open(7 * contexts, 7);
    for (const double share : {1e-9, 0.05, 0.5, 1 - 1e-9}) {
      for (std::int64_t seed = 0; seed < 8; ++seed) {
        SCOPED_TRACE(std::to_string(contexts) + " contexts, seed " + std::to_string(seed));
        const StoreSource train(store, options(share, seed), Split::kTrain, 0);
        const StoreSource held(store, options(share, seed), Split::kHeldOut, 0);
        std::set<std::int64_t> rows = rows_of(train);
        ASSERT_GT(train.size(), 0);
        ASSERT_GT(held.size(), 0);
        for (const std::int64_t row : rows_of(held)) EXPECT_TRUE(rows.insert(row).second);
        EXPECT_EQ(rows.size(), static_cast<std::size_t>(store->size()));
        EXPECT_EQ(train.size() % 7, 0) << "contexts stay whole";
        EXPECT_EQ(train.moved_contexts(), held.moved_contexts());
        if (share < 1e-3) {
          EXPECT_EQ(held.size(), 7);
        }
        if (share > 1 - 1e-3) {
          EXPECT_EQ(train.size(), 7);
        }
        moved += static_cast<int>(held.moved_contexts());
      }
    }
  }
  EXPECT_GE(moved, 32) << "at the extreme shares chance leaves one side empty";
}

TEST_F(Splits, WhereChanceFillsBothSidesNothingIsMoved) {
  const auto store = open(300, 5);
  const StoreSource held(store, options(0.3, 4), Split::kHeldOut, 0);
  std::set<std::int64_t> expected;
  for (std::int64_t row = 0; row < 300; ++row) {
    Rng rng(4, Stream::kSplit, static_cast<std::uint64_t>(row / 5));
    if (rng.uniform() < 0.3) expected.insert(row);
  }
  EXPECT_EQ(rows_of(held), expected);
  EXPECT_EQ(held.moved_contexts(), 0);
}

TEST_F(Splits, TokensWithoutContextsAreOnBothSidesToo) {
  const auto store = open(5, 0);
  for (const double share : {1e-9, 0.5, 1 - 1e-9}) {
    const StoreSource train(store, options(share), Split::kTrain, 0);
    const StoreSource held(store, options(share), Split::kHeldOut, 0);
    EXPECT_GE(std::min(train.size(), held.size()), 1) << share;
    EXPECT_EQ(train.size() + held.size(), 5) << share;
  }
}

TEST_F(Splits, WhatCannotBeDividedIsRefusedWithARemedy) {
  const std::string one =
      ", which cannot be both trained and evaluated on; give a store of more, or another one to "
      "evaluate on with held_out_path";
  for (const Split split : {Split::kTrain, Split::kHeldOut}) {
    EXPECT_EQ(refusal(open(20, 20), 0.3, split), path().string() + ": got one context" + one);
    EXPECT_EQ(refusal(open(1, 0), 0.3, split), path().string() + ": got one token" + one);
  }
  EXPECT_EQ(refusal(open(20, 4), 0, Split::kHeldOut),
            path().string() +
                ": nothing is held out at held_out 0; give a share above 0, or another store to "
                "evaluate on with held_out_path");
  EXPECT_EQ(refusal(open(20, 20), 0, Split::kTrain), "not refused");
}

TEST_F(Splits, AnotherSourceBeginsAnewWithTheSameActivations) {
  const auto store = open(60, 5);
  StoreSource first(store, options(0.3), Split::kTrain, 9);
  const at::Tensor begun = first.next(8);
  const auto second = first.another();
  EXPECT_EQ(second->position(), 0);
  EXPECT_TRUE(at::equal(second->next(8), begun));
  EXPECT_EQ(second->size(), first.size());
}

}  // namespace
}  // namespace sae
