// Where Delphi finds a store's rows: in rows of the same number of tokens, which it cuts into
// examples of 32.
//
// A store's contexts have any length. They are laid one after the other, each from the next
// multiple of 32 on, and the whole is folded into rows, which contexts may run across: an example
// never holds tokens of two.
#pragma once

#include <cstdint>
#include <optional>

#include "sae/data/store.h"
#include "tools/features/batch.h"

namespace sae {

class DelphiLayout {
 public:
  static constexpr std::int64_t kExample = 32;  ///< ConstructorConfig.example_ctx_len

  /// Reads the context numbers of the store.
  explicit DelphiLayout(const ActivationStore& store);

  std::int64_t rows() const { return (places_ + width_ - 1) / width_; }
  std::int64_t width() const { return width_; }  ///< a multiple of 32: of the longest context
  std::int64_t padded() const { return rows() * width_ - tokens_; }

 private:
  std::int64_t tokens_, places_ = 0, width_;
};

/// Gives the rows of a store their places, in order.
class DelphiPlaces {
 public:
  /// Of the next row, whose context has this number: row * width + place in the row.
  std::int64_t next(std::optional<std::int32_t> context);
  std::int64_t next(const FeatureBatch& batch, std::int64_t row);

  std::int64_t end() const { return end_; }  ///< beyond the last one

 private:
  std::int64_t end_ = 0;
  std::optional<std::int32_t> context_;
};

}  // namespace sae
