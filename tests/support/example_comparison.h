// A made-up comparison with the shape of a real one, for tests of what is made from results.
#pragma once

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "sae/results/results.h"

namespace sae {

struct ExampleOptions {
  int seeds = 3;
  int levels = 3;
  bool ground_truth = true;
  bool with_history = true;
  bool words = false;  ///< suites on labelled activations, and controls
};

/// Absorption on six classes and probing of two tasks, around `absorption`; `noise` in [-1, 1].
template <class Noise>
void add_example_suites(RunResult& run, double absorption, Noise&& noise) {
  const auto mean_of = [](const MetricValues& values) {
    double sum = 0;
    for (const auto& [name, value] : values) sum += value / static_cast<double>(values.size());
    return sum;
  };
  for (const char* name : {"-ing", "colour", "country", "month", "weekday", "year"}) {
    const double own = .1 * (static_cast<double>(name[1] % 5) - 2) * absorption;
    run.by_class["absorption.full"][name] = std::max(0.0, absorption + own + .01 * noise());
    run.by_class["absorption.fraction"][name] = absorption + .2 + own + .1 * noise();
  }
  for (const char* name : {"articles: Manila", "articles: Warship"}) {
    run.by_class["probing.sae_top_1_test_accuracy"][name] = .75 + .05 * noise();
  }
  run.metrics["absorption.mean_full_absorption_score"] = mean_of(run.by_class["absorption.full"]);
  run.metrics["absorption.mean_absorption_fraction_score"] =
      mean_of(run.by_class["absorption.fraction"]);
  run.metrics["absorption.mean_k1_f1"] = .6 + .02 * noise();
  run.metrics["absorption.ranked"] = 1;
  // Thresholds let twice as many latents fire on words; a topk has as many everywhere.
  run.metrics["absorption.l0"] = run.metrics["l0"] * (run.member == "topk" ? 1 : 2);
  run.metrics["absorption.explained_variance"] = run.metrics["explained_variance"] - .3;
  run.metrics["absorption.classes_with_main"] = 5;
  run.metrics["absorption.mean_full_absorption_score_given_main"] = absorption * .9;
  run.metrics["probing.sae_top_1_test_accuracy"] =
      mean_of(run.by_class["probing.sae_top_1_test_accuracy"]);
}

/// Seven members as in the shipped comparisons; plausible numbers without any meaning.
inline ComparisonResult example_comparison(const ExampleOptions& options = {}) {
  struct Kind {
    Member member;
    double variance, absorption, shift;  // at the middle level; how far its L0 is from the target
  };
  const std::vector<Kind> kinds = {
      {{"standard", "standard", false, ""}, .741, .418, 1.02},
      {{"topk", "topk", false, ""}, .789, .527, 1.0},
      {{"batch_topk", "batch_topk", false, ""}, .793, .251, .99},
      {{"matryoshka", "matryoshka", false, ""}, .772, .057, 1.0},
      {{"jumprelu", "jumprelu", false, ""}, .802, .274, 1.08},
      {{"atm", "atm", true, "standard"}, .705, .181, .95},
      {{"atm (nested)", "batch_topk", true, "batch_topk"}, .781, .031, 1.0},
  };
  unsigned state = 12345;
  const auto noise = [&] {  // in [-1, 1]
    state = state * 1664525u + 1013904223u;
    return static_cast<double>(state >> 8) / (1 << 23) - 1;
  };
  ComparisonResult result;
  result.title = "Six architectures and nested ATM on small-zipf";
  result.command = "sae compare configs/compare/full.json --out runs/full";
  result.versions = {{"sae", "0.1.0"}, {"libtorch", "2.11.0"}, {"cpu", "2 threads"}};
  result.settings = nlohmann::ordered_json::parse(
      R"({"base":{"data":{"kind":"synthetic","preset":"small-zipf"},"train":{"lr":0.001,"steps":2900}},"seeds":[0,1,2]})");
  for (const Kind& kind : kinds) {
    result.members.push_back(kind.member);
    for (int level = 0; level < options.levels; ++level) {
      const double target =
          (options.ground_truth ? 4.0 : 10.0) * std::pow(options.ground_truth ? 1.41 : 2.4, level);
      const double up = level - 1;
      for (int seed = 0; seed < options.seeds; ++seed) {
        RunResult run;
        run.member = kind.member.label;
        const int tenths = static_cast<int>(target * 10);
        run.point["model.target_l0"] = nlohmann::ordered_json(tenths / 10.0);
        run.seed = seed;
        run.name = kind.member.label + "-l" + std::to_string(level) + "-s" + std::to_string(seed);
        run.wall_s = 20 + 3 * noise();
        const double l0 = target * kind.shift * (1 + .01 * noise());
        const double variance = kind.variance + .025 * up + .002 * noise();
        run.metrics = {{"l0", l0},
                       {"explained_variance", variance},
                       {"nmse", 1 - variance},
                       {"cosine", std::sqrt(variance) + .03 + .001 * noise()},
                       {"never_fired", std::max(0.0, .01 - .01 * up + .01 * noise())}};
        if (options.ground_truth) {
          const double full = std::max(.002, kind.absorption * (1 - .35 * up) + .015 * noise());
          run.metrics["absorption_full_micro"] = full;
          run.metrics["absorption_full_macro"] = full * .35;
          run.metrics["absorption_fraction_micro"] = std::min(1.0, full * 1.2 + .05);
          run.metrics["mcc"] = .71 + .01 * noise();
          run.metrics["uniqueness"] = .94 + .02 * noise();
          run.metrics["f1"] = .65 - .08 * up + .02 * noise();
          run.metrics["precision"] = .7 - .1 * up + .02 * noise();
          run.metrics["recall"] = .61 + .05 * up + .02 * noise();
          run.metrics["miss_on_macro"] = full + .05;
          run.metrics["miss_off_macro"] = .05;
        }
        if (options.words) add_example_suites(run, kind.absorption, noise);
        if (options.with_history) {
          for (int i = 0; i <= 60; ++i) {
            const double t = i / 60.0;
            MetricsRow row{i * 48, {}};
            row.values["explained_variance"] =
                variance * (1 - 1.3 * std::exp(-9 * t)) + .003 * noise();
            row.values["l0"] = l0 * (1 + 20 * std::exp(-12 * t)) * (1 + .01 * noise());
            if (kind.member.masked) {
              row.values["mask.theta"] = .02 * (1 + std::exp(-5 * t));
              row.values["mask.masked"] = i < 3 ? 0 : .3 - .1 * t + .02 * noise();
              row.values["mask.drift"] = .4 * std::exp(-6 * t) + .01;
              for (const auto& [name, factor] : {std::pair{"mask.importance_q05", .02},
                                                 {"mask.importance_q25", .2},
                                                 {"mask.importance_q50", 1.0},
                                                 {"mask.importance_q75", 4.0},
                                                 {"mask.importance_q95", 25.0}}) {
                row.values[name] = factor * .01 * (1 - .8 * std::exp(-8 * t)) * (1 + .03 * noise());
              }
            }
            run.history.push_back(row);
          }
        }
        for (double edge = -5; edge <= 0; edge += .25) run.firing.edges.push_back(edge);
        for (std::size_t i = 0; i + 1 < run.firing.edges.size(); ++i) {
          const double centre = run.firing.edges[i] + .125;
          run.firing.counts.push_back(static_cast<std::int64_t>(
              60 * std::exp(-std::pow((centre + 2.2 + .2 * kind.shift) / .6, 2)) + 2 + noise()));
        }
        run.firing.never = level == 0 ? 3 : 0;
        result.runs.push_back(run);
      }
    }
  }
  if (!options.words) return result;
  for (int level = 0; level < options.levels; ++level) {
    RunResult control;
    control.member = "random";
    control.name = "random-topk-l" + std::to_string(level);
    control.metrics = {{"l0", (options.ground_truth ? 4 : 10) * std::pow(1.41, level)},
                       {"explained_variance", .1}};
    add_example_suites(control, .02, noise);
    result.controls.push_back(control);
  }
  RunResult identity;
  identity.member = identity.name = "identity";
  identity.metrics = {{"l0", 384}, {"explained_variance", 1}};
  add_example_suites(identity, 0, noise);
  result.controls.push_back(identity);
  return result;
}

}  // namespace sae
