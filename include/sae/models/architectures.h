// The table of architectures: the only place that knows them all.
//
// To add one: a header and a source, a row in src/models/architectures.cpp, a file in configs/. The
// command, `sae config` and the conformance tests follow from the row.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "sae/base/notice.h"
#include "sae/config/config_node.h"
#include "sae/config/field_docs.h"
#include "sae/config/findings.h"
#include "sae/models/autoencoder.h"

namespace sae {

struct Architecture {
  std::string name;
  std::string summary;  ///< one line for people
  std::vector<FieldDoc> options;
  /// Options in `model` (without "architecture"), read strictly; every option explicit.
  std::function<nlohmann::ordered_json(const ConfigNode& model)> resolve;
  /// What `model` says that contradicts itself or a run of this length.
  std::function<Findings(const ConfigNode& model, const RunLength& run)> check;
  /// An autoencoder with these options, or the part of it that the mesh's rank has; parameters are
  /// zero until initialise() or a load.
  std::function<std::shared_ptr<Autoencoder>(const ConfigNode& model, const Mesh& mesh)> make;
};

const std::vector<Architecture>& architectures();
std::vector<std::string> architecture_names();
/// The row that `model`'s "architecture" names; ConfigError with the nearest name otherwise.
const Architecture& find_architecture(const ConfigNode& model);

/// The model group `after` a change of the group `before`. If it names another architecture, it
/// goes without the options that only the former one has and that the change has left as they were;
/// `notices` gets a line that names them.
ConfigNode switched(const ConfigNode& before, const ConfigNode& after,
                    std::vector<Notice>& notices);

/// with_set for every assignment, in order. One to an "architecture" switches its group.
ConfigNode with_sets(ConfigNode document, const std::vector<std::string>& assignments,
                     std::vector<Notice>& notices);

/// The model group of a configuration, resolved: "architecture" first, every option explicit.
nlohmann::ordered_json resolve_model(const ConfigNode& model);
std::shared_ptr<Autoencoder> make_autoencoder(const ConfigNode& model, const Mesh& mesh = {});
Findings check_model(const ConfigNode& model, const RunLength& run);

}  // namespace sae
