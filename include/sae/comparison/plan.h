// What a comparison is to do, read from its configuration:
//
//     {"title": ..., "base": {a run's configuration},
//      "levels": [4, 5.6, 8], "seeds": [0, 1, 2], "axes": {"train.lr": [1e-3, 3e-3]},
//      "members": [{"name": "topk", "config": {"model": {"architecture": "topk"}},
//                   "level": "model.k", "axes": {}}, ...],
//      "memory": 0.7, "devices": ["cuda:0", "cuda:1"],
//      "evaluate": {"words": "words.safetensors", "tasks": "tasks/", "judge": "judge.safetensors",
//                   "controls": ["random"]}}
//
// A member's configuration is merged into the base; `level` is the path that the levels (usually
// L0) are written to; further axes are any paths with lists of values. Paths that move together
// make one axis under a name of their own: "batch": {"train.batch": [512, 1024], "train.steps":
// [2000, 1000]} keeps the tokens equal. Runs end with the metrics of training; `evaluate` adds
// suites (suites.h). It may be added or changed later: what is trained is not trained again. The
// folder it makes holds runs/<name>/ (run.h; with evaluation.json, in the form of `sae eval
// --json`), controls/, comparison.json, results.json, results.csv, results.md,
// report.html and, where there are axes, axes-<name>.svg.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "sae/base/shared_json.h"
#include "sae/config/config_node.h"
#include "sae/config/fields.h"
#include "sae/evaluation/absorption_options.h"
#include "sae/evaluation/controls.h"
#include "sae/evaluation/core.h"
#include "sae/evaluation/interp_options.h"
#include "sae/evaluation/probing.h"
#include "sae/results/results.h"
#include "sae/training/run.h"

namespace sae {

struct CompareBasics {
  std::string title = "Comparison";
  std::vector<double> levels;
  std::vector<std::int64_t> seeds = {0};
  std::int64_t jobs = 0;
  nlohmann::ordered_json memory = 0.7;
  std::vector<std::string> devices;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("title", self.title, non_empty, "heads the report");
    visit("levels", self.levels, above(0), "values that every member's `level` path takes");
    visit("seeds", self.seeds, at_least(0), "seeds of the runs; each is a run of its own");
    visit("jobs", self.jobs, at_least(0),
          "runs trained at a time, on one thread each; 0: as many as usable cores");
    visit(
        "memory", self.memory, any,
        "what the runs held at once may take of a device: a share of what is free, or a size such "
        "as \"24GB\"; those that do not fit wait for the next wave, with the same results");
    visit("devices", self.devices, any,
          "devices that share the runs, such as [\"cuda:0\", \"cuda:1\"]; []: the base's");
  }

  void check(Findings& findings) const;
};

/// What every finished run is evaluated with: core always, the others where there is data.
struct CompareEvaluation {
  std::string words;
  std::string tasks;
  std::string judge;
  std::vector<Control> controls;
  std::string controls_of;
  std::int64_t repeats = 1;
  CoreOptions core;
  AbsorptionOptions absorption;
  SparseProbingOptions probing;
  InterpOptions interp;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("words", self.words, any, "file of labelled activations, for absorption; \"\": none");
    visit("tasks", self.tasks, any, "such a file or a folder of them, for probing; \"\": none");
    visit("judge", self.judge, any,
          "judge file of the held-out store, for interp; \"token\": the tokens alone; \"\": none");
    visit("controls", self.controls, any, "evaluated too, drawn as dashed lines");
    visit("controls_of", self.controls_of, any,
          "member whose runs of the first seed they are made from; \"\": the first");
    visit("repeats", self.repeats, at_least(1), "evaluation seeds of absorption and probing");
    visit("core", self.core, any, "core suite");
    visit("absorption", self.absorption, any, "absorption suite");
    visit("probing", self.probing, any, "probing suite");
    visit("interp", self.interp, any, "interp suite");
  }

  void check(Findings& findings) const;
};

/// How much memory may be taken of a device.
struct MemoryLimit {
  double share = 0;        ///< of what is free when a wave of runs starts, if `bytes` is 0
  std::int64_t bytes = 0;  ///< else this
};

/// One run of the grid.
struct PlannedRun {
  std::string name;                         ///< also the folder's name
  std::string member;                       ///< label
  std::map<std::string, SharedJson> point;  ///< axis -> value
  RunOptions options;
  std::size_t queue = 0;  ///< which of the plan's queues trains it
};

struct ComparisonPlan {
  CompareBasics basics;
  std::vector<Member> members;
  std::vector<PlannedRun> runs;
  std::vector<std::string> queues;  ///< the device of each; queues train side by side
  MemoryLimit memory;
  std::optional<CompareEvaluation> evaluation;
  SharedJson settings;          ///< the configuration as it was read
  std::vector<Notice> notices;  ///< what was left out, what is probably not meant so
};

/// Reads a comparison strictly and expands its grid; every run's configuration is checked.
ComparisonPlan plan_comparison(const ConfigNode& document);

}  // namespace sae
