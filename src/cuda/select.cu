// Selections: which entries of the pre-activations h [B, F] a rule keeps. Exact always; what is
// guessed from a sample costs time where it was wrong, never a different result.
//
// TopK: row_topk.
//
// A threshold: count_above, a cumulative sum of the counts by the caller, write_above.
//
// h is float32, or bfloat16 (kernels of the name with _bf16), whose values float32 holds exactly:
// what is kept of h, and its values, are then those of its numbers as float32.
//
// BatchTopK, in this order and without the host in between; every block has 512 threads:
//
//     kernel           grid  reads of h          what
//     batch_clear      96    -                   state and histograms
//     batch_sample     256   2 Mi numbers        histogram of a sample
//     batch_guess      1     -                   a floor that a little more than `count` reach
//     batch_collect    B     4 B F bytes         these, token by token, and their histogram
//     batch_redo       1024  none; 4 B F         if fewer than `count` reached it: all others' too
//     batch_pick_high  1     -                   the leading 16 bits of the limit
//     batch_low        B     none; 4 B F         histogram of the other 15 bits
//     batch_pick_low   1     -                   the limit, and how many equal to it are kept
//     batch_count      B     none; 4 B F         per token: how many are above it, how many equal
//     batch_offsets    1     -                   the ties' shares and offsets
//     batch_write      B     none; 4 B F         the pattern
//
// The second number, for all tokens, if the guess failed or too few are positive (batch_write only,
// up to the last zero taken); for one token, if it has more than `room` collected. Scratch:
//
//     state       BatchState, 64 bytes, 16-byte aligned
//     histogram   [3, 65536] int32: of the sample, of leading and of trailing digits
//     candidates  [B, room] int64, room at most 4096; 8 times the mean L0 and 256 is good
//     found, above, equal, taken  [B] int32
//
// B F < 2^32, F < 2^31, count <= B F.

namespace {

constexpr int kRoom = 4096;  // collected entries of a row in shared memory

}  // namespace

namespace {

template <class T>
__device__ inline void row_topk_of(const T* __restrict__ h, long long F, int k,
                                   long long* __restrict__ index, float* __restrict__ value) {
  __shared__ union {
    unsigned long long entry[kRoom];
    unsigned sample[2 * kRoom];
  } s;
  __shared__ unsigned histogram[kBins];
  __shared__ int count;
  const int width = static_cast<int>(F);
  const int thread = static_cast<int>(threadIdx.x);
  const T* row = h + blockIdx.x * F;
  index += static_cast<long long>(blockIdx.x) * k;
  value += static_cast<long long>(blockIdx.x) * k;

  unsigned floor = 1;  // a short row's positive numbers have room
  if (width > kRoom) {
    const int chunks = min(width / (16 * kChunk), 2 * kRoom / kChunk);
    const int step = width / chunks;
    const int sampled = chunks * kChunk;
    for (int i = thread; i < sampled; i += kSelectThreads) {
      s.sample[i] = key_of(number_of(__ldg(row + i / kChunk * step + i % kChunk)));
    }
    const float share = static_cast<float>(sampled) / static_cast<float>(width);
    const Limit guess = radix_select(
        histogram, static_cast<int>(rank_in_sample(k, share, 4)),
        [&](const auto& visit) {
          for (int i = thread; i < sampled; i += kSelectThreads) visit(s.sample[i]);
        },
        2);
    floor = max(guess.key, 1U);
  }
  if (thread == 0) count = 0;
  __syncthreads();
  visit_row(row, width, [&](float number, int place) {
    const unsigned key = key_of(number);
    if (key < floor) return;
    const int at = atomicAdd(&count, 1);  // in any order: they are sorted below
    if (at < kRoom) s.entry[at] = entry_of(place, key);
  });
  __syncthreads();
  const int found = count;
  if (found < k || found > kRoom) {
    // All positive ones were collected if the floor is 1.
    const Limit limit = found < k && floor == 1
                            ? Limit{0, k - found}
                            : radix_select(histogram, k, [&](const auto& visit) {
                                visit_row(row, width, [&](float x, int) { visit(key_of(x)); });
                              });
    write_row_in_order(row, width, limit, k, index, value);
    return;
  }
  const Limit limit = radix_select(histogram, k, [&](const auto& visit) {
    for (int i = thread; i < found; i += kSelectThreads) visit(key_of(s.entry[i]));
  });
  unsigned long long own[kRoom / kSelectThreads];
#pragma unroll
  for (int j = 0; j < kRoom / kSelectThreads; ++j) {
    const int i = thread + j * kSelectThreads;
    own[j] = i < found ? s.entry[i] : 0ULL;
  }
  if (thread == 0) count = 0;
  __syncthreads();
#pragma unroll
  for (int j = 0; j < kRoom / kSelectThreads; ++j) {  // keys are not 0, nor is the limit
    if (key_of(own[j]) >= limit.key) s.entry[atomicAdd(&count, 1)] = own[j];
  }
  __syncthreads();
  const int kept = count;
  const int size = power_of_two_from(kept);
  for (int i = kept + thread; i < size; i += kSelectThreads) s.entry[i] = ~0ULL;
  __syncthreads();
  block_sort(s.entry, size);
  write_entries(s.entry, kept, limit, index, value);
}

}  // namespace

