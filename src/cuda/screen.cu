// The screened encoder: a bfloat16 product of the tensor cores with a proven error bound finds the
// few pre-activations that TopK could keep, and only these are computed in float32. What is kept,
// and its values, are those of row_topk on the pre-activations that float32 products give.
//
// Launches, W, its bias and k fixed, x [B, D] centred:
//
//     kernel          grid, block     what
//     round_rows      F, 256          W in bfloat16, norms of its rows: when W has changed, unless
//                                     adam_update_rounded wrote them
//     screen_largest  1, 512          the largest of these norms: when W has changed
//     round_rows      B, 256          the same of x
//     (the caller)                    low = bfloat16(x^ W^T) [B, F], sums in float32: with cuBLAS,
//                                     reductions of split sums in bfloat16 must be off
//     screen_rows     B, 512          candidates [B, room] and how many
//     screen_exact    (B, y), 256     their float32 values; any y, 1 is good from 1000 tokens on
//     screen_pick     B, 512          the k largest, by row_topk's rule
//
// The bound. For one token x and one latent w (a row of W) with bias b, let x^ and w^ be x and w
// rounded to bfloat16, x' = x - x^ and w' = w - w^ what is left over, u = 2^-24, and p the product
// of x^ and w^ as the tensor cores compute and store it. Then v = fl(fl(x.w) + b), which
// screen_exact computes, is at most this far from p + b:
//
//     |x.w - x^.w^|        <=  |x'| |w| + |x^| |w'|              (Cauchy-Schwarz)
//     |fl(x.w) - x.w|      <=  g |x| |w|,    g = (D + 16) u / (1 - (D + 16) u): D products and sums
//                              in any order (Higham 2002, 3.1)
//     |fl(x^.w^) - x^.w^|  <=  4 g |x^| |w^|: the products are exact; tensor cores add a few at a
//     time
//                              to a sum, all cut, not rounded, at the last bit of the largest: up
//                              to 2 u of it for each of n products and the sum, so 2 D (1 + 1/n) u
//                              of all together, which no product or partial sum exceeds but |x^|
//                              |w^|
//     |p - fl(x^.w^)|      <=  2^-8 |fl(x^.w^)|  <=  |p| / 255: p is rounded to bfloat16
//     the sum with b       <=  u |v|
//
// with |x^| <= |x| + |x'|, and the same for w. Together |v - (p + b)| <= whole |w| + rounded |w'| +
// |p| / 250 + 1e-6 |b| + 1e-30 (bound_of, share_of, interval_of), whose slack covers u |v|, the
// rounding of the bound and of its ends, and underflow. So v lies in an interval, and the k-th
// largest lower end is a lower bound of the k-th largest v: a latent whose upper end is below it is
// not kept, nor is one whose upper end is not positive. NaN and infinities make intervals that
// exclude nothing. A token with more than `room` candidates, as one that has NaN, is computed as a
// whole by screen_pick.
//
// k <= min(F, 512), D <= 2^20, F < 2^31. All sums are in an order that depends on D alone.

namespace {

constexpr int kMostKept = 512;    // k
constexpr int kCollected = 2048;  // entries of a row in shared memory
constexpr float kOfProduct = 1.0F / 250;
constexpr float kOfBias = 1e-6F;
constexpr float kTiny = 1e-30F;  // underflow of up to 2^20 products and sums, 2^-126 each

/// How far a token's screened pre-activations may be from the exact ones, as shares of a latent's
/// norm and residual.
struct Bound {
  float whole;
  float rounded;
};
__device__ inline Bound bound_of(float norm, float residual, long long D) {
  const float units = static_cast<float>(D + 16) * 0x1p-24F;
  const float g = units / (1 - units);
  const float above = norm + residual;  // not below the norm of the rounded row
  return {1.00001F * (residual + g * norm + 4 * g * above), 1.00001F * (above * (1 + 4 * g))};
}

/// The part of a latent's bound that its norms make.
__device__ inline float share_of(Bound bound, float norm, float residual) {
  return fmaf(bound.whole, norm, bound.rounded * residual);
}

struct Interval {
  float lower;
  float upper;
};
/// Of the exact pre-activation. A larger share never makes it smaller, rounding included.
__device__ inline Interval interval_of(float p, float bias, float share) {
  const float error = share + fmaf(kOfProduct, fabsf(p), fmaf(kOfBias, fabsf(bias), kTiny));
  const float middle = p + bias;
  return {middle - error, middle + error};
}

/// Whether a number up to `upper` may be positive and not below `limit`. NaN may.
__device__ inline bool reaches(float upper, float limit) { return !(upper < limit || upper <= 0); }

}  // namespace

