// Products of a pattern's entries with rows of a matrix, and sums over tokens or latents.
//
// A pattern: indices [nnz] (latents, token by token, ascending within a token), offsets [B + 1].
// By latent: entries [nnz] (positions in the pattern, latent by latent, tokens ascending), tokens
// [nnz] (the token of each), starts [F + 1]. Entries of value 0 are padding: no product with a
// value reads their row, whatever it holds.
//
// Every sum is taken in an order that follows from the data alone: blocks may have any size that a
// kernel allows, and give the same bytes. Where a grid would have no block, nothing is launched.
//
// Kernels that read rows come in widths. `_1` to `_4` take rows of D % 4 == 0 at 16-byte aligned
// addresses as units of float4, a thread that many of them; `_s` takes any row as units of float,
// a thread four of them. With U units a row (D / 4, or D) the host launches
//     tiles   = ceil(U / 1024)
//     units   = ceil(U / tiles)                      of a tile
//     width   = ceil(units / 256)                    names the kernel; 4 where it is `_s`
//     threads = ceil(units / width), up to the next multiple of 32
// so that one tile serves D up to 4096, with 192 threads or more from D 768 on. A thread has 64
// bytes of rows under way (48 at width 3), which is more than 50 KB a multiprocessor.
//
// Rows of W may be bfloat16, half the bytes, with every product and sum in float32: `_b1`, `_b2`
// take D % 8 == 0 as units of eight, with tiles = ceil(U / 512) for U = D / 8, `_bs` any D as `_s`
// does.