/// index [B, k], value [B, k]: of each row of h [B, F] the k largest of max(h, 0), NaN being 0,
/// ties by the lower latent, ascending by latent. Grid B, block 512. k <= min(F, 2048).
///
/// A sample of a 16th of the row gives a floor that the k largest and a few more exceed; one read
/// of the row collects them in shared memory, where radix selection and a sort by latent end it:
/// 17/16 of 4 F bytes a row. A floor that fails costs four more reads.
extern "C" __global__ void __launch_bounds__(kSelectThreads, 3)
    row_topk(const float* __restrict__ h, long long F, int k, long long* __restrict__ index,
             float* __restrict__ value) {
  row_topk_of(h, F, k, index, value);
}
extern "C" __global__ void __launch_bounds__(kSelectThreads, 3)
    row_topk_bf16(const unsigned short* __restrict__ h, long long F, int k,
                  long long* __restrict__ index, float* __restrict__ value) {
  row_topk_of(h, F, k, index, value);
}

namespace {

template <class T>
__device__ inline void count_above_of(const T* __restrict__ h, long long F,
                                      const float* __restrict__ threshold, int per_latent,
                                      int* __restrict__ counts) {
  int own = 0;
  const T* row = h + blockIdx.x * F;
  if (per_latent != 0) {
    visit_row(row, static_cast<int>(F),
              [&](float number, int place) { own += number > __ldg(threshold + place) ? 1 : 0; });
  } else {
    const float limit = *threshold;
    visit_row(row, static_cast<int>(F), [&](float number, int) { own += number > limit ? 1 : 0; });
  }
  own = block_sum(own);
  if (threadIdx.x == 0) counts[blockIdx.x] = own;
}

}  // namespace

/// counts [B]: how many of each row of h [B, F] exceed `threshold`: [F] if per_latent, else [1].
/// Grid B, block 512. One read of h.
extern "C" __global__ void __launch_bounds__(kSelectThreads)
    count_above(const float* __restrict__ h, long long F, const float* __restrict__ threshold,
                int per_latent, int* __restrict__ counts) {
  count_above_of(h, F, threshold, per_latent, counts);
}
extern "C" __global__ void __launch_bounds__(kSelectThreads)
    count_above_bf16(const unsigned short* __restrict__ h, long long F,
                     const float* __restrict__ threshold, int per_latent,
                     int* __restrict__ counts) {
  count_above_of(h, F, threshold, per_latent, counts);
}

