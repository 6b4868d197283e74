// Random numbers of the streams of sae/base/rng.h, the same bits as on the host: every draw is a
// pure function of (seed, stream, index, position), so latents are drawn in parallel and in any
// launch.

namespace {

/// One block of Philox4x32-10: `philox` of rng.h.
__device__ inline uint4 philox_block(uint4 counter, uint2 key) {
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const unsigned high0 = __umulhi(0xD2511F53U, counter.x);
    const unsigned high1 = __umulhi(0xCD9E8D57U, counter.z);
    counter = make_uint4(high1 ^ counter.y ^ key.x, 0xCD9E8D57U * counter.z,
                         high0 ^ counter.w ^ key.y, 0xD2511F53U * counter.x);
    key.x += 0x9E3779B9U;
    key.y += 0xBB67AE85U;
  }
  return counter;
}

/// Rng::uniform of two words, rounded to float32 as a tensor of draws is. The double is exact.
__device__ inline float uniform_of(unsigned first, unsigned second) {
  const unsigned long long bits = static_cast<unsigned long long>(first >> 6) << 26 | second >> 6;
  return static_cast<float>((static_cast<double>(bits) + 0.5) * 0x1p-52);
}

}  // namespace

/// mask [F]: 1 where the latent's draw is at least probability [F], else 0 (NaN masks). Latent i
/// takes the i-th uniform number of the stream, two words; a block of Philox serves two latents.
/// Grid ceil(F / 512), block 256. 8 F bytes.
extern "C" __global__ void __launch_bounds__(256)
    bernoulli_mask(unsigned long long seed, unsigned stream, unsigned long long index,
                   const float* __restrict__ probability, long long F, float* __restrict__ mask) {
  const unsigned block = blockIdx.x * 256U + threadIdx.x;
  const long long latent = 2LL * block;
  if (latent >= F) return;
  const uint4 word = philox_block(
      make_uint4(block, stream, static_cast<unsigned>(index), static_cast<unsigned>(index >> 32)),
      make_uint2(static_cast<unsigned>(seed), static_cast<unsigned>(seed >> 32)));
  mask[latent] = uniform_of(word.x, word.y) >= probability[latent] ? 1.0F : 0.0F;
  if (latent + 1 == F) return;
  mask[latent + 1] = uniform_of(word.z, word.w) >= probability[latent + 1] ? 1.0F : 0.0F;
}
