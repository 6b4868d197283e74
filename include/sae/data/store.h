// Activations on disk: a folder of shards with a manifest, a bare .safetensors, a 2-D .npy, or a
// .pt of torch.save: one tensor, a list of them, or a dict.
//
// A store holds T activation vectors of width D in f32, f16 or bf16, with an optional token id and
// an optional context id each (a context is one window of text). Shards are memory-mapped, so a
// store may be larger than memory.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sae/config/fields.h"
#include "sae/data/activations.h"
#include "sae/formats/safetensors.h"

namespace sae {

/// How far rows are mixed: over the whole split, or over windows of blocks that are read as they
/// lie.
enum class Shuffle { kGlobal, kBlocks };
constexpr auto names_of(Shuffle) { return std::array{"global", "blocks"}; }

struct StoreOptions {
  std::string path;
  double held_out = 0.05;
  std::optional<std::string> held_out_path;
  std::int64_t split_seed = 0;
  bool verify = true;
  std::int64_t prefetch = 2;
  Shuffle shuffle = Shuffle::kGlobal;
  std::int64_t shuffle_block = 4096;
  std::int64_t shuffle_window = 128;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("path", self.path, non_empty,
          "activation store: a folder, a .safetensors, a .npy or a .pt file");
    visit("held_out", self.held_out, unit_interval(),
          "share of the contexts (of the tokens, if contexts are unknown) kept for evaluation");
    visit("held_out_path", self.held_out_path, non_empty,
          "another store to evaluate on; training then uses all of `path`");
    visit("split_seed", self.split_seed, at_least(0),
          "chooses which are held out; apart from `seed`, so that all runs are judged on the same");
    visit("verify", self.verify, any, "check the shards' checksums when the store is opened");
    visit("prefetch", self.prefetch, at_least(0), "batches read ahead in the background");
    visit("shuffle", self.shuffle, any,
          "global: over all training rows; blocks: over windows of blocks that are read whole, for "
          "stores larger than memory on slow disks");
    visit("shuffle_block", self.shuffle_block, at_least(1), "tokens in a block, with 'blocks'");
    visit("shuffle_window", self.shuffle_window, at_least(1),
          "blocks that are mixed; two windows should fit into memory");
  }

  void check(Findings& findings) const;
};

/// A store opened for reading, wholly checked except for the activations' values, which are checked
/// for NaN and Inf as they are read. Constant; may be used from several threads at once.
class ActivationStore {
 public:
  explicit ActivationStore(const std::filesystem::path& path, bool verify_checksums = true);
  ~ActivationStore();

  std::int64_t d_in() const;
  std::int64_t size() const;                  ///< tokens
  const std::filesystem::path& path() const;  ///< as given
  at::ScalarType dtype() const;
  bool has_tokens() const;
  bool has_context() const;
  std::optional<double> mean_norm() const;  ///< as the manifest says
  const nlohmann::json& source() const;     ///< provenance, from the manifest; null for a bare file

  /// Activations of rows `indices` (each in [0, size())), [n, D] on the CPU, float32 unless `form`
  /// wants them as they are stored.
  /// Throws DataError for NaN or Inf (naming shard and row) and for a shard that has changed.
  at::Tensor rows(std::span<const std::int64_t> indices, const BatchForm& form = {}) const;

  /// Activations of rows [first, first + count).
  at::Tensor rows(std::int64_t first, std::int64_t count) const;

  /// Throws DataError as `rows` does if any row of the store has a NaN or Inf. Reads every value,
  /// once a process, or nothing of a store that is larger than half of memory.
  void require_finite() const;

  /// Tells the kernel that rows [first, first + count) are wanted soon.
  void will_need(std::int64_t first, std::int64_t count) const;

  /// What the store is known by, wherever it lies: "sha256:..." of the shards' checksums, as the
  /// manifest has them, and their sizes; of a bare file its content's, and of ids beside it
  /// (file_facts.h). The manifest's provenance has no part in it.
  std::string digest() const;

  /// The same with NaN and Inf let through, for looking at damaged data.
  at::Tensor unchecked_rows(std::int64_t first, std::int64_t count) const;

