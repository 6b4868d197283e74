// The axes of a comparison's grid as a reader sees them: which values, on which scale.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "html/chart.h"
#include "sae/results/results.h"

namespace sae::report {

/// An axis that made members, over all members that are on it.
struct AxisView {
  std::string name;                ///< AxisValue::axis
  std::string label;               ///< its last part, unless another axis ends alike
  std::vector<SharedJson> values;  ///< numbers ascending; anything else as it comes
  bool numeric = false;            ///< else the values are names
  bool by_factors = false;         ///< numbers above 0, far apart and not evenly spaced

  /// Where a value lies on the scale: itself, or its place among the names.
  double place(const SharedJson& value) const;
  std::vector<Tick> ticks() const;
};

/// Those with more than one value, in the order of the members.
std::vector<AxisView> axes_of(const ComparisonResult& result);

/// The member's value on an axis; none if it is not on it.
const SharedJson* value_on(const Member& member, const std::string& axis);

std::string value_text(const SharedJson& value);  ///< "0.5", "product"
std::string short_axis(const std::string& name);  ///< "rate" of "model.mask.rate"

/// "rate 0.5, cycle 100": values on axes.
std::string values_text(const std::vector<AxisValue>& values);

/// The first member of a family stands at the first value of each of its axes.
const Member& first_of(const ComparisonResult& result, const std::string& family);

/// Whether all of `values`, but for those on the axes named, are the first of the family.
bool at_first(const ComparisonResult& result, const std::string& family,
              const std::vector<AxisValue>& values, const std::vector<std::string>& free);

// Words of the pictures.
std::string caption_of(const MetricInfo& metric);         ///< "F1: higher is better"
std::string at_level(double level);                       ///< "At L0 5."
std::string over_seeds_text(const SeedStatistic& value);  ///< "0.184 ± 0.010 (3 seeds)"

/// A heading, what it says, and drawings for it: a metric each.
struct AxesPicture {
  std::string heading;
  std::string note;
  std::string file;  ///< name of the SVG file that holds it
  std::vector<std::pair<Look, std::string>> legend;
  std::vector<Drawing> drawings;
};

/// Lines over the axis, or points over names.
AxesPicture lines_picture(const ComparisonResult& result, const AxisView& axis,
                          const std::vector<MetricInfo>& metrics, double level);
/// Heat maps: one picture a family of members and pair of its axes, any others held at their first.
std::vector<AxesPicture> plane_pictures(const ComparisonResult& result,
                                        const std::vector<AxisView>& axes,
                                        const std::vector<MetricInfo>& metrics, double level);

/// One an axis (lines, or points over names), then one a family of members and pair of its axes
/// (heat maps), at the middle matched level.
std::vector<AxesPicture> axes_pictures(const ComparisonResult& result);

}  // namespace sae::report
