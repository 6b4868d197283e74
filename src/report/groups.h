// The runs of a comparison as a reader thinks of them: by member, and by grid point within it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "html/chart.h"
#include "sae/results/results.h"

namespace sae::report {

/// The finished runs of one member that differ in nothing but the seed.
struct GridPoint {
  std::vector<const RunResult*> runs;
  SeedStatistic l0;
};

/// Ascending in L0; runs without a finite L0 are left out.
std::vector<GridPoint> grid_points(const ComparisonResult& result, const std::string& member);

/// A member's grid point whose L0 is nearest to the wanted one, by ratio.
std::optional<GridPoint> nearest_point(const ComparisonResult& result, const std::string& member,
                                       double l0);

/// A final metric over the runs that have it and are ranked by it.
std::optional<SeedStatistic> over_runs(const GridPoint& point, const std::string& metric);

/// A metric over training, the mean over runs at the steps that all of them logged; the held-out
/// "eval.<name>" where the runs have it.
struct Curve {
  std::vector<double> steps, values;
};
Curve training_curve(const GridPoint& point, const std::string& metric);

/// Members that a chart shows together, with what tells them apart there.
struct Panel {
  std::string title;  ///< empty: it is the only one
  std::vector<std::size_t> members;
  std::vector<std::string> labels;
  std::vector<Look> looks;
};

/// All members, where they are few or axes made none of them. Else one panel a family, a large one
/// parted by the values of its first axis, each with the members that it is a mask on; last, those
/// without axes that no panel shows.
std::vector<Panel> panels_of(const ComparisonResult& result);

/// The look of member `index`, in every chart that shows it among its panel: masked members in warm
/// colours and stronger where there is one panel, colours in order along the axes where there are
/// several.
Look look_of(const ComparisonResult& result, std::size_t index);

/// The absorption metric that speaks for all of them; none without ground truth.
std::optional<MetricInfo> absorption_metric(const ComparisonResult& result);

/// The middle of the matched levels, which single-level views show. 0 if there are none. `axis` as
/// of metric_at.
double middle_level(const ComparisonResult& result, const std::string& axis = metric::kL0);

/// "0.031 ± 0.010", without the sd for a single seed.
std::string with_sd(const SeedStatistic& value, int decimals = 3);

}  // namespace sae::report
