// What runs of one process cannot differ in.
#pragma once

#include "sae/comparison/plan.h"
#include "sae/config/config_node.h"

namespace sae {

/// ConfigError if two runs of the plan differ in what LibTorch (TF32 products) or we (own CUDA
/// kernels) set for the whole process, since they train side by side.
void require_one_process(const ComparisonPlan& plan, const ConfigNode& document);

}  // namespace sae
