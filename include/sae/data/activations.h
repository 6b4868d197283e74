// Where training batches come from.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace sae {

/// A stream of activation vectors in a fixed order.
///
/// The order is a pure function of the source's construction (its files, its seed): the batch at
/// position p does not depend on how the source got there. So a position is all that a resume
/// needs. A source is used from one thread at a time.
class ActivationSource {
 public:
  virtual ~ActivationSource() = default;

  virtual std::int64_t d_in() const = 0;  ///< D

  /// The next `count` activations, [count, D] float32 on the CPU, contiguous. Advances position by
  /// `count`. Sources never end: a finite store starts its next epoch, in a new order.
  /// Throws DataError for a damaged file or a NaN or Inf in it.
  virtual at::Tensor next(std::int64_t count) = 0;

  virtual std::int64_t position() const = 0;     ///< activations handed out so far
  virtual void seek(std::int64_t position) = 0;  ///< as if `position` had been handed out

  virtual std::string description() const = 0;  ///< one line for people
};

}  // namespace sae
