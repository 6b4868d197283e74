// Which runs of a comparison fit into memory together.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "sae/comparison/plan.h"
#include "training/run_memory.h"

namespace sae {

/// 0.7, "70%", "24GB" (10^9), "24GiB" (2^30); nothing for anything else.
std::optional<MemoryLimit> memory_limit(const nlohmann::ordered_json& value);

/// What one of `queues` queues on a device may take of it now. All there is where that is unknown.
std::int64_t memory_budget(const MemoryLimit& limit, const at::Device& device, std::int64_t queues);

/// How many of the first runs fit into `budget` at once, at least 1: what each of them holds, and
/// what the `threads` largest of them work with.
std::size_t wave_size(const std::vector<RunMemory>& runs, std::size_t threads, std::int64_t budget);

/// How many of `threads` jobs fit side by side, each taking `job` bytes; at least 1.
std::size_t jobs_that_fit(const ComparisonPlan& plan, std::int64_t job, std::size_t threads);

/// "3.2 GB", for people.
std::string size_text(std::int64_t bytes);

}  // namespace sae
