// Where training batches come from.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

namespace sae {

/// In which form batches are wanted, for sources that can.
struct BatchForm {
  bool as_stored = false;  ///< float32, float16 or bfloat16, as in the files, instead of float32
  bool pinned = false;     ///< in memory that a GPU can copy from by itself
  /// Activations from the beginning of a batch to that of the next, by which a source may read
  /// ahead; 0: as many as were asked for.
  std::int64_t stride = 0;
  bool operator==(const BatchForm& other) const = default;
};

/// A stream of activation vectors in a fixed order.
///
/// The order is a pure function of the source's construction (its files, its seed): the batch at
/// position p does not depend on how the source got there. So a position is all that a resume
/// needs. A source is used from one thread at a time.
class ActivationSource {
 public:
  virtual ~ActivationSource() = default;

  virtual std::int64_t d_in() const = 0;  ///< D

  /// The next `count` activations, [count, D] on the CPU, contiguous, float32 unless another form
  /// was asked for. Advances position by `count`. Sources never end: a finite store starts its next
  /// epoch, in a new order. Throws DataError for a damaged file or a NaN or Inf in it.
  virtual at::Tensor next(std::int64_t count) = 0;

  /// A wish for the batches to come; a source may go on with plain float32.
  virtual void set_form(const BatchForm& /*form*/) {}

  virtual std::int64_t position() const = 0;     ///< activations handed out so far
  virtual void seek(std::int64_t position) = 0;  ///< as if `position` had been handed out

  virtual std::string description() const = 0;  ///< one line for people
};

}  // namespace sae