namespace {

constexpr int kStagedEntries = 128;  // in shared memory at a time
constexpr int kAheadBytes = 64;      // of rows that a thread has under way, at most
constexpr int kChunkEntries = 256;   // of a latent that one block of scatter_sum adds
constexpr int kDotUnits = 1024;      // of a row that gather_dot keeps in shared memory
constexpr int kDotEntries = 2;       // that a warp of gather_dot takes at once
constexpr int kDotAhead = 4;         // units of each of them that a lane has under way
constexpr int kSumThreads = 256;
constexpr int kPopular = 1024;  // entries from which on a block adds a latent's values
constexpr int kErrorUnits = 4;  // of four elements, a thread of squared_error

/// Eight numbers of a sum over rows of bfloat16, of which 16 bytes are eight.
struct alignas(16) Float8 {
  float4 first;
  float4 second;
};

/// How many V a row of D floats has.
template <class V>
__device__ inline int units_of(long long D) {
  return static_cast<int>(D * static_cast<long long>(sizeof(float)) /
                          static_cast<long long>(sizeof(V)));
}

template <class V>
__device__ inline V zero_unit();
template <>
__device__ inline float zero_unit<float>() {
  return 0.0F;
}
template <>
__device__ inline float4 zero_unit<float4>() {
  return make_float4(0.0F, 0.0F, 0.0F, 0.0F);
}

template <>
__device__ inline Float8 zero_unit<Float8>() {
  return {zero_unit<float4>(), zero_unit<float4>()};
}

/// sum += value * row
__device__ inline void add_scaled(float& sum, float value, float row) {
  sum = fmaf(value, row, sum);
}
__device__ inline void add_scaled(float4& sum, float value, const float4& row) {
  sum.x = fmaf(value, row.x, sum.x);
  sum.y = fmaf(value, row.y, sum.y);
  sum.z = fmaf(value, row.z, sum.z);
  sum.w = fmaf(value, row.w, sum.w);
}

__device__ inline void add_scaled(float& sum, float value, unsigned short row) {
  sum = fmaf(value, from_bf16(row), sum);
}
__device__ inline void add_scaled(Float8& sum, float value, const uint4& row) {
  sum.first.x = fmaf(value, first_of(row.x), sum.first.x);
  sum.first.y = fmaf(value, second_of(row.x), sum.first.y);
  sum.first.z = fmaf(value, first_of(row.y), sum.first.z);
  sum.first.w = fmaf(value, second_of(row.y), sum.first.w);
  sum.second.x = fmaf(value, first_of(row.z), sum.second.x);
  sum.second.y = fmaf(value, second_of(row.z), sum.second.y);
  sum.second.z = fmaf(value, first_of(row.w), sum.second.z);
  sum.second.w = fmaf(value, second_of(row.w), sum.second.w);
}

/// yes ? a : b, without a branch.
__device__ inline float chosen(bool yes, float a, float b) { return yes ? a : b; }
__device__ inline float4 chosen(bool yes, const float4& a, const float4& b) {
  return make_float4(yes ? a.x : b.x, yes ? a.y : b.y, yes ? a.z : b.z, yes ? a.w : b.w);
}

__device__ inline Float8 chosen(bool yes, const Float8& a, const Float8& b) {
  return {chosen(yes, a.first, b.first), chosen(yes, a.second, b.second)};
}

/// sum += a * b, unit by unit; `folded` adds up what is in one.
__device__ inline void add_product(float& sum, float a, float b) { sum = fmaf(a, b, sum); }
__device__ inline void add_product(float4& sum, const float4& a, const float4& b) {
  sum.x = fmaf(a.x, b.x, sum.x);
  sum.y = fmaf(a.y, b.y, sum.y);
  sum.z = fmaf(a.z, b.z, sum.z);
  sum.w = fmaf(a.w, b.w, sum.w);
}
__device__ inline void add_product(float& sum, float a, unsigned short b) {
  sum = fmaf(a, from_bf16(b), sum);
}
__device__ inline void add_product(float4& sum, const Float8& a, const uint4& b) {
  sum.x = fmaf(a.first.x, first_of(b.x), sum.x);
  sum.y = fmaf(a.first.y, second_of(b.x), sum.y);
  sum.z = fmaf(a.first.z, first_of(b.y), sum.z);
  sum.w = fmaf(a.first.w, second_of(b.y), sum.w);
  sum.x = fmaf(a.second.x, first_of(b.z), sum.x);
  sum.y = fmaf(a.second.y, second_of(b.z), sum.y);
  sum.z = fmaf(a.second.z, first_of(b.w), sum.z);
  sum.w = fmaf(a.second.w, second_of(b.w), sum.w);
}
__device__ inline float folded(float sum) { return sum; }
__device__ inline float folded(const float4& sum) { return (sum.x + sum.y) + (sum.z + sum.w); }

__device__ inline float unit_at(const float* at) { return __ldg(at); }
__device__ inline float4 unit_at(const float4* at) { return __ldg(at); }
__device__ inline Float8 unit_at(const Float8* at) {
  return {__ldg(&at->first), __ldg(&at->second)};
}

__device__ inline void add_unit(float& sum, float other) { sum += other; }
__device__ inline void add_unit(float4& sum, const float4& other) {
  sum.x += other.x;
  sum.y += other.y;
  sum.z += other.z;
  sum.w += other.w;
}

/// The first i of ascending [0, size) with keys[i] > key, or size.
__device__ inline long long first_above(const long long* __restrict__ keys, long long size,
                                        long long key) {
  long long low = 0;
  while (low < size) {
    const long long middle = low + (size - low) / 2;
    if (keys[middle] > key) {
      size = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

/// The first unit of the calling thread; its others follow at distances of blockDim.x, so that a
/// warp reads 512 (128) bytes in a row.
template <int kUnits>
__device__ inline int first_unit() {
  return static_cast<int>(blockIdx.y * blockDim.x * kUnits + threadIdx.x);
}

/// Adds to the calling thread's units of `sum`: value * table[row] for positions [begin, end) in
/// their order, where `entry(position, value, row)` tells which. Called by whole blocks, of which
/// the first warp reads the entries and leaves padding out.
///
/// Rows of the table consist of units R, which are added to those of a sum, V.
///
/// Loads of rows are unconditional: instead of what lies beyond the row or the entries the last
/// unit or entry is read, which is on chip then, and not added. The compiler issues such loads
/// together; between those under a predicate it puts the first one's use, which waits.
template <class R, class V, int kUnits, class Entry>
__device__ inline void add_rows(const R* __restrict__ table, int units, long long begin,
                                long long end, const Entry& entry, V (&sum)[kUnits]) {
  constexpr int kUnitBytes = kUnits * static_cast<int>(sizeof(R));
  constexpr int kAhead = kUnitBytes < kAheadBytes ? kAheadBytes / kUnitBytes : 1;  // entries
  __shared__ float staged_value[kStagedEntries];
  __shared__ long long staged_row[kStagedEntries];  // its first unit in the table
  __shared__ int staged_count;
  int own[kUnits];
#pragma unroll
  for (int c = 0; c < kUnits; ++c) {
    own[c] = min(first_unit<kUnits>() + c * static_cast<int>(blockDim.x), units - 1);
  }
  for (; begin < end; begin += kStagedEntries) {
    __syncthreads();
    if (warp_of_thread() == 0) {
      constexpr int kEach = kStagedEntries / kWarp;
      float value[kEach];
      long long row[kEach];
#pragma unroll
      for (int j = 0; j < kEach; ++j) {
        const long long position = begin + j * kWarp + lane_of_thread();
        value[j] = 0.0F;
        row[j] = 0;
        if (position < end) entry(position, value[j], row[j]);
      }
      int count = 0;
#pragma unroll
      for (int j = 0; j < kEach; ++j) {
        const unsigned real = __ballot_sync(kWholeWarp, value[j] != 0.0F);
        if (value[j] != 0.0F) {
          const int place = count + __popc(real & ((1U << lane_of_thread()) - 1U));
          staged_value[place] = value[j];
          staged_row[place] = row[j] * units;
        }
        count += __popc(real);
      }
      if (lane_of_thread() == 0) staged_count = count;
    }
    __syncthreads();
    const int count = staged_count;
#pragma unroll 1
    for (int e = 0; e < count; e += kAhead) {
      R row[kAhead][kUnits];
#pragma unroll
      for (int a = 0; a < kAhead; ++a) {
        const R* from = table + staged_row[min(e + a, count - 1)];
#pragma unroll
        for (int c = 0; c < kUnits; ++c) row[a][c] = __ldg(from + own[c]);
      }
#pragma unroll
      for (int a = 0; a < kAhead; ++a) {
        const bool real = e + a < count;
        const float value = staged_value[min(e + a, count - 1)];
#pragma unroll
        for (int c = 0; c < kUnits; ++c) {
          V with = sum[c];
          add_scaled(with, value, row[a][c]);
          sum[c] = chosen(real, with, sum[c]);
        }
      }
    }
  }
}

template <class V, int kUnits>
__device__ inline void write_units(V* __restrict__ out, int units, const V (&sum)[kUnits]) {
  const int first = first_unit<kUnits>();
#pragma unroll
  for (int c = 0; c < kUnits; ++c) {
    const int unit = first + c * static_cast<int>(blockDim.x);
    if (unit < units) out[unit] = sum[c];
  }
}

template <class R, class V, int kUnits, class T>
__device__ inline void gather_sum_tile(const float* __restrict__ values,
                                       const long long* __restrict__ indices,
                                       const long long* __restrict__ offsets,
                                       const T* __restrict__ W, const float* __restrict__ bias,
                                       long long D, float* __restrict__ out) {
  const int units = units_of<V>(D);
  const int first = first_unit<kUnits>();
  V sum[kUnits];
#pragma unroll
  for (int c = 0; c < kUnits; ++c) {
    const int unit = first + c * static_cast<int>(blockDim.x);
    sum[c] =
        bias != nullptr && unit < units ? reinterpret_cast<const V*>(bias)[unit] : zero_unit<V>();
  }
  const long long token = blockIdx.x;
  add_rows(
      reinterpret_cast<const R*>(W), units, offsets[token], offsets[token + 1],
      [&](long long position, float& value, long long& row) {
        value = values[position];
        row = indices[position];
      },
      sum);
  write_units(reinterpret_cast<V*>(out) + token * units, units, sum);
}

/// Entries [begin, end) of a latent: its `number`-th chunk, from 0. No latent: -1.
struct Chunk {
  long long latent;
  long long number;
  long long begin;
  long long end;
};

__device__ inline Chunk first_chunk(const long long* __restrict__ starts, long long latent) {
  const long long begin = starts[latent];
  return {latent, 0, begin, min(starts[latent + 1], begin + kChunkEntries)};
}

/// The chunk, other than a latent's first, that begins among the kChunkEntries positions from
/// (slot + 1) * kChunkEntries on. There is at most one: chunks of a latent begin kChunkEntries
/// apart, and a latent's first entries, as many, lie between one latent's chunks and the next's.
/// So these slots, one less than nnz / kChunkEntries rounded up, hold all such chunks, those of a
/// latent in consecutive ones. And it is of the latent at the slot's first position, for the
/// chunks of latents that begin later begin beyond it.
__device__ inline Chunk further_chunk(const long long* __restrict__ starts, long long F,
                                      long long slot) {
  const Chunk none = {-1, 0, 0, 0};
  const long long position = (slot + 1) * kChunkEntries;
  const long long latent = first_above(starts, F + 1, position) - 1;
  if (latent < 0 || latent == F) return none;
  const long long start = starts[latent];
  const long long end = starts[latent + 1];
  const long long number = (position - start + kChunkEntries - 1) / kChunkEntries;
  const long long begin = start + number * kChunkEntries;
  if (number == 0 || begin >= end) return none;
  return {latent, number, begin, min(end, begin + kChunkEntries)};
}

__device__ inline long long chunk_slots(long long nnz) {
  return nnz > 0 ? (nnz - 1) / kChunkEntries : 0;
}

template <class V, int kUnits>
__device__ inline void scatter_sum_tile(const float* __restrict__ values,
                                        const long long* __restrict__ entries,
                                        const long long* __restrict__ tokens,
                                        const long long* __restrict__ starts,
                                        const float* __restrict__ rows, long long F, long long D,
                                        long long nnz, float* __restrict__ out,
                                        float* __restrict__ partial) {
  const int units = units_of<V>(D);
  const long long slots = chunk_slots(nnz);
  const long long block = blockIdx.x;
  const bool further = block < slots;  // the longest sums begin first
  const Chunk chunk =
      further ? further_chunk(starts, F, block) : first_chunk(starts, block - slots);
  if (chunk.latent < 0) return;
  V sum[kUnits];
#pragma unroll
  for (int c = 0; c < kUnits; ++c) sum[c] = zero_unit<V>();
  add_rows(
      reinterpret_cast<const V*>(rows), units, chunk.begin, chunk.end,
      [&](long long position, float& value, long long& row) {
        value = values[entries[position]];
        row = tokens[position];
      },
      sum);
  V* to = further ? reinterpret_cast<V*>(partial) + block * units
                  : reinterpret_cast<V*>(out) + (block - slots) * units;
  write_units(to, units, sum);
}

template <class V>
__device__ inline void scatter_finish_tile(const long long* __restrict__ starts, long long F,
                                           long long D, const float* __restrict__ partial,
                                           float* __restrict__ out) {
  const long long slot = blockIdx.x;
  const Chunk chunk = further_chunk(starts, F, slot);
  if (chunk.latent < 0 || chunk.number != 1) return;  // the block of a latent's second chunk adds
  const int units = units_of<V>(D);
  const int unit = first_unit<1>();
  if (unit >= units) return;
  const long long count =
      (starts[chunk.latent + 1] - chunk.begin + kChunkEntries - 1) / kChunkEntries;
  const V* from = reinterpret_cast<const V*>(partial) + slot * units + unit;
  V* to = reinterpret_cast<V*>(out) + chunk.latent * units + unit;
  V sum = *to;
#pragma unroll 4
  for (long long j = 0; j < count; ++j) add_unit(sum, from[j * units]);
  *to = sum;
}

/// A token's row in shared memory as units, and products of those with a unit of another row,
/// summed in V.
template <class V>
struct KeptRow {
  using Sum = V;
  static constexpr int kUnits = kDotUnits;
  V unit[kUnits];

  __device__ inline void keep(int i, const V& own) { unit[i] = own; }
  __device__ inline V at(int i) const { return unit[i]; }
};
/// Of eight numbers: in two parts, for lanes whose units are 32 bytes apart read the same banks.
template <>
struct KeptRow<Float8> {
  using Sum = float4;
  static constexpr int kUnits = kDotUnits / 2;
  float4 first[kUnits];
  float4 second[kUnits];

  __device__ inline void keep(int i, const Float8& own) {
    first[i] = own.first;
    second[i] = own.second;
  }
  __device__ inline Float8 at(int i) const { return {first[i], second[i]}; }
};
template <class R, class V, class T>
__device__ inline void gather_dot_rows(const float* __restrict__ rows,
                                       const long long* __restrict__ indices,
                                       const long long* __restrict__ offsets,
                                       const T* __restrict__ W, long long D,
                                       float* __restrict__ out) {
  using Sum = typename KeptRow<V>::Sum;
  constexpr int kStep = kWarp * kDotAhead;
  constexpr int kTile = KeptRow<V>::kUnits;
  __shared__ KeptRow<V> row;
  const int units = units_of<V>(D);
  const long long token = blockIdx.x;
  const long long begin = offsets[token];
  const int entries = static_cast<int>(offsets[token + 1] - begin);
  if (entries == 0) return;
  const V* own = reinterpret_cast<const V*>(rows) + token * units;
  for (int tile = 0; tile < units; tile += kTile) {
    const int count = min(units - tile, kTile);
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) {
      row.keep(i, unit_at(own + tile + i));
    }
    __syncthreads();
#pragma unroll 1
    for (int e = warp_of_thread() * kDotEntries; e < entries; e += warps_of_block() * kDotEntries) {
      const R* from[kDotEntries];
      Sum sum[kDotEntries];
#pragma unroll
      for (int a = 0; a < kDotEntries; ++a) {
        const long long latent = indices[begin + min(e + a, entries - 1)];
        from[a] = reinterpret_cast<const R*>(W) + max(latent, 0LL) * units + tile;
        sum[a] = zero_unit<Sum>();
      }
      int i = lane_of_thread();
#pragma unroll 1
      for (; i - lane_of_thread() + kStep <= count; i += kStep) {
        R unit[kDotEntries][kDotAhead];
#pragma unroll
        for (int u = 0; u < kDotAhead; ++u) {
#pragma unroll
          for (int a = 0; a < kDotEntries; ++a) unit[a][u] = __ldg(from[a] + i + kWarp * u);
        }
#pragma unroll
        for (int u = 0; u < kDotAhead; ++u) {
          const V other = row.at(i + kWarp * u);
#pragma unroll
          for (int a = 0; a < kDotEntries; ++a) add_product(sum[a], other, unit[a][u]);
        }
      }
#pragma unroll 1
      for (; i < count; i += kWarp) {
        const V other = row.at(i);
#pragma unroll
        for (int a = 0; a < kDotEntries; ++a) add_product(sum[a], other, __ldg(from[a] + i));
      }
      float dot = 0.0F;  // of the entry e + lane
#pragma unroll
      for (int a = 0; a < kDotEntries; ++a) {
        const float total = warp_sum(folded(sum[a]));
        if (lane_of_thread() == a) dot = total;
      }
      if (lane_of_thread() < min(kDotEntries, entries - e)) {
        const long long place = begin + e + lane_of_thread();
        if (tile > 0) dot += out[place];
        out[place] = indices[place] < 0 ? 0.0F : dot;
      }
    }
  }
}

/// For each latent kSums sums over its entries; `add(entry, sums)` adds those of one entry, and
/// `write(latent, sums)` gets the result. A warp a latent, the whole block one after the other for
/// those of kPopular entries and more: lane (thread) j adds every 32nd (256th) entry from the j-th
/// on, then those are added as a tree. Called by blocks of kSumThreads, block x for the 8 latents
/// from 8 x on.
template <int kSums, class Add, class Write>
__device__ inline void sum_latents(const long long* __restrict__ entries,
                                   const long long* __restrict__ starts, long long F,
                                   const Add& add, const Write& write) {
  constexpr int kWarps = kSumThreads / kWarp;
  const int thread = static_cast<int>(threadIdx.x);
  const auto add_every = [&](int step, long long begin, long long end, float(&sums)[kSums]) {
#pragma unroll
    for (int s = 0; s < kSums; ++s) sums[s] = 0.0F;
#pragma unroll 4
    for (long long position = begin; position < end; position += step) {
      add(entries[position], sums);
    }
  };
  const long long first = static_cast<long long>(blockIdx.x) * kWarps;
  const long long own = first + warp_of_thread();
  if (own < F && starts[own + 1] - starts[own] < kPopular) {
    float sums[kSums];
    add_every(kWarp, starts[own] + lane_of_thread(), starts[own + 1], sums);
#pragma unroll
    for (int s = 0; s < kSums; ++s) sums[s] = warp_sum(sums[s]);
    if (lane_of_thread() == 0) write(own, sums);
  }
  for (long long latent = first; latent < min(F, first + kWarps); ++latent) {
    if (starts[latent + 1] - starts[latent] < kPopular) continue;
    float sums[kSums];
    add_every(kSumThreads, starts[latent] + thread, starts[latent + 1], sums);
#pragma unroll
    for (int s = 0; s < kSums; ++s) sums[s] = block_sum(sums[s]);
    if (thread == 0) write(latent, sums);
  }
}

}  // namespace

/// out[b] = bias + sum over entries of token b: values[e] * W[indices[e]], the entries in their
/// order. values, indices [nnz], offsets [B + 1], W [F, D], bias [D] (nullptr: 0), out [B, D].
/// Grid (B, tiles), block and width as at the head of this file. Bytes: 4 D an entry of value
/// other than 0 (2 D of bfloat16), 4 D a token; 1.5 KB of shared memory.
#define SAE_GATHER_SUM(suffix, T, R, V, kUnits)                                                    \
  extern "C" __global__ void __launch_bounds__(256)                                                \
      gather_sum_##suffix(const float* values, const long long* indices, const long long* offsets, \
                          const T* W, const float* bias, long long D, float* out) {                \
    gather_sum_tile<R, V, kUnits>(values, indices, offsets, W, bias, D, out);                      \
  }
SAE_GATHER_SUM(1, float, float4, float4, 1)
SAE_GATHER_SUM(2, float, float4, float4, 2)
SAE_GATHER_SUM(3, float, float4, float4, 3)
SAE_GATHER_SUM(4, float, float4, float4, 4)
SAE_GATHER_SUM(s, float, float, float, 4)
SAE_GATHER_SUM(b1, unsigned short, uint4, Float8, 1)
SAE_GATHER_SUM(b2, unsigned short, uint4, Float8, 2)
SAE_GATHER_SUM(bs, unsigned short, unsigned short, float, 4)
#undef SAE_GATHER_SUM

/// out[e] = <rows[token of e], W[indices[e]]>. rows [B, D], indices [nnz] (a negative one, of
/// padding: out is 0; no other may be outside [0, F)), offsets [B + 1], W [F, D], out [nnz]. Grid
/// B, block 256 (any multiple of 32); `_4` as float4, `_s` as float. A token's row lies in shared
/// memory, 1024 units at a time; a warp takes two entries at once, a lane every 32nd unit of
/// theirs, and lanes are added as a tree: the order within a dot depends on D alone. Bytes: 4 D an
/// entry, 4 D a token; 16 (4) KB of shared memory; under way 128 (32) bytes a thread.
extern "C" __global__ void __launch_bounds__(256, 4)
    gather_dot_4(const float* rows, const long long* indices, const long long* offsets,
                 const float* W, long long D, float* out) {
  gather_dot_rows<float4, float4>(rows, indices, offsets, W, D, out);
}
extern "C" __global__ void __launch_bounds__(256)
    gather_dot_s(const float* rows, const long long* indices, const long long* offsets,
                 const float* W, long long D, float* out) {
  gather_dot_rows<float, float>(rows, indices, offsets, W, D, out);
}
/// With W in bfloat16, 2 D bytes an entry: `_b8` as units of eight, D % 8 == 0, half as many at a
/// time in shared memory; `_bs` any D.
extern "C" __global__ void __launch_bounds__(256, 4)
    gather_dot_b8(const float* rows, const long long* indices, const long long* offsets,
                  const unsigned short* W, long long D, float* out) {
  gather_dot_rows<uint4, Float8>(rows, indices, offsets, W, D, out);
}
extern "C" __global__ void __launch_bounds__(256)
    gather_dot_bs(const float* rows, const long long* indices, const long long* offsets,
                  const unsigned short* W, long long D, float* out) {
  gather_dot_rows<unsigned short, float>(rows, indices, offsets, W, D, out);
}

/// out[i] = sum over entries of latent i: values[entries[p]] * rows[tokens[p]], 0 where there are
/// none. values [nnz] (in the pattern's order), rows [B, D], out [F, D]; with slots = (nnz - 1) /
/// 256, 0 if nnz is 0: partial [slots, D]. Grid (F + slots, tiles), block and width as at the head
/// of this file; then, if slots > 0, scatter_finish. A block adds at most 256 entries of a latent,
/// tokens ascending; the first of a latent writes to out, others to partial, whence scatter_finish
/// adds them to out in order. Bytes: 4 D an entry of value other than 0, 4 D a latent; 1.5 KB of
/// shared memory.
#define SAE_SCATTER_SUM(suffix, V, kUnits)                                                         \
  extern "C" __global__ void __launch_bounds__(256, 4)                                             \
      scatter_sum_##suffix(const float* values, const long long* entries, const long long* tokens, \
                           const long long* starts, const float* rows, long long F, long long D,   \
                           long long nnz, float* out, float* partial) {                            \
    scatter_sum_tile<V, kUnits>(values, entries, tokens, starts, rows, F, D, nnz, out, partial);   \
  }
