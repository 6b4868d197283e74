// The codes of a whole store, written once and read as often as wanted, by memory map.
//
// What other tools want of a latent needs its largest activation first, and all of its activations
// afterwards. A firing takes 12 bytes on the disk, a row 8; memory holds one entry a latent.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "sae/base/files.h"
#include "sae/data/store.h"
#include "sae/models/autoencoder.h"
#include "sae/sparse/sparse_rows.h"
#include "tools/features/batch.h"

namespace sae {

/// Of a latent's activations above zero.
struct LatentRange {
  std::int64_t firings = 0;
  float least = 0, most = 0;  ///< 0 without firings
  double sum = 0, squares = 0;
};

class CodesOnDisk {
 public:
  /// Makes `folder`, which goes with this. Only latents below `latents` are kept, and of them what
  /// is above `least` (>= 0).
  CodesOnDisk(std::filesystem::path folder, std::int64_t latents, float least = 0);
  CodesOnDisk(const CodesOnDisk&) = delete;
  CodesOnDisk& operator=(const CodesOnDisk&) = delete;
  ~CodesOnDisk();

  void append(const FeatureBatch& batch);  ///< the batch's new rows
  void finish();                           ///< nothing is appended after it, nothing read before

  SparseView view() const;  ///< of all rows, latents ascending within a row
  const std::vector<LatentRange>& ranges() const { return ranges_; }  ///< [latents]

 private:
  std::filesystem::path folder_;
  float least_;
  std::vector<LatentRange> ranges_;
  std::int64_t entries_ = 0;
  struct Files;
  std::unique_ptr<Files> writing_;
  std::optional<MappedFile> values_, indices_, offsets_;
};

/// Calls `take` with all of a store's rows as new ones, in order, a few thousand at a time, with up
/// to `around` rows before and after them. Their codes are those of `codes`, which are the store's.
void for_each_batch(const CodesOnDisk& codes, const ActivationStore& store, std::int64_t around,
                    const std::function<void(const FeatureBatch&)>& take);

}  // namespace sae
