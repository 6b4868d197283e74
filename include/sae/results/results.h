// What a comparison measured: one record a run, as results.json and results.csv hold it, and the
// statistics that make runs comparable: values at a matched L0, over seeds.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sae/base/shared_json.h"
#include "sae/metrics/catalogue.h"
#include "sae/metrics/metric_values.h"
#include "sae/metrics/statistics.h"

namespace sae {

/// Names that the report and the tables know in `RunResult::metrics` (others are kept and listed):
///   those of catalogue.h; after the name of a suite (suites.h) what that measured
/// and in `history`: l0 explained_variance, or in their place, where present, the held-out eval.l0
/// eval.explained_variance; for a mask: mask.theta mask.masked (share of latents masked, 0 to 1)
/// mask.drift mask.importance_q05 _q25 _q50 _q75 _q95.
struct RunResult {
  std::string name;                         ///< unique; also its folder under runs/
  std::string member;                       ///< label of a Member
  std::map<std::string, SharedJson> point;  ///< grid axis (config path) -> value
  std::int64_t seed = 0;
  bool done = true;  ///< false: failed, and `message` says why
  std::string message;
  double wall_s = 0;
  MetricValues metrics;             ///< final, held-out
  std::vector<MetricsRow> history;  ///< over training; see `thinned`
  FiringHistogram firing;
  /// Metric (absorption.full, probing.sae_top_1_test_accuracy) -> class of words or task -> value.
  std::map<std::string, MetricValues> by_class;
  /// Suite (suite_of) -> why its metrics of this run rank nothing (ranking.h): they are kept, and
  /// take no part in comparisons.
  std::map<std::string, std::string> unranked;

  bool operator==(const RunResult& other) const = default;
};

/// Where a member stands on an axis of the grid.
struct AxisValue {
  std::string axis;  ///< a config path, or what paths that move together are called
  SharedJson value;  ///< of the path, or of the first of them

  bool operator==(const AxisValue& other) const = default;
};

/// One line of the comparison. Its runs differ in seed and in what moves L0; a comparison over
/// further axes makes one member of each of their values, named in the label.
struct Member {
  std::string label;         ///< as shown: "topk", "atm", "atm (nested)"
  std::string architecture;  ///< as in the config: "topk", "atm", "batch_topk"
  bool masked = false;       ///< carries an AtmMask
  std::string base;          ///< label of its counterpart without the mask, if compared; else ""
  /// Name in the configuration, which the members that axes make of it share; "" without axes.
  std::string family = {};
  std::vector<AxisValue> axes = {};  ///< of more than one value, in the order of the grid
  bool frozen = false;  ///< weights stay where they were initialised: a control of training

  bool operator==(const Member& other) const = default;
};

struct ComparisonResult {
  std::string title;
  SharedJson settings;  ///< resolved base config, members, axes, seeds
  std::string command;  ///< reproduces it: "sae compare configs/compare/quick.json"
  std::map<std::string, std::string> versions;  ///< "sae" -> "0.1.0", "libtorch", "cpu", ...
  std::vector<Member> members;                  ///< in the order of display
  std::vector<RunResult> runs;
  /// What has learned nothing, measured by the same suites: `member` is the control's name
  /// (controls.h), `point` that of the run whose L0 it was made to match; no history.
  std::vector<RunResult> controls;
  /// Who judged what latents stand for (suite interp): {"name": ..., "is_model_of_store": ...};
  /// null: nobody.
  SharedJson judge = {};

  bool operator==(const ComparisonResult& other) const = default;
};

/// results.json. The reader is strict: `place` (a path) heads each DataError.
std::string to_json(const ComparisonResult& result);
ComparisonResult comparison_from_json(std::string_view text, const std::string& place);

/// results.csv: one row a run, one column per axis and metric; RFC 4180 quoting.
std::string to_csv(const ComparisonResult& result);

/// results.md: the members at the matched levels as a Markdown table, mean ± standard deviation
/// over seeds, under what was run, with which versions and for how long.
std::string to_markdown(const ComparisonResult& result);

/// What the report draws of a history: at most `most` rows, evenly spaced, the first and the last
/// among them, and of each row l0, explained_variance, their "eval." forms and mask.*. The whole of
/// it stays in the run's metrics.jsonl.
std::vector<MetricsRow> thinned(const std::vector<MetricsRow>& history, std::size_t most = 120);

/// Whether this metric of the run may be compared with others'.
bool is_ranked(const RunResult& run, const std::string& metric);
/// The metric of a finished run that may be compared: finite and ranked.
std::optional<double> ranked_value(const RunResult& run, const std::string& metric);
/// Why a finished run has no absorption against known features although those were measured; "" if
/// it has.
std::string why_no_absorption(const RunResult& run);
/// "topk-4-seed0: absorption, truth: none of its latents ever fires": one a run that is not ranked
/// in some suite, or has no absorption to rank, and a reason.
std::vector<std::string> not_ranked(const ComparisonResult& result);

/// Those known metrics, l0 left out, that at least one finished run has a value to compare for.
std::vector<MetricInfo> measured_metrics(const ComparisonResult& result);

// Members are compared at a matched L0: that on text, metric::kL0, or that on the words,
// metric::kWordsL0, which is another wherever latents fire by thresholds. `axis` says which.

/// `metric` at a wanted L0: per seed, piecewise linear over that seed's runs sorted by L0, the
/// nearest end's value outside their range (2 % beyond an end still counts as inside: runs steered
/// to one L0 do not meet exactly); then over seeds. None: no finished run has it.
std::optional<SeedStatistic> metric_at(const ComparisonResult& result, const std::string& member,
                                       const std::string& metric, double l0,
                                       const std::string& axis = metric::kL0);

/// The value of one class of `RunResult::by_class` at a wanted L0, seed by seed; empty if the L0 is
/// outside the range of one of them.
std::map<std::int64_t, double> class_at(const ComparisonResult& result, const std::string& member,
                                        const std::string& metric, const std::string& name,
                                        double l0, const std::string& axis = metric::kL0);

/// A control's value at about a wanted L0, interpolated over those made to match several; the
/// nearest one's beyond them. None where that has another L0 by more than a factor of 1.5.
std::optional<double> control_at(const ComparisonResult& result, const std::string& control,
                                 const std::string& metric, double l0,
                                 const std::string& axis = metric::kL0);

/// Whether two values differ by more than twice the spread of their difference over seeds,
/// sqrt(sd_a^2 + sd_b^2). Never with a single seed, which has no spread.
bool beyond_spread(const SeedStatistic& a, const SeedStatistic& b);

/// At most `most` L0 values at which most members can be compared without extrapolation: the
/// medians of the members' lowest, middle and highest L0, pulled into the range that at least three
/// quarters of them cover, rounded to two or three digits. Ascending.
std::vector<double> matched_levels(const ComparisonResult& result, std::size_t most = 3,
                                   const std::string& axis = metric::kL0);

/// The members at the matched levels for a terminal `columns` wide: "*" where outside a member's
/// range, marks of absorption on words (word_marks.h), a sd where there is more than one seed. Ends
/// with a newline; says so if no run finished.
std::string results_table(const ComparisonResult& result, std::size_t columns = 80);

}  // namespace sae