namespace {

template <class T>
__device__ inline void write_above_of(const T* __restrict__ h, long long F,
                                      const float* __restrict__ threshold, int per_latent,
                                      const long long* __restrict__ offsets,
                                      long long* __restrict__ index, float* __restrict__ value) {
  const int width = static_cast<int>(F);
  const T* row = h + blockIdx.x * F;
  const long long begin = offsets[blockIdx.x];
  const int count = static_cast<int>(offsets[blockIdx.x + 1] - begin);
  if (count == 0) return;
  const float limit = *threshold;
  visit_in_order(
      width, numbers_before<4>(row), [&](int place) { return load_four(row, place, width); },
      [&](float number, int place) {
        return number > (per_latent != 0 ? __ldg(threshold + place) : limit) ? kAbove : kNeither;
      },
      [&](float number, int place, unsigned, Passed passed) {
        index[begin + passed.above] = place;
        value[begin + passed.above] = number;
      },
      [&](Passed passed) { return passed.above >= count; });
}

}  // namespace

/// The entries that count_above counted, ascending by latent, to places offsets[b] to
/// offsets[b + 1] - 1 of index and value. Grid B, block 512. One read of h.
extern "C" __global__ void __launch_bounds__(kSelectThreads)
    write_above(const float* __restrict__ h, long long F, const float* __restrict__ threshold,
                int per_latent, const long long* __restrict__ offsets,
                long long* __restrict__ index, float* __restrict__ value) {
  write_above_of(h, F, threshold, per_latent, offsets, index, value);
}
extern "C" __global__ void __launch_bounds__(kSelectThreads)
    write_above_bf16(const unsigned short* __restrict__ h, long long F,
                     const float* __restrict__ threshold, int per_latent,
                     const long long* __restrict__ offsets, long long* __restrict__ index,
                     float* __restrict__ value) {
  write_above_of(h, F, threshold, per_latent, offsets, index, value);
}

namespace {

constexpr int kBatchBins = 65536;
constexpr int kLowBits = 15;  // of a key's 31
constexpr long long kSample = 1 << 21;

struct BatchState {
  unsigned long long total;   // entries that reach the floor
  unsigned long long wanted;  // of those with the limit's leading digits, how many are kept
  unsigned long long ties;    // of those equal to the limit
  unsigned floor;             // a key, at least 1
  unsigned high;              // leading digits of the limit
  unsigned key;               // the limit
  float limit;                // as a number: the count-th largest of max(h, 0)
};

/// Whether fewer than `count` of all entries reach the floor although more may be positive.
__device__ inline bool guess_failed(const BatchState& state, long long count) {
  return state.floor > 1 && state.total < static_cast<unsigned long long>(count);
}

/// Of a histogram in global memory: the bin of the rank-th key from the highest, and its rank
/// there.
/// {-1, how many are missing} if there are fewer.
__device__ inline Ranked<unsigned long long> rank_in_histogram(const unsigned* histogram,
                                                               unsigned long long rank) {
  constexpr int kGroup = kBatchBins / kSelectThreads;  // 128 bins, 4 a lane
  __shared__ unsigned long long of_group[kSelectThreads];
  const uint4* four = reinterpret_cast<const uint4*>(histogram);
  const int lane = lane_of_thread();
  for (int group = warp_of_thread(); group < kSelectThreads; group += warps_of_block()) {
    const uint4 own = four[group * (kGroup / 4) + lane];
    const unsigned long long sum =
        warp_sum(static_cast<unsigned long long>(own.x) + own.y + own.z + own.w);
    if (lane == 0) of_group[kSelectThreads - 1 - group] = sum;  // the highest first
  }
  __syncthreads();
  const Ranked<unsigned long long> group = block_rank(of_group[threadIdx.x], rank);
  if (group.thread < 0) return group;
  const int top = kBatchBins - 1 - group.thread * kGroup;
  const int thread = static_cast<int>(threadIdx.x);
  const Ranked<unsigned long long> bin =
      block_rank(thread < kGroup ? static_cast<unsigned long long>(histogram[top - thread]) : 0ULL,
                 group.rank);
  return {top - bin.thread, bin.rank};
}

/// Visits the keys of one token that may be at the limit or above it: the collected ones, or all.
template <class T, class Visit>
__device__ inline void visit_token(const T* h, int width, const BatchState& state, long long count,
                                   int room, const unsigned long long* candidates, const int* found,
                                   const Visit& visit) {
  const int own = found[blockIdx.x];
  if (own > room || guess_failed(state, count)) {
    visit_row(h + static_cast<long long>(blockIdx.x) * width, width,
              [&](float number, int) { visit(key_of(number)); });
    return;
  }
  const unsigned long long* entry = candidates + static_cast<long long>(blockIdx.x) * room;
  for (int i = static_cast<int>(threadIdx.x); i < own; i += kSelectThreads) visit(key_of(entry[i]));
}

}  // namespace