SAE_SCATTER_SUM(1, float4, 1)
SAE_SCATTER_SUM(2, float4, 2)
SAE_SCATTER_SUM(3, float4, 3)
SAE_SCATTER_SUM(4, float4, 4)
SAE_SCATTER_SUM(s, float, 4)
#undef SAE_SCATTER_SUM

/// The second half of scatter_sum. Grid (slots, ceil(U / block)) for U units a row, any block of
/// up to 256; `_4` as float4, `_s` as float. Bytes: 4 D a slot that holds a chunk.
extern "C" __global__ void __launch_bounds__(256)
    scatter_finish_4(const long long* starts, long long F, long long D, const float* partial,
                     float* out) {
  scatter_finish_tile<float4>(starts, F, D, partial, out);
}
extern "C" __global__ void __launch_bounds__(256)
    scatter_finish_s(const long long* starts, long long F, long long D, const float* partial,
                     float* out) {
  scatter_finish_tile<float>(starts, F, D, partial, out);
}

/// Over the entries of each latent: how many values are > 0, their sum, and the sum of
/// |slope * value|. values, slope [nnz] (in the pattern's order), fired, magnitude, contribution
/// [F]; slope, magnitude and contribution may be nullptr, contribution must be where slope is.
/// Grid ceil(F / 8), block 256. Bytes: 16 an entry (8, and 4 each, read in sectors of 32).
extern "C" __global__ void __launch_bounds__(kSumThreads)
    latent_sums(const float* __restrict__ values, const float* __restrict__ slope,
                const long long* __restrict__ entries, const long long* __restrict__ starts,
                long long F, float* __restrict__ fired, float* __restrict__ magnitude,
                float* __restrict__ contribution) {
  sum_latents<3>(
      entries, starts, F,
      [=](long long entry, float(&sums)[3]) {
        const float value = values[entry];
        sums[0] += value > 0.0F ? 1.0F : 0.0F;
        sums[1] += value;
        if (slope != nullptr) sums[2] += fabsf(slope[entry] * value);
      },
      [=](long long latent, const float(&sums)[3]) {
        fired[latent] = sums[0];
        if (magnitude != nullptr) magnitude[latent] = sums[1];
        if (contribution != nullptr) contribution[latent] = sums[2];
      });
}

