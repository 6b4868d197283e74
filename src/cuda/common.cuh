// What all kernels share: put before each .cu file as text, so it includes nothing either.
//
// Everything is in an anonymous namespace. Collectives (names with warp_ or block_) are called by
// all threads of the warp or the block; a block's size is a multiple of 32.

namespace {

constexpr unsigned kWholeWarp = 0xFFFFFFFFU;
constexpr int kWarp = 32;

__device__ inline int lane_of_thread() { return static_cast<int>(threadIdx.x) & (kWarp - 1); }
__device__ inline int warp_of_thread() { return static_cast<int>(threadIdx.x) / kWarp; }
__device__ inline int warps_of_block() { return static_cast<int>(blockDim.x) / kWarp; }

__device__ inline float infinity() { return __uint_as_float(0x7F800000U); }

/// The nearest bfloat16's bits, ties to even; NaN stays NaN.
__device__ inline unsigned short to_bf16(float x) {
  const unsigned bits = __float_as_uint(x);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return static_cast<unsigned short>(bits >> 16 | 0x40U);
  return static_cast<unsigned short>((bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16);
}
__device__ inline float from_bf16(unsigned short bits) {
  return __uint_as_float(static_cast<unsigned>(bits) << 16);
}

/// The two numbers of a word of bfloat16, that of the lower address first.
__device__ inline float first_of(unsigned word) { return __uint_as_float(word << 16); }
__device__ inline float second_of(unsigned word) { return __uint_as_float(word & 0xFFFF0000U); }

/// Of a row and of what rounding it to bfloat16 leaves over: sums of squares.
struct Squares {
  double whole = 0;
  double residual = 0;
};
__device__ inline unsigned short round_one(float x, Squares& squares) {
  const unsigned short low = to_bf16(x);
  const double left = static_cast<double>(x) - static_cast<double>(from_bf16(low));
  squares.whole += static_cast<double>(x) * static_cast<double>(x);
  squares.residual += left * left;
  return low;
}
__device__ inline ushort4 round_four(const float4& x, Squares& squares) {
  ushort4 low;
  low.x = round_one(x.x, squares);
  low.y = round_one(x.y, squares);
  low.z = round_one(x.z, squares);
  low.w = round_one(x.w, squares);
  return low;
}

/// The root of a sum of squares, rounded up; infinite if it is not a finite float.
__device__ inline float norm_above(double squares) {
  const double root = sqrt(squares);
  if (root == 0) return 0;
  if (!(root < 3.4e38)) return infinity();
  return __uint_as_float(__float_as_uint(static_cast<float>(root)) + 1);
}

/// Sum over the warp's lanes, the same bits in all of them: pairs, then pairs of pairs, ...
template <class T>
__device__ inline T warp_sum(T value) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) {
    value += __shfl_xor_sync(kWholeWarp, value, step);
  }
  return value;
}

/// Sum over the lanes up to and including this one.
template <class T>
__device__ inline T warp_inclusive_scan(T value) {
  const int lane = lane_of_thread();
#pragma unroll
  for (int step = 1; step < kWarp; step *= 2) {
    const T other = __shfl_up_sync(kWholeWarp, value, step);
    if (lane >= step) value += other;
  }
  return value;
}

/// Sum over the block, the same bits in all threads: within warps, then over the warps likewise.
template <class T>
__device__ inline T block_sum(T value) {
  __shared__ T of_warp[kWarp];
  value = warp_sum(value);
  if (lane_of_thread() == 0) of_warp[warp_of_thread()] = value;
  __syncthreads();
  const int lane = lane_of_thread();
  value = warp_sum(lane < warps_of_block() ? of_warp[lane] : T(0));
  __syncthreads();  // before the next call writes
  return value;
}

/// Sum over the threads before this one, and over all.
template <class T>
struct Scanned {
  T before;
  T total;
};
template <class T>
__device__ inline Scanned<T> block_scan(T value) {
  __shared__ T of_warp[kWarp];
  const int lane = lane_of_thread();
  const T inclusive = warp_inclusive_scan(value);
  if (lane == kWarp - 1) of_warp[warp_of_thread()] = inclusive;
  __syncthreads();
  const T warps = warp_inclusive_scan(lane < warps_of_block() ? of_warp[lane] : T(0));
  const T total = __shfl_sync(kWholeWarp, warps, kWarp - 1);
  const int warp = warp_of_thread();
  const T earlier = __shfl_sync(kWholeWarp, warps, warp == 0 ? 0 : warp - 1);
  __syncthreads();  // before the next call writes
  return {(warp == 0 ? T(0) : earlier) + inclusive - value, total};
}

