#include "report/axes.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "report/groups.h"
#include "report/sections.h"
#include "sae/base/text.h"

namespace sae::report {
namespace {

constexpr double kFactor = 4;    // values closer together need no logarithm
constexpr double kUneven = 1.5;  // of the largest step to the smallest

std::vector<double> numbers(const AxisView& axis) {
  std::vector<double> values;
  for (const SharedJson& value : axis.values) values.push_back(value->get<double>());
  return values;
}

bool grows_by_factors(const std::vector<double>& values) {
  if (values.front() <= 0 || values.back() < kFactor * values.front()) return false;
  if (values.size() == 2) return true;
  double least = HUGE_VAL, most = 0;
  for (std::size_t i = 1; i < values.size(); ++i) {
    least = std::min(least, values[i] - values[i - 1]);
    most = std::max(most, values[i] - values[i - 1]);
  }
  return most > kUneven * least;
}

void put_in_order(AxisView& axis) {
  axis.numeric = std::all_of(axis.values.begin(), axis.values.end(),
                             [](const SharedJson& value) { return value->is_number(); });
  if (!axis.numeric) return;
  std::sort(axis.values.begin(), axis.values.end(), [](const SharedJson& a, const SharedJson& b) {
    return a->get<double>() < b->get<double>();
  });
  axis.by_factors = grows_by_factors(numbers(axis));
}

}  // namespace

double AxisView::place(const SharedJson& value) const {
  if (numeric) return value->get<double>();
  return static_cast<double>(std::find(values.begin(), values.end(), value) - values.begin());
}

std::vector<Tick> AxisView::ticks() const {
  std::vector<Tick> all;
  for (const SharedJson& value : values) all.push_back({place(value), value_text(value)});
  return all;
}

std::vector<AxisView> axes_of(const ComparisonResult& result) {
  std::vector<AxisView> axes;
  for (const Member& member : result.members) {
    for (const AxisValue& one : member.axes) {
      auto axis = std::find_if(axes.begin(), axes.end(),
                               [&](const AxisView& each) { return each.name == one.axis; });
      if (axis == axes.end()) {
        axes.push_back({one.axis, short_axis(one.axis), {}});
        axis = axes.end() - 1;
      }
      auto& values = axis->values;
      if (std::find(values.begin(), values.end(), one.value) == values.end()) {
        values.push_back(one.value);
      }
    }
  }
  std::erase_if(axes, [](const AxisView& axis) { return axis.values.size() < 2; });
  for (AxisView& axis : axes) {
    put_in_order(axis);
    for (const AxisView& other : axes) {
      if (other.name != axis.name && short_axis(other.name) == short_axis(axis.name)) {
        axis.label = axis.name;
      }
    }
  }
  return axes;
}

const SharedJson* value_on(const Member& member, const std::string& axis) {
  for (const AxisValue& one : member.axes) {
    if (one.axis == axis) return &one.value;
  }
  return nullptr;
}

std::string value_text(const SharedJson& value) {
  return value->is_string() ? value->get<std::string>() : value.text();
}

std::string short_axis(const std::string& name) { return name.substr(name.rfind('.') + 1); }

std::string caption_of(const MetricInfo& metric) {
  return capital(metric.label) + (metric.better == Better::kHigher  ? ": higher is better"
                                  : metric.better == Better::kLower ? ": lower is better"
                                                                    : "");
}

std::string at_level(double level) { return "At L0 " + trimmed(level, 3) + "."; }

std::string over_seeds_text(const SeedStatistic& value) {
  return with_sd(value) + " (" + std::to_string(value.seeds) +
         (value.seeds == 1 ? " seed)" : " seeds)") +
         (value.outside ? ", outside its range of L0" : "");
}

std::string values_text(const std::vector<AxisValue>& values) {
  std::string text;
  for (const AxisValue& one : values) {
    text += (text.empty() ? "" : ", ") + short_axis(one.axis) + " " + value_text(one.value);
  }
  return text;
}

const Member& first_of(const ComparisonResult& result, const std::string& family) {
  return *std::find_if(result.members.begin(), result.members.end(),
                       [&](const Member& member) { return member.family == family; });
}

bool at_first(const ComparisonResult& result, const std::string& family,
              const std::vector<AxisValue>& values, const std::vector<std::string>& free) {
  const Member& first = first_of(result, family);
  return std::all_of(values.begin(), values.end(), [&](const AxisValue& one) {
    if (std::find(free.begin(), free.end(), one.axis) != free.end()) return true;
    const SharedJson* value = value_on(first, one.axis);
    return value != nullptr && *value == one.value;
  });
}

}  // namespace sae::report
