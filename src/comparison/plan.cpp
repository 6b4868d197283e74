#include "sae/comparison/plan.h"

#include <torch/types.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>

#include "comparison/axes.h"
#include "comparison/memory.h"
#include "comparison/one_process.h"
#include "config/fields_json.h"
#include "sae/base/device.h"
#include "sae/base/text.h"
#include "sae/models/architectures.h"

namespace sae {
namespace {

using Json = nlohmann::ordered_json;

struct MemberBasics {
  std::string name;
  std::string level;
  std::vector<double> levels;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("name", self.name, non_empty, "label of the member");
    visit("level", self.level, any, "path that the levels are written to, such as model.k");
    visit("levels", self.levels, above(0), "levels of this member; []: the comparison's");
  }
};

/// Whether a part of the weights stays, or stays near, where it was initialised: a control of what
/// training does (arXiv 2602.14111).
bool is_frozen(const Json& model) {
  const Json freeze = model.value("freeze", Json());
  return freeze.is_string() && freeze != "none" && freeze != "";
}

Notice warning(std::string text) { return {Notice::Kind::kWarning, std::move(text)}; }

/// A run's configuration changed by a member's; another architecture goes without the options of
/// the base's own.
ConfigNode merged_runs(const ConfigNode& base, const ConfigNode& changes,
                       std::vector<Notice>& notices) {
  const ConfigNode both = merged(base, changes);
  if (!base.has("model") || !both.at("model").is_object()) return both;
  return with_value(both, "model", switched(base.at("model"), both.at("model"), notices),
                    "members");
}

/// Many runs say the same of the options that they share.
void add_notice(ComparisonPlan& plan, const Notice& notice) {
  const auto end = plan.notices.end();
  if (std::find(plan.notices.begin(), end, notice) == end) plan.notices.push_back(notice);
}

/// The configuration of one member and everything the grid varies about it.
class Expansion {
 public:
  /// `labels`: of the members of the runs so far, by what the runs are.
  Expansion(ComparisonPlan& plan, std::map<std::string, std::string>& labels,
            const ConfigNode& member, const MemberBasics& basics, ConfigNode config,
            std::vector<GridAxis> axes)
      : plan_(plan),
        labels_(labels),
        member_(member),
        basics_(basics),
        config_(std::move(config)),
        axes_(std::move(axes)) {}

  void run() { expand(0, {config_, basics_.name, basics_.name, {}, {}}); }

 private:
  /// How far down the axes the grid has been walked, and what that made.
  struct Place {
    ConfigNode config;
    std::string label;
    std::string name;
    std::map<std::string, SharedJson> point;
    std::vector<AxisValue> axes;
  };

  void expand(std::size_t depth, const Place& place) {
    if (depth == axes_.size()) {
      add_member(place);
      for (const std::int64_t seed : plan_.basics.seeds) add_run(place, seed);
      return;
    }
    const GridAxis& axis = axes_[depth];
    for (std::size_t step = 0; step < axis.steps(); ++step) {
      Place next = place;
      for (const GridAxis::Path& one : axis.paths) {
        next.point[one.path] = one.values[step].json();
        next.config = with_path(next.config, one.path, one.values[step]);
      }
      const ConfigNode& value = axis.paths.front().values[step];
      next.name += "-" + short_text(value);
      // Runs along the level belong to one member; any other axis makes members of its own.
      if (!axis.is_level && axis.steps() > 1) {
        next.label += " " + axis.short_name() + "=" + short_text(value);
        next.axes.push_back({axis.name, value.json()});
      }
      expand(depth + 1, next);
    }
  }

  /// The configuration with one value of a path, which may be the architecture.
  ConfigNode with_path(const ConfigNode& config, const std::string& path, const ConfigNode& value) {
    const ConfigNode changed = with_value(config, path, value, member_.place());
    if (path != "model.architecture" || !config.has("model")) return changed;
    const ConfigNode model = switched(config.at("model"), changed.at("model"), plan_.notices);
    return with_value(changed, "model", model, member_.place());
  }

  void add_member(const Place& place) {
    for (const Member& member : plan_.members) {
      if (member.label == place.label) return;
    }
    const Json model = resolve_run(read_recorded_run(place.config))["model"];
    plan_.members.push_back({place.label, model["architecture"].get<std::string>(),
                             !model.value("mask", Json()).is_null(), "",
                             place.axes.empty() ? "" : basics_.name, place.axes, is_frozen(model)});
  }