// ---- Selection: blocks of kSelectThreads threads.

constexpr int kSelectThreads = 512;
constexpr int kBins = 2048;  // of a histogram in shared memory

/// Positive floats in order of their bits; everything else, NaN included, is 0.
__device__ inline unsigned key_of(float h) { return h > 0 ? __float_as_uint(h) : 0U; }

/// An entry's place in a row and its key, in order of the place.
__device__ inline unsigned long long entry_of(int place, unsigned key) {
  return static_cast<unsigned long long>(static_cast<unsigned>(place)) << 32 | key;
}
__device__ inline int place_of(unsigned long long entry) { return static_cast<int>(entry >> 32); }
__device__ inline unsigned key_of(unsigned long long entry) {
  return static_cast<unsigned>(entry & 0xFFFFFFFFULL);
}

/// Of things that lie in the order of the threads, `own` each, the rank-th (from 1): whose it is
/// and which of that thread's. thread is -1 if there are fewer, and rank what is still missing.
template <class T>
struct Ranked {
  int thread;
  T rank;
};
template <class T>
__device__ inline Ranked<T> block_rank(T own, T rank) {
  __shared__ int thread;
  __shared__ T rest;
  const Scanned<T> scanned = block_scan(own);
  if (scanned.total < rank && threadIdx.x == 0) {
    thread = -1;
    rest = rank - scanned.total;
  }
  if (scanned.before < rank && rank <= scanned.before + own) {
    thread = static_cast<int>(threadIdx.x);
    rest = rank - scanned.before;
  }
  __syncthreads();
  return {thread, rest};  // the next call writes after the barriers of its scan
}

/// The smallest key of the largest ones, and how many equal to it are among them.
struct Limit {
  unsigned key;
  int ties;
};

/// The limit of the `count` largest keys that `each(visit)` visits. If fewer are not 0: key 0, and
/// as many ties as are missing. Digits of 11, 10 and 10 bits from the top: three calls of `each`;
/// with `digits` 2 only the leading 21 bits of the limit, the rest 0.
template <class Each>
__device__ inline Limit radix_select(unsigned* histogram, int count, const Each& each,
                                     int digits = 3) {
  constexpr int kOwn = kBins / kSelectThreads;
  unsigned rank = static_cast<unsigned>(count);
  unsigned prefix = 0;
  for (int shift = 20; digits > 0; shift -= 10, --digits) {
    for (int i = static_cast<int>(threadIdx.x); i < kBins; i += kSelectThreads) histogram[i] = 0;
    __syncthreads();
    const unsigned mask = shift == 20 ? 2047U : 1023U;
    each([&](unsigned key) {
      const bool counts = shift == 20 ? key != 0 : key != 0 && key >> (shift + 10) == prefix;
      if (counts) atomicAdd(&histogram[key >> shift & mask], 1U);
    });
    __syncthreads();
    const int top = kBins - 1 - kOwn * static_cast<int>(threadIdx.x);  // the first has the highest
    unsigned own = 0;
#pragma unroll
    for (int j = 0; j < kOwn; ++j) own += histogram[top - j];
    const Ranked<unsigned> found = block_rank(own, rank);
    if (found.thread < 0) return {0U, static_cast<int>(found.rank)};
    rank = found.rank;
    int bin = kBins - 1 - kOwn * found.thread;
    while (rank > histogram[bin]) rank -= histogram[bin--];
    prefix = prefix << 10 | static_cast<unsigned>(bin);
    __syncthreads();  // before the histogram is cleared
    if (digits == 1) return {prefix << shift, static_cast<int>(rank)};
  }
  return {0U, 0};
}

constexpr int kChunk = 32;  // numbers of a sample that lie together: 128 bytes

/// The share's part of `count`, and enough more that a sample has seldom fewer of the largest.
__device__ inline long long rank_in_sample(long long count, float share, float deviations) {
  const float expected = static_cast<float>(count) * share;
  return static_cast<long long>(expected + deviations * sqrtf(expected)) + 4;
}

__device__ inline int power_of_two_from(int n) {
  int power = 1;
  while (power < n) power *= 2;
  return power;
}