/// Zeroes the state and the histograms. Grid 96, block 512.
extern "C" __global__ void __launch_bounds__(kSelectThreads)
    batch_clear(BatchState* __restrict__ state, unsigned* __restrict__ histogram) {
  uint4* four = reinterpret_cast<uint4*>(histogram);
  const int threads = static_cast<int>(gridDim.x) * kSelectThreads;
  for (int i = static_cast<int>(blockIdx.x * kSelectThreads + threadIdx.x); i < 3 * kBatchBins / 4;
       i += threads) {
    four[i] = make_uint4(0, 0, 0, 0);
  }
  if (blockIdx.x == 0 && threadIdx.x == 0) *state = BatchState{};
}

namespace {

template <class T>
__device__ inline void batch_sample_of(const T* __restrict__ h, long long n,
                                       unsigned* __restrict__ histogram) {
  const long long sampled = min(n, kSample);
  const long long step = n / (sampled / kChunk > 0 ? sampled / kChunk : 1);
  const long long threads = static_cast<long long>(gridDim.x) * kSelectThreads;
  for (long long i = static_cast<long long>(blockIdx.x) * kSelectThreads + threadIdx.x; i < sampled;
       i += threads) {
    const unsigned key =
        key_of(number_of(__ldg(h + (sampled == n ? i : i / kChunk * step + i % kChunk))));
    if (key != 0) atomicAdd(&histogram[key >> kLowBits], 1U);
  }
}

}  // namespace

/// Counts the leading digits of kSample of h's n numbers, evenly spaced; of all, if n is less.
extern "C" __global__ void __launch_bounds__(kSelectThreads)
    batch_sample(const float* __restrict__ h, long long n, unsigned* __restrict__ histogram) {
  batch_sample_of(h, n, histogram);
}
extern "C" __global__ void __launch_bounds__(kSelectThreads)
    batch_sample_bf16(const unsigned short* __restrict__ h, long long n,
                      unsigned* __restrict__ histogram) {
  batch_sample_of(h, n, histogram);
}

/// A floor that a little more than `count` of all n numbers reach, by the sample. Grid 1.
extern "C" __global__ void __launch_bounds__(kSelectThreads)
    batch_guess(BatchState* __restrict__ state, const unsigned* __restrict__ histogram, long long n,
                long long count) {
  const float share = n > kSample ? static_cast<float>(kSample) / static_cast<float>(n) : 1.0F;
  const long long rank = n > kSample ? rank_in_sample(count, share, 5) : count;
  const auto found = rank_in_histogram(histogram, static_cast<unsigned long long>(rank));
  if (threadIdx.x != 0) return;
  const unsigned floor = found.thread < 0 ? 0U : static_cast<unsigned>(found.thread) << kLowBits;
  state->floor = max(floor, 1U);
}