/// low [rows, D]: x [rows, D] rounded to bfloat16; norm [rows], residual [rows]: Euclidean norms of
/// rows and of what rounding leaves over, not below the truth, summed in float64; infinite if a row
/// has NaN or infinities. Grid rows, block 256. 6 D bytes a row.
extern "C" __global__ void __launch_bounds__(256)
    round_rows(const float* __restrict__ x, long long D, unsigned short* __restrict__ low,
               float* __restrict__ norm, float* __restrict__ residual) {
  x += blockIdx.x * D;
  low += blockIdx.x * D;
  Squares squares;
  if (D % 4 == 0) {
    const float4* from = reinterpret_cast<const float4*>(x);
    ushort4* to = reinterpret_cast<ushort4*>(low);
    const int groups = static_cast<int>(D / 4);
#pragma unroll 2
    for (int i = static_cast<int>(threadIdx.x); i < groups; i += 256) {
      to[i] = round_four(__ldg(from + i), squares);
    }
  } else {
    for (int i = static_cast<int>(threadIdx.x); i < D; i += 256) low[i] = round_one(x[i], squares);
  }
  squares.whole = block_sum(squares.whole);
  squares.residual = block_sum(squares.residual);
  if (threadIdx.x != 0) return;
  norm[blockIdx.x] = norm_above(squares.whole);
  residual[blockIdx.x] = norm_above(squares.residual);
}

/// largest [2]: the largest of norm [n] and of residual [n]. Grid 1, block 512.
extern "C" __global__ void __launch_bounds__(kSelectThreads)
    screen_largest(const float* __restrict__ norm, const float* __restrict__ residual, long long n,
                   float* __restrict__ largest) {
  __shared__ unsigned most[2];
  if (threadIdx.x < 2) most[threadIdx.x] = 0;
  __syncthreads();
  unsigned whole = 0;
  unsigned rest = 0;
  for (long long i = threadIdx.x; i < n; i += kSelectThreads) {
    whole = max(whole, __float_as_uint(norm[i]));  // not negative: in order of their bits
    rest = max(rest, __float_as_uint(residual[i]));
  }
  atomicMax(&most[0], whole);
  atomicMax(&most[1], rest);
  __syncthreads();
  if (threadIdx.x < 2) largest[threadIdx.x] = __uint_as_float(most[threadIdx.x]);
}

namespace {

/// Per latent, [F] each.
struct Latents {
  const float* bias;
  const float* norm;
  const float* residual;
};

/// visit(p, bias, latent) of a row of products, in no order.
template <class Visit>
__device__ inline void visit_products(const unsigned short* row, const float* bias, int width,
                                      const Visit& visit) {
  constexpr int kAhead = 4;
  const int thread = static_cast<int>(threadIdx.x);
  if (width % 4 != 0) {
    for (int i = thread; i < width; i += kSelectThreads) visit(from_bf16(row[i]), bias[i], i);
    return;
  }
  const ushort4* four = reinterpret_cast<const ushort4*>(row);
  const float4* biases = reinterpret_cast<const float4*>(bias);
  const int groups = width / 4;
  for (int base = thread; base < groups; base += kSelectThreads * kAhead) {
    ushort4 p[kAhead];
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      p[j] = __ldg(four + min(base + j * kSelectThreads, groups - 1));
    }
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const int group = base + j * kSelectThreads;
      if (group >= groups) break;
      const float4 b = __ldg(biases + group);
      visit(from_bf16(p[j].x), b.x, 4 * group);
      visit(from_bf16(p[j].y), b.y, 4 * group + 1);
      visit(from_bf16(p[j].z), b.z, 4 * group + 2);
      visit(from_bf16(p[j].w), b.w, 4 * group + 3);
    }
  }
}

}  // namespace

