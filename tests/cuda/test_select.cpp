#include <gtest/gtest.h>

// Each needs those before it.
// clang-format off
#include "cuda_on_cpu.h"
#include "../../src/cuda/common.cuh"
#include "../../src/cuda/select.cu"
// clang-format on

namespace {

constexpr long long kPoison = -77;

enum class Numbers {
  kNormal,
  kNegative,
  kTied,
  kNone,
  kEqual,
  kNan,
  kInfinite,
  kDenormal,
  kSkewed
};
constexpr Numbers kAllNumbers[] = {Numbers::kNormal,   Numbers::kNegative, Numbers::kTied,
                                   Numbers::kNone,     Numbers::kEqual,    Numbers::kNan,
                                   Numbers::kInfinite, Numbers::kDenormal, Numbers::kSkewed};

std::vector<float> numbers(Numbers kind, long long B, long long F, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(kind == Numbers::kNegative ? -3.F : 0.F, 1.F);
  std::vector<float> h(static_cast<std::size_t>(B * F));
  for (std::size_t i = 0; i < h.size(); ++i) {
    float& x = h[i];
    x = normal(random);
    if (kind == Numbers::kTied) x = std::round(x * 2) / 2;
    if (kind == Numbers::kNone) x = -std::fabs(x);
    if (kind == Numbers::kEqual) x = 1;
    if (kind == Numbers::kNan && random() % 7 == 0) x = random() % 2 ? NAN : -NAN;
    if (kind == Numbers::kInfinite && random() % 50 == 0) x = random() % 2 ? INFINITY : -INFINITY;
    if (kind == Numbers::kDenormal) x *= 1e-42F;
    if (kind == Numbers::kSkewed) x += static_cast<float>(i % static_cast<std::size_t>(F)) / 1000;
  }
  return h;
}

/// As bfloat16, in memory that begins where no 16 bytes do but every number of a row may be first.
struct Low {
  std::vector<unsigned short> bits;
  std::size_t skew;
  const unsigned short* data() const { return bits.data() + skew; }
};
Low low_of(const std::vector<float>& h, std::size_t skew) {
  Low low{std::vector<unsigned short>(h.size() + skew), skew};
  for (std::size_t i = 0; i < h.size(); ++i) low.bits[skew + i] = to_bf16(h[i]);
  return low;
}
/// What bfloat16 makes of numbers.
std::vector<float> rounded(std::vector<float> h) {
  for (float& x : h) x = from_bf16(to_bf16(x));
  return h;
}

struct Entry {
  long long row, latent;
  float value;
};
bool operator==(const Entry& a, const Entry& b) {
  return a.row == b.row && a.latent == b.latent && std::memcmp(&a.value, &b.value, 4) == 0;
}
void PrintTo(const Entry& e, std::ostream* out) {
  *out << "(" << e.row << ", " << e.latent << ": " << e.value << ")";
}

/// The `count` largest of max(h, 0) of the given rows, ties and zeros by row, then latent.
std::vector<Entry> largest(const std::vector<float>& h, long long F, long long first,
                           long long rows, long long count) {
  std::vector<float> all(h.begin() + first * F, h.begin() + (first + rows) * F);
  for (float& x : all) x = x > 0 ? x : 0.F;
  std::vector<float> sorted = all;
  std::nth_element(sorted.begin(), sorted.begin() + (count - 1), sorted.end(), std::greater<>());
  const float limit = sorted[static_cast<std::size_t>(count - 1)];
  long long ties =
      count - std::count_if(all.begin(), all.end(), [&](float x) { return x > limit; });
  std::vector<Entry> kept;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i] < limit || (all[i] == limit && ties-- <= 0)) continue;
    const auto at = static_cast<long long>(i);
    kept.push_back({first + at / F, at % F, all[i]});
  }
  return kept;
}