namespace {

template <class T>
__device__ inline void batch_collect_of(const T* __restrict__ h, long long F,
                                        BatchState* __restrict__ state,
                                        unsigned* __restrict__ histogram, int room,
                                        unsigned long long* __restrict__ candidates,
                                        int* __restrict__ found) {
  __shared__ int count;
  if (threadIdx.x == 0) count = 0;
  __syncthreads();
  const unsigned floor = state->floor;
  unsigned* high = histogram + kBatchBins;
  unsigned long long* entry = candidates + static_cast<long long>(blockIdx.x) * room;
  visit_row(h + blockIdx.x * F, static_cast<int>(F), [&](float number, int place) {
    const unsigned key = key_of(number);
    if (key < floor) return;
    const int at = atomicAdd(&count, 1);
    if (at < room) entry[at] = entry_of(place, key);
    atomicAdd(&high[key >> kLowBits], 1U);
  });
  __syncthreads();
  if (threadIdx.x != 0) return;
  found[blockIdx.x] = count;
  atomicAdd(&state->total, static_cast<unsigned long long>(count));
}

}  // namespace

/// Collects each token's entries that reach the floor, in any order, and counts their leading
/// digits. found [B]: how many; more than `room` means that the token is read again where it
/// matters.
extern "C" __global__ void __launch_bounds__(kSelectThreads, 2)
    batch_collect(const float* __restrict__ h, long long F, BatchState* __restrict__ state,
                  unsigned* __restrict__ histogram, int room,
                  unsigned long long* __restrict__ candidates, int* __restrict__ found) {
  batch_collect_of(h, F, state, histogram, room, candidates, found);
}
extern "C" __global__ void __launch_bounds__(kSelectThreads, 2)
    batch_collect_bf16(const unsigned short* __restrict__ h, long long F,
                       BatchState* __restrict__ state, unsigned* __restrict__ histogram, int room,
                       unsigned long long* __restrict__ candidates, int* __restrict__ found) {
  batch_collect_of(h, F, state, histogram, room, candidates, found);
}

namespace {

template <class T>
__device__ inline void batch_redo_of(const T* __restrict__ h, long long n,
                                     const BatchState* __restrict__ state, long long count,
                                     unsigned* __restrict__ histogram) {
  if (!guess_failed(*state, count)) return;
  const unsigned floor = state->floor;
  unsigned* high = histogram + kBatchBins;
  const long long threads = static_cast<long long>(gridDim.x) * kSelectThreads;
  for (long long i = static_cast<long long>(blockIdx.x) * kSelectThreads + threadIdx.x; i < n;
       i += threads) {
    const unsigned key = key_of(number_of(__ldg(h + i)));
    if (key != 0 && key < floor) atomicAdd(&high[key >> kLowBits], 1U);
  }
}

}  // namespace

/// Where the guess failed: counts the leading digits of the positive numbers below the floor, too.
extern "C" __global__ void __launch_bounds__(kSelectThreads)
    batch_redo(const float* __restrict__ h, long long n, const BatchState* __restrict__ state,
               long long count, unsigned* __restrict__ histogram) {
  batch_redo_of(h, n, state, count, histogram);
}
extern "C" __global__ void __launch_bounds__(kSelectThreads)
    batch_redo_bf16(const unsigned short* __restrict__ h, long long n,
                    const BatchState* __restrict__ state, long long count,
                    unsigned* __restrict__ histogram) {
  batch_redo_of(h, n, state, count, histogram);
}

/// The limit's leading digits. If fewer than `count` are positive, the limit is 0. Grid 1.
extern "C" __global__ void __launch_bounds__(kSelectThreads)
    batch_pick_high(BatchState* __restrict__ state, const unsigned* __restrict__ histogram,
                    long long count) {
  const auto found =
      rank_in_histogram(histogram + kBatchBins, static_cast<unsigned long long>(count));
  if (threadIdx.x != 0) return;
  state->high = found.thread < 0 ? 0xFFFFFFFFU : static_cast<unsigned>(found.thread);
  state->wanted = found.rank;
}

