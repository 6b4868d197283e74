// Who says how alike two places of a text are: unit vectors of the rows of a sample, from a small
// embedding model (a judge file, made once per store by scripts/judge.py) or from the tokens alone.
//
//     rows   [N] i64, rows of the store, ascending
//     whole  [N, m] f16 or f32: e_r, of the text of row r with its token marked
//     blind  [N, m'] optional: likewise, of the text with the token hidden
//     __metadata__: "task": "judge", "model", "revision", "window", "store": the SHA-256 of the
//         store's manifest.json; others are ignored
//
// A judge is a proxy for people: what it says is worth what its agreement with them is.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sae/data/store.h"
#include "sae/evaluation/interp_items.h"

namespace sae {

/// Unit vectors e_r of rows 0 .. N - 1. Products are sums in float64.
class JudgeVectors {
 public:
  /// Scales `vectors` [N, m] to norm 1. DataError that starts with `place` and names the row, for a
  /// vector that is zero or not finite.
  JudgeVectors(const at::Tensor& vectors, const std::string& place);

  /// The judge `token`: one-hot vectors of the sample's tokens.
  static JudgeVectors of_tokens(const InterpSample& sample);

  std::int64_t size() const { return size_; }    ///< N
  std::int64_t width() const { return width_; }  ///< m

  double dot(std::int32_t a, std::int32_t b) const;                        ///< e_a . e_b
  double dot(std::int32_t row, std::span<const double> v) const;           ///< e_row . v
  void add(std::int32_t row, double weight, std::span<double> sum) const;  ///< sum += weight e_row
  /// |sum|^2 of a sum over `rows`, which is set back to 0 in a time that depends on them alone.
  double take_square(std::span<const std::int32_t> rows, std::span<double> sum) const;

 private:
  JudgeVectors() = default;

  std::int64_t size_ = 0;
  std::int64_t width_ = 0;
  std::vector<float> dense_;       // [N, m], or empty
  std::vector<std::int32_t> hot_;  // [N] which entry is 1, or empty
};

/// A judge file as it was read.
struct JudgeFile {
  std::string place;
  std::string model, revision, window;
  std::string store;               ///< SHA-256 of the manifest
  std::vector<std::int64_t> rows;  ///< [N] ascending
  std::shared_ptr<const JudgeVectors> whole;
  std::shared_ptr<const JudgeVectors> blind;  ///< null: the file has none
};

/// DataError, with the row where there is one, for anything that is not as above.
JudgeFile read_judge(const std::filesystem::path& path);

/// DataError unless the judge was made for this store: its manifest, its number of rows. Likewise
/// if the judge's vectors are the store's own rows, which makes any direction look coherent.
void require_judge_of(const JudgeFile& judge, const ActivationStore& store);

/// The part of a judge that is about `rows` (ascending) of the store.
JudgeFile judge_of_rows(const JudgeFile& judge, std::span<const std::int64_t> rows);

/// Whether the judge is the model that the store is from, by their names without owners and case.
bool is_model_of(const JudgeFile& judge, const ActivationStore& store);

/// Whether `path` is a file that read_judge is for (it may still find errors in it).
bool is_judge_file(const std::filesystem::path& path);

}  // namespace sae
