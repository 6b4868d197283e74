// Measures what a group's ranks send to each other: before hours of training on many machines, that
// they meet at all, and what their network does.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "sae/distributed/group.h"

namespace sae {

/// One size of tensor, float32.
struct RanksRow {
  std::int64_t bytes = 0;  ///< that each rank has
  double sum_s = 0;        ///< median of a sum over all ranks
  double gather_s = 0;     ///< and of a gather
};

struct RanksResult {
  int ranks = 1;
  std::string address;  ///< where they met
  std::vector<RanksRow> rows;
  Traffic traffic;  ///< of this rank
};

/// For about `seconds` in all, on every rank of the group at once. Throws std::runtime_error if a
/// sum comes out wrong.
RanksResult measure_ranks(const Group& group, const Membership& member, double seconds);

nlohmann::ordered_json to_json(const RanksResult& result);
std::string to_text(const RanksResult& result);  ///< a line for each size, below what they are

}  // namespace sae
