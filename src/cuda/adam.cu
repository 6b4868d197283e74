// Adam over the rows of a parameter: what the gradient's norm and the projection need, then update,
// renormalisation and the bf16 copy in one sweep. The formulas are those of kernels/adam.h.
//
// A parameter of `size` elements is taken in rows of n, the last of which may be shorter, a block
// of 256 threads a row: grid ceil(size / n). Where rows are to have norm 1, n is their length D and
// divides size. Elsewhere rows mean nothing, and n 4096 serves every parameter, vectors too: more
// blocks for b_enc, full ones for short rows. Rows begin at 16-byte aligned addresses if n % 4 is 0
// and are then read 16 bytes at a time. The order of every sum depends on size and n alone.
//
// A step, for parameters in their order:
//     adam_products, adam_norm (the first with `first`)      each parameter
//     adam_scalars                                           each parameter, or one for all
//     adam_update, or adam_update_rounded                    each parameter
// Bytes a step, n elements: 28 n, 30 n with the copy, and 4 n for <g, g> (8 n with <g, w>).

/// What every element's update needs; on the device, so that the host waits for nothing.
struct alignas(16) AdamScalars {
  float step;          // lr / (1 - beta1^t)
  float inverse_root;  // 1 / sqrt(1 - beta2^t)
  float epsilon;
  float keep1;  // beta1
  float take1;  // 1 - beta1
  float keep2;
  float take2;
  float scale;  // clipping
};

namespace {

constexpr int kAdamThreads = 256;
constexpr int kNormThreads = 512;
constexpr int kKeptUnits = 1024;  // of a row, of four elements, that stay on chip: n up to 4096

/// A block's row: its first element, how many units of four it has, and single elements behind.
struct AdamRow {
  long long begin;
  int fours;
  int singles;
};

__device__ inline AdamRow row_of_block(long long size, long long n) {
  const long long begin = static_cast<long long>(blockIdx.x) * n;
  const int length = static_cast<int>(min(n, size - begin));
  const int fours = n % 4 == 0 ? length / 4 : 0;
  return {begin, fours, length - 4 * fours};
}

__device__ inline void add_products(float g, float w, double& gg, double& gw) {
  gg = fma(static_cast<double>(g), static_cast<double>(g), gg);
  gw = fma(static_cast<double>(g), static_cast<double>(w), gw);
}
__device__ inline void add_square(float x, double& sum) {
  sum = fma(static_cast<double>(x), static_cast<double>(x), sum);
}
__device__ inline void add_square(const float4& x, double& sum) {
  add_square(x.x, sum);
  add_square(x.y, sum);
  add_square(x.z, sum);
  add_square(x.w, sum);
}
__device__ inline float scaled(float x, float by) { return x * by; }
__device__ inline float4 scaled(const float4& x, float by) {
  return make_float4(x.x * by, x.y * by, x.z * by, x.w * by);
}
__device__ inline void write_bf16(unsigned short* to, float x) { *to = to_bf16(x); }
__device__ inline void write_bf16(ushort4* to, const float4& x) {
  *to = make_ushort4(to_bf16(x.x), to_bf16(x.y), to_bf16(x.z), to_bf16(x.w));
}

__device__ inline unsigned short rounded(float x, Squares& squares) {
  return round_one(x, squares);
}
__device__ inline ushort4 rounded(const float4& x, Squares& squares) {
  return round_four(x, squares);
}

__device__ inline void update(const AdamScalars& s, float parallel, float g, float& w, float& m,
                              float& v) {
  const float gradient = (g - parallel * w) * s.scale;
  m = s.keep1 * m + s.take1 * gradient;
  v = s.keep2 * v + s.take2 * gradient * gradient;
  w -= s.step * m / (sqrtf(v) * s.inverse_root + s.epsilon);
}
__device__ inline void update(const AdamScalars& s, float parallel, const float4& g, float4& w,
                              float4& m, float4& v) {
  update(s, parallel, g.x, w.x, m.x, v.x);
  update(s, parallel, g.y, w.y, m.y, v.y);
  update(s, parallel, g.z, w.z, m.z, v.z);
  update(s, parallel, g.w, w.w, m.w, v.w);
}

/// Part of a row in units V, float or float4, with L the same of its bf16 copy. With `unit` new
/// weights go to `kept`, those that find no room there to w, until their norm is known.
template <class V, class L>
struct AdamPart {
  const V* __restrict__ g;
  V* __restrict__ w;
  V* __restrict__ m;
  V* __restrict__ v;
  L* low;
  int count;
  V* kept;
  int room;

