#include "sae/comparison/plan.h"

#include <torch/types.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>

#include "comparison/memory.h"
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

/// One path of the grid and the values it takes.
struct Axis {
  std::string path;
  std::vector<ConfigNode> values;
  bool is_level = false;
};

/// Runs of the same options would be one run with two names.
void require_distinct(const std::vector<ConfigNode>& values) {
  std::set<Json> seen;
  for (const ConfigNode& value : values) {
    if (!seen.insert(value.json()).second) {
      value.fail("got " + value.got() + " a second time, expected distinct values");
    }
  }
}

std::vector<ConfigNode> elements_of(const ConfigNode& list) {
  std::vector<ConfigNode> values;
  for (std::size_t i = 0; i < list.size(); ++i) values.push_back(list.at(i));
  return values;
}

std::vector<Axis> read_axes(const ConfigNode& node) {
  std::vector<Axis> axes;
  if (!node.has("axes")) return axes;
  const ConfigNode group = node.at("axes");
  for (const std::string& path : group.keys()) {
    const ConfigNode values = group.at(path);
    if (!values.is_array() || values.size() == 0) {
      values.fail("got " + values.got() + ", expected a list of values");
    }
    if (path == "seed") values.fail("the runs' seeds are those of \"seeds\"; list them there");
    Axis axis{path, elements_of(values), false};
    require_distinct(axis.values);
    axes.push_back(std::move(axis));
  }
  return axes;
}

/// "4", "0.001", "topk": a value as part of a folder's name.
std::string short_text(const ConfigNode& value) {
  const Json json = value.json();
  std::string text = json.is_string() ? json.get<std::string>() : json.dump();
  for (char& c : text) {
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '-') c = '_';
  }
  return text;
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
            std::vector<Axis> axes)
      : plan_(plan),
        labels_(labels),
        member_(member),
        basics_(basics),
        config_(std::move(config)),
        axes_(std::move(axes)) {}

  void run() { expand(0, config_, basics_.name, basics_.name, {}); }

 private:
  void expand(std::size_t depth, const ConfigNode& config, const std::string& label,
              const std::string& name, std::map<std::string, SharedJson> point) {
    if (depth == axes_.size()) {
      add_member(label, config);
      for (const std::int64_t seed : plan_.basics.seeds) add_run(config, label, name, point, seed);
      return;
    }
    const Axis& axis = axes_[depth];
    for (const ConfigNode& value : axis.values) {
      std::map<std::string, SharedJson> next = point;
      next[axis.path] = value.json();
      const std::string part = short_text(value);
      // Runs along the level belong to one member; any other axis makes members of its own.
      const std::string last = axis.path.substr(axis.path.rfind('.') + 1);
      const std::string next_label =
          axis.is_level || axis.values.size() == 1 ? label : label + " " + last + "=" + part;
      expand(depth + 1, with_axis(config, axis, value), next_label, name + "-" + part,
             std::move(next));
    }
  }

  /// The configuration with one value of an axis, which may be the architecture.
  ConfigNode with_axis(const ConfigNode& config, const Axis& axis, const ConfigNode& value) {
    const ConfigNode changed = with_value(config, axis.path, value, member_.place());
    if (axis.path != "model.architecture" || !config.has("model")) return changed;
    const ConfigNode model = switched(config.at("model"), changed.at("model"), plan_.notices);
    return with_value(changed, "model", model, member_.place());
  }

  void add_member(const std::string& label, const ConfigNode& config) {
    for (const Member& member : plan_.members) {
      if (member.label == label) return;
    }
    const Json model = resolve_run(read_recorded_run(config))["model"];
    plan_.members.push_back({label, model["architecture"].get<std::string>(),
                             !model.value("mask", Json()).is_null(), ""});
  }

  void add_run(const ConfigNode& config, const std::string& label, const std::string& name,
               const std::map<std::string, SharedJson>& point, std::int64_t seed) {
    const ConfigNode seeded = with_value(
        config, "seed", config_from_json(Json{{"seed", seed}}, "seeds").at("seed"), "seeds");
    std::string folder = name + "-seed" + std::to_string(seed);
    std::replace(folder.begin(), folder.end(), ' ', '-');
    std::erase_if(folder, [](char c) { return c == '(' || c == ')' || c == '/'; });
    plan_.runs.push_back({folder, label, point, read_run(seeded), 0});
    const PlannedRun& run = plan_.runs.back();
    for (const Notice& notice : run.options.notices) add_notice(plan_, notice);
    const auto [same, is_new] = labels_.emplace(resolve_run(run.options).dump(), label);
    if (!is_new) {
      add_notice(plan_, warning(member_.place() + ": '" + label + "' is the same as '" +
                                same->second + "'"));
    }
  }

  ComparisonPlan& plan_;
  std::map<std::string, std::string>& labels_;
  const ConfigNode& member_;
  const MemberBasics& basics_;
  ConfigNode config_;
  std::vector<Axis> axes_;
};

/// A masked member's counterpart: the member of the same architecture without a mask; ATM's is the
/// standard autoencoder.
void find_bases(std::vector<Member>& members) {
  for (Member& member : members) {
    if (!member.masked) continue;
    const std::string base = member.architecture == "atm" ? "standard" : member.architecture;
    for (const Member& other : members) {
      if (!other.masked && other.architecture == base) {
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

/// No path may be written to twice: what one axis says would be lost.
void require_distinct_paths(const std::vector<Axis>& axes, const ConfigNode& member) {
  std::set<std::string> paths;
  for (const Axis& axis : axes) {
    if (!paths.insert(axis.path).second) {
      member.fail("two axes vary " + axis.path + "; leave out one of them");
    }
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
                 const std::vector<Axis>& common) {
  const bool own_levels = !basics.levels.empty();
  if (own_levels && basics.level.empty()) {
    member.at("levels").fail("got levels without a \"level\", the path that they are written to");
  }
  std::vector<Axis> axes = common;
  for (Axis& axis : read_axes(member)) axes.push_back(std::move(axis));
  if (!basics.level.empty() && (own_levels || !plan.basics.levels.empty())) {
    const ConfigNode levels = (own_levels ? member : document).at("levels");
    axes.push_back({basics.level, elements_of(levels), true});
    require_distinct(axes.back().values);
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
  const std::vector<Axis> common = read_axes(document);
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
  std::set<std::string> folders;
  for (const PlannedRun& run : plan.runs) {
    if (!folders.insert(run.name).second) {
      document.fail("members: two runs would be called '" + run.name +
                    "'; give members distinct names");
    }
  }
  assign_queues(plan);
  find_bases(plan.members);
  if (document.has("evaluate")) plan.evaluation = read_evaluation(plan, document.at("evaluate"));
  return plan;
}

}  // namespace sae