/// Ascending, in shared memory. n is a power of two.
__device__ inline void block_sort(unsigned long long* entry, int n) {
  for (int size = 2; size <= n; size *= 2) {
    for (int step = size / 2; step > 0; step /= 2) {
      for (int i = static_cast<int>(threadIdx.x); i < n / 2; i += kSelectThreads) {
        const int low = 2 * i - (i & (step - 1));
        const unsigned long long a = entry[low];
        const unsigned long long b = entry[low + step];
        if ((a > b) == ((low & size) == 0)) {
          entry[low] = b;
          entry[low + step] = a;
        }
      }
      if (n > 2 * kWarp) {
        __syncthreads();
      } else {
        __syncwarp();  // all is the first warp's
      }
    }
  }
  __syncthreads();
}

// A row's numbers are float, or the bits of bfloat16, whose values float holds: T.

__device__ inline float number_of(float x) { return x; }
__device__ inline float number_of(unsigned short bits) { return from_bf16(bits); }

/// 16 bytes of a row.
template <class T>
struct Vector;
template <>
struct Vector<float> {
  using Type = float4;
};
template <>
struct Vector<unsigned short> {
  using Type = uint4;
};

/// visit(number, place) of those in 16 bytes, the first of which is at `place`.
template <class Visit>
__device__ inline void visit_vector(const float4& h, int place, const Visit& visit) {
  visit(h.x, place);
  visit(h.y, place + 1);
  visit(h.z, place + 2);
  visit(h.w, place + 3);
}
template <class Visit>
__device__ inline void visit_two(unsigned word, int place, const Visit& visit) {
  visit(first_of(word), place);
  visit(second_of(word), place + 1);
}
template <class Visit>
__device__ inline void visit_vector(const uint4& h, int place, const Visit& visit) {
  visit_two(h.x, place, visit);
  visit_two(h.y, place + 2, visit);
  visit_two(h.z, place + 4, visit);
  visit_two(h.w, place + 6, visit);
}

/// How many numbers lie between a row and the boundary of `kNumbers` numbers before it.
template <int kNumbers, class T>
__device__ inline int numbers_before(const T* row) {
  return static_cast<int>(reinterpret_cast<unsigned long long>(row) / sizeof(T) & (kNumbers - 1));
}

/// visit(number, place) of a row, in no order and by 16-byte loads wherever the row begins, three
/// or four in flight a thread.
template <class T, class Visit>
__device__ inline void visit_row(const T* row, int width, const Visit& visit) {
  using V = typename Vector<T>::Type;
  constexpr int kNumbers = static_cast<int>(sizeof(V) / sizeof(T));
  constexpr int kAhead = kNumbers == 4 ? 4 : 3;  // a fourth of eight would spill
  const int thread = static_cast<int>(threadIdx.x);
  const int threads = static_cast<int>(blockDim.x);
  const int head = min(width, (kNumbers - numbers_before<kNumbers>(row)) & (kNumbers - 1));
  const V* vector = reinterpret_cast<const V*>(row + head);
  const int groups = (width - head) / kNumbers;
  if (thread < head) visit(number_of(row[thread]), thread);
  for (int base = thread; base < groups; base += threads * kAhead) {
    V h[kAhead];
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      h[j] = __ldg(vector + min(base + j * threads, groups - 1));  // no branch to wait at
    }
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const int group = base + j * threads;
      if (group >= groups) break;
      visit_vector(h[j], head + kNumbers * group, visit);
    }
  }
  const int place = head + kNumbers * groups + thread;
  if (place < width) visit(number_of(row[place]), place);
}

/// Four numbers at an address that is a multiple of their size.
__device__ inline float4 four_at(const float* at) {
  return __ldg(reinterpret_cast<const float4*>(at));
}
__device__ inline float4 four_at(const unsigned short* at) {
  const ushort4 bits = __ldg(reinterpret_cast<const ushort4*>(at));
  return make_float4(from_bf16(bits.x), from_bf16(bits.y), from_bf16(bits.z), from_bf16(bits.w));
}