template <class Kernel, class T>
void expect_row_topk(const Kernel& kernel, const T* data, const std::vector<float>& h, long long F,
                     int k) {
  const long long B = static_cast<long long>(h.size()) / F;
  std::vector<long long> index(static_cast<std::size_t>(B * k), kPoison);
  std::vector<float> value(index.size(), NAN);
  cpu::launch({static_cast<unsigned>(B)}, {512},
              [&] { kernel(data, F, k, index.data(), value.data()); });
  for (long long b = 0; b < B; ++b) {
    std::vector<Entry> kept;
    for (long long j = b * k; j < (b + 1) * k; ++j) {
      kept.push_back({b, index[static_cast<std::size_t>(j)], value[static_cast<std::size_t>(j)]});
    }
    ASSERT_EQ(kept, largest(h, F, b, 1, k)) << "row " << b << " F " << F << " k " << k;
  }
}

void expect_row_topk(const std::vector<float>& h, long long F, int k) {
  {
    SCOPED_TRACE("float32");
    expect_row_topk(row_topk, h.data(), h, F, k);
  }
  SCOPED_TRACE("bfloat16");
  const std::size_t skew = static_cast<std::size_t>(F + k) % 8;
  expect_row_topk(row_topk_bf16, low_of(h, skew).data(), rounded(h), F, k);
}

TEST(CudaRowTopk, KeepsTheLargestOfEveryRowForAllKindsOfNumbers) {
  unsigned seed = 1;
  for (const Numbers kind : kAllNumbers) {
    SCOPED_TRACE(static_cast<int>(kind));
    expect_row_topk(numbers(kind, 3, 700, ++seed), 700, 32);
    expect_row_topk(numbers(kind, 2, 20000, ++seed), 20000, 40);
    expect_row_topk(numbers(kind, 3, 6001, ++seed), 6001, 64);
    expect_row_topk(numbers(kind, 1, 65537, ++seed), 65537, 33);
  }
}

TEST(CudaRowTopk, KeepsTheLargestForAllShapes) {
  for (const long long F : {1LL, 2LL, 3LL, 5LL, 31LL, 513LL, 2049LL}) {
    expect_row_topk(numbers(Numbers::kNormal, 3, F, 5), F, 1);
    expect_row_topk(numbers(Numbers::kTied, 5, F, 6), F, static_cast<int>(std::min(F, 2048LL)));
  }
  expect_row_topk(numbers(Numbers::kNormal, 2, 4096, 7), 4096, 2048);
  expect_row_topk(numbers(Numbers::kNormal, 1, 4097, 8), 4097, 2048);
  expect_row_topk(numbers(Numbers::kNormal, 2, 33001, 9), 33001, 2048);
  expect_row_topk(numbers(Numbers::kTied, 2, 33001, 9), 33001, 2047);
}

TEST(CudaRowTopk, IsExactWhereTheSampleMisleads) {
  constexpr long long F = 16384;  // sampled: every 512 numbers, 32
  std::vector<float> h = numbers(Numbers::kNormal, 3, F, 10);
  for (long long i = 0; i < F; ++i) {
    const bool sampled = i % 512 < 32;
    if (sampled) h[static_cast<std::size_t>(i)] += 10;                       // too high a floor
    if (!sampled) h[static_cast<std::size_t>(F + i)] += 10;                  // too low a floor
    if (!sampled && i % 3 == 0) h[static_cast<std::size_t>(2 * F + i)] = 7;  // and ties
  }
  expect_row_topk(h, F, 64);
  expect_row_topk(h, F, 1500);
}

TEST(CudaRowTopk, FillsUpWithTheLowestLatentsThatAreNotPositive) {
  std::vector<float> h(10000, -1.F);
  for (const std::size_t i : {1, 2, 9000}) h[i] = static_cast<float>(i);
  h[0] = NAN;
  std::vector<long long> index(6, kPoison);
  std::vector<float> value(6, NAN);
  cpu::launch({1}, {512}, [&] { row_topk(h.data(), 10000, 6, index.data(), value.data()); });
  EXPECT_EQ(index, (std::vector<long long>{0, 1, 2, 3, 4, 9000}));
  EXPECT_EQ(value, (std::vector<float>{0, 1, 2, 0, 0, 9000}));
}

struct Batch {
  std::vector<Entry> kept;
  std::vector<long long> offsets;
  BatchState state;
};