/// candidates [B, room]: the latents of a token that could be among its k largest, ascending;
/// counts [B]: how many, -1 if more than room. low [B, F] bfloat16, norm_x and residual_x [B],
/// bias, norm_w and residual_w [F], largest [2] of these. Grid B, block 512.
///
/// Like row_topk: a floor of the k-th lower end by a sample, one read that collects what reaches
/// it, the exact k-th lower end among these. The read compares with the largest norms first, so
/// that a latent's own are read of few: 2 F bytes of the row and 4 F of biases, which stay in L2.
extern "C" __global__ void __launch_bounds__(kSelectThreads, 2)
    screen_rows(const unsigned short* __restrict__ low, const float* __restrict__ bias,
                const float* __restrict__ norm_x, const float* __restrict__ residual_x,
                const float* __restrict__ norm_w, const float* __restrict__ residual_w,
                const float* __restrict__ largest, long long F, int k, long long D, int room,
                long long* __restrict__ candidates, int* __restrict__ counts) {
  __shared__ union {
    unsigned long long entry[kCollected];  // latent and key of the lower end
    unsigned sample[2 * kCollected];
  } s;
  __shared__ float upper[kCollected];
  __shared__ unsigned histogram[kBins];
  __shared__ int collected;
  __shared__ int above_floor;
  const int width = static_cast<int>(F);
  const int thread = static_cast<int>(threadIdx.x);
  const unsigned short* row = low + blockIdx.x * F;
  candidates += static_cast<long long>(blockIdx.x) * room;
  const Bound bound = bound_of(norm_x[blockIdx.x], residual_x[blockIdx.x], D);
  const auto interval = [&](float p, float b, int latent) {
    return interval_of(p, b, share_of(bound, __ldg(norm_w + latent), __ldg(residual_w + latent)));
  };

  unsigned floor = 0;  // a short row has room
  if (width > kCollected) {
    const int chunks = min(width / (16 * kChunk), 2 * kCollected / kChunk);
    const int step = width / chunks;
    const int sampled = chunks * kChunk;
    for (int i = thread; i < sampled; i += kSelectThreads) {
      const int latent = i / kChunk * step + i % kChunk;
      s.sample[i] = key_of(interval(from_bf16(row[latent]), bias[latent], latent).lower);
    }
    const float share = static_cast<float>(sampled) / static_cast<float>(width);
    floor = radix_select(
                histogram, static_cast<int>(rank_in_sample(k, share, 4)),
                [&](const auto& visit) {
                  for (int i = thread; i < sampled; i += kSelectThreads) visit(s.sample[i]);
                },
                2)
                .key;
  }
  if (thread == 0) collected = above_floor = 0;
  __syncthreads();
  const float least = __uint_as_float(floor);
  const float most = share_of(bound, largest[0], largest[1]);
  visit_products(row, bias, width, [&](float p, float b, int latent) {
    if (!reaches(interval_of(p, b, most).upper, least)) return;
    const Interval own = interval(p, b, latent);
    if (!reaches(own.upper, least)) return;
    const unsigned key = key_of(own.lower);
    const int at = atomicAdd(&collected, 1);  // in any order: they are sorted below
    if (key >= floor) atomicAdd(&above_floor, 1);
    if (at >= kCollected) return;
    s.entry[at] = entry_of(latent, key);
    upper[at] = own.upper;
  });
  __syncthreads();
  const int found = collected;
  if (found > kCollected || (floor > 0 && above_floor < k)) {  // rare: read the row again
    const Limit limit = radix_select(histogram, k, [&](const auto& visit) {
      visit_products(row, bias, width, [&](float p, float b, int latent) {
        visit(key_of(interval(p, b, latent).lower));
      });
    });
    const float from = __uint_as_float(limit.key);
    const auto candidate = [&](int latent) {
      return latent < width &&
                     reaches(interval(from_bf16(row[latent]), bias[latent], latent).upper, from)
                 ? 1.0F
                 : 0.0F;
    };
    const Passed passed = visit_in_order(
        width, 0,
        [&](int latent) {
          return make_float4(candidate(latent), candidate(latent + 1), candidate(latent + 2),
                             candidate(latent + 3));
        },
        [&](float is, int) { return is > 0 ? kAbove : kNeither; },
        [&](float, int latent, unsigned, Passed before) {
          if (before.above < room) candidates[before.above] = latent;
        },
        [&](Passed before) { return before.above > room; });
    if (thread == 0) counts[blockIdx.x] = passed.above > room ? -1 : passed.above;
    return;
  }
  const Limit limit = radix_select(histogram, k, [&](const auto& visit) {
    for (int i = thread; i < found; i += kSelectThreads) visit(key_of(s.entry[i]));
  });
  const float from = __uint_as_float(limit.key);
  unsigned long long own[kCollected / kSelectThreads];
#pragma unroll
  for (int j = 0; j < kCollected / kSelectThreads; ++j) {
    const int i = thread + j * kSelectThreads;
    own[j] = i < found && reaches(upper[i], from) ? s.entry[i] : ~0ULL;
  }
  if (thread == 0) collected = 0;
  __syncthreads();
#pragma unroll
  for (int j = 0; j < kCollected / kSelectThreads; ++j) {
    if (own[j] != ~0ULL) s.entry[atomicAdd(&collected, 1)] = own[j];
  }
  __syncthreads();
  const int count = collected;
  if (thread == 0) counts[blockIdx.x] = count > room ? -1 : count;
  if (count > room) return;
  const int size = power_of_two_from(count);
  for (int i = count + thread; i < size; i += kSelectThreads) s.entry[i] = ~0ULL;
  __syncthreads();
  block_sort(s.entry, size);
  for (int i = thread; i < count; i += kSelectThreads) candidates[i] = place_of(s.entry[i]);
}

