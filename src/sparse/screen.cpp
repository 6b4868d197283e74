#include "sparse/screen.h"

#include <ATen/Parallel.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>
#include <variant>
#include <vector>

#include "base/stages.h"
#include "sparse/screened_batch.h"

namespace sae::screen {
namespace {

/// Tokens that are screened first, to see whether the rest is worth it.
constexpr std::int64_t kProbe = 256;
/// Tokens a thread takes at a time. Independent of the number of threads.
constexpr std::int64_t kChunk = 32;
/// Share of all entries beyond which making candidates exact costs more than the screen saves.
constexpr double kMostCandidates = 0.05;
/// Share of all entries that a rule may keep for the screen to be tried.
constexpr double kMostKept = 0.03;
/// Entries of the bfloat16 product that exist at once, 64 MiB.
constexpr std::int64_t kProductSize = std::int64_t{1} << 25;

/// Entries of a chunk's tokens, token by token.
struct Chunk {
  Entries entries;
  std::vector<std::int64_t> counts;  // per token

  void add(const Entries& token) {
    entries.insert(entries.end(), token.begin(), token.end());
    counts.push_back(static_cast<std::int64_t>(token.size()));
  }
};
using Chunks = std::vector<Chunk>;

const auto kAll = [](const Entry&) { return true; };
const auto kIfExact = [](const Entry& entry) { return entry.exact; };
const auto kIfPositive = [](const Entry& entry) { return entry.exact && entry.value > 0; };

auto reaches(float least) {
  return [least](const Entry& entry) { return !(entry.upper < least); };
}

auto looks_at_least(float middle) {
  return [middle](const Entry& entry) { return entry.value >= middle; };
}

/// The k-th largest number; NaN, which says nothing, counts as the smallest.
float kth_largest(std::vector<float>& values, std::int64_t k) {
  for (float& value : values) {
    if (std::isnan(value)) value = -std::numeric_limits<float>::infinity();
  }
  const auto place = values.begin() + (k - 1);
  std::nth_element(values.begin(), place, values.end(), std::greater<>());
  return *place;
}

template <class Wanted>
void append_values(const Entries& entries, const Wanted& wanted, std::vector<float>& values) {
  for (const Entry& entry : entries) {
    if (wanted(entry)) values.push_back(entry.value);
  }
}

/// Runs `body(token)`, which returns the entries to note, for all tokens, block by block.
/// `prepare()` runs once, when the first block has been multiplied; it returns whether to go on.
/// False, early, if it does not, or if more than the share `most` of all entries is noted.
template <class Prepare, class Body>
bool for_each_token(ScreenedBatch& batch, Chunks& chunks, double most, const Prepare& prepare,
                    const Body& body) {
  const std::int64_t block = std::max(kProbe, kProductSize / batch.d_sae() / kChunk * kChunk);
  chunks.resize(static_cast<std::size_t>((batch.tokens() + kChunk - 1) / kChunk));
  std::int64_t noted = 0;
  for (std::int64_t begin = 0; begin < batch.tokens();) {
    const std::int64_t end = std::min(batch.tokens(), begin + (begin == 0 ? kProbe : block));
    batch.multiply(begin, end);
    const StageScope stage(Stage::kSelect);
    if (begin == 0 && !prepare()) return false;
    const auto run_chunk = [&](std::int64_t c) {
      for (std::int64_t b = c * kChunk; b < std::min((c + 1) * kChunk, end); ++b) {
        chunks[static_cast<std::size_t>(c)].add(body(b));
      }
    };
    const std::int64_t last_chunk = (end + kChunk - 1) / kChunk;
    at::parallel_for(begin / kChunk, last_chunk, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t c = first; c < last; ++c) run_chunk(c);
    });
    for (std::int64_t c = begin / kChunk; c < last_chunk; ++c) {
      noted += static_cast<std::int64_t>(chunks[static_cast<std::size_t>(c)].entries.size());
    }
    if (static_cast<double>(noted) > most * static_cast<double>(end * batch.d_sae())) return false;
    begin = end;
  }
  return true;
}

Found assemble(const Chunks& chunks, const ScreenedBatch& batch) {
  std::int64_t total = 0;
  for (const Chunk& chunk : chunks) total += static_cast<std::int64_t>(chunk.entries.size());
  at::Tensor indices = at::empty({total}, at::kLong);
  at::Tensor offsets = at::zeros({batch.tokens() + 1}, at::kLong);
  at::Tensor values = at::empty({total}, at::kFloat);
  auto* index = indices.mutable_data_ptr<std::int64_t>();
  auto* offset = offsets.mutable_data_ptr<std::int64_t>();
  auto* value = values.mutable_data_ptr<float>();
  for (const Chunk& chunk : chunks) {
    for (const Entry& entry : chunk.entries) {
      *index++ = entry.latent;
      *value++ = entry.value;
    }
    for (const std::int64_t count : chunk.counts) {
      offset[1] = offset[0] + count;
      ++offset;
    }
  }
  return {Pattern::sparse(std::move(indices), std::move(offsets), batch.d_sae()),
          std::move(values)};
}