  void add_run(const Place& place, std::int64_t seed) {
    const ConfigNode seeded = with_value(
        place.config, "seed", config_from_json(Json{{"seed", seed}}, "seeds").at("seed"), "seeds");
    std::string folder = place.name + "-seed" + std::to_string(seed);
    std::replace(folder.begin(), folder.end(), ' ', '-');
    std::erase_if(folder, [](char c) { return c == '(' || c == ')' || c == '/'; });
    if (seeded.has("distributed")) {
      seeded.at("distributed")
          .fail(
              "means nothing in a comparison, whose runs are dealt out over processes by --share; "
              "leave "
              "it out");
    }
    if (seeded.has("data") && is_read_once(seeded.at("data"))) {
      seeded.at("data").fail(
          "is a stream, which one run reads once; a comparison shares its data: make a store of "
          "it");
    }
    plan_.runs.push_back({folder, place.label, place.point, read_run(seeded), 0});
    const PlannedRun& run = plan_.runs.back();
    for (const Notice& notice : run.options.notices) add_notice(plan_, notice);
    const auto [same, is_new] = labels_.emplace(resolve_run(run.options).dump(), place.label);
    if (!is_new) {
      add_notice(plan_, warning(member_.place() + ": '" + place.label + "' is the same as '" +
                                same->second + "'"));
    }
  }

  ComparisonPlan& plan_;
  std::map<std::string, std::string>& labels_;
  const ConfigNode& member_;
  const MemberBasics& basics_;
  ConfigNode config_;
  std::vector<GridAxis> axes_;
};

/// Whether the two differ on an axis that both are on.
bool differ_on_an_axis(const Member& a, const Member& b) {
  for (const AxisValue& one : a.axes) {
    for (const AxisValue& other : b.axes) {
      if (one.axis == other.axis && one.value != other.value) return true;
    }
  }
  return false;
}

/// Members whose weights are frozen, which are what others are held against for what they are.
std::set<std::string> frozen_members(const ComparisonPlan& plan) {
  std::set<std::string> labels;
  for (const PlannedRun& run : plan.runs) {
    const ConfigNode& model = run.options.model;
    if (model.has("freeze") && model.at("freeze").json() != name_of(Freeze::kNone)) {
      labels.insert(run.member);
    }
  }
  return labels;
}

/// A masked member's counterpart: the member of the same architecture without a mask, trained as
/// freely, at the same place of the grid; ATM's is the standard autoencoder.
void find_bases(ComparisonPlan& plan) {
  const std::set<std::string> frozen = frozen_members(plan);
  for (Member& member : plan.members) {
    if (!member.masked) continue;
    const std::string base = member.architecture == "atm" ? "standard" : member.architecture;
    for (const Member& other : plan.members) {
      const bool alike = frozen.contains(member.label) == frozen.contains(other.label);
      if (!other.masked && alike && other.architecture == base &&
          !differ_on_an_axis(member, other)) {
        member.base = other.label;
        break;
      }
    }
  }
}

MemoryLimit read_memory(const ComparisonPlan& plan, const ConfigNode& document) {
  if (const auto limit = memory_limit(plan.basics.memory)) return *limit;
  const ConfigNode node = document.at("memory");
  node.fail("got " + node.got() +
            ", expected a share of the free memory above 0 and at most 1, or a size such as "
            "\"24GB\" or \"512MiB\"");
}

/// The devices take runs in turn. Without a list of them each run keeps its own device, and a queue
/// is what runs on one.
void assign_queues(ComparisonPlan& plan) {
  const std::vector<std::string>& devices = plan.basics.devices;
  plan.queues = devices;
  for (std::size_t i = 0; i < plan.runs.size(); ++i) {
    PlannedRun& run = plan.runs[i];
    std::string& device = run.options.basics.device;
    if (!devices.empty()) {
      run.queue = i % devices.size();
      device = devices[run.queue];
      continue;
    }
    const auto known = std::find(plan.queues.begin(), plan.queues.end(), device);
    run.queue = static_cast<std::size_t>(known - plan.queues.begin());
    if (known == plan.queues.end()) plan.queues.push_back(device);
  }
}

CompareEvaluation read_evaluation(ComparisonPlan& plan, const ConfigNode& node) {
  auto evaluation = read_fields<CompareEvaluation>(node);
  const Findings findings = findings_of(evaluation, node);
  findings.require();
  for (const Notice& notice : findings.notices()) add_notice(plan, notice);
  if (evaluation.controls_of.empty()) evaluation.controls_of = plan.members.front().label;
  std::vector<std::string> labels;
  for (const Member& member : plan.members) labels.push_back(member.label);
  if (std::find(labels.begin(), labels.end(), evaluation.controls_of) == labels.end()) {
    node.at("controls_of").fail(expected_one_of(evaluation.controls_of, labels));
  }
  return evaluation;
}

}  // namespace

