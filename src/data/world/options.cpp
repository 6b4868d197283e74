// Presets, and what cannot be built.
#include <string>
#include <string_view>
#include <type_traits>

#include "sae/base/error.h"
#include "sae/data/world_options.h"

namespace sae {
namespace {

/// What the presets share; `custom` is this with no features yet: independent, of magnitude 1.
WorldOptions plain_world() {
  WorldOptions options;
  options.roots = 0;
  options.children = 0;
  options.depth = 0;
  options.rule = "none";
  options.compensate = false;
  options.scale_children = false;
  options.zipf_exponent = 0.5;
  options.rate_max = 0.4;
  options.rate_min = 0.004;
  options.magnitude_first = 1;
  options.magnitude_last = 1;
  options.spread_mean = 0;
  options.spread_sd = 0;
  options.correlation_rank = 0;
  options.correlation_scale = 0.1;
  options.bias_norm = 0;
  options.orthogonal_steps = 100;
  options.orthogonal_rate = 3e-4;
  return options;
}

WorldOptions pair_world() {
  WorldOptions options = plain_world();
  options.features = 4;
  options.d_in = 50;
  options.roots = 1;
  options.children = 1;
  options.depth = 1;
  options.rule = "choose";
  options.root_rate = 0.25;
  options.child_rate = 0.2;
  options.free_rate = 0.05;
  return options;
}

WorldOptions tiny_world() {
  WorldOptions options = plain_world();
  options.features = 20;
  options.d_in = 20;
  options.roots = 3;
  options.children = 3;
  options.depth = 1;
  options.rule = "choose";
  options.root_rate = 0.15;
  options.child_rate = 0.2;
  options.free_rate = 0.05;
  return options;
}

/// Magnitudes and bias of the larger worlds.
WorldOptions varied_world() {
  WorldOptions options = plain_world();
  options.magnitude_first = 5;
  options.magnitude_last = 4;
  options.spread_mean = 0.5;
  options.spread_sd = 0.5;
  options.scale_children = true;
  options.bias_norm = 0.5;
  return options;
}

WorldOptions small_world() {
  WorldOptions options = varied_world();
  options.features = 512;
  options.d_in = 96;
  options.roots = 16;
  options.children = 3;
  options.depth = 2;
  options.rule = "choose";
  options.child_rate = 0.2;
  return options;
}

WorldOptions small_zipf_world() {
  WorldOptions options = varied_world();
  options.features = 1024;
  options.d_in = 128;
  options.roots = 8;
  options.children = 4;
  options.depth = 3;
  options.rule = "compete";
  options.compensate = true;
  options.rate_min = 0.002;
  options.correlation_rank = 25;
  return options;
}

WorldOptions synth16k_world() {
  WorldOptions options = small_zipf_world();
  options.features = 16384;
  options.d_in = 768;
  options.roots = 128;
  options.rate_min = 5e-4;
  return options;
}

WorldOptions preset_world(const std::string& name) {
  if (name == "pair") return pair_world();
  if (name == "tiny") return tiny_world();
  if (name == "small") return small_world();
  if (name == "small-zipf") return small_zipf_world();
  if (name == "synth16k") return synth16k_world();
  if (name == "custom") return plain_world();
  throw ConfigError("preset: '" + name +
                    "' is no world; pair, tiny, small, small-zipf, synth16k or custom");
}

/// Fills what `options` leaves unset from `base`, field by field of the same name.
void fill(WorldOptions& options, const WorldOptions& base) {
  WorldOptions::fields(options, [&](std::string_view name, auto& field, auto&&...) {
    WorldOptions::fields(base, [&](std::string_view other, const auto& value, auto&&...) {
      using Field = std::remove_cvref_t<decltype(field)>;
      if constexpr (std::is_same_v<Field, std::remove_cvref_t<decltype(value)>> &&
                    requires { field.has_value(); }) {
        if (name == other && !field.has_value()) field = value;
      }
    });
  });
}

void check(const WorldOptions& options) {
  if (!options.features) throw ConfigError("features: not set; a custom world needs it");
  if (!options.d_in) throw ConfigError("d_in: not set; a custom world needs it");
  if (*options.roots > *options.features) {
    throw ConfigError("roots: " + std::to_string(*options.roots) + " is more than all " +
                      std::to_string(*options.features) + " features; lower it");
  }
  if (*options.rate_min > *options.rate_max) {
    throw ConfigError("rate_min: " + std::to_string(*options.rate_min) + " is above rate_max " +
                      std::to_string(*options.rate_max) + "; swap them");
  }
  if (*options.rule == "choose" && options.child_rate &&
      *options.child_rate * static_cast<double>(*options.children) > 1 + 1e-9) {
    throw ConfigError("child_rate: " + std::to_string(*options.child_rate) + " times " +
                      std::to_string(*options.children) +
                      " children is above 1, but at most one is chosen; lower it");
  }
}

}  // namespace

WorldOptions resolve(const WorldOptions& options) {
  WorldOptions resolved = options;
  fill(resolved, preset_world(options.preset));
  check(resolved);
  return resolved;
}

}  // namespace sae