  /// Updates, and returns the sum of the calling thread's squared new weights if `unit`.
  __device__ inline double update_all(const AdamScalars& scalars, float parallel, bool unit) const {
    double square = 0;
    for (int i = static_cast<int>(threadIdx.x); i < count; i += kAdamThreads) {
      V weight = w[i];
      V first = m[i];
      V second = v[i];
      update(scalars, parallel, g[i], weight, first, second);
      m[i] = first;
      v[i] = second;
      if (unit) add_square(weight, square);
      if (unit && i < room) {
        kept[i] = weight;
        continue;
      }
      w[i] = weight;
      if (!unit && low != nullptr) write_bf16(low + i, weight);
    }
    return square;
  }

  /// Updates without `unit`, and adds what the calling thread's new weights and their copies come
  /// to.
  __device__ inline void update_rounded(const AdamScalars& scalars, Squares& squares) const {
    for (int i = static_cast<int>(threadIdx.x); i < count; i += kAdamThreads) {
      V weight = w[i];
      V first = m[i];
      V second = v[i];
      update(scalars, 0.0F, g[i], weight, first, second);
      m[i] = first;
      v[i] = second;
      w[i] = weight;
      low[i] = rounded(weight, squares);
    }
  }

  __device__ inline void scale_all(float by) const {
    for (int i = static_cast<int>(threadIdx.x); i < count; i += kAdamThreads) {
      const V weight = scaled(i < room ? kept[i] : w[i], by);
      w[i] = weight;
      if (low != nullptr) write_bf16(low + i, weight);
    }
  }
};

}  // namespace

/// gg[row] = <g, g> and, unless w is nullptr, gw[row] = <g, w>, in float64: a thread adds every
/// 256th unit of four elements, or element, then threads are added as a tree. g, w [size], gg, gw
/// [ceil(size / n)].
extern "C" __global__ void __launch_bounds__(kAdamThreads)
    adam_products(const float* __restrict__ g, const float* __restrict__ w, long long size,
                  long long n, double* __restrict__ gg, double* __restrict__ gw) {
  const AdamRow row = row_of_block(size, n);
  const auto* g4 = reinterpret_cast<const float4*>(g + row.begin);
  const auto* w4 = reinterpret_cast<const float4*>(w == nullptr ? nullptr : w + row.begin);
  double squares = 0;
  double products = 0;
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < row.fours; i += kAdamThreads) {
    const float4 a = g4[i];
    const float4 b = w4 == nullptr ? make_float4(0, 0, 0, 0) : w4[i];
    add_products(a.x, b.x, squares, products);
    add_products(a.y, b.y, squares, products);
    add_products(a.z, b.z, squares, products);
    add_products(a.w, b.w, squares, products);
  }
  const long long behind = row.begin + 4LL * row.fours;
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < row.singles; i += kAdamThreads) {
    add_products(g[behind + i], w == nullptr ? 0.0F : w[behind + i], squares, products);
  }
  squares = block_sum(squares);
  if (threadIdx.x == 0) gg[blockIdx.x] = squares;
  if (w == nullptr) return;
  products = block_sum(products);
  if (threadIdx.x == 0) gw[blockIdx.x] = products;
}

/// *total += sum over rows of gg or, with `unit`, of gg - gw^2 (at least 0): the squared norm of
/// the gradient, after projection. With `first` the sum begins at 0. gg, gw [count]; a thread adds
/// every 512th, then threads are added as a tree. Grid 1, block 512.
extern "C" __global__ void __launch_bounds__(kNormThreads)
    adam_norm(const double* __restrict__ gg, const double* __restrict__ gw, long long count,
              int unit, double* total, int first) {
  double sum = 0;
#pragma unroll 4
  for (long long i = threadIdx.x; i < count; i += kNormThreads) {
    double square = gg[i];
    if (unit != 0) square = fma(-gw[i], gw[i], square);
    sum += square < 0 ? 0 : square;  // NaN stays
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) *total = first != 0 ? sum : *total + sum;
}

/// The scalars of a step: t = *updates, already incremented; gradients are scaled by clip_norm /
/// norm if clip_norm > 0 and norm = sqrt(*total) is above it. Writes the norm to *norm unless
/// nullptr. Grid 1, block 32 (of which one thread works).
extern "C" __global__ void adam_scalars(const double* total, const float* updates, double lr,
                                        double beta1, double beta2, double epsilon,
                                        double clip_norm, AdamScalars* scalars, float* norm) {
  if (threadIdx.x != 0) return;
  const double t = *updates;
  const double length = sqrt(*total);
  scalars->step = static_cast<float>(lr / (1 - pow(beta1, t)));
  scalars->inverse_root = static_cast<float>(1 / sqrt(1 - pow(beta2, t)));
  scalars->epsilon = static_cast<float>(epsilon);
  scalars->keep1 = static_cast<float>(beta1);
  scalars->take1 = static_cast<float>(1 - beta1);
  scalars->keep2 = static_cast<float>(beta2);
  scalars->take2 = static_cast<float>(1 - beta2);
  scalars->scale =
      clip_norm > 0 && length > clip_norm ? static_cast<float>(clip_norm / length) : 1.0F;
  if (norm != nullptr) *norm = static_cast<float>(length);
}