namespace {

/// The member's part of the grid, added to the plan.
void plan_member(ComparisonPlan& plan, std::map<std::string, std::string>& labels,
                 const ConfigNode& document, const ConfigNode& member, const MemberBasics& basics,
                 const std::vector<GridAxis>& common) {
  const bool own_levels = !basics.levels.empty();
  if (own_levels && basics.level.empty()) {
    member.at("levels").fail("got levels without a \"level\", the path that they are written to");
  }
  std::vector<GridAxis> axes = common;
  for (GridAxis& axis : read_axes(member)) axes.push_back(std::move(axis));
  if (!basics.level.empty() && (own_levels || !plan.basics.levels.empty())) {
    const ConfigNode levels = (own_levels ? member : document).at("levels");
    axes.push_back({basics.level, {{basics.level, elements_of(levels)}}, true});
    require_distinct(axes.back().paths.front().values);
  } else if (!basics.level.empty()) {
    add_notice(plan, warning(member.place("level") + ": is not used without levels"));
  }
  require_distinct_paths(axes, member);
  const ConfigNode config =
      member.has("config") ? merged_runs(document.at("base"), member.at("config"), plan.notices)
                           : document.at("base");
  Expansion(plan, labels, member, basics, config, std::move(axes)).run();
}

/// What looks wrong with the comparison as a whole.
void check_plan(ComparisonPlan& plan, const ConfigNode& document, bool any_level) {
  if (!plan.basics.levels.empty() && !any_level) {
    add_notice(plan, warning(document.place("levels") +
                             ": is not used: no member has a \"level\", a path to write them to"));
  }
  if (document.at("base").has("seed")) {
    add_notice(plan, warning(document.at("base").place("seed") +
                             ": is not used: the runs' seeds are those of \"seeds\""));
  }
  if (document.at("base").has("device") && !plan.basics.devices.empty()) {
    add_notice(plan, warning(document.at("base").place("device") + ": is not used with devices"));
  }
}

}  // namespace

void CompareBasics::check(Findings& findings) const {
  if (seeds.empty()) findings.error("seeds", "got an empty list, expected seeds");
  for (const std::string& device : devices) {
    const std::string wrong = wrong_device_name(device);
    if (!wrong.empty()) findings.error("devices", wrong);
  }
}

void CompareEvaluation::check(Findings& findings) const {
  const CompareEvaluation defaults;
  if (std::set<Control>(controls.begin(), controls.end()).size() < controls.size()) {
    findings.error("controls", "one stands there twice, expected distinct controls");
  }
  if (controls.empty() && !controls_of.empty()) findings.unused("controls_of", "without controls");
  const bool texts = !words.empty() || !tasks.empty();
  if (repeats > 1 && !texts) findings.unused("repeats", "without words or tasks");
  if (words.empty() && write_fields(absorption) != write_fields(defaults.absorption)) {
    findings.unused("absorption", "without words");
  }
  if (!texts && write_fields(probing) != write_fields(defaults.probing)) {
    findings.unused("probing", "without words or tasks");
  }
  if (judge.empty() && write_fields(interp) != write_fields(defaults.interp)) {
    findings.unused("interp", "without a judge");
  }
}

ComparisonPlan plan_comparison(const ConfigNode& document) {
  require_command(document, "compare");
  ComparisonPlan plan;
  const ConfigNode own = document.without({"base", "members", "axes", "evaluate"});
  plan.basics = read_fields<CompareBasics>(own);
  plan.memory = read_memory(plan, document);
  findings_of(plan.basics, own).require();
  if (document.has("seeds")) require_distinct(elements_of(document.at("seeds")));
  plan.settings = document.json();
  const ConfigNode members = document.at("members");
  if (!members.is_array() || members.size() == 0) {
    members.fail("got " + members.got() + ", expected a list of members");
  }
  const std::vector<GridAxis> common = read_axes(document);
  std::set<std::string> names;
  std::map<std::string, std::string> labels;
  bool any_level = false;
  for (const ConfigNode& member : elements_of(members)) {
    const auto basics = read_fields<MemberBasics>(member.without({"config", "axes"}));
    if (!names.insert(basics.name).second) {
      member.at("name").fail("got \"" + basics.name + "\" a second time, expected distinct names");
    }
    any_level = any_level || (!basics.level.empty() && basics.levels.empty());
    plan_member(plan, labels, document, member, basics, common);
  }
  check_plan(plan, document, any_level);
  require_one_process(plan, document);
  std::set<std::string> folders;
  for (const PlannedRun& run : plan.runs) {
    if (!folders.insert(run.name).second) {
      document.fail("members: two runs would be called '" + run.name +
                    "'; give members distinct names");
    }
  }
  assign_queues(plan);
  find_bases(plan);
  if (document.has("evaluate")) plan.evaluation = read_evaluation(plan, document.at("evaluate"));
  return plan;
}

}  // namespace sae
