// Metrics over two axes of a comparison: a heat map for each family of members and pair.
#include <algorithm>
#include <utility>

#include "html/heat_map.h"
#include "report/axes.h"
#include "report/groups.h"
#include "report/sections.h"
#include "sae/base/text.h"

namespace sae::report {
namespace {

/// Two axes of a family of members.
struct Plane {
  std::string family;
  const AxisView* x = nullptr;
  const AxisView* y = nullptr;
};

std::vector<Plane> planes_of(const ComparisonResult& result, const std::vector<AxisView>& axes) {
  std::vector<Plane> planes;
  std::vector<std::string> families;
  for (const Member& member : result.members) {
    if (member.axes.size() < 2 ||
        std::find(families.begin(), families.end(), member.family) != families.end()) {
      continue;
    }
    families.push_back(member.family);
    for (std::size_t i = 0; i < axes.size(); ++i) {
      for (std::size_t k = i + 1; k < axes.size(); ++k) {
        if (value_on(member, axes[i].name) != nullptr &&
            value_on(member, axes[k].name) != nullptr) {
          planes.push_back({member.family, &axes[i], &axes[k]});
        }
      }
    }
  }
  return planes;
}

const Member* member_at(const ComparisonResult& result, const Plane& plane, const SharedJson& x,
                        const SharedJson& y) {
  for (const Member& member : result.members) {
    if (member.family != plane.family) continue;
    const SharedJson *own_x = value_on(member, plane.x->name),
                     *own_y = value_on(member, plane.y->name);
    if (own_x == nullptr || own_y == nullptr || *own_x != x || *own_y != y) continue;
    if (at_first(result, plane.family, member.axes, {plane.x->name, plane.y->name})) return &member;
  }
  return nullptr;
}

std::optional<HeatCell> heat_cell(const ComparisonResult& result, const Member* member,
                                  const MetricInfo& metric, double level) {
  if (member == nullptr) return std::nullopt;
  const auto value = metric_at(result, member->label, metric.name, level);
  if (!value) return std::nullopt;
  std::string text = fixed(value->mean, 3);
  if (text.starts_with("0.")) text.erase(0, 1);
  return HeatCell{value->mean, text + (value->outside ? "*" : ""),
                  member->label + ": " + metric.label + " " + over_seeds_text(*value)};
}

std::optional<Drawing> heat_map_of(const ComparisonResult& result, const Plane& plane,
                                   const MetricInfo& metric, double level) {
  HeatMap map;
  map.title = caption_of(metric);
  map.description = "Heat map of " + metric.label + " of " + plane.family + " over " +
                    plane.x->label + " and " + plane.y->label + " at L0 " + trimmed(level, 3) + ".";
  map.x_title = plane.x->label;
  map.y_title = plane.y->label;
  for (const Tick& tick : plane.x->ticks()) map.x_labels.push_back(tick.label);
  for (const Tick& tick : plane.y->ticks()) map.y_labels.push_back(tick.label);
  bool any = false;
  for (const SharedJson& y : plane.y->values) {
    map.cells.emplace_back();
    for (const SharedJson& x : plane.x->values) {
      map.cells.back().push_back(heat_cell(result, member_at(result, plane, x, y), metric, level));
      any = any || map.cells.back().back();
    }
  }
  return any ? std::optional(drawing(map)) : std::nullopt;
}

bool reaches_outside(const ComparisonResult& result, const std::string& family, double level) {
  return std::any_of(result.members.begin(), result.members.end(), [&](const Member& member) {
    if (member.family != family) return false;
    const auto l0 = metric_at(result, member.label, metric::kL0, level);
    return l0 && l0->outside;
  });
}

AxesPicture plane_picture(const ComparisonResult& result, const Plane& plane,
                          const std::vector<MetricInfo>& metrics, double level) {
  AxesPicture picture{plane.x->label + " and " + plane.y->label + ": " + plane.family,
                      at_level(level) + " Colours run from the least to the greatest of each map.",
                      "axes-" + plane.x->label + "-" + plane.y->label + "-" + plane.family,
                      {},
                      {}};
  std::vector<AxisValue> held;
  for (const AxisValue& one : first_of(result, plane.family).axes) {
    if (one.axis != plane.x->name && one.axis != plane.y->name) held.push_back(one);
  }
  if (!held.empty()) picture.note += " Held: " + values_text(held) + ".";
  if (reaches_outside(result, plane.family, level)) {
    picture.note += " *: this L0 is outside the member's range.";
  }
  for (const MetricInfo& metric : metrics) {
    auto one = heat_map_of(result, plane, metric, level);
    if (one) picture.drawings.push_back(std::move(*one));
  }
  return picture;
}

}  // namespace

std::vector<AxesPicture> plane_pictures(const ComparisonResult& result,
                                        const std::vector<AxisView>& axes,
                                        const std::vector<MetricInfo>& metrics, double level) {
  std::vector<AxesPicture> pictures;
  for (const Plane& plane : planes_of(result, axes)) {
    pictures.push_back(plane_picture(result, plane, metrics, level));
  }
  return pictures;
}

}  // namespace sae::report
