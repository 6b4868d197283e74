// Writing a synthetic world to disk: a store with its ground truth beside it.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "sae/base/notice.h"
#include "sae/config/fields.h"
#include "sae/data/world_options.h"

namespace sae {

/// How the activations of a store are written.
enum class StoredAs { kF32, kF16, kBf16 };
constexpr auto names_of(StoredAs) { return std::array{"f32", "f16", "bf16"}; }

struct SynthOptions {
  WorldOptions world;
  std::int64_t tokens = 100'000;
  std::int64_t stream_seed = 0;
  StoredAs dtype = StoredAs::kF32;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    WorldOptions::fields(self.world, visit);
    visit("tokens", self.tokens, at_least(1), "samples to write");
    visit("stream_seed", self.stream_seed, at_least(0), "seed of the samples");
    visit("dtype", self.dtype, any, "type of the stored activations");
  }

  void check(Findings& findings) const { world.check(findings); }
};

/// Writes samples 0 .. tokens - 1 as an activation store, which is trained and evaluated on as any
/// other, with the metrics of a synthetic world (Data::world), and beside its shards:
///     world.json               the world's options, resolved
///     dictionary.safetensors   features [N, D], bias [D], rates [N] (closed form)
///     truth-00000.safetensors  values [nnz] f32, indices [nnz] i64, offsets [n + 1] i64: the
///                              features of each sample; one file per 65536 samples
/// `on_progress` hears how many samples are done.
void write_world(const SynthOptions& options, const std::filesystem::path& folder,
                 const std::function<void(std::int64_t)>& on_progress = {});

/// Options from `--set` assignments ("bias_norm=0", "dtype=f16") on top of a preset. `notices` gets
/// what is probably not meant so.
SynthOptions read_synth(const std::string& preset, std::int64_t tokens,
                        const std::vector<std::string>& sets,
                        std::vector<Notice>* notices = nullptr);

}  // namespace sae