/// One step of rows: the gradient less gw[row] times the row (`unit`) and scaled, the moments, the
/// weights and, with `unit`, those over their norm; unless low is nullptr, their bf16 copy, ties to
/// even. g, w, m, v, low [size], gw [size / n] (read with `unit` only). A row of up to 4096
/// elements waits for its norm in 16 KB of shared memory, the rest of a longer one in w: 8 bytes
/// more for each element beyond, from the L2. Under way: 64 bytes a thread.
extern "C" __global__ void __launch_bounds__(kAdamThreads)
    adam_update(const float* __restrict__ g, float* __restrict__ w, float* __restrict__ m,
                float* __restrict__ v, unsigned short* __restrict__ low,
                const double* __restrict__ gw, const AdamScalars* __restrict__ scalars_at,
                long long size, long long n, int unit) {
  __shared__ float4 kept[kKeptUnits];
  __shared__ float inverse;
  const AdamScalars scalars = *scalars_at;
  const AdamRow row = row_of_block(size, n);
  const float parallel = unit != 0 ? static_cast<float>(gw[blockIdx.x]) : 0.0F;
  const long long at = row.begin;
  const long long behind = at + 4LL * row.fours;
  const AdamPart<float4, ushort4> fours = {
      reinterpret_cast<const float4*>(g + at),
      reinterpret_cast<float4*>(w + at),
      reinterpret_cast<float4*>(m + at),
      reinterpret_cast<float4*>(v + at),
      reinterpret_cast<ushort4*>(low == nullptr ? nullptr : low + at),
      row.fours,
      kept,
      kKeptUnits,
  };
  const AdamPart<float, unsigned short> singles = {
      g + behind,
      w + behind,
      m + behind,
      v + behind,
      low == nullptr ? nullptr : low + behind,
      row.singles,
      reinterpret_cast<float*>(kept),  // with `unit` a row has fours only, or singles only
      4 * kKeptUnits,
  };
  double square = fours.update_all(scalars, parallel, unit != 0);
  square += singles.update_all(scalars, parallel, unit != 0);
  if (unit == 0) return;
  square = block_sum(square);
  if (threadIdx.x == 0) {
    const double norm = sqrt(square);
    inverse = static_cast<float>(1 / (norm < 1e-12 ? 1e-12 : norm));  // NaN stays
  }
  __syncthreads();
  fours.scale_all(inverse);
  singles.scale_all(inverse);
}

/// adam_update without `unit`, in rows of n = D, with the copy and, for screen.cu, what round_rows
/// says of it: norm, residual [size / n]. n divides size.
extern "C" __global__ void __launch_bounds__(kAdamThreads)
    adam_update_rounded(const float* __restrict__ g, float* __restrict__ w, float* __restrict__ m,
                        float* __restrict__ v, unsigned short* __restrict__ low,
                        float* __restrict__ norm, float* __restrict__ residual,
                        const AdamScalars* __restrict__ scalars_at, long long size, long long n) {
  const AdamScalars scalars = *scalars_at;
  const AdamRow row = row_of_block(size, n);
  const long long at = row.begin;
  const long long behind = at + 4LL * row.fours;
  const AdamPart<float4, ushort4> fours = {
      reinterpret_cast<const float4*>(g + at),
      reinterpret_cast<float4*>(w + at),
      reinterpret_cast<float4*>(m + at),
      reinterpret_cast<float4*>(v + at),
      reinterpret_cast<ushort4*>(low + at),
      row.fours,
      nullptr,
      0,
  };
  const AdamPart<float, unsigned short> singles = {
      g + behind, w + behind, m + behind, v + behind, low + behind, row.singles, nullptr, 0,
  };
  Squares squares;
  fours.update_rounded(scalars, squares);
  singles.update_rounded(scalars, squares);
  squares.whole = block_sum(squares.whole);
  squares.residual = block_sum(squares.residual);
  if (threadIdx.x != 0) return;
  norm[blockIdx.x] = norm_above(squares.whole);
  residual[blockIdx.x] = norm_above(squares.residual);
}
