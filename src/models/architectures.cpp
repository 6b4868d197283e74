#include "sae/models/architectures.h"

#include <torch/types.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "config/fields_json.h"
#include "sae/base/text.h"
#include "sae/models/atm.h"
#include "sae/models/batch_topk.h"
#include "sae/models/jumprelu.h"
#include "sae/models/matryoshka.h"
#include "sae/models/standard.h"
#include "sae/models/topk.h"

namespace sae {
namespace {

template <class Options>
AutoencoderOptions& base_of(Options& options) {
  if constexpr (requires { options.batch_topk; }) {
    return options.batch_topk.base;
  } else if constexpr (requires { options.standard; }) {
    return options.standard.base;
  } else {
    return options.base;
  }
}

template <class Sae>
Architecture row(std::string summary) {
  using Options = typename Sae::Options;
  return {Sae::kArchitecture,
          std::move(summary),
          describe_fields<Options>(),
          [](const ConfigNode& model) { return write_fields(read_fields<Options>(model)); },
          [](const ConfigNode& model, const RunLength& run) {
            return findings_of(read_fields<Options>(model), model, run);
          },
          [](const ConfigNode& model, const Mesh& mesh) -> std::shared_ptr<Autoencoder> {
            auto options = read_fields<Options>(model);
            base_of(options).placement.mesh = mesh;
            return std::make_shared<Sae>(std::move(options));
          }};
}

}  // namespace

const std::vector<Architecture>& architectures() {
  static const std::vector<Architecture> table = {
      row<Standard>("ReLU with an L1 penalty"),
      row<TopK>("the k largest latents of each token"),
      row<BatchTopK>("the k * B largest latents of each batch"),
      row<Matryoshka>("BatchTopK whose prefixes reconstruct on their own"),
      row<JumpRelu>("a trained threshold for each latent"),
      row<Atm>("ReLU with an L1 penalty and an adaptive temporal mask"),
  };
  return table;
}

std::vector<std::string> architecture_names() {
  std::vector<std::string> names;
  for (const Architecture& architecture : architectures()) names.push_back(architecture.name);
  return names;
}

const Architecture& find_architecture(const ConfigNode& model) {
  const std::string name = model.string_at("architecture", architecture_names());
  return *std::find_if(architectures().begin(), architectures().end(),
                       [&](const Architecture& one) { return one.name == name; });
}

namespace {

const Architecture* architecture_of(const ConfigNode& model) {
  if (!model.has("architecture")) return nullptr;
  const nlohmann::ordered_json name = model.at("architecture").json();
  const auto same = [&](const Architecture& one) { return name == one.name; };
  const auto found = std::find_if(architectures().begin(), architectures().end(), same);
  return found == architectures().end() ? nullptr : &*found;
}

/// Whether `option` goes with its architecture: the other does not have it, or has it off where it
/// is on here, such as the mask of "atm".
bool is_own_option(const FieldDoc& option, const Architecture& other) {
  for (const FieldDoc& theirs : other.options) {
    if (theirs.name != option.name) continue;
    const auto is_off = [](const FieldDoc& one) {
      return one.default_value && one.default_value->is_null();
    };
    return is_off(theirs) && !is_off(option);
  }
  return true;
}

/// The group at a dotted path, if there is one.
std::optional<ConfigNode> group_at(ConfigNode node, std::string_view path) {
  while (!path.empty()) {
    const std::string_view key = path.substr(0, path.find('.'));
    path.remove_prefix(std::min(path.size(), key.size() + 1));
    if (node.is_array()) {
      std::size_t index = node.size();
      std::from_chars(key.data(), key.data() + key.size(), index);
      if (index >= node.size()) return std::nullopt;
      node = node.at(index);
    } else if (node.has(key)) {
      node = node.at(key);
    } else {
      return std::nullopt;
    }
  }
  return node;
}

}  // namespace

ConfigNode switched(const ConfigNode& before, const ConfigNode& after,
                    std::vector<Notice>& notices) {
  const Architecture* former = architecture_of(before);
  const Architecture* current = architecture_of(after);
  if (!former || !current || former == current) return after;
  std::vector<std::string> gone, absent;
  for (const FieldDoc& option : former->options) {
    if (!is_own_option(option, *current)) continue;
    if (!after.has(option.name)) {
      absent.push_back(option.name);  // perhaps removed by a --set before
    } else if (before.has(option.name) &&
               after.at(option.name).entry() == before.at(option.name).entry() &&
               !after.at(option.name).place().starts_with("--set ")) {
      gone.push_back(option.name);
    }
  }
  if (gone.empty()) return after.without(absent);
  notices.push_back({Notice::Kind::kNote, after.place("architecture") + ": '" + current->name +
                                              "' in place of '" + former->name + "', without its " +
                                              joined(gone)});
  return after.without(absent).without(gone);
}

ConfigNode with_sets(ConfigNode document, const std::vector<std::string>& assignments,
                     std::vector<Notice>& notices) {
  constexpr std::string_view kKey = "architecture";
  for (const std::string& assignment : assignments) {
    const ConfigNode before = std::exchange(document, with_set(document, assignment));
    const std::string_view path = std::string_view(assignment).substr(0, assignment.find('='));
    const std::size_t dot = path.rfind('.');
    if (dot == std::string_view::npos || path.substr(dot + 1) != kKey) continue;
    const std::string_view group = path.substr(0, dot);
    const auto from = group_at(before, group);
    const auto to = group_at(document, group);
    if (!from || !to) continue;
    document = with_value(document, group, switched(*from, *to, notices), "--set");
  }
  return document;
}

nlohmann::ordered_json resolve_model(const ConfigNode& model) {
  const Architecture& architecture = find_architecture(model);
  nlohmann::ordered_json resolved{{"architecture", architecture.name}};
  resolved.update(architecture.resolve(model.without({"architecture"})));
  return resolved;
}

Findings check_model(const ConfigNode& model, const RunLength& run) {
  return find_architecture(model).check(model.without({"architecture"}), run);
}

std::shared_ptr<Autoencoder> make_autoencoder(const ConfigNode& model, const Mesh& mesh) {
  return find_architecture(model).make(model.without({"architecture"}), mesh);
}

}  // namespace sae
