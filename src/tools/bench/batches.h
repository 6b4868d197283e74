// Where the steps that are timed take their batches from.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "sae/data/activations.h"
#include "sae/tools/bench.h"

namespace sae {

/// Three batches of a Zipf world in memory, over and over, or those of a store as in training.
std::unique_ptr<ActivationSource> bench_batches(const BenchCase& one, const std::string& store);

/// DataError unless activations have the width that a case says.
void require_width(std::int64_t width, std::int64_t d_in);

}  // namespace sae