namespace {

/// Numbers 4 i to 4 i + 3 of a row of n, 0 beyond it.
template <bool kAligned>
__device__ inline float4 group_of(const float* row, int i, int n) {
  if (kAligned) return __ldg(reinterpret_cast<const float4*>(row) + i);
  const int at = 4 * i;
  return make_float4(row[at], at + 1 < n ? row[at + 1] : 0.0F, at + 2 < n ? row[at + 2] : 0.0F,
                     at + 3 < n ? row[at + 3] : 0.0F);
}
template <bool kAligned>
__device__ inline float dot_of(const float* x, const float* w, int n) {
  float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll 4
  for (int i = lane_of_thread(); i < (n + 3) / 4; i += kWarp) {
    const float4 a = group_of<kAligned>(x, i, n);
    const float4 b = group_of<kAligned>(w, i, n);
    sum.x = fmaf(a.x, b.x, sum.x);
    sum.y = fmaf(a.y, b.y, sum.y);
    sum.z = fmaf(a.z, b.z, sum.z);
    sum.w = fmaf(a.w, b.w, sum.w);
  }
  return warp_sum((sum.x + sum.y) + (sum.z + sum.w));
}

/// A pre-activation in float32, the same bits in all lanes. Products are summed with one rounding
/// each: number d by component d % 4 of lane d / 4 % 32, in order; then the components, x and y, z
/// and w, the two; then the lanes as warp_sum does; then the bias.
__device__ inline float pre_activation(const float* x, const float* w, float bias, int D) {
  return (D % 4 == 0 ? dot_of<true>(x, w, D) : dot_of<false>(x, w, D)) + bias;
}

}  // namespace

/// values [B, room]: pre-activations of the candidates in float32, -infinity where there is none. A
/// warp a candidate. Grid (B, any), block 256. 4 D bytes a candidate.
extern "C" __global__ void __launch_bounds__(256)
    screen_exact(const float* __restrict__ x, const float* __restrict__ W,
                 const float* __restrict__ bias, const long long* __restrict__ candidates,
                 const int* __restrict__ counts, int room, long long D,
                 float* __restrict__ values) {
  const int warps = static_cast<int>(gridDim.y) * warps_of_block();
  const int count = counts[blockIdx.x];
  x += blockIdx.x * D;
  candidates += static_cast<long long>(blockIdx.x) * room;
  values += static_cast<long long>(blockIdx.x) * room;
  int i = static_cast<int>(blockIdx.y) * warps_of_block() + warp_of_thread();
  for (; i < count; i += warps) {
    const long long latent = candidates[i];
    const float own = pre_activation(x, W + latent * D, bias[latent], static_cast<int>(D));
    if (lane_of_thread() == 0) values[i] = own;
  }
  const int first = max(count, 0);
  const int threads = static_cast<int>(gridDim.y * blockDim.x);
  for (i = first + static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x); i < room;
       i += threads) {
    values[i] = -infinity();
  }
}