/// Numbers `place` to `place` + 3 of a row, what lies outside as 0. numbers_before<4>(row + place)
/// is 0.
template <class T>
__device__ inline float4 load_four(const T* row, int place, int width) {
  if (place >= 0 && place + 4 <= width) return four_at(row + place);
  float4 four = make_float4(0, 0, 0, 0);
  if (place >= 0 && place < width) four.x = number_of(row[place]);
  if (place >= -1 && place + 1 < width) four.y = number_of(row[place + 1]);
  if (place >= -2 && place + 2 < width) four.z = number_of(row[place + 2]);
  if (place >= -3 && place + 3 < width) four.w = number_of(row[place + 3]);
  return four;
}

/// Kinds of numbers in a row: neither, above a limit, equal to it. Added up, 16 bits each.
constexpr unsigned kNeither = 0;
constexpr unsigned kAbove = 1;
constexpr unsigned kEqual = 1U << 16;
struct Passed {
  int above = 0;
  int equal = 0;
};

/// Visits places 0 to width - 1 in order, 4 a thread and round: load(place) gives numbers of
/// `place` to `place` + 3, where `place` + skew is a multiple of 4; kind(number, place) says what
/// each is; put(number, place, kind, passed) is called of those above or equal, `passed` being how
/// many came before. Ends early once done(passed).
template <class Load, class Kind, class Put, class Done>
__device__ inline Passed visit_in_order(int width, int skew, const Load& load, const Kind& kind,
                                        const Put& put, const Done& done) {
  Passed passed;
  int place = 4 * static_cast<int>(threadIdx.x) - skew;
  float4 next = load(place);
  for (int base = 0; base < width + skew; base += 4 * kSelectThreads, place += 4 * kSelectThreads) {
    const float number[4] = {next.x, next.y, next.z, next.w};
    next = load(place + 4 * kSelectThreads);  // in flight while the block counts
    unsigned is[4];
    unsigned own = 0;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const bool inside = place + j >= 0 && place + j < width;
      is[j] = inside ? kind(number[j], place + j) : kNeither;
      own += is[j];
    }
    const Scanned<unsigned> scanned = block_scan(own);
    unsigned before = scanned.before;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (is[j] == kNeither) continue;
      put(number[j], place + j, is[j],
          Passed{passed.above + static_cast<int>(before & 0xFFFFU),
                 passed.equal + static_cast<int>(before >> 16)});
      before += is[j];
    }
    passed.above += static_cast<int>(scanned.total & 0xFFFFU);
    passed.equal += static_cast<int>(scanned.total >> 16);
    if (done(passed)) break;
  }
  return passed;
}

/// Writes those of a row that exceed the limit, and of those equal to it the first ones, in order.
template <class T>
__device__ inline void write_row_in_order(const T* row, int width, Limit limit, int count,
                                          long long* index, float* value) {
  visit_in_order(
      width, numbers_before<4>(row), [&](int place) { return load_four(row, place, width); },
      [&](float h, int) {
        const unsigned key = key_of(h);
        return key > limit.key ? kAbove : key == limit.key ? kEqual : kNeither;
      },
      [&](float h, int place, unsigned kind, Passed passed) {
        if (kind == kEqual && passed.equal >= limit.ties) return;
        const int at = passed.above + min(passed.equal, limit.ties);
        index[at] = place;
        value[at] = h > 0 ? h : 0.0F;
      },
      [&](Passed passed) { return passed.above + min(passed.equal, limit.ties) >= count; });
}

/// Of n entries in shared memory, in order of place, writes those above the limit and the first
/// ones equal to it.
__device__ inline void write_entries(const unsigned long long* entry, int n, Limit limit,
                                     long long* index, float* value) {
  Passed passed;
  for (int base = 0; base < n; base += kSelectThreads) {
    const int i = base + static_cast<int>(threadIdx.x);
    const unsigned key = i < n ? key_of(entry[i]) : 0U;
    const unsigned kind = i >= n             ? kNeither
                          : key > limit.key  ? kAbove
                          : key == limit.key ? kEqual
                                             : kNeither;
    const Scanned<unsigned> scanned = block_scan(kind);
    const int equal = passed.equal + static_cast<int>(scanned.before >> 16);
    const int above = passed.above + static_cast<int>(scanned.before & 0xFFFFU);
    if (kind == kAbove || (kind == kEqual && equal < limit.ties)) {
      const int at = above + min(equal, limit.ties);
      index[at] = place_of(entry[i]);
      value[at] = __uint_as_float(key);
    }
    passed.above += static_cast<int>(scanned.total & 0xFFFFU);
    passed.equal += static_cast<int>(scanned.total >> 16);
  }
}

}  // namespace