template <class Wanted>
void make_exact(const ScreenedBatch& batch, std::int64_t token, Entries& entries,
                const Wanted& wanted) {
  batch.make_exact(token, entries.data(), entries.data() + entries.size(), wanted);
}

std::optional<Found> above(ScreenedBatch& batch, const at::Tensor& threshold_in) {
  const at::Tensor threshold = threshold_in.to(at::kFloat).contiguous();
  const auto* limit = threshold.const_data_ptr<float>();
  const bool one = threshold.dim() == 0;
  const auto screen_token = [&](std::int64_t b) {
    Entries entries = one ? batch.candidates(b, *limit) : batch.candidates(b, limit);
    make_exact(batch, b, entries, kAll);
    std::erase_if(entries, [&](const Entry& entry) {
      return !(entry.value > (one ? *limit : limit[entry.latent]));
    });
    return entries;
  };
  const auto worth_it = [&] {
    std::size_t found = 0;
    std::int64_t looked_at = 0;
    for (std::int64_t b = 0; b < std::min(kProbe, batch.tokens()); b += kProbe / 8, ++looked_at) {
      found += one ? batch.candidates(b, *limit).size() : batch.candidates(b, limit).size();
    }
    // One of these tokens may be odd, so there is room for that.
    const double most = 2 * kMostCandidates * static_cast<double>(looked_at * batch.d_sae());
    return static_cast<double>(found) <= most;
  };
  Chunks chunks;
  if (!for_each_token(batch, chunks, kMostCandidates, worth_it, screen_token)) return std::nullopt;
  return assemble(chunks, batch);
}

/// The k largest of the exact positive entries, the first among equals, in order of latent.
void keep_largest(Entries& entries, std::int64_t k) {
  std::erase_if(entries, [](const Entry& entry) { return !kIfPositive(entry); });
  if (static_cast<std::int64_t>(entries.size()) <= k) return;
  const auto last = entries.begin() + k;
  std::nth_element(entries.begin(), last - 1, entries.end(), [](const Entry& a, const Entry& b) {
    return a.value > b.value || (a.value == b.value && a.latent < b.latent);
  });
  entries.erase(last, entries.end());
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.latent < b.latent; });
}

/// The k largest entries of one token. `guess` is probably a little below the k-th largest,
/// relative to the token's norm, and leaves as a guess for the next token: it decides how long this
/// takes, never what is found.
Entries top_entries(const ScreenedBatch& batch, std::int64_t token, std::int64_t k, float& guess) {
  const auto more_than_k = [k](const auto& list) {
    return static_cast<std::int64_t>(list.size()) > k;
  };
  const float start = std::max(0.0F, guess * batch.norm(token));  // 0 for NaN
  float limit = start;
  Entries entries = batch.candidates(token, limit);
  while (!more_than_k(entries) && limit > 0) {
    limit = limit > start / 4 ? limit / 2 : 0;
    entries = batch.candidates(token, limit);
  }
  float least = 0;
  if (more_than_k(entries)) {
    std::vector<float> values;
    append_values(entries, kAll, values);
    make_exact(batch, token, entries, looks_at_least(kth_largest(values, k)));
    values.clear();
    append_values(entries, kIfExact, values);
    // Fewer than k if there are NaN: then everything is made exact.
    if (more_than_k(values) || static_cast<std::int64_t>(values.size()) == k) {
      least = std::max(0.0F, kth_largest(values, k));
    }
    if (least < limit) entries = batch.candidates(token, least);
    guess = least > 0 ? 0.95F * least / batch.norm(token) : 0;
  }
  make_exact(batch, token, entries, reaches(least));
  keep_largest(entries, k);
  return entries;
}

std::optional<Found> largest_of_token(ScreenedBatch& batch, std::int64_t k) {
  std::vector<float> guesses(static_cast<std::size_t>(batch.tokens() / kChunk + 1));
  const auto prepare = [&] {
    float guess = 0;
    top_entries(batch, 0, k, guess);
    std::fill(guesses.begin(), guesses.end(), guess);
    return true;
  };
  const auto screen_token = [&](std::int64_t b) {
    return top_entries(batch, b, k, guesses[static_cast<std::size_t>(b / kChunk)]);
  };
  Chunks chunks;
  if (!for_each_token(batch, chunks, kMostCandidates, prepare, screen_token)) return std::nullopt;
  return assemble(chunks, batch);
}

/// A number probably below the count-th largest entry of the batch, found in a few of the tokens
/// that have been multiplied; 0 if that is not positive.
float guess_batch_limit(const ScreenedBatch& batch, std::int64_t count) {
  constexpr std::int64_t kSample = 32;
  const std::int64_t probed = std::min(kProbe, batch.tokens());
  const std::int64_t stride = std::max<std::int64_t>(1, probed / kSample);
  std::vector<float> values;
  std::int64_t looked_at = 0;
  for (std::int64_t b = 0; b < probed; b += stride, ++looked_at) {
    append_values(batch.candidates(b, 0.0F), kAll, values);
  }
  const std::int64_t place = count * looked_at / batch.tokens();
  if (place < 1 || place >= static_cast<std::int64_t>(values.size())) return 0;
  return std::max(0.0F, 0.9F * kth_largest(values, place));
}

