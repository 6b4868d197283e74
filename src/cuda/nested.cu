// Errors of all nested prefixes of every token, and their gradients: nested_error.h has the
// formulas.
//
// A pattern as in sparse.cu; order [nnz]: positions in the pattern, token by token in order of
// rank; chance [F] float64. With entries 1 .. n of a token in that order, q_m the chance of entry m
// and q_0 = 1: e_0 = x - bias, e_m = e_(m-1) - f_m d_m, p_m = q_m - q_(m+1), p_n = q_n, and s_m is
// the sum of p_m' e_m' over m' >= m.
//
// A block has columns of one token, a thread one unit of them: `_4` four columns, which need D % 4
// == 0 and 16-byte aligned arrays, `_s` one. It goes through the entries there and back, and finds
// the errors again on the way back by adding what was taken away, so that none is kept. What
// W_dec's gradient needs, s_m of every entry, is [nnz, D]: the caller takes a slice of columns at a
// time, of which all sums are independent, but for the dots.

namespace {

constexpr int kNestedThreads = 256;  // of a block, at most
constexpr int kNestedStage = 64;     // entries in shared memory at a time
constexpr int kNestedAhead = 4;      // rows that a thread has under way

/// A unit of columns.
template <class V>
struct Columns;
template <>
struct Columns<float> {
  static __device__ inline float minus(float a, float b) { return a - b; }
  static __device__ inline float zero() { return 0.0F; }
  static __device__ inline void add(float& sum, float scale, float x) { sum = fmaf(scale, x, sum); }
  static __device__ inline float dot(float a, float b) { return a * b; }
};
template <>
struct Columns<float4> {
  static __device__ inline float4 minus(const float4& a, const float4& b) {
    return make_float4(a.x - b.x, a.y - b.y, a.z - b.z, a.w - b.w);
  }
  static __device__ inline float4 zero() { return make_float4(0, 0, 0, 0); }
  static __device__ inline void add(float4& sum, float scale, const float4& x) {
    sum.x = fmaf(scale, x.x, sum.x);
    sum.y = fmaf(scale, x.y, sum.y);
    sum.z = fmaf(scale, x.z, sum.z);
    sum.w = fmaf(scale, x.w, sum.w);
  }
  static __device__ inline float dot(const float4& a, const float4& b) {
    return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, a.x * b.x)));
  }
};

/// Of entries of a token, in order of rank, what a thread needs of each.
struct StagedEntries {
  float value[kNestedStage];
  float weight[kNestedStage];     // of the error before this entry is taken away
  long long row[kNestedStage];    // its latent
  long long entry[kNestedStage];  // in the pattern
};

struct NestedPattern {
  const float* values;
  const long long* indices;
  const long long* order;
  const double* chance;

  __device__ inline double chance_at(long long place) const {
    return chance[indices[order[place]]];
  }
  /// Entries `first` to `first` + count - 1 of the token that begins at `begin`.
  __device__ inline void stage(long long begin, long long first, int count,
                               StagedEntries& staged) const {
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) {
      const long long entry = order[first + i];
      const long long latent = indices[entry];
      const double before = first + i == begin ? 1.0 : chance_at(first + i - 1);
      staged.value[i] = values[entry];
      staged.weight[i] = static_cast<float>(before - chance[latent]);
      staged.row[i] = latent;
      staged.entry[i] = entry;
    }
    __syncthreads();
  }
};

/// Calls visit(i, row) for i from 0 to count - 1, or backwards, `row` being the unit of entry i.
/// Loads are unconditional, so that some are under way at once.
template <bool kBack, class V, class Visit>
__device__ inline void visit_staged(const StagedEntries& staged, const V* table, int units,
                                    int count, const Visit& visit) {
#pragma unroll 1
  for (int base = 0; base < count; base += kNestedAhead) {
    V row[kNestedAhead];
#pragma unroll
    for (int a = 0; a < kNestedAhead; ++a) {
      const int i = min(base + a, count - 1);
      row[a] = __ldg(table + staged.row[kBack ? count - 1 - i : i] * units);
    }
#pragma unroll
    for (int a = 0; a < kNestedAhead; ++a) {
      if (base + a >= count) break;
      visit(kBack ? count - 1 - (base + a) : base + a, row[a]);
    }
  }
}

struct NestedOut {
  double* squares;  // [gridDim.y, B]
  float* x_hat;     // [B, D]
  float* whole;     // [B, D] s_0; nullptr: no gradients
  float* later;     // [nnz, columns] s_m
  float* dots;      // [gridDim.y, nnz]
};