/// The launches as select.cu lists them, all scratch poisoned before.
template <class Kernels, class T>
Batch batch_topk(const Kernels& by, const T* x, long long B, long long F, long long count,
                 int room) {
  const long long n = B * F;
  const dim3 rows{static_cast<unsigned>(B)};
  const auto tokens = static_cast<std::size_t>(B);
  BatchState s;
  std::memset(&s, 0xA5, sizeof s);
  std::vector<uint4> histogram(3 * 65536 / 4, uint4{77, 77, 77, 77});
  auto* counts = reinterpret_cast<unsigned*>(histogram.data());
  std::vector<unsigned long long> candidates(tokens * static_cast<std::size_t>(room), 99);
  std::vector<int> found(tokens, 77), above(tokens, 77), equal(tokens, 77), taken(tokens, 77);
  std::vector<long long> offsets(tokens + 1, kPoison);
  std::vector<long long> index(static_cast<std::size_t>(count), kPoison);
  std::vector<float> value(index.size(), NAN);
  cpu::launch({96}, {512}, [&] { batch_clear(&s, counts); });
  cpu::launch({256}, {512}, [&] { by.sample(x, n, counts); });
  cpu::launch({1}, {512}, [&] { batch_guess(&s, counts, n, count); });
  cpu::launch(rows, {512},
              [&] { by.collect(x, F, &s, counts, room, candidates.data(), found.data()); });
  cpu::launch({64}, {512}, [&] { by.redo(x, n, &s, count, counts); });
  cpu::launch({1}, {512}, [&] { batch_pick_high(&s, counts, count); });
  cpu::launch(rows, {512},
              [&] { by.low(x, F, &s, count, counts, room, candidates.data(), found.data()); });
  cpu::launch({1}, {512}, [&] { batch_pick_low(&s, counts); });
  cpu::launch(rows, {512}, [&] {
    by.count(x, F, &s, count, room, candidates.data(), found.data(), above.data(), equal.data());
  });
  cpu::launch({1}, {512}, [&] {
    batch_offsets(&s, above.data(), equal.data(), B, taken.data(), offsets.data());
  });
  cpu::launch(rows, {512}, [&] {
    by.write(x, F, &s, count, room, candidates.data(), found.data(), taken.data(), offsets.data(),
             index.data(), value.data());
  });
  Batch batch{{}, offsets, s};
  for (long long b = 0; b < B; ++b) {
    for (auto j = static_cast<std::size_t>(offsets[static_cast<std::size_t>(b)]);
         j < static_cast<std::size_t>(offsets[static_cast<std::size_t>(b) + 1]); ++j) {
      batch.kept.push_back({b, index.at(j), value.at(j)});
    }
  }
  return batch;
}

struct OfFloats {
  decltype(&batch_sample) sample = batch_sample;
  decltype(&batch_collect) collect = batch_collect;
  decltype(&batch_redo) redo = batch_redo;
  decltype(&batch_low) low = batch_low;
  decltype(&batch_count) count = batch_count;
  decltype(&batch_write) write = batch_write;
};
struct OfLow {
  decltype(&batch_sample_bf16) sample = batch_sample_bf16;
  decltype(&batch_collect_bf16) collect = batch_collect_bf16;
  decltype(&batch_redo_bf16) redo = batch_redo_bf16;
  decltype(&batch_low_bf16) low = batch_low_bf16;
  decltype(&batch_count_bf16) count = batch_count_bf16;
  decltype(&batch_write_bf16) write = batch_write_bf16;
};

Batch batch_topk(const std::vector<float>& h, long long F, long long count, int room) {
  return batch_topk(OfFloats{}, h.data(), static_cast<long long>(h.size()) / F, F, count, room);
}
Batch batch_topk_bf16(const std::vector<float>& h, long long F, long long count, int room) {
  const std::size_t skew = static_cast<std::size_t>(F + count) % 8;
  const Low low = low_of(h, skew);
  return batch_topk(OfLow{}, low.data(), static_cast<long long>(h.size()) / F, F, count, room);
}