namespace {

/// Of n entries, ascending by place, keeps the k largest positive ones in place; how many these
/// are.
__device__ inline int keep_largest(unsigned long long* entry, int n, int k, unsigned* histogram) {
  Limit limit = radix_select(histogram, k, [&](const auto& visit) {
    for (int i = static_cast<int>(threadIdx.x); i < n; i += kSelectThreads) visit(key_of(entry[i]));
  });
  if (limit.key == 0) limit.ties = 0;  // zeros are filled in at the end
  Passed passed;
  for (int base = 0; base < n; base += kSelectThreads) {
    const int i = base + static_cast<int>(threadIdx.x);
    const unsigned long long own = i < n ? entry[i] : 0ULL;
    const unsigned key = key_of(own);
    const unsigned kind = i >= n             ? kNeither
                          : key > limit.key  ? kAbove
                          : key == limit.key ? kEqual
                                             : kNeither;
    const Scanned<unsigned> scanned = block_scan(kind);  // all have read before one writes
    const int above = passed.above + static_cast<int>(scanned.before & 0xFFFFU);
    const int equal = passed.equal + static_cast<int>(scanned.before >> 16);
    if (kind == kAbove || (kind == kEqual && equal < limit.ties)) {
      entry[above + min(equal, limit.ties)] = own;
    }
    passed.above += static_cast<int>(scanned.total & 0xFFFFU);
    passed.equal += static_cast<int>(scanned.total >> 16);
  }
  __syncthreads();
  return passed.above + min(passed.equal, limit.ties);
}

/// Writes `kept` entries, ascending by place, and zeros at the lowest other places up to k.
__device__ inline void write_and_fill(const unsigned long long* entry, int kept, int k,
                                      long long* index, float* value) {
  __shared__ unsigned taken[kMostKept / 32];
  const int thread = static_cast<int>(threadIdx.x);
  const int missing = k - kept;
  if (thread < kMostKept / 32) taken[thread] = 0;
  __syncthreads();
  if (thread < kept) {
    const int place = place_of(entry[thread]);
    // As many zeros come before as there are free places before, up to all.
    const int at = thread + min(place - thread, missing);
    index[at] = place;
    value[at] = __uint_as_float(key_of(entry[thread]));
    if (place < k) atomicOr(&taken[place / 32], 1U << (place % 32));
  }
  __syncthreads();
  const int free = thread < k && (taken[thread / 32] >> (thread % 32) & 1U) == 0 ? 1 : 0;
  const int before = block_scan(free).before;
  if (free != 0 && before < missing) {  // all places before this one are kept or filled, too
    index[thread] = thread;
    value[thread] = 0;
  }
}

}  // namespace

/// index [B, k], value [B, k]: of each token the k largest of max(v, 0), by row_topk's rule, v
/// being values [B, room] of its candidates. Where counts is -1 the block computes all F of them, 4
/// F D bytes. Grid B, block 512.
extern "C" __global__ void __launch_bounds__(kSelectThreads, 2)
    screen_pick(const float* __restrict__ x, const float* __restrict__ W,
                const float* __restrict__ bias, const long long* __restrict__ candidates,
                const int* __restrict__ counts, const float* __restrict__ values, int room,
                long long F, int k, long long D, long long* __restrict__ index,
                float* __restrict__ value) {
  __shared__ unsigned long long entry[kMostKept + kCollected];
  __shared__ unsigned histogram[kBins];
  const int count = counts[blockIdx.x];
  const int total = count < 0 ? static_cast<int>(F) : count;
  const long long first = static_cast<long long>(blockIdx.x) * room;
  x += blockIdx.x * D;
  int kept = 0;
  for (int base = 0; base < total; base += kCollected) {
    const int n = min(kCollected, total - base);
    if (count < 0) {
      for (int i = warp_of_thread(); i < n; i += warps_of_block()) {
        const long long latent = base + i;
        const float own = pre_activation(x, W + latent * D, bias[latent], static_cast<int>(D));
        if (lane_of_thread() == 0) entry[kept + i] = entry_of(base + i, key_of(own));
      }
    } else {
      for (int i = static_cast<int>(threadIdx.x); i < n; i += kSelectThreads) {
        const int latent = static_cast<int>(candidates[first + base + i]);
        entry[kept + i] = entry_of(latent, key_of(values[first + base + i]));
      }
    }
    __syncthreads();
    kept = keep_largest(entry, kept + n, k, histogram);
  }
  index += static_cast<long long>(blockIdx.x) * k;
  value += static_cast<long long>(blockIdx.x) * k;
  write_and_fill(entry, kept, k, index, value);
}