template <class V>
__device__ inline void nested_tile(const float* __restrict__ x, const float* __restrict__ bias,
                                   const NestedPattern& pattern,
                                   const long long* __restrict__ offsets,
                                   const float* __restrict__ W, long long D, long long column,
                                   long long columns, const NestedOut& out) {
  using C = Columns<V>;
  constexpr int kOfUnit = static_cast<int>(sizeof(V) / sizeof(float));
  __shared__ StagedEntries staged;
  __shared__ float partial[kNestedThreads / kWarp][kNestedStage];
  const int units = static_cast<int>(D / kOfUnit);
  const int slice = static_cast<int>(columns / kOfUnit);
  const int thread = static_cast<int>(threadIdx.x);
  const int place = static_cast<int>(blockIdx.y * blockDim.x) + thread;  // in the slice
  const bool inside = place < slice;
  const int unit = static_cast<int>(column / kOfUnit) + min(place, slice - 1);
  const long long token = blockIdx.x;
  const long long begin = offsets[token];
  const long long end = offsets[token + 1];
  const V* table = reinterpret_cast<const V*>(W) + unit;
  const V own = __ldg(reinterpret_cast<const V*>(x) + token * units + unit);
  V error = C::minus(own, __ldg(reinterpret_cast<const V*>(bias) + unit));

  float square = 0;
  for (long long first = begin; first < end; first += kNestedStage) {
    const int count = static_cast<int>(min(end - first, static_cast<long long>(kNestedStage)));
    pattern.stage(begin, first, count, staged);
    visit_staged<false>(staged, table, units, count, [&](int i, const V& row) {
      square = fmaf(staged.weight[i], C::dot(error, error), square);
      C::add(error, -staged.value[i], row);
    });
  }
  const float last = begin == end ? 1.0F : static_cast<float>(pattern.chance_at(end - 1));
  square = fmaf(last, C::dot(error, error), square);
  const double sum = block_sum(inside ? static_cast<double>(square) : 0.0);
  if (thread == 0) out.squares[blockIdx.y * static_cast<long long>(gridDim.x) + token] = sum;
  if (inside) reinterpret_cast<V*>(out.x_hat)[token * units + unit] = C::minus(own, error);
  if (out.whole == nullptr) return;

  V later = C::zero();
  C::add(later, last, error);
  const long long stages = (end - begin + kNestedStage - 1) / kNestedStage;
  for (long long stage = stages - 1; stage >= 0; --stage) {
    const long long first = begin + stage * kNestedStage;
    const int count = static_cast<int>(min(end - first, static_cast<long long>(kNestedStage)));
    pattern.stage(begin, first, count, staged);
    visit_staged<true>(staged, table, units, count, [&](int i, const V& row) {
      const float dot = warp_sum(inside ? C::dot(later, row) : 0.0F);
      if (lane_of_thread() == 0) partial[warp_of_thread()][i] = dot;
      if (inside) reinterpret_cast<V*>(out.later)[staged.entry[i] * slice + place] = later;
      C::add(error, staged.value[i], row);
      C::add(later, staged.weight[i], error);
    });
    __syncthreads();
    float* dots = out.dots + blockIdx.y * offsets[gridDim.x];
    for (int i = thread; i < count; i += static_cast<int>(blockDim.x)) {
      float dot = partial[0][i];
      for (int warp = 1; warp < warps_of_block(); ++warp) dot += partial[warp][i];
      dots[staged.entry[i]] = dot;
    }
  }
  if (inside) reinterpret_cast<V*>(out.whole)[token * units + unit] = later;
}

}  // namespace

/// Of columns `column` to `column` + columns - 1: x_hat and, unless whole is nullptr, whole = s_0,
/// both [B, D]; later [nnz, columns], s_m at the place of entry m; and of every tile of the block's
/// columns squares, the sum of p_m ||e_m||^2, and dots, <s_m, d_m>. x [B, D], bias [D], values,
/// indices, order [nnz], offsets [B + 1], chance [F], W [F, D], squares [tiles, B], dots [tiles,
/// nnz]. Grid (B, tiles), any block of up to 256 with tiles * block units in `columns` or more.
/// Bytes of the columns: 8 an entry, the second time from the L2 where a token's rows fit, 4 for
/// `later`.
extern "C" __global__ void __launch_bounds__(kNestedThreads, 4)
    nested_errors_4(const float* x, const float* bias, const float* values,
                    const long long* indices, const long long* order, const long long* offsets,
                    const double* chance, const float* W, long long D, long long column,
                    long long columns, double* squares, float* x_hat, float* whole, float* later,
                    float* dots) {
  nested_tile<float4>(x, bias, {values, indices, order, chance}, offsets, W, D, column, columns,
                      {squares, x_hat, whole, later, dots});
}
extern "C" __global__ void __launch_bounds__(kNestedThreads, 4)
    nested_errors_s(const float* x, const float* bias, const float* values,
                    const long long* indices, const long long* order, const long long* offsets,
                    const double* chance, const float* W, long long D, long long column,
                    long long columns, double* squares, float* x_hat, float* whole, float* later,
                    float* dots) {
  nested_tile<float>(x, bias, {values, indices, order, chance}, offsets, W, D, column, columns,
                     {squares, x_hat, whole, later, dots});
}

/// out[e] = scale times the sum over tiles of dots[tile, e], in their order. dots [tiles, nnz], out
/// [nnz]. Grid ceil(nnz / 256), block 256.
extern "C" __global__ void __launch_bounds__(256)
    nested_dots(const float* __restrict__ dots, long long tiles, long long nnz, float scale,
                float* __restrict__ out) {
  const long long entry = static_cast<long long>(blockIdx.x) * 256 + threadIdx.x;
  if (entry >= nnz) return;
  float sum = 0;
#pragma unroll 4
  for (long long tile = 0; tile < tiles; ++tile) sum += dots[tile * nnz + entry];
  out[entry] = scale * sum;
}
