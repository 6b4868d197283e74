// The features behind a store's activations, as `sae synth` writes them beside the shards:
//
//     world.json               the world's options
//     dictionary.safetensors   features [N, D], bias [D], rates [N]
//     truth-00000.safetensors  values [nnz] f32, indices [nnz] i64, offsets [n + 1] i64: of the
//                              store's first n rows; truth-00001.safetensors goes on from there
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "sae/data/store.h"
#include "sae/data/world.h"

namespace sae {

/// "truth-00000.safetensors"
std::string truth_file_name(std::int64_t number);

/// Whether the folder says which world its activations are of.
bool has_stored_truth(const std::filesystem::path& store);

/// Opened and checked: all files are there and of the store's width and number of rows. The
/// features of a row are checked when they are read. Constant; may be used from several threads.
class StoredTruth {
 public:
  /// DataError for anything but what is described above.
  explicit StoredTruth(std::shared_ptr<const ActivationStore> store);
  ~StoredTruth();

  const std::shared_ptr<const World>& world() const { return world_; }

  /// The features of the store's rows `indices`, whose activations are `x` [n, D]. DataError for
  /// features that do not exist or do not give the activation.
  SparseRows rows(std::span<const std::int64_t> indices, const at::Tensor& x) const;

 private:
  struct Part;

  void open_parts();
  const Part& part_of(std::int64_t row) const;
  void check_row(std::int64_t row, const SparseRows& features, const float* x) const;

  std::shared_ptr<const ActivationStore> store_;
  std::shared_ptr<const World> world_;
  std::vector<Part> parts_;  // ascending in their first row
  double tolerance_;         // of the activations, by the rounding of the type they are stored in
};

/// A split of the store with its features.
class StoredTruthSource : public TruthSource {
 public:
  StoredTruthSource(std::unique_ptr<StoreSource> source, std::shared_ptr<const StoredTruth> truth);

  std::int64_t d_in() const override { return source_->d_in(); }
  at::Tensor next(std::int64_t count) override { return source_->next(count); }
  LabelledBatch next_with_truth(std::int64_t count) override;
  std::int64_t position() const override { return source_->position(); }
  void seek(std::int64_t position) override { source_->seek(position); }
  std::string description() const override { return source_->description(); }

 private:
  std::unique_ptr<StoreSource> source_;
  std::shared_ptr<const StoredTruth> truth_;
};

}  // namespace sae