/// Makes the entries of all tokens exact that `wanted(entry)` picks.
template <class Wanted>
void make_exact(const ScreenedBatch& batch, Chunks& chunks, const Wanted& wanted) {
  at::parallel_for(0, static_cast<std::int64_t>(chunks.size()), 1,
                   [&](std::int64_t begin, std::int64_t end) {
                     for (std::int64_t c = begin; c < end; ++c) {
                       Chunk& chunk = chunks[static_cast<std::size_t>(c)];
                       Entry* entry = chunk.entries.data();
                       std::int64_t token = c * kChunk;
                       for (const std::int64_t count : chunk.counts) {
                         batch.make_exact(token++, entry, entry + count, wanted);
                         entry += count;
                       }
                     }
                   });
}

template <class Wanted>
std::vector<float> values_of(const Chunks& chunks, const Wanted& wanted) {
  std::vector<float> values;
  for (const Chunk& chunk : chunks) append_values(chunk.entries, wanted, values);
  return values;
}

/// The `count` largest of the exact positive entries, the first token and latent among equals.
void keep_largest_of_batch(Chunks& chunks, std::int64_t count) {
  std::vector<float> values = values_of(chunks, kIfPositive);
  float least = 0;
  std::int64_t equals = 0;  // so many entries of value `least` fit
  if (static_cast<std::int64_t>(values.size()) > count) {
    least = kth_largest(values, count);
    equals = std::count(values.begin(), values.begin() + count, least);
  }
  for (Chunk& chunk : chunks) {
    const Entry* entry = chunk.entries.data();
    Entry* kept = chunk.entries.data();
    for (std::int64_t& count : chunk.counts) {
      const Entry* first_kept = kept;
      for (const Entry* end = entry + count; entry != end; ++entry) {
        const bool drop = !kIfPositive(*entry) || entry->value < least ||
                          (entry->value == least && equals-- <= 0);
        if (!drop) *kept++ = *entry;
      }
      count = kept - first_kept;
    }
    chunk.entries.resize(static_cast<std::size_t>(kept - chunk.entries.data()));
  }
}

std::optional<Found> largest_of_batch(ScreenedBatch& batch, std::int64_t count) {
  Chunks chunks;
  float limit = 0;
  const bool few = for_each_token(
      batch, chunks, 2 * kMostCandidates,
      [&] {
        limit = guess_batch_limit(batch, count);
        return true;
      },
      [&](std::int64_t b) { return batch.candidates(b, limit); });
  if (!few) return std::nullopt;
  const StageScope stage(Stage::kSelect);
  float least = 0;
  std::vector<float> values = values_of(chunks, kAll);
  if (static_cast<std::int64_t>(values.size()) > count) {
    make_exact(batch, chunks, looks_at_least(kth_largest(values, count)));
    values = values_of(chunks, kIfExact);
    if (static_cast<std::int64_t>(values.size()) < count) return std::nullopt;  // there are NaN
    least = std::max(0.0F, kth_largest(values, count));
  }
  if (least < limit) return std::nullopt;  // the guess was too high
  make_exact(batch, chunks, reaches(least));
  keep_largest_of_batch(chunks, count);
  return assemble(chunks, batch);
}

}  // namespace

bool has_native_bf16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

bool possible(const at::Tensor& x, const EncoderWeights& weights) {
  constexpr std::int64_t kWidest = 100'000;  // the bound on a sum's rounding is then 0.6 %
  const auto fits = [](const at::Tensor& t) { return t.is_cpu() && t.scalar_type() == at::kFloat; };
  return fits(x) && fits(weights.W_enc) && weights.W_enc.is_contiguous() && x.size(0) > 0 &&
         x.size(1) <= kWidest;
}

std::optional<Found> encode(const at::Tensor& centered, const EncoderWeights& weights,
                            const SelectionRule& rule, bool native) {
  const at::NoGradGuard no_grad;
  const auto d_sae = static_cast<double>(weights.W_enc.size(0));
  const auto tokens = static_cast<double>(centered.size(0));
  const auto* token = std::get_if<LargestOfToken>(&rule);
  const auto* whole = std::get_if<LargestOfBatch>(&rule);
  if (token && static_cast<double>(token->k) > kMostKept * d_sae) return std::nullopt;
  if (whole && static_cast<double>(whole->count) > kMostKept * d_sae * tokens) {
    return std::nullopt;
  }
  if ((token && token->k < 1) || (whole && whole->count < 1)) return std::nullopt;  // select() says
  ScreenedBatch batch(centered, weights, native);
  if (token) return largest_of_token(batch, token->k);
  if (whole) return largest_of_batch(batch, whole->count);
  const auto* limits = std::get_if<Above>(&rule);
  return above(batch, limits ? limits->threshold : at::zeros({}, centered.options()));
}

}  // namespace sae::screen