void expect_batch_topk(const Batch& batch, const std::vector<float>& h, long long F,
                       long long count, int room) {
  const std::vector<Entry> expected = largest(h, F, 0, static_cast<long long>(h.size()) / F, count);
  ASSERT_EQ(batch.offsets.front(), 0);
  ASSERT_EQ(batch.offsets.back(), count);
  ASSERT_TRUE(batch.kept == expected) << "F " << F << " count " << count << " room " << room;
  const auto smallest =
      std::min_element(expected.begin(), expected.end(),
                       [](const Entry& a, const Entry& b) { return a.value < b.value; });
  EXPECT_EQ(batch.state.limit, smallest->value);
}
void expect_batch_topk(const std::vector<float>& h, long long F, long long count, int room) {
  {
    SCOPED_TRACE("float32");
    expect_batch_topk(batch_topk(h, F, count, room), h, F, count, room);
  }
  SCOPED_TRACE("bfloat16");
  expect_batch_topk(batch_topk_bf16(h, F, count, room), rounded(h), F, count, room);
}

TEST(CudaBatchTopk, KeepsTheLargestOfTheBatchForAllKindsOfNumbers) {
  unsigned seed = 100;
  for (const Numbers kind : kAllNumbers) {
    SCOPED_TRACE(static_cast<int>(kind));
    expect_batch_topk(numbers(kind, 5, 1237, ++seed), 1237, 5 * 20, 256);
  }
  expect_batch_topk(numbers(Numbers::kNormal, 2, 5001, ++seed), 5001, 2 * 1500, 4096);
  expect_batch_topk(numbers(Numbers::kTied, 2, 5001, ++seed), 5001, 2 * 1500, 4096);
}

TEST(CudaBatchTopk, KeepsTheLargestForAllShapes) {
  expect_batch_topk({2.F}, 1, 1, 1);
  expect_batch_topk({-2.F}, 1, 1, 1);
  expect_batch_topk(numbers(Numbers::kNormal, 1, 97, 1), 97, 97, 64);
  expect_batch_topk(numbers(Numbers::kTied, 7, 33, 2), 33, 7 * 33, 64);
  expect_batch_topk(numbers(Numbers::kTied, 7, 33, 2), 33, 1, 64);
  expect_batch_topk(numbers(Numbers::kNormal, 40, 9, 3), 9, 100, 4);
}

TEST(CudaBatchTopk, GivesTiesToTheFirstOfMoreTokensThanABlockHasThreads) {
  constexpr long long B = 1100;
  BatchState state{};
  state.ties = 1500;
  std::vector<int> above(B), equal(B), taken(B, 77);
  std::vector<long long> offsets(B + 1, kPoison);
  for (int b = 0; b < B; ++b) {
    above[static_cast<std::size_t>(b)] = b % 3;
    equal[static_cast<std::size_t>(b)] = b % 5;
  }
  cpu::launch({1}, {512}, [&] {
    batch_offsets(&state, above.data(), equal.data(), B, taken.data(), offsets.data());
  });
  long long left = 1500;
  EXPECT_EQ(offsets[0], 0);
  for (std::size_t b = 0; b < B; ++b) {
    ASSERT_EQ(taken[b], std::min<long long>(equal[b], left)) << b;
    left -= taken[b];
    ASSERT_EQ(offsets[b + 1], offsets[b] + above[b] + taken[b]) << b;
  }
  EXPECT_EQ(left, 0);
}

TEST(CudaBatchTopk, ReadsTokensAgainThatHaveMoreThanTheRoom) {
  std::vector<float> h = numbers(Numbers::kTied, 4, 3000, 4);
  for (std::size_t i = 3000; i < 6000; ++i) h[i] += 4;  // one token takes all
  expect_batch_topk(h, 3000, 100, 32);
  expect_batch_topk(h, 3000, 4000, 512);
  expect_batch_topk(h, 3000, 9000, 512);  // all positive ones and some zeros
}

// Of the smallest batches that are sampled, 32 of 36 numbers: kSample of them.
constexpr long long kTokens = 36;
constexpr long long kWidth = 65536;