/// out[i] = sum of values over the entries of latent i. values [nnz], out [F]; launched as
/// latent_sums.
extern "C" __global__ void __launch_bounds__(kSumThreads)
    latent_sum(const float* __restrict__ values, const long long* __restrict__ entries,
               const long long* __restrict__ starts, long long F, float* __restrict__ out) {
  sum_latents<1>(
      entries, starts, F, [=](long long entry, float(&sums)[1]) { sums[0] += values[entry]; },
      [=](long long latent, const float(&sums)[1]) { out[latent] = sums[0]; });
}

/// error = x_hat - x (nullptr: not written), and partial[c] = sum of its squares over the 4096
/// elements from 4096 c on: thread t adds the four at 4 (t + 256 j) for j = 0 to 3, then threads
/// are added as a tree. x_hat, x, error [n]; partial [ceil(n / 4096)] float64. Grid ceil(n / 4096),
/// block 256. 16-byte aligned arrays are read 16 bytes at a time. Bytes: 12 an element.
extern "C" __global__ void __launch_bounds__(kSumThreads)
    squared_error(const float* __restrict__ x_hat, const float* __restrict__ x, long long n,
                  float* __restrict__ error, double* __restrict__ partial) {
  const long long begin = static_cast<long long>(blockIdx.x) * (kErrorUnits * 4 * kSumThreads);
  const bool aligned =
      ((reinterpret_cast<unsigned long long>(x_hat) | reinterpret_cast<unsigned long long>(x) |
        reinterpret_cast<unsigned long long>(error)) &
       15U) == 0;
  double sum = 0;
  if (aligned && begin + kErrorUnits * 4 * kSumThreads <= n) {
    float4 a[kErrorUnits];
    float4 b[kErrorUnits];
#pragma unroll
    for (int j = 0; j < kErrorUnits; ++j) {
      const long long at = begin / 4 + threadIdx.x + j * kSumThreads;
      a[j] = __ldg(reinterpret_cast<const float4*>(x_hat) + at);
      b[j] = __ldg(reinterpret_cast<const float4*>(x) + at);
    }
#pragma unroll
    for (int j = 0; j < kErrorUnits; ++j) {
      const float4 e =
          make_float4(a[j].x - b[j].x, a[j].y - b[j].y, a[j].z - b[j].z, a[j].w - b[j].w);
      sum = fma(static_cast<double>(e.x), static_cast<double>(e.x), sum);
      sum = fma(static_cast<double>(e.y), static_cast<double>(e.y), sum);
      sum = fma(static_cast<double>(e.z), static_cast<double>(e.z), sum);
      sum = fma(static_cast<double>(e.w), static_cast<double>(e.w), sum);
      if (error != nullptr) {
        reinterpret_cast<float4*>(error)[begin / 4 + threadIdx.x + j * kSumThreads] = e;
      }
    }
  } else {
    for (int j = 0; j < 4 * kErrorUnits; ++j) {
      const long long at = begin + 4 * (threadIdx.x + j / 4 * kSumThreads) + j % 4;
      if (at >= n) continue;
      const float e = x_hat[at] - x[at];
      sum = fma(static_cast<double>(e), static_cast<double>(e), sum);
      if (error != nullptr) error[at] = e;
    }
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

/// *total = sum of partial [count], thread t every 256th from the t-th on, then as a tree. Grid 1,
/// block 256.
extern "C" __global__ void __launch_bounds__(kSumThreads)
    squared_error_finish(const double* __restrict__ partial, long long count,
                         double* __restrict__ total) {
  double sum = 0;
#pragma unroll 4
  for (long long i = threadIdx.x; i < count; i += kSumThreads) sum += partial[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *total = sum;
}

/// tokens[p] = the token of entry entries[p]: the last whose offset is not above it. offsets
/// [B + 1], entries, tokens [nnz]. Grid ceil(nnz / 256), block 256.
extern "C" __global__ void __launch_bounds__(kSumThreads)
    by_latent_tokens(const long long* __restrict__ offsets, const long long* __restrict__ entries,
                     long long B, long long nnz, long long* __restrict__ tokens) {
  const long long position = static_cast<long long>(blockIdx.x) * kSumThreads + threadIdx.x;
  if (position < nnz) tokens[position] = first_above(offsets, B + 1, entries[position]) - 1;
}
