#include "sae/comparison/share.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <numeric>

#include "sae/base/error.h"

namespace sae {
namespace {

/// All of `text` as a number, 0 if it is none.
std::int64_t number(const std::string& text) {
  std::int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, value);
  return read.ec == std::errc() && read.ptr == end ? value : 0;
}

double cost_of(const PlannedRun& run) {
  const auto d_sae = resolve_run(run.options)["model"]["d_sae"].get<std::int64_t>();
  const TrainOptions& train = run.options.train.train;
  return static_cast<double>(d_sae) * static_cast<double>(train.total_steps() * train.batch);
}

}  // namespace

Share share_named(const std::string& text) {
  const std::size_t slash = text.find('/');
  Share share{0, 0};
  if (slash != std::string::npos) {
    share = {number(text.substr(0, slash)), number(text.substr(slash + 1))};
  }
  if (share.index < 1 || share.index > share.count) {
    throw ConfigError("--share: got '" + text +
                      "', expected i/n with i from 1 to n, such as 3/16: the third of 16");
  }
  return share;
}

std::string name_of(const Share& share) {
  return std::to_string(share.index) + "/" + std::to_string(share.count);
}

std::vector<std::size_t> runs_of(const ComparisonPlan& plan, const Share& share) {
  std::vector<double> cost;
  for (const PlannedRun& run : plan.runs) cost.push_back(cost_of(run));
  std::vector<std::size_t> order(plan.runs.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return cost[a] > cost[b]; });
  std::vector<std::size_t> own;
  for (auto i = static_cast<std::size_t>(share.index - 1); i < order.size();
       i += static_cast<std::size_t>(share.count)) {
    own.push_back(order[i]);
  }
  std::sort(own.begin(), own.end());
  return own;
}

}  // namespace sae