  std::int64_t shards() const;                   ///< files with rows in them
  std::string place_of(std::int64_t row) const;  ///< "acts/shard-00003.safetensors: row 17"

  at::Tensor tokens(std::int64_t first, std::int64_t count) const;   ///< [count] int32
  at::Tensor context(std::int64_t first, std::int64_t count) const;  ///< [count] int32

 private:
  struct Impl;
  std::unique_ptr<const Impl> impl_;
};

enum class Split { kTrain, kHeldOut };

/// The activations of one split in shuffled order, read ahead on a background thread.
///
/// Order: in epoch e the i-th activation is row pi_e(i) of the split, pi_e a pseudo-random
/// permutation keyed by (seed, e). It is global, over the whole split: a batch of B from N tokens
/// with contexts of L tokens holds B (B - 1) / 2 * (L - 1) / (N - 1) pairs of one context in
/// expectation, the same as for a perfect shuffle. It is computed, not stored, so seek is O(1) and
/// a store of any size costs no index memory.
///
/// With shuffle 'blocks' the split is cut into blocks of b rows, which come in a random order, new
/// each epoch, and are mixed within windows of W blocks: a disk reads b rows at a time, the window
/// to come is read while the last one is trained on, and only two windows need memory. Of the M
/// blocks, all in one window if M <= W, a batch within a window then holds in expectation
///
///     B (B - 1) / 2 * [(L - 1) - (1 - (W - 1) / (M - 1)) (L^2 - 1) / (3 b)] / (W b - 1)
///
/// pairs of one context for L <= b, about (N - 1) / (W b - 1) times those of the global order. With
/// the defaults and B 4096, L 128, that is 2010 pairs, one activation in two has another of its
/// context in its batch; the global order of 10^8 tokens has 11. A wider window has fewer.
///
/// Split: whole contexts, each held out with probability `held_out` by a hash of (split_seed,
/// context); single tokens if the store has no contexts. With `held_out` above 0 neither side comes
/// out empty: if chance holds out none or all, the one context nearest to the other side goes
/// there. Throws DataError, with a remedy, where there is nothing to divide: a single context or
/// token, or the held-out side at `held_out` 0.
class StoreSource : public ActivationSource {
 public:
  StoreSource(std::shared_ptr<const ActivationStore> store, const StoreOptions& options,
              Split split, std::uint64_t seed);
  ~StoreSource() override;

  std::int64_t d_in() const override;
  at::Tensor next(std::int64_t count) override;
  void set_form(const BatchForm& form) override;
  std::int64_t position() const override;
  void seek(std::int64_t position) override;
  std::string description() const override;

  std::int64_t size() const;  ///< tokens of this split: one epoch

  /// Contexts that were moved to this or the other side so that neither is empty: 0 or 1.
  std::int64_t moved_contexts() const;

  /// Another source of the same activations, from the beginning, without dividing the store anew.
  std::unique_ptr<StoreSource> another() const;

  /// The row of the store that is handed out at `position`, and those of `count` from there on.
  std::int64_t row_at(std::int64_t position) const;
  std::vector<std::int64_t> rows_at(std::int64_t position, std::int64_t count) const;

 private:
  struct Impl;
  explicit StoreSource(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Writes a store. The folder appears when `finish` has succeeded and not before; until then no
/// other process can write one of this name (ConfigError).
class StoreWriter {
 public:
  /// `dtype` is at::kFloat, at::kHalf or at::kBFloat16. `source` is the manifest's provenance.
  StoreWriter(const std::filesystem::path& folder, std::int64_t d_in, at::ScalarType dtype,
              const nlohmann::json& source, std::int64_t shard_tokens = 65536);
  ~StoreWriter();

  /// activations [n, D]; tokens [n] and context [n] integers, given always or never. Throws
  /// DataError for values that are not finite in the store's dtype.
  void append(const at::Tensor& activations, const at::Tensor& tokens = {},
              const at::Tensor& context = {});

  /// Further files beside the shards, such as the ground truth of a synthetic world.
  void add_file(const std::string& name, std::string_view bytes);
  void add_file(const std::string& name, const NamedTensors& tensors,
                const Metadata& metadata = {});

  /// Writes the last shard and the manifest, and makes the folder appear.
  void finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sae
