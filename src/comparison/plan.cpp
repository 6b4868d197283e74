#include "sae/comparison/plan.h"

#include <torch/types.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>

#include "comparison/memory.h"
#include "config/fields_json.h"

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

std::vector<Axis> read_axes(const ConfigNode& node) {
  std::vector<Axis> axes;
  if (!node.has("axes")) return axes;
  const ConfigNode group = node.at("axes");
  for (const std::string& path : group.keys()) {
    const ConfigNode values = group.at(path);
    if (!values.is_array() || values.size() == 0) {
      values.fail("got " + values.got() + ", expected a list of values");
    }
    Axis axis{path, {}, false};
    for (std::size_t i = 0; i < values.size(); ++i) axis.values.push_back(values.at(i));
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

/// The configuration of one member and everything the grid varies about it.
class Expansion {
 public:
  Expansion(ComparisonPlan& plan, const ConfigNode& member, const MemberBasics& basics,
            ConfigNode config, std::vector<Axis> axes)
      : plan_(plan),
        member_(member),
        basics_(basics),
        config_(std::move(config)),
        axes_(std::move(axes)) {}

  void run() { expand(0, config_, basics_.name, basics_.name, {}); }

 private:
  void expand(std::size_t depth, const ConfigNode& config, const std::string& label,
              const std::string& name, std::map<std::string, std::string> point) {
    if (depth == axes_.size()) {
      add_member(label, config);
      for (const std::int64_t seed : plan_.basics.seeds) add_run(config, label, name, point, seed);
      return;
    }
    const Axis& axis = axes_[depth];
    for (const ConfigNode& value : axis.values) {
      std::map<std::string, std::string> next = point;
      next[axis.path] = value.json().dump();
      const std::string part = short_text(value);
      // Runs along the level belong to one member; any other axis makes members of its own.
      const std::string last = axis.path.substr(axis.path.rfind('.') + 1);
      const std::string next_label =
          axis.is_level || axis.values.size() == 1 ? label : label + " " + last + "=" + part;
      expand(depth + 1, with_value(config, axis.path, value, member_.place()), next_label,
             name + "-" + part, std::move(next));
    }
  }

  void add_member(const std::string& label, const ConfigNode& config) {
    for (const Member& member : plan_.members) {
      if (member.label == label) return;
    }
    const Json model = resolve_run(read_run(config))["model"];
    plan_.members.push_back({label, model["architecture"].get<std::string>(),
                             !model.value("mask", Json()).is_null(), ""});
  }

  void add_run(const ConfigNode& config, const std::string& label, const std::string& name,
               const std::map<std::string, std::string>& point, std::int64_t seed) {
    const ConfigNode seeded = with_value(
        config, "seed", config_from_json(Json{{"seed", seed}}, "seeds").at("seed"), "seeds");
    std::string folder = name + "-seed" + std::to_string(seed);
    std::replace(folder.begin(), folder.end(), ' ', '-');
    std::erase_if(folder, [](char c) { return c == '(' || c == ')' || c == '/'; });
    plan_.runs.push_back({folder, label, point, read_run(seeded), 0});
  }

  ComparisonPlan& plan_;
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

CompareEvaluation read_evaluation(const ComparisonPlan& plan, const ConfigNode& node) {
  auto evaluation = read_fields<CompareEvaluation>(node);
  if (evaluation.controls_of.empty()) evaluation.controls_of = plan.members.front().label;
  std::vector<std::string> labels;
  for (const Member& member : plan.members) labels.push_back(member.label);
  if (std::find(labels.begin(), labels.end(), evaluation.controls_of) == labels.end()) {
    std::string known;
    for (const std::string& label : labels) known += (known.empty() ? "" : ", ") + label;
    node.at("controls_of")
        .fail("got \"" + evaluation.controls_of + "\", expected a member: " + known);
  }
  return evaluation;
}

}  // namespace

ComparisonPlan plan_comparison(const ConfigNode& document) {
  ComparisonPlan plan;
  plan.basics =
      read_fields<CompareBasics>(document.without({"base", "members", "axes", "evaluate"}));
  plan.memory = read_memory(plan, document);
  plan.settings = document.json().dump(2);
  if (plan.basics.seeds.empty()) document.at("seeds").fail("got an empty list, expected seeds");
  const ConfigNode base = document.at("base");
  const ConfigNode members = document.at("members");
  if (!members.is_array() || members.size() == 0) {
    members.fail("got " + members.got() + ", expected a list of members");
  }
  const std::vector<Axis> common = read_axes(document);
  std::set<std::string> names;
  for (std::size_t i = 0; i < members.size(); ++i) {
    const ConfigNode member = members.at(i);
    const auto basics = read_fields<MemberBasics>(member.without({"config", "axes"}));
    if (!names.insert(basics.name).second) {
      member.at("name").fail("got \"" + basics.name + "\" a second time, expected distinct names");
    }
    std::vector<Axis> axes = read_axes(member);
    axes.insert(axes.begin(), common.begin(), common.end());
    const bool own_levels = !basics.levels.empty();
    if (own_levels && basics.level.empty()) {
      member.at("levels").fail("got levels without a \"level\", the path that they are written to");
    }
    if (!basics.level.empty() && (own_levels || !plan.basics.levels.empty())) {
      const ConfigNode levels = (own_levels ? member : document).at("levels");
      Axis axis{basics.level, {}, true};
      for (std::size_t j = 0; j < levels.size(); ++j) axis.values.push_back(levels.at(j));
      axes.push_back(std::move(axis));
    }
    const ConfigNode config = member.has("config") ? merged(base, member.at("config")) : base;
    Expansion(plan, member, basics, config, std::move(axes)).run();
  }
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
