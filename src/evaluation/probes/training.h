// Adam on linear probes of many classes, on dense samples and on sparse ones.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "sae/evaluation/probes.h"

namespace sae {

/// N samples of D features, C classes. x and weight are of one type, float32 or float64.
struct ProbeSamples {
  Codes x;
  at::Tensor inside;  // [N, C] bool
  at::Tensor weight;  // [C] of the samples inside
};

struct ProbeAdam {
  std::int64_t batch_size = 1;
  double weight_decay = 0;
  bool decoupled = false;  ///< weight decay as AdamW has it
  double l1_decay = 0;
};

/// One probe in training. Its numbers do not depend on the number of threads.
class ProbeTraining {
 public:
  virtual ~ProbeTraining() = default;
  /// One step for each batch of the samples, taken in this order [N] i64.
  virtual void epoch(const at::Tensor& order, double lr) = 0;
  virtual LinearProbe probe() const = 0;
};

std::unique_ptr<ProbeTraining> dense_probe_training(ProbeSamples samples, const LinearProbe& start,
                                                    const ProbeAdam& how);
std::unique_ptr<ProbeTraining> sparse_probe_training(ProbeSamples samples, const LinearProbe& start,
                                                     const ProbeAdam& how);

}  // namespace sae