namespace {

template <class T>
__device__ inline void batch_low_of(const T* __restrict__ h, long long F,
                                    const BatchState* __restrict__ state, long long count,
                                    unsigned* __restrict__ histogram, int room,
                                    const unsigned long long* __restrict__ candidates,
                                    const int* __restrict__ found) {
  const unsigned high = state->high;
  if (high == 0xFFFFFFFFU) return;
  unsigned* low = histogram + 2 * kBatchBins;
  visit_token(h, static_cast<int>(F), *state, count, room, candidates, found, [&](unsigned key) {
    if (key != 0 && key >> kLowBits == high) atomicAdd(&low[key & ((1U << kLowBits) - 1)], 1U);
  });
}

}  // namespace

/// Counts the trailing digits of those that have the limit's leading ones. Grid B.
extern "C" __global__ void __launch_bounds__(kSelectThreads)
    batch_low(const float* __restrict__ h, long long F, const BatchState* __restrict__ state,
              long long count, unsigned* __restrict__ histogram, int room,
              const unsigned long long* __restrict__ candidates, const int* __restrict__ found) {
  batch_low_of(h, F, state, count, histogram, room, candidates, found);
}
extern "C" __global__ void __launch_bounds__(kSelectThreads)
    batch_low_bf16(const unsigned short* __restrict__ h, long long F,
                   const BatchState* __restrict__ state, long long count,
                   unsigned* __restrict__ histogram, int room,
                   const unsigned long long* __restrict__ candidates,
                   const int* __restrict__ found) {
  batch_low_of(h, F, state, count, histogram, room, candidates, found);
}

/// The limit, and how many of those equal to it are kept. Grid 1.
extern "C" __global__ void __launch_bounds__(kSelectThreads)
    batch_pick_low(BatchState* __restrict__ state, const unsigned* __restrict__ histogram) {
  const unsigned high = state->high;
  const unsigned long long wanted = state->wanted;
  const bool zero = high == 0xFFFFFFFFU;
  const auto found = zero ? Ranked<unsigned long long>{0, wanted}
                          : rank_in_histogram(histogram + 2 * kBatchBins, wanted);
  if (threadIdx.x != 0) return;
  state->key = zero ? 0U : high << kLowBits | static_cast<unsigned>(found.thread);
  state->ties = found.rank;
  state->limit = __uint_as_float(state->key);
}

namespace {

template <class T>
__device__ inline void batch_count_of(const T* __restrict__ h, long long F,
                                      const BatchState* __restrict__ state, long long count,
                                      int room, const unsigned long long* __restrict__ candidates,
                                      const int* __restrict__ found, int* __restrict__ above,
                                      int* __restrict__ equal) {
  const unsigned limit = state->key;
  Passed own;
  visit_token(h, static_cast<int>(F), *state, count, room, candidates, found, [&](unsigned key) {
    own.above += key > limit ? 1 : 0;
    own.equal += key == limit ? 1 : 0;
  });
  own.above = block_sum(own.above);
  own.equal = block_sum(own.equal);
  if (threadIdx.x != 0) return;
  above[blockIdx.x] = own.above;
  equal[blockIdx.x] = limit == 0 ? static_cast<int>(F) - own.above : own.equal;
}

}  // namespace

/// above [B], equal [B]: how many of a token's entries exceed the limit, how many are equal to it
/// (all that are not positive, if it is 0). Grid B.
extern "C" __global__ void __launch_bounds__(kSelectThreads)
    batch_count(const float* __restrict__ h, long long F, const BatchState* __restrict__ state,
                long long count, int room, const unsigned long long* __restrict__ candidates,
                const int* __restrict__ found, int* __restrict__ above, int* __restrict__ equal) {
  batch_count_of(h, F, state, count, room, candidates, found, above, equal);
}
extern "C" __global__ void __launch_bounds__(kSelectThreads)
    batch_count_bf16(const unsigned short* __restrict__ h, long long F,
                     const BatchState* __restrict__ state, long long count, int room,
                     const unsigned long long* __restrict__ candidates,
                     const int* __restrict__ found, int* __restrict__ above,
                     int* __restrict__ equal) {
  batch_count_of(h, F, state, count, room, candidates, found, above, equal);
}

