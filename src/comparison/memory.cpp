#include "comparison/memory.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "sae/base/device.h"
#include "sae/base/text.h"

namespace sae {
namespace {

constexpr std::pair<std::string_view, double> kUnits[] = {
    {"%", 0},     {"B", 1},        {"kB", 1e3},     {"KB", 1e3},     {"MB", 1e6},     {"GB", 1e9},
    {"TB", 1e12}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40},
};

std::optional<MemoryLimit> share_of(double share) {
  if (!(share > 0 && share <= 1)) return std::nullopt;
  return MemoryLimit{.share = share, .bytes = 0};
}

std::optional<MemoryLimit> limit_in(std::string_view text) {
  double number = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
  if (read.ec != std::errc()) return std::nullopt;
  std::string_view unit = text.substr(static_cast<std::size_t>(read.ptr - text.data()));
  while (unit.starts_with(' ')) unit.remove_prefix(1);
  const auto* const known = std::find_if(std::begin(kUnits), std::end(kUnits),
                                         [&](const auto& one) { return one.first == unit; });
  if (known == std::end(kUnits)) return std::nullopt;
  if (unit == "%") return share_of(number / 100);
  const double bytes = number * known->second;
  if (!(bytes >= 1 && bytes < 0x1p62)) return std::nullopt;
  return MemoryLimit{.share = 0, .bytes = static_cast<std::int64_t>(bytes)};
}

}  // namespace

std::optional<MemoryLimit> memory_limit(const nlohmann::ordered_json& value) {
  if (value.is_number()) return share_of(value.get<double>());
  if (value.is_string()) return limit_in(value.get_ref<const std::string&>());
  return std::nullopt;
}

std::int64_t memory_budget(const MemoryLimit& limit, const at::Device& device,
                           std::int64_t queues) {
  if (limit.bytes > 0) return limit.bytes / queues;
  const auto memory = memory_of(device);
  if (!memory) return std::numeric_limits<std::int64_t>::max();
  return static_cast<std::int64_t>(limit.share * static_cast<double>(memory->available)) / queues;
}

std::size_t wave_size(const std::vector<RunMemory>& runs, std::size_t threads,
                      std::int64_t budget) {
  double held = 0;
  std::vector<double> largest;  // what those work with that may be computed on at once
  for (std::size_t i = 0; i < runs.size(); ++i) {
    held += static_cast<double>(runs[i].held);
    largest.push_back(static_cast<double>(runs[i].working));
    std::sort(largest.begin(), largest.end(), std::greater<>());
    if (largest.size() > threads) largest.pop_back();
    double working = 0;
    for (const double one : largest) working += one;
    if (held + working > static_cast<double>(budget)) return std::max<std::size_t>(i, 1);
  }
  return runs.size();
}

std::size_t jobs_that_fit(const ComparisonPlan& plan, std::int64_t job, std::size_t threads) {
  std::int64_t budget = std::numeric_limits<std::int64_t>::max();
  for (const std::string& queue : plan.queues) {
    const at::Device device = parse_device(queue);
    release_freed_memory(device);
    budget = std::min(budget, memory_budget(plan.memory, device, /*queues=*/1));
  }
  const auto fit = static_cast<std::uint64_t>(budget / std::max<std::int64_t>(job, 1));
  return std::clamp<std::uint64_t>(fit, 1, threads);
}

std::string size_text(std::int64_t bytes) {
  auto size = static_cast<double>(bytes);
  for (const char* unit : {" B", " kB", " MB", " GB"}) {
    if (size < 1000) return brief(size) + unit;
    size /= 1000;
  }
  return brief(size) + " TB";
}

}  // namespace sae
