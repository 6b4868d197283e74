// Presets, and what cannot be built.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <type_traits>

#include "config/fields_json.h"
#include "data/world/parts.h"
#include "sae/base/error.h"
#include "sae/base/text.h"
#include "sae/data/world_options.h"

namespace sae {
namespace {

struct WorldPreset {
  const char* name;
  const char* options;  ///< in place of those of its own "preset", where it has one
};

/// `custom` is what the others share, with no features yet: independent ones of magnitude 1.
constexpr WorldPreset kWorldPresets[] = {
    {"pair", R"({"preset": "custom", "features": 4, "d_in": 50, "roots": 1, "children": 1,
                 "depth": 1, "rule": "choose", "root_rate": 0.25, "child_rate": 0.2,
                 "free_rate": 0.05})"},
    {"tiny", R"({"preset": "custom", "features": 20, "d_in": 20, "roots": 3, "children": 3,
                 "depth": 1, "rule": "choose", "root_rate": 0.15, "child_rate": 0.2,
                 "free_rate": 0.05})"},
    {"small", R"({"preset": "custom", "features": 512, "d_in": 96, "roots": 16, "children": 3,
                  "depth": 2, "rule": "choose", "child_rate": 0.2, "scale_children": true,
                  "magnitude_first": 5, "magnitude_last": 4, "spread_mean": 0.5, "spread_sd": 0.5,
                  "bias_norm": 0.5})"},
    {"small-zipf", R"({"preset": "small", "features": 1024, "d_in": 128, "roots": 8, "children": 4,
                       "depth": 3, "rule": "compete", "child_rate": null, "compensate": true,
                       "rate_min": 0.002, "correlation_rank": 25})"},
    {"synth16k", R"({"preset": "small-zipf", "features": 16384, "d_in": 768, "roots": 128,
                     "rate_min": 5e-4})"},
    {"custom", R"({"roots": 0, "children": 0, "depth": 0, "rule": "none", "compensate": false,
                   "scale_children": false, "zipf_exponent": 0.5, "rate_max": 0.4,
                   "rate_min": 0.004, "magnitude_first": 1, "magnitude_last": 1, "spread_mean": 0,
                   "spread_sd": 0, "correlation_rank": 0, "correlation_scale": 0.1, "bias_norm": 0,
                   "orthogonal_steps": 100, "orthogonal_rate": 3e-4})"}};

ConfigNode preset_options(const std::string& name) {
  for (const WorldPreset& preset : kWorldPresets) {
    if (name != preset.name) continue;
    const ConfigNode own = parse_config(preset.options, "preset " + name);
    if (!own.has("preset")) return own;
    return merged(preset_options(own.string_at("preset")), own.without({"preset"}));
  }
  throw ConfigError("preset: " + expected_one_of(name, world_presets()));
}

WorldOptions preset_world(const std::string& name) {
  return read_fields<WorldOptions>(preset_options(name));
}

/// Calls what(name, field, field of the same name of `base`) for every field that may be unset.
template <class Options, class What>
void with_fields_of(Options& options, const WorldOptions& base, const What& what) {
  WorldOptions::fields(options, [&](std::string_view name, auto& field, auto&&...) {
    WorldOptions::fields(base, [&](std::string_view other, const auto& value, auto&&...) {
      using Field = std::remove_cvref_t<decltype(field)>;
      if constexpr (std::is_same_v<Field, std::remove_cvref_t<decltype(value)>> &&
                    requires { field.has_value(); }) {
        if (name == other) what(name, field, value);
      }
    });
  });
}

WorldOptions filled(const WorldOptions& options) {
  WorldOptions result = options;
  with_fields_of(result, preset_world(options.preset),
                 [](std::string_view, auto& field, const auto& value) {
                   if (!field.has_value()) field = value;
                 });
  return result;
}

void check_rates(const WorldOptions& world, Findings& findings) {
  if (*world.rate_min > *world.rate_max) {
    findings.at_most("rate_min", *world.rate_min, *world.rate_max, "rate_max");
  }
  const double chosen = world.child_rate.value_or(0) * static_cast<double>(*world.children);
  if (*world.rule == Rule::kChoose && chosen > 1 + 1e-9) {
    findings.error("child_rate", "got " + shortest(*world.child_rate) + ", times " +
                                     std::to_string(*world.children) +
                                     " children above 1, but at most one is chosen; lower it");
  }
  if (!findings.errors().empty()) return;
  const std::string overfull = overfull_children(make_rates(world));
  if (!overfull.empty()) findings.error("rule", overfull);
}

/// Features of trees of this shape.
double tree_features(const WorldOptions& world) {
  double level = static_cast<double>(*world.roots);
  double all = level;
  for (std::int64_t i = 0; i < *world.depth && all < 1e15; ++i) {
    level *= static_cast<double>(*world.children);
    all += level;
  }
  return all;
}

/// Options that are given, other than in the preset, and not used.
void check_use(const WorldOptions& given, const WorldOptions& world, Findings& findings) {
  const bool trees = *world.roots > 0 && *world.children > 0 && *world.depth > 0;
  const auto why_idle = [&](std::string_view name) -> std::string {
    const auto is = [&](std::initializer_list<std::string_view> names) {
      return std::find(names.begin(), names.end(), name) != names.end();
    };
    if (!trees && is({"children", "depth", "rule", "compensate", "scale_children", "child_rate"})) {
      return "in a world without trees, which have roots, children and depth above 0";
    }
    if (*world.roots == 0 && name == "root_rate") return "with roots 0";
    if (world.child_rate && name == "compensate") return "with child_rate";
    if (*world.correlation_rank == 0 && name == "correlation_scale") {
      return "with correlation_rank 0";
    }
    if (*world.features <= *world.d_in && is({"orthogonal_steps", "orthogonal_rate"})) {
      return "with no more features than dimensions";
    }
    return "";
  };
  with_fields_of(given, preset_world(given.preset),
                 [&](std::string_view name, const auto& field, const auto& value) {
                   if (!field.has_value() || field == value) return;
                   const std::string idle = why_idle(name);
                   if (!idle.empty()) findings.unused(name, idle);
                 });
  const double needed = tree_features(world);
  if (trees && needed > static_cast<double>(*world.features)) {
    findings.warn("features",
                  "got " + std::to_string(*world.features) + ", the trees have " +
                      trimmed(needed, 0) + ": the last ones lack children",
                  {"roots", "children", "depth"});
  }
}

}  // namespace

const std::vector<std::string>& world_presets() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const WorldPreset& preset : kWorldPresets) all.emplace_back(preset.name);
    return all;
  }();
  return names;
}

void WorldOptions::check(Findings& findings) const {
  const WorldOptions world = filled(*this);
  constexpr const char* kMissing = "missing; expected an integer >= 1 with preset 'custom'";
  if (!world.features) findings.error("features", kMissing);
  if (!world.d_in) findings.error("d_in", kMissing);
  if (!world.features || !world.d_in) return;
  if (*world.roots > *world.features) {
    findings.at_most("roots", static_cast<double>(*world.roots),
                     static_cast<double>(*world.features), "features");
    return;
  }
  check_rates(world, findings);
  check_use(*this, world, findings);
}

WorldOptions resolve(const WorldOptions& options) {
  Findings findings(config_from_json(nlohmann::ordered_json::object(), "world"));
  options.check(findings);
  findings.require();
  return filled(options);
}

}  // namespace sae