/// taken [B]: how many of a token's entries equal to the limit are kept, the first tokens' first;
/// offsets [B + 1]. Grid 1.
extern "C" __global__ void __launch_bounds__(kSelectThreads)
    batch_offsets(const BatchState* __restrict__ state, const int* __restrict__ above,
                  const int* __restrict__ equal, long long B, int* __restrict__ taken,
                  long long* __restrict__ offsets) {
  long long left = static_cast<long long>(state->ties);
  long long kept = 0;
  if (threadIdx.x == 0) offsets[0] = 0;
  for (long long base = 0; base < B; base += kSelectThreads) {
    const long long b = base + threadIdx.x;
    const long long own = b < B ? equal[b] : 0;
    const Scanned<long long> ties = block_scan(own);
    const long long share = max(min(left - ties.before, own), 0LL);
    const long long entries = b < B ? above[b] + share : 0;
    const Scanned<long long> all = block_scan(entries);
    if (b < B) {
      taken[b] = static_cast<int>(share);
      offsets[b + 1] = kept + all.before + entries;
    }
    left -= ties.total;
    kept += all.total;
  }
}

namespace {

template <class T>
__device__ inline void batch_write_of(const T* __restrict__ h, long long F,
                                      const BatchState* __restrict__ state, long long count,
                                      int room, const unsigned long long* __restrict__ candidates,
                                      const int* __restrict__ found, const int* __restrict__ taken,
                                      const long long* __restrict__ offsets,
                                      long long* __restrict__ index, float* __restrict__ value) {
  __shared__ unsigned long long entry[kRoom];
  __shared__ int kept;
  const int thread = static_cast<int>(threadIdx.x);
  const long long begin = offsets[blockIdx.x];
  const int size = static_cast<int>(offsets[blockIdx.x + 1] - begin);
  if (size == 0) return;
  index += begin;
  value += begin;
  const Limit limit{state->key, taken[blockIdx.x]};
  const int collected = found[blockIdx.x];
  const bool zeros = limit.key == 0 && limit.ties > 0;
  if (zeros || collected > room || guess_failed(*state, count)) {
    write_row_in_order(h + blockIdx.x * F, static_cast<int>(F), limit, size, index, value);
    return;
  }
  if (thread == 0) kept = 0;
  __syncthreads();
  const unsigned long long* from = candidates + static_cast<long long>(blockIdx.x) * room;
  for (int i = thread; i < collected; i += kSelectThreads) {
    const unsigned long long own = from[i];
    if (key_of(own) >= limit.key) entry[atomicAdd(&kept, 1)] = own;
  }
  __syncthreads();
  const int n = kept;
  const int padded = power_of_two_from(n);
  for (int i = n + thread; i < padded; i += kSelectThreads) entry[i] = ~0ULL;
  __syncthreads();
  block_sort(entry, padded);
  write_entries(entry, n, limit, index, value);
}

}  // namespace

/// index [count], value [count]: the kept entries, token by token, ascending by latent. Grid B.
extern "C" __global__ void __launch_bounds__(kSelectThreads, 3)
    batch_write(const float* __restrict__ h, long long F, const BatchState* __restrict__ state,
                long long count, int room, const unsigned long long* __restrict__ candidates,
                const int* __restrict__ found, const int* __restrict__ taken,
                const long long* __restrict__ offsets, long long* __restrict__ index,
                float* __restrict__ value) {
  batch_write_of(h, F, state, count, room, candidates, found, taken, offsets, index, value);
}
extern "C" __global__ void __launch_bounds__(kSelectThreads, 3)
    batch_write_bf16(const unsigned short* __restrict__ h, long long F,
                     const BatchState* __restrict__ state, long long count, int room,
                     const unsigned long long* __restrict__ candidates,
                     const int* __restrict__ found, const int* __restrict__ taken,
                     const long long* __restrict__ offsets, long long* __restrict__ index,
                     float* __restrict__ value) {
  batch_write_of(h, F, state, count, room, candidates, found, taken, offsets, index, value);
}