TEST(CudaBatchTopk, GuessesFromASampleOfALargeBatch) {
  const std::vector<float> h = numbers(Numbers::kNormal, kTokens, kWidth, 5);
  const Batch batch = batch_topk(h, kWidth, kTokens * 40, 512);
  EXPECT_GE(batch.state.total, 40U * kTokens);
  EXPECT_LE(batch.state.total, 60U * kTokens);
  EXPECT_TRUE(batch.kept == largest(h, kWidth, 0, kTokens, kTokens * 40));
}

TEST(CudaBatchTopk, IsExactWhereTheSampleMisleads) {
  std::vector<float> h = numbers(Numbers::kTied, kTokens, kWidth, 6);
  for (std::size_t i = 0, large = 0; large < 3900; i += i % 36 < 31 ? 1 : 5, ++large) h[i] += 20;
  for (const Batch& batch : {batch_topk(h, kWidth, 4000, 512),          // all 3900 in the sample,
                             batch_topk_bf16(h, kWidth, 4000, 512)}) {  // where 3862 do
    EXPECT_TRUE(guess_failed(batch.state, 4000));
    EXPECT_TRUE(batch.kept == largest(h, kWidth, 0, kTokens, 4000));
  }
}

template <class Count, class Write, class T>
std::vector<Entry> above(const Count& count, const Write& write, const T* h, unsigned B,
                         long long F, const std::vector<float>& limit) {
  const int per_latent = limit.size() == static_cast<std::size_t>(F) && F > 1;
  std::vector<int> counts(B, -5);
  cpu::launch({B}, {512}, [&] { count(h, F, limit.data(), per_latent, counts.data()); });
  std::vector<long long> offsets{0};
  for (const int own : counts) offsets.push_back(offsets.back() + own);
  std::vector<long long> index(static_cast<std::size_t>(offsets.back()), kPoison);
  std::vector<float> value(index.size(), NAN);
  cpu::launch({B}, {512}, [&] {
    write(h, F, limit.data(), per_latent, offsets.data(), index.data(), value.data());
  });
  std::vector<Entry> kept;
  for (unsigned b = 0; b < B; ++b) {
    for (auto j = static_cast<std::size_t>(offsets[b]);
         j < static_cast<std::size_t>(offsets[b + 1]); ++j) {
      kept.push_back({b, index[j], value[j]});
    }
  }
  return kept;
}

std::vector<Entry> above(const std::vector<float>& h, long long F,
                         const std::vector<float>& limit) {
  const auto B = static_cast<unsigned>(static_cast<long long>(h.size()) / F);
  return above(count_above, write_above, h.data(), B, F, limit);
}
std::vector<Entry> above_bf16(const std::vector<float>& h, long long F,
                              const std::vector<float>& limit) {
  const auto B = static_cast<unsigned>(static_cast<long long>(h.size()) / F);
  const Low low = low_of(h, static_cast<std::size_t>(F) % 8);
  return above(count_above_bf16, write_above_bf16, low.data(), B, F, limit);
}

std::vector<Entry> above_plainly(const std::vector<float>& h, long long F,
                                 const std::vector<float>& limit) {
  std::vector<Entry> kept;
  for (std::size_t i = 0; i < h.size(); ++i) {
    const auto latent = static_cast<long long>(i) % F;
    if (h[i] > (limit.size() > 1 ? limit[static_cast<std::size_t>(latent)] : limit[0])) {
      kept.push_back({static_cast<long long>(i) / F, latent, h[i]});
    }
  }
  return kept;
}

TEST(CudaAbove, WritesWhatExceedsAThreshold) {
  for (const Numbers kind : kAllNumbers) {
    for (const long long F : {1LL, 3LL, 4501LL}) {
      const std::vector<float> h = numbers(kind, 3, F, 8);
      std::vector<std::vector<float>> limits{{0.F}, {-0.5F}, {NAN}, {-INFINITY}};
      limits.push_back(numbers(Numbers::kTied, 1, F, 9));
      for (const std::vector<float>& limit : limits) {
        ASSERT_EQ(above(h, F, limit), above_plainly(h, F, limit)) << F << " " << limit[0];
        ASSERT_EQ(above_bf16(h, F, limit), above_plainly(rounded(h), F, limit)) << F;
      }
    }
  }
}

}  // namespace
